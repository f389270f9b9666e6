"""Another process backs up or checks in full between any two requests of a backup: both come out right, or say why not."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from crash.workers import VmWorker, started_vm_worker
from hypercbt import Repository
from hypercbt.errors import ForeignCheckpointError, VmBusyError
from hypercbt.lab import LabVm
from hypercbt.lab.faults import Fault, Run
from integration.hyperv.backups import (
    CHUNK,
    MIB,
    Bench,
    bench,
    contents,
    held_by,
    overwrite,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker forks")

EVERY = int(os.environ.get("HYPERCBT_MEANWHILE_EVERY", "6"))
"""Which share of the requests another process comes before; 1 for all of them."""
BUSY = (VmBusyError, ForeignCheckpointError)
"""What is said where somebody else is at a machine, or may be."""


class Company:
    """A host with two machines, and another process that comes before one request of each backup of `web01`."""

    def __init__(self, world: Bench, worker: VmWorker) -> None:
        self.world = world
        self.worker = worker
        self.states: dict[str, list[dict[str, bytes]]] = {}
        """What the disks held whenever they were frozen, by the machine's name."""
        self.vms = [world.add_vm(name, disks=[4 * MIB]) for name in ("web01", "db01")]
        world.lab.when_frozen(self._hold)
        self.other = world.folder / "other"
        Repository.create(self.other, chunk_size=CHUNK).close()

    def _hold(self, vm: LabVm, files: Mapping[str, Path]) -> None:
        self.states.setdefault(vm.name, []).append(contents(files))

    def another_process(
        self, action: str, vm: str, repository: Path | None = None
    ) -> dict[str, Any]:
        """Let another process do something, and return what it said."""
        folder = self.world.folder
        into = repository or folder / "repository"
        self.worker.start(action, self.world.lab, vm, into, report=folder / "report")
        return self.worker.wait().said

    def back_up(self) -> bool:
        """Back up `web01` from here, unless somebody else is at it."""
        try:
            done = self.world.try_backup()
        except BUSY:
            return False
        assert done.point.stats.findings == ()
        assert done.warnings == ()
        return True

    def run(
        self, what: Callable[["Company"], dict[str, Any]], at: int
    ) -> tuple[bool, dict[str, Any]]:
        """Back up with `what` before request `at`: whether we could, and what they said; nothing where there are not so many requests."""
        requests, theirs = 0, {}

        def come() -> None:
            nonlocal requests, theirs
            requests += 1
            if requests == at:
                for vm in self.vms:
                    overwrite(vm, at)
                theirs = what(self)

        self.world.lab.faults.clear()
        self.world.lab.faults.add(Fault("*", Run(come), times=None))
        ours = self.back_up()
        self.world.lab.faults.clear()
        return ours, theirs

    def check(self) -> None:
        """See that nothing is left of either, and that every point is of one moment."""
        for vm in self.vms:
            self.world.assert_clean(vm)
        with Repository.open(self.other) as other:
            assert other.native.leases() == "[]"
            for point in (*self.world.repository.points(), *other.points()):
                assert held_by(point) in self.states[point.name]


def another_machine(company: Company) -> dict[str, Any]:
    return company.another_process("backup", "db01")


def another_repository(company: Company) -> dict[str, Any]:
    return company.another_process("backup", "web01", company.other)


def the_same(company: Company) -> dict[str, Any]:
    return company.another_process("backup", "web01")


def a_check(company: Company) -> dict[str, Any]:
    return company.another_process("check", "web01")


@pytest.mark.parametrize(
    ("what", "may_be_busy"),
    [
        (another_machine, False),
        (another_repository, True),
        (the_same, True),
        (a_check, False),
    ],
)
def test_another_process_comes_between(
    tmp_path: Path, what: Callable[[Company], dict[str, Any]], may_be_busy: bool
) -> None:
    """No backup under way harms another, and nobody is told to adopt the checkpoint of one that lives."""
    with bench(tmp_path) as world, started_vm_worker() as worker:
        company = Company(world, worker)
        for _ in range(2):
            assert company.back_up()
            for vm, repository in (("web01", company.other), ("db01", None)):
                assert "point" in company.another_process("backup", vm, repository)
        company.check()
        both = 0
        for at in range(1, 1000, EVERY):
            overwrite(company.vms[0], at)
            ours, theirs = company.run(what, at)
            if not theirs:
                break
            if "error" in theirs:
                assert may_be_busy, theirs
                assert theirs["error"] in [busy.__name__ for busy in BUSY], theirs
                assert ours
            else:
                assert not theirs.get("blocking"), theirs
                both += ours
            company.check()
        assert at > 40
        assert both > 3
