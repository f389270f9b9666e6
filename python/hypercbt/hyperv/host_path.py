r"""Paths as a host writes them: `C:\VMs\web01.vhdx`, `\\server\share\web01.vhdx`, `\\?\Volume{GUID}\web01.vhdx`.

They come from a host, so they are untrusted: a path that climbs (`..`), names a stream (`web01.vhdx:x`) or holds what
no Windows name holds is refused before anything here is touched.
"""

import re
from dataclasses import dataclass
from pathlib import PureWindowsPath

from hypercbt.errors import HostFileError

DRIVE = re.compile(r"([A-Za-z]:)(?:\\(.*))?", re.DOTALL)
VOLUME = re.compile(r"(Volume\{[0-9A-Fa-f-]+\})(?:\\(.*))?", re.DOTALL | re.IGNORECASE)
SHARE = re.compile(r"\\\\([^\\?.][^\\]*\\[^\\]+)(?:\\(.*))?", re.DOTALL)
DEVICE = re.compile(r"\\\\[?.]\\(.*)", re.DOTALL)
FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
"""In no name of a file on Windows."""


@dataclass(frozen=True, slots=True)
class HostPath:
    """A path in parts: where it starts, and the names from there on."""

    root: str
    r"""`C:`, `\\server\share` or `\\?\Volume{GUID}`."""
    names: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """What is the same for two spellings of one path."""
        return (fold(self.root), *map(fold, self.names))

    def __str__(self) -> str:
        return "\\".join((self.root, *self.names)) if self.names else f"{self.root}\\"


def parse_host_path(text: str) -> HostPath:
    """Return a path in parts.

    Raises:
        HostFileError: It is not absolute, or has a part that no path should have.
    """
    plain = text.replace("/", "\\")
    root, rest = _split(plain, text)
    names = tuple(name for name in rest.split("\\") if name)
    for name in names:
        # Windows drops dots and spaces at the end, so ".. " climbs as well.
        if FORBIDDEN.search(name) or not name.rstrip(". "):
            raise HostFileError(f"{text!r} is no path that will be opened")
    return HostPath(root, names)


def fold(name: str) -> str:
    """Return a name as Windows compares it: letter by letter, each as its capital where that is one letter."""
    if name.isascii():
        return name.upper()
    return "".join(up if len(up := letter.upper()) == 1 else letter for letter in name)


def folder_of(path: str) -> str:
    """Return the folder that a file is in, as people would name it."""
    return str(PureWindowsPath(path).parent)


def _split(plain: str, text: str) -> tuple[str, str]:
    device = DEVICE.fullmatch(plain)
    if device:
        plain = device[1]
        if plain[:4].upper() == "UNC\\":
            plain = "\\\\" + plain[4:]
        volume = VOLUME.fullmatch(plain)
        if volume:
            return f"\\\\?\\{volume[1]}", volume[2] or ""
    drive = DRIVE.fullmatch(plain)
    if drive:
        return drive[1].upper(), drive[2] or ""
    share = SHARE.fullmatch(plain)
    if share and not FORBIDDEN.search(share[1]) and ".." not in share[1].split("\\"):
        return f"\\\\{share[1]}", share[2] or ""
    raise HostFileError(f"{text!r} is no absolute path of a host")
