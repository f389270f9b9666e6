"""What a backup is going to do: everything that is asked and decided before the machine is touched."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypercbt.hyperv import bases, policy, stale
from hypercbt.hyperv.bases import Base, Baseline
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.leases import leases_of, refuse_living
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.needs import Machine
from hypercbt.hyperv.order import Order, Remarks
from hypercbt.hyperv.policy import Levels
from hypercbt.hyperv.space import SpaceWatch
from hypercbt.hyperv.waits import unmerged, until_idle
from hypercbt.repository import Repository


@dataclass(frozen=True, slots=True)
class PlannedDisk:
    """One disk that will be backed up, as it was right before the checkpoint."""

    disk: VmDisk
    base: Base | None
    reason: str | None
    """Why there is no base."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to be done, and how the host looked before."""

    vm: VirtualMachine
    levels: Levels
    all_disks: tuple[VmDisk, ...]
    disks: tuple[PlannedDisk, ...]
    baselines: tuple[Baseline, ...]
    """Of this machine, newest first."""
    checkpoints: frozenset[str]
    """The ids of the checkpoints of all kinds that stood."""
    reference_points: frozenset[str]
    space: SpaceWatch

    @property
    def bases(self) -> list[str]:
        """The restore points that are built on."""
        return sorted({disk.base.point for disk in self.disks if disk.base})

    @property
    def files(self) -> frozenset[str]:
        """What the machine ran on, and what that stands on, as paths are compared: it may go back to any of these."""
        return frozenset(
            path.lower()
            for disk in self.all_disks
            for path in (disk.path, *disk.parents)
        )


def settle(
    machine: Machine, repository: Repository, order: Order, remarks: Remarks
) -> VirtualMachine:
    """Return the machine when nobody else works on it, and what dead runs left is gone.

    Raises:
        VmBusyError: Somebody is at it, or may be.
        ForeignCheckpointError: Somebody else's recovery checkpoint stands, and `adopt` was not said.
    """
    vm = machine.look()
    policy.refuse_replica(vm)
    leases = leases_of(f"vm:{machine.id}", repository)
    refuse_living(vm, leases, order.adopt)
    vm = until_idle(machine, order.limits)
    for lease in leases:
        removed = stale.bury(machine, repository, lease, order.limits)
        tell(remarks, removed, f"that run {lease.run} had left")
    others = stale.recovery(machine.checkpoints())
    # Whoever made one of these in the meantime took a lease before.
    refuse_living(vm, leases_of(f"vm:{machine.id}", repository), order.adopt)
    ours = [c for c in others if stale.is_stale(c, repository)]
    tell(remarks, stale.remove(machine, ours, order.limits), "of ours")
    others = [c for c in others if c not in ours]
    if not order.adopt:
        stale.refuse_foreign(vm, others, repository)
    tell(remarks, stale.remove(machine, others, order.limits), "that was adopted")
    return until_idle(machine, order.limits)


def planned(
    machine: Machine,
    vm: VirtualMachine,
    repository: Repository,
    order: Order,
    remarks: Remarks,
) -> Plan:
    """Decide what is done with each disk, and see that it can be done.

    Raises:
        VmUnsupportedError: The machine or one of its disks cannot be backed up like this.
        HostFileError: A file cannot be reached.
        HostSpaceError: A volume is too full for a checkpoint.
    """
    levels = policy.levels(vm, order.consistency)
    # Before the disks: one that is made in between changes the files in use, and is then seen to have come.
    checkpoints = machine.checkpoints()
    all_disks = machine.disks(vm.settings_id)
    chosen = policy.selected(all_disks, order.only, order.exclude)
    baselines = tuple(bases.read_baselines(f"vm:{machine.id}", repository))
    points = machine.reference_points()
    disks = _with_bases(vm, chosen, all_disks, baselines, bases.ids_of(points))
    for child in unmerged(all_disks, bool(checkpoints)):
        remarks.findings.append(
            f"{vm.name} ran on {child} without a checkpoint: merging is suspended or has failed"
        )
    for disk in chosen:
        reachable(machine, disk)
    space = SpaceWatch(
        machine,
        [d.path for d in chosen],
        order.space_floor_bytes,
        order.limits.clock.now,
    )
    space.begin()
    return Plan(
        vm=vm,
        levels=levels,
        all_disks=all_disks,
        disks=disks,
        baselines=baselines,
        checkpoints=frozenset(c.id.lower() for c in checkpoints),
        reference_points=bases.ids_of(points),
        space=space,
    )


def looked_again(machine: Machine, plan: Plan) -> Plan:
    """Return the plan for the files that the machine runs on now.

    When a checkpoint fails, a host may merge what an earlier merge has left. Other disks than before are no matter of
    this: that they are others is found when the checkpoint's are compared with the plan.
    """
    now = {_key(disk): disk for disk in machine.disks(plan.vm.settings_id)}
    if now.keys() != {_key(disk) for disk in plan.all_disks}:
        return plan
    return replace(
        plan,
        all_disks=tuple(now[_key(disk)] for disk in plan.all_disks),
        disks=tuple(replace(one, disk=now[_key(one.disk)]) for one in plan.disks),
    )


def _key(disk: VmDisk) -> tuple[str | None, str, int | None]:
    return disk.disk_id, disk.location, disk.size


def reachable(machine: Machine, disk: VmDisk) -> None:
    """See that every file of a disk is there and can be opened: later it is too late to say so without a checkpoint.

    Raises:
        HostFileError: One is not, or cannot, or no folder is mapped to it.
    """
    for path in (disk.path, *disk.parents):
        machine.see_readable(path)


def _with_bases(
    vm: VirtualMachine,
    chosen: Sequence[VmDisk],
    all_disks: Sequence[VmDisk],
    baselines: Sequence[Baseline],
    standing: frozenset[str],
) -> tuple[PlannedDisk, ...]:
    """Return the disks, each with its base or the reason why there is none."""
    made = []
    for disk in chosen:
        reason = policy.untracked(vm, disk)
        if reason is None:
            copies = sum(other.disk_id == disk.disk_id for other in all_disks) > 1
            base = bases.choose(disk, baselines, standing, copies=copies)
            if isinstance(base, Base):
                made.append(PlannedDisk(disk, base, None))
                continue
            reason = base
        made.append(PlannedDisk(disk, None, reason))
    return tuple(made)


def tell(remarks: Remarks, removed: stale.Removed, whose: str) -> None:
    """Say what was taken away, and what was left because nobody can tell whose it is."""
    for name in removed.checkpoints:
        remarks.warnings.append(f"removed the checkpoint {name!r} {whose}")
    for point in removed.reference_points:
        remarks.warnings.append(f"removed the reference point {point} {whose}")
    remarks.findings.extend(removed.doubts)
    if removed.unmerged:
        remarks.warnings.append(removed.unmerged)
