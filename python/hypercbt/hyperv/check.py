"""Whether everything that a backup needs is there, said before the first one: nothing is changed on the host.

With a repository, what its dead runs left on the host is taken away as well.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hypercbt.errors import (
    HostAccessDeniedError,
    HostAuthenticationError,
    HostFaultError,
    HostFileError,
    HostUnreachableError,
    HypercbtError,
    VmBusyError,
)
from hypercbt.hyperv import policy, stale
from hypercbt.hyperv.batch import chosen
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.host import Host
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.leases import leases_of
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.machines import VirtualMachine, list_vms
from hypercbt.hyperv.needs import Machine
from hypercbt.hyperv.order import Order, Remarks
from hypercbt.hyperv.owners import claim
from hypercbt.hyperv.plan import reachable, settle, tell
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.space import floor_of
from hypercbt.hyperv.waits import unmerged
from hypercbt.repository import Repository

CLASSES = (
    "Msvm_ComputerSystem",
    "Msvm_VirtualSystemSettingData",
    "Msvm_StorageAllocationSettingData",
    "Msvm_ResourceAllocationSettingData",
    "Msvm_VirtualSystemManagementService",
    "Msvm_VirtualSystemSnapshotService",
    "Msvm_ImageManagementService",
    "Msvm_VirtualSystemReferencePointService",
)
"""What a backup reads or calls; each has an instance on every host that has change tracking and a machine."""
WAIT_SECONDS = 60.0
"""For a machine that somebody works on, before what dead runs left on it is looked for."""
MAY_BE_EMPTY = ("Msvm_VirtualSystemReferencePoint",)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that somebody should know."""

    text: str
    blocking: bool
    """Whether a backup would fail because of it."""


@dataclass(frozen=True, slots=True)
class DiskCheck:
    """One disk."""

    location: str
    path: str
    kind: str
    disk_bytes: int | None
    tracked: str
    """`on`: files of change tracking lie beside it; `off`: none yet, the first backup switches it on; `unknown`: the
    folder cannot be seen from here; `never`: this kind of disk has none."""
    readable: bool


@dataclass(frozen=True, slots=True)
class VmCheck:
    """One machine."""

    vm: str
    vm_id: str
    state: str
    version: str
    disks: tuple[DiskCheck, ...]
    free_bytes: int | None
    """On the fullest of the volumes of its disks, as far as they can be seen."""
    removed: tuple[str, ...]
    """What dead runs of the repository had left, and is gone now."""
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a host has, and lacks: the JSON of `hypercbt check`."""

    host: str
    problems: tuple[Problem, ...]
    """Of the host itself."""
    vms: tuple[VmCheck, ...]

    @property
    def all_problems(self) -> list[Problem]:
        """Of the host and of every machine."""
        return [*self.problems, *(p for vm in self.vms for p in vm.problems)]


def check(
    host: Host,
    *,
    vms: Sequence[str] = (),
    repository: Repository | None = None,
    adopt: bool = False,
    space_floor_bytes: int | None = None,
    limits: Limits | None = None,
) -> CheckReport:
    """Look whether machines of a host can be backed up.

    Args:
        host: An open host.
        vms: Names, ids or patterns; all machines where there are none.
        repository: Where they are backed up to: what its dead runs left on the host is taken away.
        adopt: What other repositories or nobody marked is taken away as well.
        space_floor_bytes: What must stay free; the larger of 20 GiB and 10 % of a volume where not given.
        limits: How long is waited for what.

    Raises:
        HostUnreachableError: The host does not answer.
        HostAuthenticationError: It does not know us.
        VmNotFoundError: It has no such machine.
    """
    problems = tuple(rights(host.session))
    if problems:
        return CheckReport(host.session.host, problems, ())
    known = list_vms(host.session)
    wanted = chosen(known, vms) if vms else known
    order = Order(
        adopt=adopt,
        space_floor_bytes=space_floor_bytes,
        limits=limits or Limits(busy_seconds=WAIT_SECONDS),
    )
    checks = [
        check_machine(HostedMachine(host, vm.id), vm, repository, order)
        for vm in wanted
    ]
    return CheckReport(host.session.host, problems, tuple(checks))


def check_machine(
    machine: Machine, vm: VirtualMachine, repository: Repository | None, order: Order
) -> VmCheck:
    """Look whether one machine can be backed up."""
    found = _Findings()
    removed: tuple[str, ...] = ()
    if repository is not None:
        vm, removed = _tidied(machine, vm, repository, order, found)
    with found.whatever_fails(blocking=True):
        policy.refuse_replica(vm)
        policy.levels(vm, "prefer")
    if vm.busy is not None:
        found.add(f"{vm.name} is {vm.busy}", blocking=False)
    disks: tuple[VmDisk, ...] = ()
    with found.whatever_fails(blocking=True):
        disks = machine.disks(vm.settings_id)
        if not disks:
            found.add(f"{vm.name} has no disk", blocking=True)
        _look_for_checkpoints(machine, vm, disks, repository, found)
        if machine.merging_is_suspended():
            found.add(
                f"merging is suspended for {vm.name}: each backup will leave a file behind, until merging is switched on "
                "again (ModifyDiskMergeSettings), or the machine or the host's service is restarted",
                blocking=False,
            )
    _look_for_configuration(machine, vm, found)
    checks = tuple(_disk(machine, vm, disk, found) for disk in disks)
    free = _room(machine, disks, order, found)
    return VmCheck(
        vm=vm.name,
        vm_id=vm.id,
        state=vm.state,
        version=vm.version,
        disks=checks,
        free_bytes=free,
        removed=removed,
        problems=tuple(found.problems),
    )


class _Findings:
    """The problems of one machine, as they are met."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, text: str, *, blocking: bool) -> None:
        if all(problem.text != text for problem in self.problems):
            self.problems.append(Problem(text, blocking))

    @contextmanager
    def whatever_fails(self, *, blocking: bool) -> Iterator[None]:
        """Take what a backup would fail with for a problem. That the host is gone is none of the machine's."""
        try:
            yield
        except (HostUnreachableError, HostAuthenticationError):
            raise
        except HypercbtError as error:
            self.add(str(error), blocking=blocking)


