"""A host that fails as a test says, and a machine that is well again afterwards."""

from hypercbt.lab import LabVm
from hypercbt.lab.faults import (
    Effect,
    Fault,
)
from integration.hyperv.backups import Bench, overwrite

ALWAYS = None


def fail(
    world: Bench, call: str, what: Effect, *, nth: int = 1, times: int | None = 1
) -> None:
    world.lab.faults.add(Fault(call, what, nth=nth, times=times))


def cured(world: Bench, vm: LabVm) -> None:
    """See that the next two backups are right, the second by change tracking, and that nothing is left."""
    assert world.lab.faults.struck
    world.lab.faults.clear()
    overwrite(vm, 7)
    world.backup()
    overwrite(vm, 8)
    assert world.methods(world.backup(audit="off")) == ["rct"]
    world.assert_clean(vm)
    assert len(vm.reference_points) == 2
