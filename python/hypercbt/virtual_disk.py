"""A disk file as the bytes that its guest sees."""

from collections.abc import Iterable
from os import fspath
from typing import TYPE_CHECKING

from hypercbt import _native
from hypercbt.closing import Closing
from hypercbt.documents import parse_list
from hypercbt.models import Inspection, Path

if TYPE_CHECKING:
    from typing_extensions import Buffer


class VirtualDisk(Closing):
    """A VHDX or VHD file with all its parents, or a raw disk, open for reading. Never written to.

    Reads may come from any number of threads at once.

    Example:
        >>> with VirtualDisk.open("web01.avhdx") as disk:  # doctest: +SKIP
        ...     boot_sector = disk.read_at(0, 512)
    """

    def __init__(self, native: _native.VirtualDisk, path: str) -> None:
        """Wrap an open native disk; callers use `open`."""
        self.native = native
        self.path = path

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        format: str | None = None,
        parents: Iterable[Path] = (),
        parent_folders: Iterable[Path] = (),
    ) -> "VirtualDisk":
        """Open a disk file.

        Args:
            path: The file.
            format: `raw` to take the file as it is, whatever it looks like; `vhdx` or `vhd` to
                refuse everything else; by name and content where not given.
            parents: Files in which a differencing disk's parents are looked for first.
            parent_folders: Folders besides the file's own that may hold a parent. A parent's place
                as the file says it is not trusted.

        Raises:
            VhdxCorruptError: The file breaks a rule of its format.
            ParentDiskError: A parent is missing, wrong, or leads in a circle.
            UnsupportedDiskError: The file is no disk that can be read.
        """
        native = _native.VirtualDisk.open(
            fspath(path),
            format=format,
            parents=[fspath(parent) for parent in parents],
            parent_folders=[fspath(folder) for folder in parent_folders],
        )
        return cls(native, fspath(path))

    @property
    def size(self) -> int:
        """The length of the disk in bytes."""
        return self.native.size

    @property
    def format(self) -> str:
        """`vhdx`, `vhd` or `raw`."""
        return self.native.format

    @property
    def disk_id(self) -> str | None:
        """The identity of the disk: what stays as checkpoints come and go.

        A VHDX file gives it to its disk; of VHD files it is the unique id of the last parent.
        """
        return self.native.disk_id

    @property
    def allocated(self) -> _native.Extents:
        """What is present in one of the files; everything else reads as zeros."""
        return self.native.allocated

    def allocated_above(self, index: int) -> _native.Extents:
        """Return what the layers above layer `index` of `inspect().layers` hold, nearer to the guest.

        Blocks that they declare zero count too: they hide what lies below.
        """
        return self.native.allocated_above(index)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on.

        Raises:
            ValueError: They reach past the end.
        """
        return self.native.read_at(offset, length)

    def read_into(self, offset: int, buffer: "Buffer") -> None:
        """Fill a writable buffer from `offset` on, without a copy in between."""
        self.native.read_into(offset, buffer)

    def inspect(self) -> Inspection:
        """Return what there is to know about the file and its parents."""
        native = self.native
        allocated = native.allocated
        return Inspection(
            path=self.path,
            disk_format=native.format,
            disk_bytes=native.size,
            disk_id=native.disk_id,
            logical_sector_bytes=native.logical_sector_bytes,
            physical_sector_bytes=native.physical_sector_bytes,
            block_bytes=native.block_bytes,
            allocated_bytes=allocated.total_bytes,
            allocated_extents=len(allocated),
            layers=tuple(parse_list(native.layers())),
        )

    def close(self) -> None:
        """Close the files."""
        self.native.close()

    def __repr__(self) -> str:
        return f"<VirtualDisk {self.path}>"
