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
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PureWindowsPath

from hypercbt.lab.faults import FaultPlan
from hypercbt.lab.model.clock import Clock, SystemClock
from hypercbt.lab.model.host import Model
from hypercbt.lab.model.paths import Folders, key
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
from hypercbt.lab.new_disk import NewDisk, as_new, new_location
from hypercbt.lab.simulation import Simulation
from hypercbt.lab.ticker import Ticker
from hypercbt.lab.vm import LabVm
from hypercbt.lab.wire.port import HeldPort
from hypercbt.lab.wire.server import TlsFiles, WireOptions, WireServer

DRIVE = "C:\\VMs"
LOOPBACK = "127.0.0.1"


class LabHost(Simulation):
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

    Raises:
        AddressInUseError: Somebody listens at the port.
        DiskInUseError: Another process, or another host of this one, has its disks.
        OSError: A folder cannot be made, or a file of `tls` cannot be read.
        ValueError: What is in the folder is no host's, a user cannot be written down, an authentication is unknown.
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
        self._errors: list[Exception] = []
        self._stopping: threading.Thread | None = None
        self._switch = threading.Lock()
        """Who cuts the power holds it to the end: its client knows earlier, and may want the host back at once."""
        self._when_frozen: Callable[[LabVm, Mapping[str, Path]], None] | None = None
        self._held = HeldPort(LOOPBACK, port)
        self._port = self._held.port
        try:
            self._on()
        except BaseException:
            self._held.close()
            raise

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
        model = Model(world, volatile=self._power_cuts)
        model.checkpoints.when_frozen = self._frozen
        try:
            server = WireServer(
                model,
                users=self.users,
                address=LOOPBACK,
                port=self._port,
                tls=self._tls,
                auth=self._auth,
                spn_host=self._spn_host,
                options=self.options,
                faults=self.faults,
            )
        except BaseException:
            model.close()
            raise
        self.model, self.server, self._port = model, server, server.port
        self._ticker = None
        if isinstance(self.clock, SystemClock):
            self._ticker = Ticker(model, self._errors.append)

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
    def errors(self) -> tuple[Exception, ...]:
        """What the simulation raised and should not have, of all its starts. What a power cut interrupts is none."""
        own = () if self.model.world.dead else self.server.errors
        return (*self._errors, *own)

    @property
    def counts(self) -> Counter[str]:
        """How often each request came since the host was started, or started again."""
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

        Raises:
            OSError: A file to begin with cannot be read.
            SourceError: It is no VHDX file.
            ValueError: A disk, the generation or the version makes no sense.
        """
        if generation not in (1, 2):
            raise ValueError(f"there is no generation {generation}")
        if not re.fullmatch(r"\d+\.\d+", version, re.ASCII):
            raise ValueError(f"{version!r} is no version such as 10.0")
        world = self.model.world
        with world.lock:
            machine = self._machine(name, generation, version, replica=replica)
            try:
                for wanted in disks:
                    machine.disks.append(self.new_disk(machine, as_new(wanted)))
                world.store.save(machine)
                if not light:
                    self.model.files.make(machine)
            except BaseException:
                world.store.remove(machine)
                shutil.rmtree(self.model.files.local(machine.root), ignore_errors=True)
                raise
            return LabVm(self, machine.id)

    def new_disk(self, machine: Machine, wanted: NewDisk) -> Disk:
        """A disk for a virtual machine that has not got it yet: see `LabVm.attach`.

        Raises:
            OSError: The file to begin with cannot be read.
            ValueError: It makes no sense.
        """
        location = new_location(machine, wanted)
        kind, number, slot = split_location(location)
        suffix = wanted.kind if wanted.kind != "pass-through" else "disk"
        count = len(machine.disks)
        file = f"{machine.root}\\disk{count}.{suffix}"
        # One that was detached has left its file there.
        while (
            self.model.world.store.file(file) or self.model.files.local(file).exists()
        ):
            count += 1
            file = f"{machine.root}\\disk{count}.{suffix}"
        if wanted.source is not None:
            local = self.model.files.local(file)
            local.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(wanted.source, local)
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
            FileNotFoundError: The other host has no such drive.
            ValueError: Something is being done to it, it is not here, its folder is taken there, or a disk of it, imported once,
                is in another folder that the other host has not got.
        """
        if vm.host is not self or other is self:
            raise ValueError(f"{vm.name} is not here, or already there")
        ours, theirs = self.model, other.model
        first, second = sorted((ours, theirs), key=lambda model: id(model.world))
        with first.world.lock, second.world.lock:
            machine = vm.machine
            if machine.id in ours.world.busy:
                raise ValueError(f"{vm.name} is busy")
            same = ours.files.local(machine.root) == theirs.files.local(machine.root)
            if not same and theirs.files.is_taken(machine.root):
                raise ValueError(f"{other.name} has a folder {machine.root} already")
            inside = f"{key(machine.root)}\\"
            if not same and not all(
                key(disk.files[0]).startswith(inside) for disk in machine.disks
            ):
                raise ValueError(f"{vm.name} has disks outside of {machine.root}")
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

        Also from a callback of the fault plan. Where it is gone already, nothing happens.

        Raises:
            ValueError: The host was made without `power_cuts`.
        """
        if not self._power_cuts:
            raise ValueError("say power_cuts=True when making the host")
        model, server = self.model, self.server
        if model.world.dead:
            return  # the next request of a client that has not noticed yet, struck by the same fault
        with self._switch:
            if self.model is not model or self.model.world.dead:
                return
            # Without the lock: a freeze or a merge that runs is cut in its middle.
            self._errors += server.errors
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
        self._held.close()

    def _off(self) -> None:
        with self._switch:
            if self._ticker is not None:
                self._ticker.stop()
            if self._stopping is not None:
                self._stopping.join()
                self._stopping = None
            self.server.close()
            if not self.model.world.dead:
                self._errors += self.server.errors
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
        return Machine(
            id=world.guid(),
            name=name,
            generation=generation,
            version=version,
            created=moment(world.clock.now()),
            root=self.model.files.free_folder(name),
            controllers={
                place: ide if place.startswith("IDE") else world.guid()
                for place in places
            },
            replica=replica,
        )
