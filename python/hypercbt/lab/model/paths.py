"""Paths of the simulated host, and the folders of this machine that they stand for."""

import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath


@dataclass(frozen=True, slots=True)
class Folders:
    r"""One folder of the host: `C:\VMs` is `local`."""

    host: PureWindowsPath
    local: Path

    def local_path(self, path: str) -> Path | None:
        """Where a file of the host lies here; None for one that is elsewhere."""
        wanted = PureWindowsPath(path)
        if ".." in wanted.parts or not wanted.is_relative_to(self.host):
            return None
        return self.local.joinpath(*wanted.relative_to(self.host).parts)

    def host_path(self, path: Path) -> str:
        """How the host calls a file."""
        return str(
            self.host.joinpath(*path.resolve().relative_to(self.local.resolve()).parts)
        )


_FORBIDDEN = re.compile(r'[\x00-\x1f\\/:*?"<>|]')


def folder_name(name: str) -> str:
    """The folder for a virtual machine of this name, which may hold anything: it never leads elsewhere."""
    return _FORBIDDEN.sub("_", name).strip(". ")[:100].strip(". ") or "_"


def key(path: str) -> str:
    """One text for all spellings of a path."""
    return str(PureWindowsPath(path)).casefold()
