"""The files of virtual machines: tracked disks, their checkpoints, and configuration."""

import json
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from hypercbt import _native
from hypercbt.errors import ChangeTrackingLostError
from hypercbt.lab.model.configuration import SUFFIXES, write_configuration
from hypercbt.lab.model.machines import configuration, has_guest_state
from hypercbt.lab.model.paths import folder_name, key
from hypercbt.lab.model.state import Checkpoint, Disk, FrozenDisk, Machine
from hypercbt.lab.model.vhd import VhdFile
from hypercbt.lab.model.world import World
from hypercbt.lab.tracked_disk import TrackedDisk

Open: TypeAlias = TrackedDisk | VhdFile
Extents: TypeAlias = _native.Extents

LAYER_BYTES = 8192
"""What the guest's writers write into the extra layer of an application-consistent checkpoint, here."""


class Files:
    """Which files are open, and what is done with them. The world's lock is held, but where guests write.

    Args:
        world: The host.
        volatile: Open disks so that their power can be cut.
    """

    def __init__(self, world: World, *, volatile: bool) -> None:
        self._world = world
        self._volatile = volatile
        self._open: dict[tuple[str, str], Open] = {}
        self._gates: dict[str, threading.Lock] = {}
        self._answers: dict[str, dict[str, Extents]] = {}

    def gate(self, machine: Machine) -> threading.Lock:
        """Who writes for the guest holds it, and who freezes all its disks at one moment."""
        with self._world.lock:
            return self._gates.setdefault(machine.id, threading.Lock())

    def local(self, path: str) -> Path:
        """Where a file of the host lies here."""
        found = self._world.folders.local_path(path)
        if found is None:
            raise FileNotFoundError(path)
        return found

    def disk(self, machine: Machine, disk: Disk) -> Open:
        """The open disk; its file is made where it was not."""
        with self._world.lock:
            if self._world.dead:
                raise ConnectionAbortedError("the host has no power")
            place = (machine.id, disk.location)
            found = self._open.get(place)
            if found is None:
                self.make(machine)
                found = self._open[place] = self._open_disk(disk)
                # Whatever a crash interrupted is settled by now: what the disk says is true.
                disk.files = self._layers(found)
                self._world.store.save(machine)
            return found

    def has(self, opened: Open) -> bool:
        """Whether a disk is still open. The gate is held."""
        return any(found is opened for found in self._open.values())

    def make(self, machine: Machine) -> None:
        """Make the files that a virtual machine should have and has not."""
        if not machine.made:
            self.write_configuration(machine, None)
            machine.made = True
        for disk in machine.disks:
            if disk.made or disk.kind == "pass-through":
                continue
            path = self.local(disk.files[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            if disk.kind == "vhd":
                VhdFile.create(path, disk.size)
            elif disk.kind == "vhds":  # a small file that points to others
                path.write_bytes(b"vhds".ljust(4096, b"\0"))
            elif not path.exists():
                TrackedDisk.create(path, disk.size).close()
            if disk.kind == "vhdx":
                describe(path, disk)
            disk.made = True
        self._world.store.save(machine)

    @contextmanager
    def quiet(self, machine: Machine) -> Iterator[None]:
        """Let the guest wait: all its disks stand still at one moment."""
        with self.gate(machine):
            yield

    def freeze(self, machine: Machine, disk: Disk) -> FrozenDisk:
        """Freeze one disk, and note what changed up to this moment since each moment that is still known.

        The guest waits.
        """
        opened = self.disk(machine, disk)
        if isinstance(opened, VhdFile):
            file = opened.freeze()
            rct_id = None
        else:
            frozen = opened.freeze(since=opened.ids if disk.tracked else [])
            file, rct_id = frozen.file, frozen.id if disk.tracked else None
            self._answers[key(self._host(file))] = dict(frozen.changes)
        disk.files = self._layers(opened)
        return FrozenDisk(disk.location, self._host(file), rct_id)

    def thaw(self, machine: Machine, disk: Disk) -> None:
        """Merge the newest layer."""
        opened = self.disk(machine, disk)
        with self.gate(machine):
            opened.thaw()
        disk.files = self._layers(opened)
        self._answers.pop(key(disk.files[-1]), None)

    def discard(self, machine: Machine, disk: Disk) -> None:
        """Go back to the newest checkpoint: what was written since is gone, and every id with it."""
        self.disk(machine, disk).discard()
        disk.files = self._layers(self.disk(machine, disk))
        for file in disk.files:
            self._answers.pop(key(file), None)

    def add_layer(self, machine: Machine, disk: Disk, frozen: FrozenDisk) -> None:
        """Put a small file on a frozen one, with what the guest's writers wrote last."""
        opened = self.disk(machine, disk)
        if not isinstance(opened, TrackedDisk):
            return
        base = self.local(frozen.file)
        path = base.with_name(f"{base.stem}_{self._world.guid()}.avhdx")
        at = self._world.random.randrange(0, disk.size - LAYER_BYTES + 1) & ~0xFFF
        opened.add_layer(path, [(at, self._world.random.randbytes(LAYER_BYTES))])
        frozen.layer = self._host(path)

    def written_in(self, layer: str) -> Extents:
        """What an extra layer holds."""
        with _native_open(self.local(layer)) as chain:
            reached = chain.segments(0, chain.size)
        return _native.Extents(
            [(at, length) for at, length, index, _ in reached if index == 0]
        )

    def changes(self, machine: Machine, disk: Disk, file: str, id: str) -> Extents:
        """What changed since an id, up to when a file was frozen.

        Raises:
            ChangeTrackingLostError: Nobody knows, or the id is of a later moment.
            ValueError: The text is no id.
        """
        opened = self.disk(machine, disk)
        if isinstance(opened, VhdFile) or not disk.tracked:
            raise ChangeTrackingLostError("the disk is not tracked")
        frozen = _frozen(machine, disk, file)
        if frozen is None:  # the file that the guest writes to: up to now
            return opened.changes_since(id)
        answers = self._answers.get(key(frozen.file))
        if answers is not None:
            # The tracker may have lost or dropped the id since, and answers for it.
            opened.changes_since(id)
            if id not in answers:
                raise ChangeTrackingLostError("the id is of a later moment")
            return answers[id]
        # The host was restarted since. What is known now covers what was known then.
        ids = opened.ids
        if frozen.rct_id in ids and id in ids[ids.index(frozen.rct_id) :]:
            raise ChangeTrackingLostError("the id is of a later moment")
        return opened.changes_since(id)

    def forget(self, machine: Machine, ids: Iterable[tuple[str, str]]) -> None:
        """Drop ids. Each is of one checkpoint, or of the one reference point that it became."""
        for location, rct_id in ids:
            disk = machine.disk(location)
            if disk is None:
                continue
            opened = self.disk(machine, disk)
            if isinstance(opened, TrackedDisk) and rct_id in opened.ids:
                opened.forget(rct_id)

    def write_configuration(
        self, machine: Machine, checkpoint: Checkpoint | None
    ) -> None:
        """Write the configuration files of a virtual machine or of a checkpoint."""
        path = self.configuration(machine, checkpoint)
        frozen = {
            disk.location: disk.layer or disk.file
            for disk in (checkpoint.disks if checkpoint else ())
        }
        write_configuration(
            path, machine, guest_state=has_guest_state(machine), frozen=frozen
        )

    def configuration(self, machine: Machine, checkpoint: Checkpoint | None) -> Path:
        """Where the `.vmcx` file of a virtual machine or of a checkpoint lies here."""
        root, file = configuration(machine, checkpoint)
        return self.local(f"{root}\\{file}")

    def remove_configuration(
        self, machine: Machine, checkpoint: Checkpoint | None
    ) -> None:
        """Remove the configuration files of a virtual machine or of a checkpoint."""
        path = self.configuration(machine, checkpoint)
        for suffix in SUFFIXES:
            path.with_suffix(suffix).unlink(missing_ok=True)

    def remove_checkpoint(self, machine: Machine, checkpoint: Checkpoint) -> None:
        """Remove the files that only a checkpoint has: its configuration, and its extra layers."""
        self.remove_configuration(machine, checkpoint)
        for frozen in checkpoint.disks:
            if frozen.layer is not None:
                self.local(frozen.layer).unlink(missing_ok=True)

    def export(self, machine: Machine, directory: str) -> None:
        """Copy the configuration of a virtual machine to a folder of the host."""
        folder = self.local(directory) / folder_name(machine.name) / "Virtual Machines"
        folder.mkdir(parents=True, exist_ok=True)
        self.make(machine)
        write_configuration(
            folder / f"{machine.id}.vmcx",
            machine,
            guest_state=has_guest_state(machine),
        )

    def move_to(self, machine: Machine, other: "Files") -> None:
        """Hand the files of a virtual machine over to another host: they stay where both see them, or are moved."""
        self.close(machine)
        ours, theirs = self.local(machine.root), other.local(machine.root)
        if machine.made and ours.resolve() != theirs.resolve():
            theirs.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(ours, theirs)
        if not other._world.quirks.tracking_travels:
            other.drop_trackers(machine)

    def drop_trackers(self, machine: Machine) -> None:
        """Remove the files of its trackers."""
        for disk in machine.disks:
            for suffix in (".rct", ".mrt"):
                base = self.local(disk.files[0])
                base.with_name(base.name + suffix).unlink(missing_ok=True)

    def is_taken(self, root: str) -> bool:
        """Whether there are, or will be, files of a virtual machine in this folder of the host."""
        return (
            any(key(machine.root) == key(root) for machine in self._world.machines())
            or self.local(root).exists()
        )

    def free_folder(self, name: str) -> str:
        """A folder of the host for a new virtual machine of this name."""
        first = f"{self._world.folders.host}\\{folder_name(name)}"
        root, number = first, 1
        while self.is_taken(root):
            number += 1
            root = f"{first}-{number}"
        return root

    def close(self, machine: Machine) -> None:
        """Close the disks of a virtual machine."""
        with self.gate(machine):
            for place in [place for place in self._open if place[0] == machine.id]:
                self._open.pop(place).close()

    def open_all(self) -> None:
        """Open what exists, as virtual machines that start with their host do: so it is known how far merges got."""
        for machine in self._world.store:
            if machine.made:
                self.open_disks(machine)

    def open_disks(self, machine: Machine) -> None:
        """Open the disks of a virtual machine: from then on nobody else can."""
        for disk in machine.disks:
            if disk.kind in ("vhdx", "vhd"):
                self.disk(machine, disk)

    def close_all(self) -> None:
        """Close all disks, cleanly."""
        while self._open:
            self._open.popitem()[1].close()

    def cut_power(self) -> None:
        """Cut the power of all disks: what was not synced is gone. Without the lock, so in the middle of anything."""
        for opened in list(self._open.values()):
            opened.cut_power()

    def _open_disk(self, disk: Disk) -> Open:
        if disk.kind == "vhd":
            return VhdFile([self.local(file) for file in disk.files])
        return TrackedDisk.open(self.local(disk.files[0]), volatile=self._volatile)

    def _layers(self, opened: Open) -> list[str]:
        if isinstance(opened, VhdFile):
            return [self._host(file) for file in opened.files]
        stack = opened.checkpoints
        if not stack:
            return [self._host(Path(opened.path))]
        files: Sequence[Path] = [*(found.file for found in stack), stack[-1].leaf]
        return [self._host(file) for file in files]

    def _host(self, path: Path) -> str:
        return self._world.folders.host_path(path)


def _frozen(machine: Machine, disk: Disk, file: str) -> FrozenDisk | None:
    wanted = key(file)
    for frozen in machine.frozen:
        names = [frozen.file, *([frozen.layer] if frozen.layer else [])]
        if frozen.location == disk.location and wanted in map(key, names):
            return frozen
    return None


def describe(path: Path, disk: Disk) -> int:
    """Note what a VHDX file says of itself: one to begin with may be of any kind. Returns how many others it stands on.

    Raises:
        SourceError: It is none.
    """
    with _native_open(path) as found:
        base, *below = json.loads(found.layers())
        disk.disk_id, disk.size = (found.disk_id or "").upper(), found.size
        disk.fixed = base["kind"] == "fixed"
        disk.block_bytes = found.block_bytes or 0
        disk.logical_sector_bytes = found.logical_sector_bytes
        disk.physical_sector_bytes = found.physical_sector_bytes
    return len(below)


@contextmanager
def _native_open(path: Path) -> Iterator[_native.VirtualDisk]:
    found = _native.VirtualDisk.open(str(path))
    try:
        yield found
    finally:
        found.close()
