"""A file of a machine's configuration, as a restore point holds it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hypercbt.disk_file import DiskFile
from hypercbt.errors import TargetError, TargetExistsError

if TYPE_CHECKING:
    from hypercbt import _native
    from hypercbt.models import Path as AnyPath

COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PointFile:
    """One file of a machine's configuration: what Hyper-V calls `.vmcx`, `.vmrs` or `.vmgs`."""

    name: str
    """Its name on the host, without a folder."""
    size: int
    """Its length in bytes."""
    _point: str = field(repr=False)
    _repository: "_native.Repository" = field(repr=False, compare=False)

    def open(self) -> DiskFile:
        """Open it as a seekable, readable binary file."""
        return DiskFile(self._repository.point_file(self._point, self.name))

    def restore(self, path: "AnyPath", *, overwrite: bool = False) -> None:
        """Write it to a new file, which appears only when it is complete.

        Args:
            path: Where to.
            overwrite: Replace a file that stands there.

        Raises:
            TargetExistsError: There is a file, and `overwrite` was not said.
            IntegrityError: The repository no longer holds what the file needs.
        """
        target = Path(path)
        if not overwrite and os.path.lexists(target):
            raise TargetExistsError(f"{target} exists already")
        with self.open() as source:
            try:
                _write_whole(target, source, overwrite)
            except FileExistsError as error:
                raise TargetExistsError(f"{target} exists already") from error
            except OSError as error:
                raise TargetError(f"cannot write {target}: {error}") from error

    def _json(self) -> dict[str, object]:
        return {"name": self.name, "size": self.size}


def restore_files(
    files: Iterable[PointFile], folder: "AnyPath", *, overwrite: bool
) -> tuple[str, ...]:
    """Write files into a folder, which is made if need be; none if one of them stands there."""
    place = Path(folder)
    targets = {file: place / file.name for file in files}
    for target in targets.values():
        if not overwrite and os.path.lexists(target):
            raise TargetExistsError(f"{target} exists already")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"cannot make the folder {place}: {error}") from error
    for file, target in targets.items():
        file.restore(target, overwrite=overwrite)
    return tuple(map(str, targets.values()))


def _write_whole(target: Path, source: DiskFile, overwrite: bool) -> None:
    """Write all of a file under another name, make it durable, and then give it its name."""
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name[:100]}.", delete=False
    ) as file:
        temporary = Path(file.name)
        try:
            shutil.copyfileobj(source, file, COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())
            file.close()  # Windows renames no open file
            if overwrite:
                temporary.replace(target)
            else:
                _name(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    _sync_folder(target.parent)


def _name(temporary: Path, target: Path) -> None:
    """Rename a file, but never over another one.

    Raises:
        FileExistsError: There is one.
    """
    if os.name == "nt":
        temporary.rename(target)
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: nobody can do better there
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        temporary.rename(target)
    else:
        temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a new name durable, where the system lets folders be synced."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
