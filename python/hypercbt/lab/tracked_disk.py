"""A virtual disk that a guest writes, with the tracker that knows what changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path as FilePath
from typing import Literal, TypeAlias, cast

from hypercbt import _native
from hypercbt.closing import Closing
from hypercbt.models import Path
from hypercbt.serve import NbdServer, serve

BLOCK_BYTES = 2 << 20
"""What a new disk is allocated in: small, so that a small guest makes a small file."""

Started: TypeAlias = Literal["continued", "started", "lost"]


@dataclass(frozen=True, slots=True)
class Tracking:
    """Whether the tracker knows what changed before it was started: at the open, or when the disk was reverted."""

    state: Started
    """`continued`: it does. `started`: the disk was not tracked before. `lost`: every older id is refused."""
    reason: str | None
    """Why it was lost."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """What `TrackedDisk.freeze` made."""

    id: str
    """`changes_since` of it tells what changed after this moment."""
    file: FilePath
    """Does not change until this checkpoint is thawed, and may be read by anybody."""
    changes: Mapping[str, _native.Extents] = field(default_factory=dict)
    """What had changed at that moment, by the id since when; of those that were asked for and are kept."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that a disk has."""

    id: str | None
    """None where another process made it, or where tracking was lost since."""
    file: FilePath
    """Does not change until this checkpoint is thawed."""
    leaf: FilePath
    """The file that the guest writes to now."""


