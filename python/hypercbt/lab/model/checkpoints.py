"""Checkpoints: made, applied, removed, and turned into reference points."""

from collections.abc import Callable

from hypercbt.lab.model.files import Files
from hypercbt.lab.model.jobs import APPLY, CONVERT, DELETE, SNAPSHOT, Jobs
from hypercbt.lab.model.merges import Merges
from hypercbt.lab.model.names import (
    COMPUTER,
    SETTINGS,
    meant,
    point_ref,
    settings_ref,
)
from hypercbt.lab.model.state import (
    OFF,
    PAUSED,
    RUNNING,
    SAVED,
    Checkpoint,
    Machine,
    ReferencePoint,
    moment,
)
from hypercbt.lab.model.world import (
    APPLYING,
    CREATING,
    DELETING,
    INVALID_STATE,
    SNAPSHOT_INVALID_PARAMETER,
    JobFailedError,
    RefusedError,
    World,
    idle,
    no_object,
)
from hypercbt.lab.wire.provider import Call, Cim, Ref, Thing

FULL, RECOVERY = 2, 32768
"""`SnapshotType`. The latter is documented nowhere, and what every backup program sends [V]."""
APPLICATION, CRASH = 1, 2
"""`ConsistencyLevel`."""


class Checkpoints:
    """What `Msvm_VirtualSystemSnapshotService` does."""

    def __init__(self, world: World, files: Files, jobs: Jobs, merges: Merges) -> None:
        self._world = world
        self._files = files
        self._jobs = jobs
        self._merges = merges
        self.when_frozen: Callable[[Machine, Checkpoint], None] = lambda _, __: None
        """Is told of each checkpoint while the guest still waits."""

    def create(self, call: Call) -> dict[str, Cim]:
        """`CreateSnapshot`."""
        machine = self._machine(call.arguments.get("AffectedSystem"))
        type_ = call.arguments.get("SnapshotType")
        if type_ not in (FULL, RECOVERY):
            raise RefusedError(SNAPSHOT_INVALID_PARAMETER)
        settings = call.arguments.get("SnapshotSettings")
        if not isinstance(settings, Thing) and not (
            type_ == FULL or self._world.quirks.empty_settings
        ):
            raise RefusedError(SNAPSHOT_INVALID_PARAMETER)
        values = settings.values if isinstance(settings, Thing) else {}
        level = values.get("ConsistencyLevel") or CRASH
        if level not in (APPLICATION, CRASH):
            raise RefusedError(SNAPSHOT_INVALID_PARAMETER)
        recovery = type_ == RECOVERY
        quirks = self._world.quirks
        older = any(found.kind == "Recovery" for found in machine.checkpoints)
        if recovery and older and not quirks.second_recovery_checkpoint:
            raise RefusedError(INVALID_STATE)
        idle(self._world, machine)

        def work() -> list[Ref]:
            if "GuestBackupType" in values and not quirks.guest_backup_type:
                words = self._world.words
                raise JobFailedError(f"{words['unknown_property']}: GuestBackupType")
            made = self.make(
                machine,
                kind="Recovery" if recovery else "Realized",
                consistency=APPLICATION if level == APPLICATION else CRASH,
                skip=values.get("IgnoreNonSnapshottableDisks") is True,
            )
            return [settings_ref(made)]

        return self._run(call, machine, CREATING, SNAPSHOT, "checkpoint", work)

    def make(
        self,
        machine: Machine,
        *,
        kind: str,
        consistency: int = CRASH,
        skip: bool = False,
        name: str | None = None,
    ) -> Checkpoint:
        """Freeze all disks of a virtual machine at one moment, and let the guest go on.

        Raises:
            JobFailedError: The guest cannot be made consistent, or a disk cannot be frozen.
        """
        world = self._world
        self._allowed(machine, consistency, skip=skip)
        disks = [disk for disk in machine.disks if disk.kind in ("vhdx", "vhd")]
        for disk in disks:
            self._files.disk(machine, disk)
        now = world.clock.now()
        with self._files.quiet(machine):
            made = Checkpoint(
                id=world.guid(),
                # Hyper-V's own way of naming them.
                name=name or f"{machine.name} - ({now:%d.%m.%Y - %H:%M:%S})",
                kind=kind,
                created=moment(now),
                consistency=consistency,
                disks=[self._files.freeze(machine, disk) for disk in disks],
                parent=machine.checkpoints[-1].id if machine.checkpoints else None,
            )
            if self._has_layer(machine, made):
                for disk, frozen in zip(disks, made.disks, strict=True):
                    self._files.add_layer(machine, disk, frozen)
            machine.checkpoints.append(made)
            self.when_frozen(machine, made)
        self._files.write_configuration(machine, made)
        world.store.save(machine)
        return made

    def convert(self, call: Call) -> dict[str, Cim]:
        """`ConvertToReferencePoint`."""
        machine, checkpoint = self._found(call, "AffectedSnapshot")
        idle(self._world, machine)

        def work() -> list[Ref]:
            if checkpoint.kind != "Recovery":
                raise JobFailedError(self._world.words["not_recovery"])
            self._still_there(machine, checkpoint)
            point = ReferencePoint(
                id=self._world.guid(),
                created=moment(self._world.clock.now()),
                consistency=checkpoint.consistency,
                disks=[(disk.location, disk.rct_id) for disk in checkpoint.disks],
            )
            machine.points[point.id] = point
            self._drop(machine, checkpoint)
            return [point_ref(machine, point)]

        return self._run(call, machine, DELETING, CONVERT, "convert", work)

    def destroy(self, call: Call) -> dict[str, Cim]:
        """`DestroySnapshot`."""
        machine, checkpoint = self._found(call, "AffectedSnapshot")
        return self._destroy(call, machine, checkpoint)

    def destroy_tree(self, call: Call) -> dict[str, Cim]:
        """`DestroySnapshotTree`: refused for recovery checkpoints, as one product says [V]."""
        machine, checkpoint = self._found(call, "SnapshotSettingData")
        if checkpoint.kind == "Recovery":
            raise RefusedError(INVALID_STATE)
        return self._destroy(call, machine, checkpoint)

    def apply(self, call: Call) -> dict[str, Cim]:
        """`ApplySnapshot`: the guest goes back. Only the newest can be applied here."""
        machine, checkpoint = self._found(call, "Snapshot")
        idle(self._world, machine)
        if checkpoint is not machine.checkpoints[-1] or machine.enabled == RUNNING:
            raise RefusedError(INVALID_STATE)

        def work() -> list[Ref]:
            self.revert(machine)
            return []

        return self._run(call, machine, APPLYING, APPLY, "apply", work)

    def revert(self, machine: Machine) -> None:
        """Give up what was written since the newest checkpoint; every id is lost by it (quirk Q24, [I])."""
        newest = machine.checkpoints[-1]
        with self._files.quiet(machine):
            for frozen in newest.disks:
                disk = machine.disk(frozen.location)
                if disk is not None:
                    self._files.discard(machine, disk)
        self._world.store.save(machine)

    def remove(self, machine: Machine, checkpoint: Checkpoint) -> None:
        """Remove a checkpoint; its files are merged later.

        Raises:
            JobFailedError: Somebody else has removed it by now.
        """
        self._still_there(machine, checkpoint)
        self._drop(machine, checkpoint)
        self._files.forget(
            machine,
            [(disk.location, disk.rct_id) for disk in checkpoint.disks if disk.rct_id],
        )

    def _destroy(
        self, call: Call, machine: Machine, checkpoint: Checkpoint
    ) -> dict[str, Cim]:
        quirks = self._world.quirks
        idle(self._world, machine)
        if checkpoint.kind == "Recovery" and not quirks.recovery_destroy_works:
            raise RefusedError(INVALID_STATE)

        def work() -> list[Ref]:
            self.remove(machine, checkpoint)
            return []

        if not quirks.clean_up_by_job and call.fail_job is None:
            work()
            self._merges.start(machine)
            return {"Job": None, "ReturnValue": 0}
        return self._run(call, machine, DELETING, DELETE, "delete", work)

    def _still_there(self, machine: Machine, checkpoint: Checkpoint) -> None:
        if checkpoint not in machine.checkpoints:
            raise JobFailedError(self._world.words["no_object"])

    def _drop(self, machine: Machine, checkpoint: Checkpoint) -> None:
        machine.checkpoints.remove(checkpoint)
        for other in machine.checkpoints:
            if other.parent == checkpoint.id:
                other.parent = checkpoint.parent
        self._files.remove_checkpoint(machine, checkpoint)
        self._world.store.save(machine)

    def _allowed(self, machine: Machine, consistency: int, *, skip: bool) -> None:
        words = self._world.words
        state_hinders = machine.enabled in (PAUSED, SAVED) or (
            machine.enabled == OFF and not self._world.quirks.application_of_off
        )
        guest_hinders = (
            machine.enabled == RUNNING and not machine.application_consistent
        )
        if consistency == APPLICATION and (state_hinders or guest_hinders):
            raise JobFailedError(words["vss"])
        for disk in machine.disks:
            if disk.kind == "pass-through" and not skip:
                raise JobFailedError(words["pass"])
            if disk.kind == "vhds" and not skip:
                raise JobFailedError(words["shared"])

    def _has_layer(self, machine: Machine, made: Checkpoint) -> bool:
        return (
            self._world.quirks.application_layer
            and made.kind == "Recovery"
            and made.consistency == APPLICATION
            and machine.enabled == RUNNING
        )

    def _run(
        self,
        call: Call,
        machine: Machine,
        busy: int,
        type: int,
        title: str,
        work: Callable[[], list[Ref]],
    ) -> dict[str, Cim]:
        """Start a job that holds the virtual machine; what can be merged is, once it is over."""
        return self._jobs.hold(
            call,
            machine,
            busy=busy,
            type=type,
            title=title,
            work=work,
            then=lambda: self._merges.start(machine),
        )

    def _machine(self, target: Cim) -> Machine:
        name = meant(target, COMPUTER, "Name")
        found = self._world.store.machine(name) if name else None
        if found is None:
            raise no_object(self._world)
        return found

    def _found(self, call: Call, parameter: str) -> tuple[Machine, Checkpoint]:
        guid = meant(call.arguments.get(parameter), SETTINGS, "InstanceID")
        found = self._world.store.checkpoint(guid) if guid else None
        if found is None:
            raise no_object(self._world)
        return found
