"""A virtual disk that a guest writes, with the tracker that knows what changed."""

from dataclasses import dataclass
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
    """Whether the tracker knew, when the disk was opened, what had changed before."""

    state: Started
    """`continued`: it did. `started`: the disk was not tracked before. `lost`: every older id is refused."""
    reason: str | None
    """Why it was lost."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """What `TrackedDisk.freeze` made."""

    id: str
    """`changes_since` of it tells what changed after this moment."""
    file: FilePath
    """Does not change until the disk is thawed, and may be read by anybody."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that a disk has."""

    id: str | None
    """None where another process made it."""
    file: FilePath
    """Does not change until the disk is thawed."""
    leaf: FilePath
    """The file that the guest writes to meanwhile."""


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
            volatile: Keep what is not synced in this process's memory, so that who kills it cuts the power: the
                system then has nothing to save. For demos and tests.

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
        """Whether the tracker knew, when the disk was opened, what had changed before."""
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

    def freeze(self) -> Frozen:
        """Make a checkpoint: the file stops changing, and the guest goes on in a child of it.

        Reads and writes of other threads wait meanwhile.

        Raises:
            ValueError: The disk is frozen already.
        """
        rct_id, file = self.native.freeze()
        return Frozen(rct_id, FilePath(file))

    def thaw(self) -> None:
        """Merge the checkpoint back. Reads and writes of other threads wait meanwhile.

        Raises:
            ValueError: The disk is not frozen.
        """
        self.native.thaw()

    @property
    def frozen(self) -> Checkpoint | None:
        """The checkpoint that the disk has."""
        found = self.native.frozen
        if found is None:
            return None
        rct_id, file, leaf = found
        return Checkpoint(rct_id, FilePath(file), FilePath(leaf))

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

    def close(self) -> None:
        """Close disk and tracker cleanly. A checkpoint stays. A second close does nothing."""
        self.native.close()

    def __repr__(self) -> str:
        return f"<TrackedDisk {self.path}>"