class TrackedDisk(Closing):
    """A VHDX file that is open for writing, and never without its change tracker.

    Any number of threads may use it at once. One process that dies without `close` harms nothing: what was flushed
    is kept, and every later `changes_since` still covers all that changed, only less finely.

    Example:
        >>> with TrackedDisk.open("web01.vhdx") as disk:  # doctest: +SKIP
        ...     frozen = disk.freeze()
        ...     point = hypercbt.backup_disk(frozen.file, repository="/srv/backups")
        ...     disk.thaw()
        ...     disk.write_at(4096, b"new".ljust(512))
        ...     disk.changes_since(frozen.id)
    """

    def __init__(self, native: _native.TrackedDisk, path: str) -> None:
        """Wrap an open native disk; callers use `open` or `create`."""
        self.native = native
        self.path = path

    @classmethod
    def create(
        cls,
        path: Path,
        size: int,
        *,
        fixed: bool = False,
        block_size: int = BLOCK_BYTES,
        logical_sector_size: int = 512,
        physical_sector_size: int = 4096,
    ) -> "TrackedDisk":
        """Make a new, empty VHDX file and open it.

        Args:
            path: The file; it must not exist.
            size: What the guest sees, in bytes: a multiple of the sector.
            fixed: Allocate every block now, instead of when it is written.
            block_size: The unit of allocation, a power of two from 1 MiB to 256 MiB.
            logical_sector_size: What the guest addresses: 512 or 4096.
            physical_sector_size: What the guest should align to: 512 or 4096.

        Raises:
            SourceError: There is such a file, or it cannot be made.
            ValueError: The format does not allow one of the sizes.
        """
        _native.TrackedDisk.create_file(
            fspath(path),
            size=size,
            fixed=fixed,
            block_bytes=block_size,
            logical_sector_bytes=logical_sector_size,
            physical_sector_bytes=physical_sector_size,
        )
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, volatile: bool = False) -> "TrackedDisk":
        """Open a disk by its base file, and go on tracking it, or start to.

        Whatever a crash left is finished first. That tracking was lost is no error: see `tracking`.

        Args:
            path: The base file.
            volatile: Keep what is not synced in this process's memory, so that who kills it, or calls `cut_power`, cuts
                the power: the system then has nothing to save. For demos and tests.

        Raises:
            DiskInUseError: Another process has it open for writing.
            TrackerFileError: A file of the tracker's name is not ours; it is left alone.
            VhdxCorruptError: The file breaks a rule of its format.
        """
        native = _native.TrackedDisk.open(fspath(path), volatile=volatile)
        return cls(native, fspath(path))

    @property
    def size(self) -> int:
        """The length of the disk in bytes."""
        return self.native.size

    @property
    def logical_sector_size(self) -> int:
        """The guest's sector: writes are whole ones."""
        return self.native.logical_sector_bytes

    @property
    def tracking(self) -> Tracking:
        """Whether the tracker knows what changed before it was started."""
        state, reason = self.native.tracking
        return Tracking(cast("Started", state), reason)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on.

        Raises:
            ValueError: They reach past the end.
        """
        return self.native.read_at(offset, length)

    def write_at(self, offset: int, data: bytes | bytearray) -> None:
        """Write whole sectors. They are durable after the next `flush`.

        Raises:
            ValueError: They reach past the end, or are no whole sectors.
        """
        self.native.write_at(offset, data)

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros."""
        self.native.zero(offset, length)

    def unmap(self, offset: int, length: int) -> None:
        """Give up a range that the guest no longer needs; it may read as zeros afterwards."""
        self.native.unmap(offset, length)

    def flush(self) -> None:
        """Return when everything that was written before is durable."""
        self.native.flush()

    def freeze(self, since: Iterable[str] = ()) -> Frozen:
        """Make a checkpoint: the file stops changing, and the guest goes on in a child of it.

        A disk can have up to eight, one over the other. Reads and writes of other threads wait meanwhile.

        Args:
            since: Ids whose changes up to this very moment are wanted: `Frozen.changes`. Later nobody can tell them,
                for the guest goes on. Ids that are not kept are left out.

        Raises:
            ValueError: The disk has eight checkpoints, or a merge that failed is to be finished first by `thaw`.
        """
        rct_id, file, changes = self.native.freeze(list(since))
        return Frozen(rct_id, FilePath(file), dict(changes))

    def thaw(self) -> None:
        """Merge the newest checkpoint back. Reads and writes of other threads wait meanwhile.

        Raises:
            ValueError: The disk is not frozen.
        """
        self.native.thaw()

    def discard(self) -> None:
        """Go back to the newest checkpoint, which stays: what the guest wrote since is dropped, and every id is lost.

        Raises:
            ValueError: The disk is not frozen, or a merge that failed is to be finished first by `thaw`.
        """
        self.native.discard()

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that the disk has, oldest first.

        Without the newest while its merge waits to be finished: its file is no longer what it was.
        """
        return tuple(
            Checkpoint(rct_id, FilePath(file), FilePath(leaf))
            for rct_id, file, leaf in self.native.checkpoints
        )

    @property
    def frozen(self) -> Checkpoint | None:
        """The newest checkpoint that the disk has."""
        checkpoints = self.checkpoints
        return checkpoints[-1] if checkpoints else None

    def add_layer(
        self, path: Path, writes: Iterable[tuple[int, bytes | bytearray]]
    ) -> None:
        """Make a file on top of the newest frozen one, which holds these writes and is the caller's alone.

        It is what an application-consistent checkpoint has over its frozen file: what the guest's writers finished after
        the disk was frozen. The guest sees nothing of it.

        Args:
            path: The new file, best in the disk's folder, where its readers look for its parent. It must be removed
                before the checkpoint is thawed, which takes its parent away.
            writes: Offset and bytes, whole sectors.

        Raises:
            SourceError: There is such a file, or it cannot be made.
            ValueError: The disk is not frozen; the name is one of the disk's own; a write is outside the disk or is no
                whole sectors.
        """
        self.native.add_layer(fspath(path), list(writes))

    def resize(self, size: int) -> None:
        """Give the disk another size; what is new reads as zeros. Every id is lost.

        Raises:
            SourceError: It cannot become as small: something is there.
            ValueError: The disk is frozen.
        """
        self.native.resize(size)

    def seal(self) -> str:
        """Return an id for this moment, without a checkpoint."""
        return self.native.seal()

    def changes_since(self, id: str) -> _native.Extents:
        """Return everything that changed since `id` was sealed, and maybe more; never less.

        Raises:
            ChangeTrackingLostError: The id is not kept, or was sealed before tracking was lost. Only a comparison of
                the whole disk helps.
            ValueError: The text is no id.
        """
        return self.native.changes_since(id)

    def forget(self, id: str) -> None:
        """Drop an id."""
        self.native.forget(id)

    @property
    def ids(self) -> list[str]:
        """The ids that are kept, oldest first."""
        return self.native.ids

    def flush_tracking(self) -> None:
        """Write the `.rct` file back now, so that a crash makes less of the answer coarse."""
        self.native.flush_tracking()

    def serve(self, address: Path) -> NbdServer:
        """Serve the disk over NBD, writable, on threads of its own, until the server is stopped.

        Args:
            address: The path of a socket, or `tcp:127.0.0.1:PORT`.

        Raises:
            AddressInUseError: Somebody serves there, or something else than a socket is there.
            ValueError: The address is none, or other machines could reach it.
        """
        return serve(self.native, address)

    def cut_power(self) -> None:
        """Drop the disk as a power cut does: what was not synced is gone, locks are free, this object is closed.

        Calls of other threads that run meanwhile fail, wherever they are: also in the middle of a freeze or a merge. The
        next `open` finishes what a cut left.

        Raises:
            ValueError: The disk was not opened as volatile.
        """
        self.native.cut_power()

    def close(self) -> None:
        """Close disk and tracker cleanly. Checkpoints stay. A second close does nothing."""
        self.native.close()

    def __repr__(self) -> str:
        return f"<TrackedDisk {self.path}>"
