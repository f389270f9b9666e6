"""A host, a machine in it whose configuration was exported, and a client that imports it, over the wire."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypercbt.lab import LabVm
from hypercbt.lab.faults import FaultPlan
from hypercbt.lab.model.services import MANAGEMENT
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.service import Service
from lab.model.calling import Host, system
from lab.wire.asking import Said
from lab.wire.restoring import Restorer

COPY = "C:\\VMs\\copy\\disk0.vhdx"


class Site(Restorer):
    """The client, the host, and the machine that it imports."""

    def __init__(self, host: Host, vm: LabVm) -> None:
        self.service = Service(host.model, WireOptions(), FaultPlan())
        super().__init__(self.answer, lambda: host.time.advance(0.01))
        self.host, self.vm = host, vm

    def answer(self, data: bytes) -> Said:
        reply = self.service.answer(data, "lab")
        assert reply.body is not None
        assert not self.service.book.errors, self.service.book.errors
        return Said(reply.status, reply.body.decode())

    @property
    def definition(self) -> str:
        """The exported configuration, as the host calls it."""
        machine = self.vm.machine
        folder = f"C:\\VMs\\export\\{machine.name}\\Virtual Machines"
        return f"{folder}\\{machine.id}.vmcx"

    def export(self) -> None:
        answer = self.host.call(
            MANAGEMENT,
            "ExportSystemDefinition",
            ComputerSystem=system(self.vm),
            ExportDirectory="C:\\VMs\\export",
        )
        self.host.job(answer)

    def copy_disk(self, number: int = 0, to: str = COPY) -> Path:
        """Copy a disk file, alone, as a restore leaves one."""
        disk = self.vm.disks[number]
        self.host.model.files.close(self.vm.machine)
        target = self.host.local(to)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.host.local(disk.path), target)
        return target

    def ready(self) -> Any:
        """A planned machine with which nothing is wrong."""
        planned = self.planned(self.definition)
        self.copy_disk()
        (disk,) = self.disks(planned.name)
        self.done(self.rewire(disk, COPY))
        return planned


@contextmanager
def site(folder: Path, **more: Any) -> Iterator[Site]:
    machine = {
        name: more.pop(name) for name in ("version", "generation") if name in more
    }
    with Host(folder, **more) as host:
        vm = host.add_vm("web01", disks=[8 << 20], **machine)
        made = Site(host, vm)
        made.export()
        yield made
