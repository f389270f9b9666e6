r"""The files of a host's machines, as they are reached from here.

Folders of the host are mapped to folders of this machine: `C:\VMs` is `/mnt/hv01/VMs`. Of several that fit, the
longest counts. Windows does not care about case and a mounted share may, so names are looked up one by one.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from os import PathLike, fspath
from pathlib import Path
from typing import TypeVar

from hypercbt.errors import DiskInUseError, HostFileError, HostFileMissingError
from hypercbt.hyperv.clock import SYSTEM_CLOCK, Clock, Pauses
from hypercbt.hyperv.host_path import (
    HostPath,
    fold,
    folder_of,
    parse_host_path,
)
from hypercbt.virtual_disk import VirtualDisk

RETRY_SECONDS = 5.0
"""For a file that somebody holds, or that the host's file server refuses: right after a checkpoint it may for a moment."""

HELD = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY, errno.EAGAIN)
"""What a file that another holds, or that a server refuses, is here: a sharing violation has several names."""

Result = TypeVar("Result")


class HostFiles:
    r"""Opens a host's files.

    Args:
        map: Where the host's folders are from here: `{r"C:\VMs": "/mnt/hv01/VMs"}`.
        windows: Whether this machine opens `\\server\share` by itself; found out where not said.
        clock: What waits for a file that is held.

    Raises:
        ValueError: A folder of the mapping is no absolute path, or is mapped twice.
    """

    def __init__(
        self,
        map: Mapping[str, str | PathLike[str]] | None = None,
        *,
        windows: bool | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._windows = os.name == "nt" if windows is None else windows
        self._clock = clock
        self._map: dict[tuple[str, ...], Path] = {}
        for folder, local in (map or {}).items():
            try:
                key = parse_host_path(folder).key
            except HostFileError as error:
                raise ValueError(
                    rf"{folder!r} is no folder of a host; write it like C:\VMs"
                ) from error
            if key in self._map:
                raise ValueError(f"{folder} is mapped twice")
            self._map[key] = Path(local)

    def local(self, host_path: str) -> Path:
        """Return where a file of the host is from here. It is there, unless it is only reached by Windows itself.

        Raises:
            HostFileError: Its folder is not mapped, it is not there, it cannot be told from others, or it is no path
                that will be opened.
        """
        path = parse_host_path(host_path)
        base, names = self._mapped(path, host_path)
        if base is None:
            return Path(str(path))
        found = self._guarded(host_path, lambda: _look_up(base, names, host_path))
        if not found.resolve().is_relative_to(base.resolve()):
            raise HostFileError(
                f"{host_path} is a link that leads out of {base}; it is not followed"
            )
        if found.exists() and not (found.is_file() or found.is_dir()):
            # A pipe, say: whoever opens one waits for ever.
            raise HostFileError(f"{host_path} is no file, as seen from here")
        return found

    def exists(self, host_path: str) -> bool:
        """Return whether a file of the host is there.

        Raises:
            HostFileError: Nobody can tell: its folder is not mapped, or not to be read.
        """
        try:
            return self.local(host_path).exists()
        except HostFileMissingError:
            return False
        except OSError as error:
            raise _unreadable(host_path, error) from error

    def free_bytes(self, host_path: str) -> tuple[int, int]:
        """Return what is free, and what there is in all, of the volume that a file of the host is on, or was.

        The file itself may be gone: hosts merge one into another.

        Raises:
            HostFileError: Its folder cannot be reached.
        """
        folder = self.local(folder_of(host_path))
        usage = self._guarded(host_path, lambda: shutil.disk_usage(folder))
        return usage.free, usage.total

    def open_chain(self, path: str, parents: Iterable[str]) -> VirtualDisk:
        """Open a disk file of the host with its parents. The caller closes it.

        Where the host says the parents are, there they are: what the files themselves say is not trusted.

        Args:
            path: The host path of the file.
            parents: Those of all files below it.

        Raises:
            HostFileError: One of them cannot be reached, or somebody holds it.
            SourceError: They are reached, and are no disk that can be read.
        """
        files = [self.readable(one) for one in (path, *parents)]
        return self._guarded(
            path, lambda: VirtualDisk.open(files[0], parents=files[1:])
        )

    def readable(self, host_path: str) -> Path:
        """Return where a file of the host is from here, having seen that it can be read.

        Raises:
            HostFileError: It cannot be reached, or somebody holds it.
        """
        local = self.local(host_path)

        def look() -> None:
            with local.open("rb") as file:
                _forget(file.fileno())
                file.read(1)

        self._guarded(host_path, look)
        return local

    def _mapped(
        self, path: HostPath, host_path: str
    ) -> tuple[Path | None, tuple[str, ...]]:
        key = path.key
        for length in range(len(key), 0, -1):
            base = self._map.get(key[:length])
            if base is not None:
                return base, path.names[length - 1 :]
        if self._windows and path.root.startswith("\\\\"):
            return None, path.names
        raise HostFileError(
            f"nobody said where {host_path} is from here; "
            f"map its folder or one above: --map '{folder_of(host_path)}=/where/it/is'"
        )

    def _guarded(self, host_path: str, action: Callable[[], Result]) -> Result:
        """Do something with a file, again for a while where somebody holds it or the host refuses."""
        pauses = Pauses(RETRY_SECONDS, self._clock)
        while True:
            try:
                return action()
            except FileNotFoundError as error:
                raise HostFileMissingError(f"{host_path} is not there") from error
            except (DiskInUseError, OSError) as error:
                held = isinstance(error, DiskInUseError) or error.errno in HELD
                if not held or not pauses.pause():
                    raise _unreadable(host_path, error) from error


def _look_up(base: Path, names: tuple[str, ...], host_path: str) -> Path:
    """Return the file of these names below `base`, whatever their case."""
    if not base.is_dir():
        raise HostFileError(
            f"{host_path} should be below {base}, which is no folder here: is it mounted?"
        )
    found = base
    for name in names:
        found = _child(found, name, host_path)
    return found


def _child(folder: Path, name: str, host_path: str) -> Path:
    exact = folder / name
    if os.path.lexists(exact):
        return exact
    wanted = fold(name)
    alike = []
    try:
        with os.scandir(folder) as entries:
            alike = [entry.name for entry in entries if fold(entry.name) == wanted]
    except (FileNotFoundError, NotADirectoryError):
        pass  # then it is not there
    if not alike:
        raise HostFileMissingError(
            f"{host_path} is not there: {fspath(folder)} has no {name!r}"
        )
    if len(alike) > 1:
        raise HostFileError(
            f"{host_path} cannot be told from others: {fspath(folder)} has {', '.join(sorted(alike))}"
        )
    return folder / alike[0]


def _forget(file: int) -> None:
    """Let the system forget what it knows of a file.

    A host writes to a disk for days before the file's time says so, and by size and time a mounted share judges whether
    what it remembers from the last backup is still true.
    """
    if hasattr(os, "posix_fadvise"):  # not on Windows
        with suppress(OSError):  # a hint, which some file systems do not take
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def _unreadable(host_path: str, error: Exception) -> HostFileError:
    return HostFileError(f"{host_path} cannot be read from here: {error}")
