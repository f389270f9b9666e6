"""What hinders a planned machine from becoming one that stands."""

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from hypercbt.errors import HypercbtError
from hypercbt.lab.model.files import describe
from hypercbt.lab.model.paths import key
from hypercbt.lab.model.state import Disk, Machine
from hypercbt.lab.model.vhd import VhdFile
from hypercbt.lab.model.world import World

KINDS = {".vhdx": "vhdx", ".vhd": "vhd", ".vhds": "vhds"}
"""What a disk file is, by its suffix."""


def problems(world: World, machine: Machine) -> list[str]:
    """Each in words, with what it is about.

    Real errors name missing switches, paths, and the version [V]. There are no network adapters here.
    """
    words = world.words
    found = []
    if world.store.machine(machine.id) is not None:
        found.append(f"{words['id_taken']}: {machine.id}")
    oldest, newest = map(_version, world.quirks.importable_versions)
    if not oldest <= _version(machine.version) <= newest:
        found.append(f"{words['bad_version']}: {machine.version}")
    for folder in (machine.snapshot_root, machine.swap_root):
        here = world.folders.local_path(folder) if folder else None
        if folder and (here is None or not here.is_dir()):
            found.append(f"{words['no_folder']}: {folder}")
    return [*found, *_of_disks(world, machine)]


def _of_disks(world: World, machine: Machine) -> Iterator[str]:
    used: set[str] = set()
    for disk in machine.disks:
        file = disk.files[0] if disk.files else ""
        word = _of_disk(world, disk, file)
        # A file that is used twice, here or by a machine that stands, would be written by two [I].
        if word is None and (key(file) in used or world.store.file(file)):
            word = "file_used"
        used.add(key(file))
        if word is not None:
            yield f"{world.words[word]}: {file or disk.location}"


def _of_disk(world: World, disk: Disk, file: str) -> str | None:
    if disk.kind == "pass-through":
        return "no_device"  # no host has the disks of another [I]
    if not file:
        return (
            "empty_drive"  # whether a host minds is unknown [?]; the stricter is chosen
        )
    path = world.folders.local_path(file)
    if path is None or not path.is_file():
        return "no_file"
    # Not so on a real host: a disk that stands on others is no base that a tracker here could have.
    return None if _is_disk(path, disk, file) else "no_disk"


def _is_disk(path: Path, disk: Disk, file: str) -> bool:
    kind = KINDS.get(PureWindowsPath(file).suffix.lower())
    if kind != disk.kind:
        return False
    if kind == "vhd":
        return VhdFile.is_one(path)
    if kind == "vhds":  # its content is not looked at anywhere here
        return True
    try:
        return describe(path, disk) == 0
    except HypercbtError:
        return False


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
