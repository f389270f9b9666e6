"""Checkpoints: a machine's disks as they were at one moment, while the machine goes on in new files.

A *recovery* checkpoint is made for a backup, and can become a reference point. Only such are made here; which of them
are ours is decided elsewhere.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PureWindowsPath
from typing import Literal

from hypercbt.errors import CheckpointError
from hypercbt.hyperv import effects, jobs
from hypercbt.hyperv.clock import SYSTEM_CLOCK, Clock
from hypercbt.hyperv.disks import VmDisk
from hypercbt.hyperv.machines import (
    SETTINGS,
    Configuration,
    VirtualMachine,
    busy_of,
    configuration_of,
    system_reference,
)
from hypercbt.hyperv.reading import moment, reference, required_guid, same, text
from hypercbt.hyperv.reference_points import (
    REFERENCE_POINT,
    ReferencePoint,
    list_reference_points,
)
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.values import Instance, Reference

KINDS = {
    "microsoft:hyper-v:snapshot:recovery": "recovery",
    "microsoft:hyper-v:snapshot:realized": "user",
}
RECOVERY_TYPE = 32768
"""`CreateSnapshot`'s `SnapshotType` of a recovery checkpoint; no document has it, every product sends it."""
LEVELS = {"application": 1, "crash": 2}
TRACKED_KINDS = ("vhdx", "avhdx")

Level = Literal["application", "crash"]

