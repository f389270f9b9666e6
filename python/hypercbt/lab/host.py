"""The lab host: a Hyper-V host in a box.

```python
with LabHost(folder) as host:
    vm = host.add_vm("web01", disks=[1 << 30])
    vm.disks[0].write(0, b"what the guest does".ljust(4096))
    host.host, host.credentials, host.map      # for whoever talks to it
```

The wire (`hypercbt.lab.wire`) speaks with clients; the model (`hypercbt.lab.model`) knows the virtual machines.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from shutil import copyfile

from hypercbt.closing import Closing
from hypercbt.lab.faults import FaultPlan
from hypercbt.lab.model.clock import Clock, SystemClock
from hypercbt.lab.model.host import Model
from hypercbt.lab.model.paths import Folders
from hypercbt.lab.model.quirks import Pace, Quirks
from hypercbt.lab.model.state import (
    Checkpoint,
    Disk,
    Machine,
    moment,
    split_location,
)
from hypercbt.lab.model.store import Store
from hypercbt.lab.model.texts import texts
from hypercbt.lab.model.world import World
from hypercbt.lab.ticker import Ticker
from hypercbt.lab.vm import LabVm
from hypercbt.lab.wire.server import TlsFiles, WireOptions, WireServer

DRIVE = "C:\\VMs"


@dataclass(frozen=True, slots=True)
class NewDisk:
    """A disk that a new virtual machine is to have."""

    size: int = 64 << 20
    kind: str = "vhdx"
    """`vhdx`, `vhd`, `vhds` or `pass-through`."""
    source: Path | None = None
    """A VHDX file to begin with; it is copied."""
    location: str | None = None
    """Such as `SCSI 0:3`; the next that is free where not said."""


class LabHost(Closing):
    """A simulated Hyper-V host, from its making until it is closed. What it holds is in its folder, and comes back.

    Args:
        folder: Where its virtual machines and its memory of them are.
        name: What it calls itself.
        users: Passwords by name.
        quirks: How it behaves where hosts differ.
        pace: How long things take.
        options: How its wire behaves.
        faults: What goes wrong on purpose.
        clock: Where it has its time from; a `ManualClock` for tests that wait for nothing.
        power_cuts: Keep what guests have not synced in memory, so that `power_cut` works.
        storage: The folder of the virtual machines' files, where several hosts share one.
        drive: What the host calls that folder.
        port: Where it listens; 0: anywhere.
        tls: HTTPS with this certificate.
        auth: How clients may say who they are.
        spn_host: The name in its Kerberos principal.
        seed: What GUIDs are made of.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "LAB1",
        users: Mapping[str, str] | None = None,
        quirks: Quirks | None = None,
        pace: Pace | None = None,
        options: WireOptions | None = None,
        faults: FaultPlan | None = None,
        clock: Clock | None = None,
        power_cuts: bool = False,
        storage: Path | None = None,
        drive: str = DRIVE,
        port: int = 0,
        tls: TlsFiles | None = None,
        auth: Collection[str] = ("negotiate", "basic"),
        spn_host: str = "localhost",
        seed: int | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.users = dict(users or {"lab": "lab"})
        self.quirks = quirks or Quirks()
        self.pace = pace or Pace()
        self.options = replace(options or WireOptions(), host_name=name)
        self.faults = faults if faults is not None else FaultPlan()
        self.clock = clock or SystemClock()
        self._power_cuts = power_cuts
        storage = storage or folder / "VMs"
        storage.mkdir(parents=True, exist_ok=True)
        self._folders = Folders(PureWindowsPath(drive), storage)
        self._tls, self._auth, self._spn_host = tls, auth, spn_host
        self._random = random.Random(seed)
        self._stopping: threading.Thread | None = None
        self._switch = threading.Lock()
        """Who cuts the power holds it to the end: its client knows earlier, and may want the host back at once."""
        self._when_frozen: Callable[[LabVm, Mapping[str, Path]], None] | None = None
        self._port = port
        self._on()

    def _on(self) -> None:
        world = World(
            name=self.name,
            quirks=self.quirks,
            pace=self.pace,
            clock=self.clock,
            folders=self._folders,
            store=Store(self.folder / "state"),
            words=texts(self.options.language),
            random=self._random,
        )
        self.model = Model(world, volatile=self._power_cuts)
        self.model.checkpoints.when_frozen = self._frozen
        self._ticker = (
            Ticker(self.model) if isinstance(self.clock, SystemClock) else None
        )
        self.server = WireServer(
            self.model,
            users=self.users,
            port=self._port,
            tls=self._tls,
            auth=self._auth,
            spn_host=self._spn_host,
            options=self.options,
            faults=self.faults,
        )
        self._port = self.server.port

    @property
    def host(self) -> str:
        """Where it is, for clients: `http://127.0.0.1:PORT`."""
        return self.server.url

    @property
    def credentials(self) -> tuple[str, str]:
        """A user who may do everything, and the password."""
        return next(iter(self.users.items()))

    @property
    def map(self) -> dict[str, Path]:
        """Which folder of this machine each of its folders is."""
        return {str(self._folders.host): self._folders.local}

    @property
    def counts(self) -> Counter[str]:
        """How often each request came."""
        return self.server.counts

    @property
    def vms(self) -> tuple[LabVm, ...]:
        """All virtual machines."""
        return tuple(LabVm(self, machine.id) for machine in self.model.world.store)

    def vm(self, name: str) -> LabVm:
        """The virtual machine of a name or a GUID.

        Raises:
            LookupError: There is none, or several have this name.
        """
        found = [vm for vm in self.vms if name.lower() in (vm.name.lower(), vm.id)]
        if len(found) != 1:
            raise LookupError(f"{len(found)} virtual machines are called {name}")
        return found[0]

    def add_vm(
        self,
        name: str,
        *,
        disks: Iterable[int | Path | NewDisk] = (64 << 20,),
        generation: int = 2,
        version: str = "10.0",
        replica: bool = False,
        light: bool = False,
    ) -> LabVm:
        """Make a virtual machine, running.

        Args:
            name: Others may have the same.
            disks: The size of each, a VHDX file that is copied, or more exactly.
            generation: 1 or 2.
            version: Of its configuration: below 8.0 nothing is tracked (quirk Q33).
            replica: It is the copy of another host's.
            light: Make its files only when somebody touches it.
        """
        world = self.model.world
        with world.lock:
            machine = self._machine(name, generation, version, replica=replica)
            for wanted in disks:
                machine.disks.append(self.new_disk(machine, _wanted(wanted)))
            world.store.save(machine)
            if not light:
                self.model.files.make(machine)
            return LabVm(self, machine.id)

    def new_disk(self, machine: Machine, wanted: NewDisk) -> Disk:
        """A disk for a virtual machine that has not got it yet: see `LabVm.attach`."""
        location = wanted.location or _free_location(machine)
        kind, number, slot = split_location(location)
        count = len(machine.disks)
        suffix = wanted.kind if wanted.kind != "pass-through" else "disk"
        file = f"{machine.root}\\disk{count}.{suffix}"
        if wanted.source is not None:
            local = self.model.files.local(file)
            local.parent.mkdir(parents=True, exist_ok=True)
            copyfile(wanted.source, local)
        return Disk(
            controller=kind,
            number=number,
            slot=slot,
            kind=wanted.kind,
            files=[file],
            disk_id=self.model.world.guid(),
            size=wanted.size,
            tracked=wanted.kind == "vhdx" and machine.has_version(8, 0),
        )

    def move(self, vm: LabVm, other: "LabHost") -> None:
        """Hand a virtual machine over to another host, with its files and its trackers (quirk Q31).

        Raises:
            ValueError: Something is being done to it.
        """
        ours, theirs = self.model, other.model
        first, second = sorted((ours, theirs), key=lambda model: id(model.world))
        with first.world.lock, second.world.lock:
            machine = vm.machine
            if machine.id in ours.world.busy:
                raise ValueError(f"{vm.name} is busy")
            gate = ours.files.gate(machine)
            ours.files.move_to(machine, theirs.files)
            with gate:
                theirs.world.store.save(machine)
                vm.host = other
                ours.world.store.remove(machine)
            theirs.images.take(machine, ours.images)

    def when_frozen(
        self, callback: Callable[[LabVm, Mapping[str, Path]], None] | None
    ) -> None:
        """Call this whenever disks have been frozen, with the file of each location, while the guest still waits.

        So a test learns what a backup of this moment must hold. It may read disks and must not write to them.
        """
        self._when_frozen = callback

    def power_cut(self) -> None:
        """Cut the power: connections, jobs, and what guests have not synced are gone. `restart` brings it back.

        Also from a callback of the fault plan.

        Raises:
            ValueError: The host was made without `power_cuts`.
        """
        if not self._power_cuts:
            raise ValueError("say power_cuts=True when making the host")
        with self._switch:
            model, server = self.model, self.server
            # Without the lock: a freeze or a merge that runs is cut in its middle.
            model.world.dead = True
            model.files.cut_power()
            if self._ticker is not None:
                self._ticker.stop()
            server.drop_connections()
            # In a thread of its own: the one that calls may be one that the server waits for.
            self._stopping = threading.Thread(target=server.close, daemon=True)
            self._stopping.start()

    def restart(self) -> None:
        """Stop, cleanly or after a power cut, and begin again, on the same port, with what is in the folder."""
        self._off()
        self._on()

    def settle(self) -> None:
        """Do what is due by now; needed only where nobody asks for anything."""
        self.model.settle()

    def close(self) -> None:
        """Stop. A second close does nothing."""
        self._off()

    def _off(self) -> None:
        with self._switch:
            if self._ticker is not None:
                self._ticker.stop()
            if self._stopping is not None:
                self._stopping.join()
                self._stopping = None
            self.server.close()
            if not self.model.world.dead:
                self.model.close()

    def _frozen(self, machine: Machine, checkpoint: Checkpoint) -> None:
        if self._when_frozen is not None:
            local = self.model.files.local
            files = {
                disk.location: local(disk.layer or disk.file)
                for disk in checkpoint.disks
            }
            self._when_frozen(LabVm(self, machine.id), files)

    def _machine(
        self, name: str, generation: int, version: str, *, replica: bool
    ) -> Machine:
        world = self.model.world
        places = ["SCSI 0"] if generation == 2 else ["IDE 0", "IDE 1", "SCSI 0"]
        ide = "83F8638B-8DCA-4152-9EDA-2CA8B33039B4"  # the same on every host [M]
        taken = {machine.root.casefold() for machine in world.store}
        root, number = f"{self._folders.host}\\{name}", 1
        while root.casefold() in taken:
            number += 1
            root = f"{self._folders.host}\\{name}-{number}"
        return Machine(
            id=world.guid(),
            name=name,
            generation=generation,
            version=version,
            created=moment(world.clock.now()),
            root=root,
            controllers={
                place: ide if place.startswith("IDE") else world.guid()
                for place in places
            },
            replica=replica,
        )


def _wanted(disk: int | Path | NewDisk) -> NewDisk:
    if isinstance(disk, NewDisk):
        return disk
    return NewDisk(size=disk) if isinstance(disk, int) else NewDisk(source=disk)


def _free_location(machine: Machine) -> str:
    places = [] if machine.generation == 2 else ["IDE 0:0", "IDE 0:1", "IDE 1:0"]
    places += [f"SCSI 0:{slot}" for slot in range(63)]
    taken = {disk.location for disk in machine.disks}
    return next(place for place in places if place not in taken)
