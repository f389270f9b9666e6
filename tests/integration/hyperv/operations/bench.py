"""A lab host, a conversation with it, and what is done in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hypercbt
from hypercbt.hyperv import checkpoints as cp
from hypercbt.hyperv.checkpoints import Checkpoint
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.disks import VmDisk, vm_disks
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.reference_points import (
    ReferencePoint,
)
from hypercbt.hyperv.session import Session
from hypercbt.lab import LabHost, ManualClock, Pace, Quirks
from hypercbt.lab.wire.options import WireOptions
from integration.hyperv.backups import LabTime


@dataclass
class Bench:
    """A lab host, a conversation with it, and what is done in it."""

    lab: LabHost
    host: hypercbt.Host
    time: LabTime

    @property
    def session(self) -> Session:
        return self.host.session

    def web01(self) -> VirtualMachine:
        return self.host.vm("web01")

    def ids(self, vm: VirtualMachine) -> list[str]:
        return [one.id for one in cp.list_checkpoints(self.session, vm.id)]

    def create(self, level: cp.Level = "application") -> Checkpoint:
        vm = self.web01()
        return cp.create_checkpoint(
            self.session, vm, level=level, before=self.ids(vm), clock=self.time
        )

    def disks(self, settings_id: str) -> tuple[VmDisk, ...]:
        return vm_disks(self.session, settings_id, clock=self.time)

    def convert(self, checkpoint: Checkpoint) -> ReferencePoint:
        disks = self.disks(checkpoint.id)
        return cp.convert(self.session, checkpoint, disks=disks, clock=self.time)

    def merged(self) -> VirtualMachine:
        """Wait for the merge."""
        for _ in range(1000):
            vm = self.web01()
            if vm.busy is None:
                return vm
            self.time.sleep(0.1)
        raise AssertionError(f"{vm.name} is still {vm.busy}")


@contextmanager
def bench(
    folder: Path,
    quirks: Quirks | None = None,
    options: WireOptions | None = None,
    pace: Pace | None = None,
) -> Iterator[Bench]:
    clock = ManualClock()
    with LabHost(
        folder,
        clock=clock,
        quirks=quirks or Quirks(),
        options=options or WireOptions(),
        pace=pace or Pace(job_seconds=2, merge_seconds=5),
    ) as lab:
        credentials = Credentials(*lab.credentials)
        with hypercbt.Host(lab.host, credentials=credentials, map=lab.map) as host:
            yield Bench(lab, host, LabTime(clock))
