"""A virtual machine of the lab host, as its owner holds it: the guest's side, and what tests do to it."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hypercbt import _native
from hypercbt.lab.model.files import Files, Open
from hypercbt.lab.model.guest import Guest
from hypercbt.lab.model.images import Tracking
from hypercbt.lab.model.state import (
    OFF,
    PAUSED,
    RUNNING,
    SAVED,
    Checkpoint,
    Disk,
    Machine,
    ReferencePoint,
    moment,
)
from hypercbt.lab.model.vhd import VhdFile
from hypercbt.lab.new_disk import NewDisk
from hypercbt.lab.tracked_disk import TrackedDisk

if TYPE_CHECKING:
    from hypercbt.lab.host import LabHost

GRAIN = 64 << 10
"""What a share of changes is counted in, where they are to be missed."""


class LabVm:
    """A virtual machine. It stays the same where it is handed over to another host.

    Args:
        host: Where it is.
        id: Its GUID, in any case.
    """

    def __init__(self, host: "LabHost", id: str) -> None:
        self.host = host
        self.id = id.lower()

    @property
    def machine(self) -> Machine:
        """What the host remembers of it.

        Raises:
            LookupError: It is gone.
        """
        while True:
            host = self.host
            with host.model.world.lock:
                if host is not self.host:
                    continue  # it has just been handed over
                found = host.model.world.store.machine(self.id)
            if found is None:
                raise LookupError(f"there is no virtual machine {self.id}")
            return found

    @property
    def name(self) -> str:
        """Its name."""
        return self.machine.name

    @property
    def disks(self) -> tuple["LabDisk", ...]:
        """Its disks, in the order that they were attached in."""
        return tuple(LabDisk(self, disk.location) for disk in self.machine.disks)

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Its checkpoints, oldest first."""
        return tuple(self.machine.checkpoints)

    @property
    def reference_points(self) -> tuple[ReferencePoint, ...]:
        """Its reference points, oldest first."""
        return tuple(self.machine.points.values())

    def start(self) -> None:
        """Let it run."""
        self._become(RUNNING)

    def stop(self) -> None:
        """Switch it off."""
        self._become(OFF)

    def pause(self) -> None:
        """Let it pause."""
        self._become(PAUSED)

    def save(self) -> None:
        """Save its memory, and let it stop."""
        self._become(SAVED)

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._change(name=name)

    def set_consistency(self, possible: bool) -> None:
        """Say whether the guest can be made consistent (quirk Q25)."""
        self._change(application_consistent=possible)

    def set_merging(self, on: bool) -> None:
        """Switch merging off, as an export does, or on again (quirk Q20)."""
        self._change(merging=on)

    def fail_merges(self, times: int = 1) -> None:
        """Let the next merges fail: the .avhdx stays (quirk Q19)."""
        self._change(failing_merges=times)

    def checkpoint(self, name: str | None = None) -> str:
        """Make a checkpoint as a user does; its GUID."""
        return self._checkpoint("Realized", name)

    def recovery_checkpoint(self, name: str | None = None) -> str:
        """Make a recovery checkpoint, as another backup program leaves one; its GUID."""
        return self._checkpoint("Recovery", name)

    def delete_checkpoint(self, id: str | None = None) -> None:
        """Remove a checkpoint, the newest where none is named. The merge runs in the background.

        Raises:
            LookupError: There is none.
        """
        model = self.host.model
        with model.world.lock:
            machine = self.machine
            found = machine.checkpoint(id) if id else self._newest()
            if found is None:
                raise LookupError(f"there is no checkpoint {id}")
            model.checkpoints.remove(machine, found)
            model.merges.start(machine)

    def revert(self) -> None:
        """Go back to the newest checkpoint. Every id of its disks is lost by it (quirk Q24).

        Raises:
            LookupError: There is none.
        """
        with self.host.model.world.lock:
            self._newest()
            self.host.model.checkpoints.revert(self.machine)

    def add_reference_points(self, count: int) -> None:
        """Have reference points of somebody else, about ids that no tracker has."""
        world = self.host.model.world
        with world.lock:
            machine = self.machine
            for number in range(count):
                guid = world.guid()
                rct = f"rctX:{guid.lower().replace('-', ':')}:{number:08x}"
                machine.points[guid] = ReferencePoint(
                    id=guid,
                    created=moment(world.clock.now()),
                    consistency=2,
                    disks=[(disk.location, rct) for disk in machine.disks],
                )
            world.store.save(machine)

    def guest(self, seed: int = 0, *, pause_seconds: float = 0.001) -> Guest:
        """Let a guest write to its disks whenever it runs, until the answer is closed."""
        disks = [disk for disk in self.disks if disk.kind in ("vhdx", "vhd")]
        return Guest(
            [disk.size for disk in disks],
            lambda which, offset, data: disks[which].write_if_running(offset, data),
            lambda which: disks[which].flush(),
            seed=seed,
            pause_seconds=pause_seconds,
        )

    def under_report(self, share: float, seed: int = 0) -> None:
        """Miss this share of all changes, in pieces of 64 KiB, from now on; 0: none."""
        for disk in self.disks:
            chosen = random.Random(f"{seed} {disk.location}")
            pieces = range(0, disk.size, GRAIN)
            disk.under_report(
                (at, min(GRAIN, disk.size - at))
                for at in pieces
                if chosen.random() < share
            )

    def attach(self, disk: Disk | NewDisk) -> "LabDisk":
        """Attach a new disk, or one that was detached.

        Raises:
            ValueError: There is a disk at its place, or it makes no sense.
        """
        model = self.host.model
        with model.world.lock:
            machine = self.machine
            if not isinstance(disk, Disk):
                disk = self.host.new_disk(machine, disk)
            if machine.disk(disk.location) is not None:
                raise ValueError(f"there is a disk at {disk.location}")
            machine.disks.append(disk)
            try:
                model.files.make(machine)
            except BaseException:
                machine.disks.remove(disk)
                raise
        return LabDisk(self, disk.location)

    def detach(self, location: str) -> None:
        """Detach a disk. Its files stay, and so does what reference points say of it (quirk Q23).

        Raises:
            LookupError: There is none.
        """
        model = self.host.model
        with model.world.lock:
            disk = LabDisk(self, location).state
            model.files.close(self.machine)
            self.machine.disks.remove(disk)
            model.world.store.save(self.machine)

    def _newest(self) -> Checkpoint:
        checkpoints = self.machine.checkpoints
        if not checkpoints:
            raise LookupError(f"{self.name} has no checkpoint")
        return checkpoints[-1]

    def _checkpoint(self, kind: str, name: str | None) -> str:
        model = self.host.model
        with model.world.lock:
            return model.checkpoints.make(
                self.machine, kind=kind, name=name, skip=True
            ).id.lower()

    def _become(self, state: int) -> None:
        with self.host.model.world.lock:
            self._change(enabled=state)
            with self.host.model.files.gate(self.machine):
                pass  # what the guest is writing is written, and what it writes next knows

    def _change(self, **values: object) -> None:
        world = self.host.model.world
        with world.lock:
            for name, value in values.items():
                setattr(self.machine, name, value)
            world.store.save(self.machine)

    def __repr__(self) -> str:
        return f"<LabVm {self.name} {self.id}>"