def rights(session: Session) -> Iterator[Problem]:
    """See that every class that a backup needs can be read. The first instance is enough."""
    for name in (*CLASSES, *MAY_BE_EMPTY):
        try:
            first = next(iter(session.enumerate(name)), None)
        except (HostAccessDeniedError, HostFaultError) as error:
            yield Problem(f"{name} cannot be read: {error}", True)
            continue
        if first is None and name.endswith("Service"):
            yield Problem(
                f"the host has no {name}: it is older than Windows Server 2016, or this user may not see it",
                True,
            )


def _tidied(
    machine: Machine,
    vm: VirtualMachine,
    repository: Repository,
    order: Order,
    found: _Findings,
) -> tuple[VirtualMachine, tuple[str, ...]]:
    """Take away what dead runs left; return the machine as it is then, and what is gone."""
    remarks = Remarks()
    with found.whatever_fails(blocking=True):
        try:
            with claim(repository.id, f"vm:{machine.id}"):
                vm = settle(machine, repository, order, remarks)
                removed = stale.drop_older(machine, repository)
                tell(remarks, removed, "that no backup asks from any more")
        except VmBusyError as error:
            found.add(str(error), blocking=False)
    for text in remarks.findings:
        found.add(text, blocking=False)
    return vm, tuple(remarks.warnings)


def _look_for_checkpoints(
    machine: Machine,
    vm: VirtualMachine,
    disks: tuple[VmDisk, ...],
    repository: Repository | None,
    found: _Findings,
) -> None:
    checkpoints = machine.checkpoints()
    recovery = stale.recovery(checkpoints)
    # A run that is not over has made it, most likely. Nobody must be told to adopt that.
    under_way = (
        bool(recovery)
        and repository is not None
        and bool(leases_of(f"vm:{machine.id}", repository))
    )
    for one in recovery:
        what = f"{vm.name} has the recovery checkpoint {one.name!r} ({stale.origin(one, repository)})"
        found.add(
            f"{what}: look again when its backup is over"
            if under_way
            else f"{what}: a backup refuses until it is gone or adopted",
            blocking=not under_way,
        )
    for path in unmerged(disks, bool(checkpoints)):
        found.add(
            f"{vm.name} runs on {path} and has no checkpoint: "
            + (
                "it is being merged"
                if vm.busy
                else "merging is suspended or has failed"
            ),
            blocking=False,
        )


def _look_for_configuration(
    machine: Machine, vm: VirtualMachine, found: _Findings
) -> None:
    """See that the machine's own files can be reached. That they are there is enough: while it runs, its host holds them."""
    reason = "the host does not say where it is"
    if vm.configuration is not None:
        reason = f"{vm.configuration.path} is not there"
        try:
            if machine.exists(vm.configuration.path):
                return
        except HostFileError as error:
            reason = str(error)
    found.add(
        f"the configuration of {vm.name} will not be part of its restore points: {reason}",
        blocking=False,
    )


def _disk(
    machine: Machine, vm: VirtualMachine, disk: VmDisk, found: _Findings
) -> DiskCheck:
    """Look at one disk: can it be tracked, is it, and can its files be read."""
    trackable = readable = False
    with found.whatever_fails(blocking=True):
        reason = policy.untracked(vm, disk)
        trackable = reason is None
        if reason is not None:
            found.add(
                f"{policy.title(disk)} is compared each time: {reason}", blocking=False
            )
        reachable(machine, disk)
        readable = True
    return DiskCheck(
        location=disk.location,
        path=disk.path,
        kind=disk.kind,
        disk_bytes=disk.size,
        tracked=_tracking(machine, disk) if trackable else "never",
        readable=readable,
    )


def _tracking(machine: Machine, disk: VmDisk) -> str:
    """Tell whether the files of change tracking lie beside a disk, or beside one of those that it builds on."""
    try:
        for path in (disk.path, *disk.parents):
            if machine.exists(f"{path}.rct") and machine.exists(f"{path}.mrt"):
                return "on"
    except HostFileError:
        return "unknown"
    return "off"


def _room(
    machine: Machine, disks: Iterable[VmDisk], order: Order, found: _Findings
) -> int | None:
    """Return the free bytes of the fullest volume, and say where that is too little."""
    least = None
    for disk in disks:
        try:
            free, total = machine.free_bytes(disk.path)
        except HostFileError:  # said already, of the disk
            continue
        floor = order.space_floor_bytes
        floor = floor_of(total) if floor is None else floor
        if free < floor:
            found.add(
                f"the volume of {disk.path} has {free} bytes free, and {floor} should stay free",
                blocking=True,
            )
        least = free if least is None else min(least, free)
    return least
