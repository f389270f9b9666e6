"""The virtual machines of the simulated host: found by what they have, and kept in files."""

from collections.abc import Iterator
from pathlib import Path

from hypercbt.lab.model.paths import key
from hypercbt.lab.model.state import (
    Checkpoint,
    Disk,
    Machine,
    ReferencePoint,
    from_json,
    to_json,
)


class Store:
    """All virtual machines, one JSON file each. Nothing here takes longer for a thousand of them, but listing all.

    Args:
        folder: Where the files lie; what stands there is read.

    Raises:
        ValueError: A file there is not one of these.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._machines: dict[str, Machine] = {}
        self._checkpoints: dict[str, str] = {}
        self._points: dict[str, str] = {}
        self._files: dict[str, tuple[str, str]] = {}
        self._keys: dict[str, list[str]] = {}
        for file in sorted(folder.glob("*.json")):
            try:
                machine = from_json(file.read_text(encoding="utf-8"))
            except (ValueError, LookupError, TypeError) as error:
                raise ValueError(f"{file} is no virtual machine: {error}") from error
            self._index(machine)

    def __iter__(self) -> Iterator[Machine]:
        return iter(list(self._machines.values()))

    def __len__(self) -> int:
        return len(self._machines)

    def machine(self, id: str) -> Machine | None:
        """The virtual machine of this GUID."""
        return self._machines.get(id.upper())

    def checkpoint(self, id: str) -> tuple[Machine, Checkpoint] | None:
        """The checkpoint of this GUID, and whose it is."""
        machine = self._machines.get(self._checkpoints.get(id.upper(), ""))
        checkpoint = machine and machine.checkpoint(id)
        return (machine, checkpoint) if machine and checkpoint else None

    def point(self, id: str) -> tuple[Machine, ReferencePoint] | None:
        """The reference point of this GUID, and whose it is."""
        machine = self._machines.get(self._points.get(id.upper(), ""))
        return (machine, machine.points[id.upper()]) if machine else None

    def file(self, path: str) -> tuple[Machine, Disk] | None:
        """The disk that a file is part of, and whose it is."""
        found = self._files.get(key(path))
        machine = found and self._machines.get(found[0])
        disk = machine.disk(found[1]) if found and machine else None
        return (machine, disk) if machine and disk else None

    def save(self, machine: Machine) -> None:
        """Keep a virtual machine as it is now."""
        self._index(machine)
        file = self._folder / f"{machine.id}.json"
        new = file.with_suffix(".new")
        new.write_text(to_json(machine), encoding="utf-8")
        new.replace(file)

    def remove(self, machine: Machine) -> None:
        """Forget a virtual machine."""
        self._unindex(machine.id)
        (self._folder / f"{machine.id}.json").unlink(missing_ok=True)

    def _index(self, machine: Machine) -> None:
        self._unindex(machine.id)
        self._machines[machine.id] = machine
        checkpoints = {each.id: machine.id for each in machine.checkpoints}
        points = dict.fromkeys(machine.points, machine.id)
        files = {
            key(frozen.layer): (machine.id, frozen.location)
            for frozen in machine.frozen
            if frozen.layer is not None
        }
        for disk in machine.disks:
            files |= {key(file): (machine.id, disk.location) for file in disk.files}
        self._checkpoints |= checkpoints
        self._points |= points
        self._files |= files
        self._keys[machine.id] = [*checkpoints, *points, *files]

    def _unindex(self, id: str) -> None:
        self._machines.pop(id, None)
        for old in self._keys.pop(id, ()):
            for index in (self._checkpoints, self._points, self._files):
                index.pop(old, None)
