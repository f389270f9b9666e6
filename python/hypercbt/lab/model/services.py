"""The services: who may be asked for what, and what the management service itself does."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from hypercbt.lab.model.classes import CLASSES
from hypercbt.lab.model.clock import NEVER
from hypercbt.lab.model.files import Files
from hypercbt.lab.model.jobs import EXPORT, MODIFY, Jobs
from hypercbt.lab.model.machines import Machines
from hypercbt.lab.model.merges import Merges
from hypercbt.lab.model.names import COMPUTER, SETTINGS, machine_ref, meant, place
from hypercbt.lab.model.state import Checkpoint, Machine
from hypercbt.lab.model.world import (
    EXPORTING,
    INVALID_PARAMETER,
    JobFailedError,
    RefusedError,
    World,
    idle,
    no_object,
)
from hypercbt.lab.wire.provider import Call, Cim, ProviderError, Ref, Thing
from hypercbt.lab.wire.refusals import Refused

Answer: TypeAlias = Mapping[str, Cim]
Answering: TypeAlias = Callable[[Call], Answer]

MANAGEMENT = "Msvm_VirtualSystemManagementService"
SNAPSHOTS = "Msvm_VirtualSystemSnapshotService"
POINTS = "Msvm_VirtualSystemReferencePointService"
IMAGES = "Msvm_ImageManagementService"

NAMES = {
    MANAGEMENT: "vmms",
    SNAPSHOTS: "vssnapsvc",
    IMAGES: "vhdsvc",
    # Nobody has written down its name [?]: who needs it enumerates.
    POINTS: "rpsvc",
}
"""The key `Name` of each [V]."""

_CHANGEABLE = {"InstanceID", "ElementName", "Notes"}
"""What may be sent to `ModifySystemSettings` here. A read-only property fails the job [V*]."""
_CHANGEABLE_PLANNED = _CHANGEABLE | {"SnapshotDataRoot", "SwapFileDataRoot"}
"""What may be sent of a planned machine: clients set these two [V]."""


class Services:
    """The instances of the services, and the management service's methods."""

    def __init__(
        self, world: World, files: Files, jobs: Jobs, merges: Merges, machines: Machines
    ) -> None:
        self._world = world
        self._files = files
        self._jobs = jobs
        self._merges = merges
        self._machines = machines

    def instances(self, class_name: str) -> Iterator[Thing]:
        """The one instance of a service."""
        words = self._world.words
        yield Thing(
            class_name,
            {
                "CreationClassName": class_name,
                "Name": NAMES[class_name],
                "SystemCreationClassName": "Msvm_ComputerSystem",
                "SystemName": self._world.name,
                "ElementName": words["service"],
                "Caption": words["service"],
                "Description": words["service"],
                "InstallDate": NEVER,
                "OperationalStatus": (2,),
                "StatusDescriptions": (words["fine"],),
                "Status": "OK",
                "HealthState": 5,
                "EnabledState": 5,
                "RequestedState": 12,
                "EnabledDefault": 2,
                "StartMode": "Automatic",
                "Started": True,
                "TimeOfLastStateChange": NEVER,
            },
        )

    def check_selectors(self, call: Call) -> None:
        """Refuse a call to a service that does not say which: each does it in its own way (quirk Q13, [V*])."""
        if call.class_name not in NAMES:
            if not call.selectors:  # as the management service says it [I]
                raise Refused.SELECTOR_MISSING.error(call.class_name)
            return
        quirks = self._world.quirks
        required = quirks.selectors_required
        if call.class_name == POINTS:
            required = quirks.reference_point_selectors_required
        given = {name.casefold(): value for name, value in call.selectors.items()}
        if not given or (required and "creationclassname" not in given):
            if call.class_name == MANAGEMENT:
                raise ProviderError(
                    "s:Receiver",
                    2150858752,
                    self._world.words["bad_parameters"],
                    0x8004102F,  # WBEM_E_INVALID_METHOD_PARAMETERS
                )
            raise ProviderError(
                "w:InternalError", 2150859012, self._world.words["internal"]
            )
        own = next(iter(self.instances(call.class_name))).values
        for name in CLASSES[call.class_name].keys:
            said = given.get(name.casefold())
            if said is not None and said.casefold() != str(own[name]).casefold():
                raise no_object(self._world)

    def modify_settings(self, call: Call) -> Answer:
        """`ModifySystemSettings`: a new name, or notes, for a virtual machine or a checkpoint."""
        settings = call.arguments.get("SystemSettings")
        if not isinstance(settings, Thing):
            raise RefusedError(INVALID_PARAMETER)
        machine, owner = self._owner(settings.values.get("InstanceID"))
        if machine.planned:
            idle(self._world, machine)
        known = _CHANGEABLE_PLANNED if machine.planned else _CHANGEABLE
        sent = {name for name, value in settings.values.items() if value is not None}

        def work() -> list[Ref]:
            if sent - known:
                words = self._world.words
                raise JobFailedError(
                    f"{words['read_only']}: {', '.join(sorted(sent - known))}"
                )
            _change(machine, owner, settings)
            if not machine.planned:
                self._world.store.save(machine)
            return []

        plain = not sent - known and call.fail_job is None and not call.misfits
        if plain and not self._world.quirks.rename_by_job:
            work()
            return {"Job": None, "ReturnValue": 0}
        return self._jobs.start(
            call, type=MODIFY, title="modify", targets=[machine_ref(machine)], work=work
        )

    def modify_merges(self, call: Call) -> Answer:
        """`ModifyDiskMergeSettings`: switch merging on again, or off."""
        settings = call.arguments.get("SettingData")
        if not isinstance(settings, Thing):
            raise RefusedError(INVALID_PARAMETER)
        machine, _ = self._owner(settings.values.get("InstanceID"))
        if machine.planned:
            raise RefusedError(INVALID_PARAMETER)  # nothing of it can merge [I]
        machine.merging = settings.values.get("EnabledState") == 1
        self._world.store.save(machine)
        self._merges.start(machine)
        return {"Job": None, "ReturnValue": 0}

    def merge_settings(self, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        """`Msvm_DiskMergeSettingData`: whether each virtual machine merges."""
        own = place(equal.get("InstanceID"))
        for machine in self._world.store:
            if own is None or own.guid == machine.id:
                yield Thing(
                    "Msvm_DiskMergeSettingData",
                    {
                        "InstanceID": f"Microsoft:{machine.id}\\DeviceSpecificData",
                        "EnabledState": 1 if machine.merging else 0,
                    },
                )

    def export_settings(self, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        """`Msvm_VirtualSystemExportSettingData`: what an export does if nothing else is said."""
        own = place(equal.get("InstanceID"))
        for machine in self._world.store:
            if own is None or own.guid == machine.id:
                yield Thing(
                    "Msvm_VirtualSystemExportSettingData",
                    {
                        "InstanceID": f"Microsoft:{machine.id}\\Export",
                        "CopySnapshotConfiguration": 0,
                        "CopyVmStorage": True,
                        "CopyVmRuntimeInformation": True,
                        "CreateVmExportSubdirectory": True,
                        "BackupIntent": 0,
                        "CaptureLiveState": 1,
                        "DisableDifferentialOfIgnoredStorage": False,
                    },
                )

    def export(self, call: Call) -> Answer:
        """`ExportSystemDefinition`: the configuration alone. What matters here is what it leaves behind (quirk Q20)."""
        name = meant(call.arguments.get("ComputerSystem"), COMPUTER, "Name")
        machine = self._world.store.machine(name) if name else None
        if machine is None:
            raise no_object(self._world)
        settings = call.arguments.get("ExportSettingData")
        storage = (
            settings.values.get("CopyVmStorage")
            if isinstance(settings, Thing)
            else None
        )

        def work() -> list[Ref]:
            self._files.export(machine, str(call.arguments.get("ExportDirectory")))
            if storage is False and self._world.quirks.export_stops_merging:
                machine.merging = False
            self._world.store.save(machine)
            return []

        return self._jobs.hold(
            call,
            machine,
            busy=EXPORTING,
            type=EXPORT,
            title="export",
            work=work,
            then=lambda: self._merges.start(machine),
        )

    def summary(self, call: Call) -> Answer:
        """`GetSummaryInformation`: of all, or of those that are named."""
        wanted = call.arguments.get("SettingData")
        named = {
            guid
            for ref in (wanted if isinstance(wanted, tuple) else ())
            if (guid := meant(ref, SETTINGS, "InstanceID"))
        }
        found = tuple(
            each
            for each in self._machines.summaries()
            if not named or each.values["Name"] in named
        )
        return {"SummaryInformation": found, "ReturnValue": 0}

    def _owner(self, instance_id: Cim) -> tuple[Machine, Machine | Checkpoint]:
        own = place(instance_id)
        machines = list(self._world.machines_of(own.guid)) if own else []
        if len(machines) > 1:  # nobody can tell which is meant
            raise RefusedError(INVALID_PARAMETER)
        for machine in machines:
            return machine, machine
        found = self._world.store.checkpoint(own.guid) if own else None
        if found is None:
            raise RefusedError(INVALID_PARAMETER)
        return found


def _change(machine: Machine, owner: Machine | Checkpoint, settings: Thing) -> None:
    name, notes = settings.values.get("ElementName"), settings.values.get("Notes")
    if isinstance(name, str):
        owner.name = name
    if isinstance(notes, tuple):
        machine.notes = "\n".join(map(str, notes))
    snapshots = settings.values.get("SnapshotDataRoot")
    swap = settings.values.get("SwapFileDataRoot")
    machine.snapshot_root = str(snapshots or machine.snapshot_root)
    machine.swap_root = str(swap or machine.swap_root)
