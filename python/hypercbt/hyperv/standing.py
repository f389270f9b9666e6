"""Whether a checkpoint holds still what is read: nobody may write to its files, and it must stand until the last read.

A checkpoint that goes in the middle of a backup lets the host merge what was frozen, and the guest write where we read.
Headers and times of files tell that only sometimes. So the host is asked once more before the commit: what was there
after the last read was there all the time.
"""

from collections.abc import Iterable

from hypercbt.errors import CheckpointError, VmBusyError
from hypercbt.hyperv import policy
from hypercbt.hyperv.attempt import Attempt
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.reading import same


def see_frozen(attempt: Attempt, disks: Iterable[VmDisk]) -> None:
    """See that the machine goes on in other files than those that will be read.

    Hosts leave disks out of a checkpoint that cannot be frozen (we ask them to, or one such disk would fail all), and
    nobody has written down how they list these.

    Raises:
        CheckpointError: It does not.
    """
    vm = attempt.plan.vm
    in_use = {disk.path.lower() for disk in attempt.machine.attached(vm.settings_id)}
    live = [disk for disk in disks if disk.path.lower() in in_use]
    if live:
        told = ", ".join(policy.title(disk) for disk in live)
        raise CheckpointError(
            f"the checkpoint does not freeze what {vm.name} writes to: {told}"
        )


def see_standing(attempt: Attempt) -> None:
    """See that the checkpoint was there until now.

    Raises:
        VmBusyError: It has gone.
    """
    ours = attempt.checkpoint
    assert ours is not None
    limits = attempt.order.limits
    standing = limits.persist(attempt.machine.checkpoints)
    if not any(same(one.id, ours.id) for one in standing):
        raise VmBusyError(
            f"somebody has removed the checkpoint of {attempt.plan.vm.name} while it was read"
        )


def is_disturbed(attempt: Attempt) -> bool:
    """Tell whether checkpoints came or went between the plan and ours: the machine may have run on other files."""
    ours = attempt.checkpoint
    assert ours is not None
    standing = {one.id.lower() for one in attempt.machine.checkpoints()}
    return standing - {ours.id.lower()} != attempt.plan.checkpoints