class LabDisk:
    """A disk of a virtual machine, as the guest sees it.

    Args:
        vm: Whose it is.
        location: Such as `SCSI 0:0`.
    """

    def __init__(self, vm: LabVm, location: str) -> None:
        self.vm = vm
        self.location = location

    @property
    def state(self) -> Disk:
        """What the host remembers of it.

        Raises:
            LookupError: It is gone.
        """
        found = self.vm.machine.disk(self.location)
        if found is None:
            raise LookupError(f"there is no disk at {self.location}")
        return found

    @property
    def kind(self) -> str:
        """`vhdx`, `vhd`, `vhds` or `pass-through`."""
        return self.state.kind

    @property
    def size(self) -> int:
        """What the guest sees, in bytes."""
        return self.state.size

    @property
    def id(self) -> str:
        """The `VirtualDiskId`, in lower case."""
        return self.state.disk_id.lower()

    @property
    def path(self) -> str:
        """The file that the guest writes to, as the host calls it."""
        return self.state.active

    @property
    def files(self) -> tuple[Path, ...]:
        """Its files on this machine, the base first."""
        local = self.vm.host.model.files.local
        return tuple(local(file) for file in self.state.files)

    @property
    def tracked(self) -> TrackedDisk:
        """The disk file.

        Raises:
            TypeError: It is of a kind that is not tracked.
        """
        _, opened = self._open()
        if isinstance(opened, VhdFile):
            raise TypeError("a VHD file is not tracked")
        return opened

    def write(self, offset: int, data: bytes) -> None:
        """Write as the guest does, whether it runs or not; it waits where the disks are being frozen."""
        self._write(offset, data, also_off=True)

    def write_if_running(self, offset: int, data: bytes) -> bool:
        """Write if the virtual machine runs; whether it does."""
        return self._write(offset, data, also_off=False)

    def _write(self, offset: int, data: bytes, *, also_off: bool) -> bool:
        while True:
            files, opened = self._open()
            machine = self.vm.machine
            with files.gate(machine):
                if not also_off and machine.enabled != RUNNING:
                    return False
                # Else it was closed meanwhile, for another host to open it.
                if files.has(opened):
                    opened.write_at(offset, data)
                    return True

    def read(self, offset: int, length: int) -> bytes:
        """Read as the guest does."""
        return self._open()[1].read_at(offset, length)

    def flush(self) -> None:
        """Make what was written durable."""
        while True:
            files, opened = self._open()
            with files.gate(self.vm.machine):
                if files.has(opened):
                    opened.flush()
                    return

    def resize(self, size: int) -> None:
        """Give it another size; every id is lost by it (quirk Q24)."""
        model = self.vm.host.model
        with model.world.lock:
            self.tracked.resize(size)
            self.state.size = size
            model.world.store.save(self.vm.machine)

    def under_report(self, extents: Iterable[tuple[int, int]]) -> None:
        """Never report these as changed, from now on."""
        self._tracking.hidden = _native.Extents(extents)

    def pretend(self, extents: Iterable[tuple[int, int]] | None) -> None:
        """Report these as changed, whatever is; None: what is."""
        self._tracking.pretended = None if extents is None else _native.Extents(extents)

    def lose_tracking(self, code: int | None) -> None:
        """Fail every question with this code, such as 0xC03A0021; None: no longer."""
        self._tracking.lost = code

    @property
    def _tracking(self) -> Tracking:
        return self.vm.host.model.images.tracking_of(self.vm.machine, self.state)

    def _open(self) -> tuple[Files, Open]:
        while True:
            host = self.vm.host
            with host.model.world.lock:
                if host is self.vm.host:  # else it has just been handed over
                    files = host.model.files
                    return files, files.disk(self.vm.machine, self.state)

    def __repr__(self) -> str:
        return f"<LabDisk {self.location} of {self.vm.name}>"