SNAPSHOT_SERVICE = Reference(
    "Msvm_VirtualSystemSnapshotService",
    {"CreationClassName": "Msvm_VirtualSystemSnapshotService"},
)
MANAGEMENT_SERVICE = Reference(
    "Msvm_VirtualSystemManagementService",
    {"CreationClassName": "Msvm_VirtualSystemManagementService"},
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint of a machine."""

    id: str
    """The `InstanceID` of its settings, by which its disks are found too."""
    vm: str
    """The GUID of its machine, lower case."""
    name: str
    kind: str
    """`recovery`, `user` or `other`: planned, missing, or of a replica."""
    created: datetime | None
    configuration: Configuration | None

    @property
    def reference(self) -> Reference:
        """Which instance it is."""
        return Reference(SETTINGS, {"InstanceID": self.id})


def list_checkpoints(session: Session, vm_id: str) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of a machine, of all kinds and products, oldest first: one request."""
    found = [
        _checkpoint(one)
        for one in session.query(
            SETTINGS, where={"VirtualSystemIdentifier": vm_id.upper()}
        )
        if ":snapshot:" in text(one, "VirtualSystemType").lower()
    ]
    never = datetime.min.replace(tzinfo=UTC)
    return tuple(sorted(found, key=lambda one: (one.created or never, one.id)))


def create_checkpoint(
    session: Session,
    vm: VirtualMachine,
    *,
    level: Level,
    before: Collection[str],
    on_poll: jobs.OnPoll | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Checkpoint:
    """Make a recovery checkpoint.

    Disks that no checkpoint can hold are left out of it rather than failing it: the caller has looked at them.

    Args:
        session: The host.
        vm: The machine.
        level: `application` asks the guest to flush and hold still; `crash` is as if the power had gone.
        before: The ids of the checkpoints that the machine has already.
        on_poll: Called while it takes its time.
        clock: By whose clock.

    Raises:
        HostJobError: The host would not, or could not. As a `JobUnfinishedError`, it may yet.
        LostReplyError: Nobody knows whether the host was asked; no new checkpoint was seen.
        CheckpointError: It is done, and which checkpoint it is cannot be told.
    """
    known = {one.lower() for one in before}

    def new() -> list[Checkpoint]:
        return [
            one
            for one in list_checkpoints(session, vm.id)
            if one.kind == "recovery" and one.id.lower() not in known
        ]

    what = f"create a checkpoint of {vm.name}"
    try:
        job = jobs.run(
            session,
            SNAPSHOT_SERVICE,
            "CreateSnapshot",
            {
                "AffectedSystem": vm.reference,
                "SnapshotSettings": Instance(
                    "Msvm_VirtualSystemSnapshotSettingData",
                    # No GuestBackupType: Windows Server 2016 does not know it (hyperv-rct 1.5).
                    {
                        "ConsistencyLevel": LEVELS[level],
                        "IgnoreNonSnapshottableDisks": True,
                    },
                ),
                "SnapshotType": RECOVERY_TYPE,
            },
            what=what,
            on_poll=on_poll,
            clock=clock,
        )
    except effects.NOBODY_KNOWS as error:

        def look(at_work: bool) -> Checkpoint | None:
            # A checkpoint that is being made may be listed already, without its files.
            found = [] if at_work else new()
            return effects.only_new(found, (), what="a checkpoint") if found else None

        return effects.look_for(look, lambda: _busy(session, vm.id), error, clock)
    return effects.only_new(
        new(), _named(session, job, "ResultingSnapshot", SETTINGS), what="a checkpoint"
    )


def rename(
    session: Session, checkpoint: Checkpoint, name: str, *, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Give a checkpoint another name.

    Raises:
        HostJobError: The host would not, or could not.
    """
    # Only what changes: with the properties that cannot, the job fails (hyperv-rct 6.2).
    changed = Instance(SETTINGS, {"InstanceID": checkpoint.id, "ElementName": name})
    jobs.run(
        session,
        MANAGEMENT_SERVICE,
        "ModifySystemSettings",
        {"SystemSettings": changed},
        what=f"name the checkpoint {checkpoint.id}",
        repeatable=True,  # twice is once
        clock=clock,
    )


def convert(
    session: Session,
    checkpoint: Checkpoint,
    *,
    disks: Sequence[VmDisk] = (),
    on_poll: jobs.OnPoll | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> ReferencePoint:
    """Turn a recovery checkpoint into a reference point. From now on its files are merged: read nothing of them.

    Args:
        session: The host.
        checkpoint: Which.
        disks: Its disks, which say what can be tracked where the host's answer leaves it open. See
            `hypercbt.hyperv.reference_points.pair`.
        on_poll: Called while it takes its time.
        clock: By whose clock.

    Raises:
        HostJobError: The host would not, or could not. As a `JobUnfinishedError`, it may yet.
        LostReplyError: Nobody knows whether the host was asked; no new reference point was seen.
        CheckpointError: It is done, and which reference point it is cannot be told.
    """
    tracked = {disk.device for disk in disks if disk.kind in TRACKED_KINDS}
    before = {one.id.lower() for one in list_reference_points(session, checkpoint.vm)}

    def new() -> list[ReferencePoint]:
        found = list_reference_points(session, checkpoint.vm, tracked=tracked)
        return [one for one in found if one.id.lower() not in before]

    try:
        job = jobs.run(
            session,
            SNAPSHOT_SERVICE,
            "ConvertToReferencePoint",
            {"AffectedSnapshot": checkpoint.reference},
            what=f"convert the checkpoint {checkpoint.id}",
            on_poll=on_poll,
            clock=clock,
        )
    except effects.NOBODY_KNOWS as error:

        def look(_: bool) -> ReferencePoint | None:
            # The one that it became is whole when the checkpoint has gone; the merge goes on for long after.
            found = [] if session.get(checkpoint.reference) else new()
            return (
                effects.only_new(found, (), what="a reference point") if found else None
            )

        return effects.look_for(
            look, lambda: _busy(session, checkpoint.vm), error, clock
        )
    named = _named(session, job, "ResultingReferencePoint", REFERENCE_POINT)
    return effects.only_new(new(), named, what="a reference point")


def destroy(
    session: Session,
    checkpoint: Checkpoint,
    *,
    on_poll: jobs.OnPoll | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Delete a checkpoint; the machine's files are merged after it. One that is gone is no error.

    Raises:
        HostJobError: The host would not, or could not. As a `JobUnfinishedError`, it may yet.
    """
    effects.delete(
        session,
        checkpoint.reference,
        SNAPSHOT_SERVICE,
        "DestroySnapshot",
        "AffectedSnapshot",
        what=f"delete the checkpoint {checkpoint.name!r}",
        busy=lambda: _busy(session, checkpoint.vm),
        on_poll=on_poll,
        clock=clock,
    )


def configuration_files(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the host paths of a checkpoint's configuration: `.vmcx`, and `.vmrs` and `.vmgs`, which need not exist.

    Raises:
        CheckpointError: The host does not say where they are.
    """
    if checkpoint.configuration is None:
        raise CheckpointError(
            f"the host does not say where the configuration of the checkpoint {checkpoint.name!r} is"
        )
    first = PureWindowsPath(checkpoint.configuration.path)
    if not same(first.suffix, ".vmcx"):  # of a machine from before 2016
        return (str(first),)
    return tuple(str(first.with_suffix(end)) for end in (".vmcx", ".vmrs", ".vmgs"))


def _named(
    session: Session, job: jobs.Job, parameter: str, class_name: str
) -> frozenset[str]:
    """Return the ids, in lower case, of what the host says that it made. It says it here or there, or not at all."""
    result = reference(job.out, parameter)
    if result is not None and "InstanceID" in result.selectors:
        return frozenset({result.selectors["InstanceID"].lower()})
    if job.reference is None:
        return frozenset()
    return effects.made_by(session, job.reference, class_name)


def _busy(session: Session, vm_id: str) -> bool:
    system = session.get(system_reference(vm_id))
    return system is not None and busy_of(system) is not None


def _checkpoint(settings: Instance) -> Checkpoint:
    return Checkpoint(
        id=text(settings, "InstanceID"),
        vm=required_guid(settings, "VirtualSystemIdentifier"),
        name=text(settings, "ElementName"),
        kind=KINDS.get(text(settings, "VirtualSystemType").lower(), "other"),
        created=moment(settings, "CreationTime"),
        configuration=configuration_of(settings),
    )
