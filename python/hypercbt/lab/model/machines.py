"""The host and its virtual machines, and their settings and those of their checkpoints."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from hypercbt.lab.model.clock import NEVER
from hypercbt.lab.model.names import (
    COMPUTER,
    PLANNED,
    SETTINGS,
    place,
    settings_id,
)
from hypercbt.lab.model.state import PAUSED, RUNNING, SAVED, Checkpoint, Machine
from hypercbt.lab.model.world import World
from hypercbt.lab.wire.provider import Cim, Thing

_DOCUMENTED = {PAUSED: 32768, SAVED: 32769}
_SUMMARY = ("Name", "ElementName", "EnabledState", "OperationalStatus", "HealthState")


class Machines:
    """What can be seen of virtual machines."""

    def __init__(self, world: World) -> None:
        self._world = world

    def systems(self, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        """`Msvm_ComputerSystem`: the host is one of them (quirk Q9, [V*])."""
        name = equal.get("Name")
        if isinstance(name, str):
            found = self._world.store.machine(name)
            if found is not None:
                yield self.system(found)
            elif name.casefold() == self._world.name.casefold():
                yield self.host()
            return
        yield self.host()
        yield from map(self.system, self._world.store)

    def planned(self, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        """`Msvm_PlannedComputerSystem`: what was imported. It is no `Msvm_ComputerSystem`: both derive from the same class [V]."""
        words, name = self._world.words, equal.get("Name")
        for machine in self._world.planned.values():
            if isinstance(name, str) and name.upper() != machine.id:
                continue
            created = datetime.fromisoformat(machine.created)
            yield Thing(
                PLANNED,
                {
                    "CreationClassName": PLANNED,
                    "Name": machine.id,
                    "ElementName": machine.name,
                    "Caption": words["planned"],
                    "Description": "Microsoft Planned Virtual Machine",  # [V]
                    "InstallDate": created,
                    "OperationalStatus": (2,),
                    "StatusDescriptions": (words["fine"],),
                    "HealthState": 5,
                    "EnabledState": 3,  # nothing runs in it [I]
                    "RequestedState": 12,
                    "TransitioningToState": 12,
                    "OnTimeInMilliseconds": 0,
                    "TimeOfLastConfigurationChange": created,
                },
            )

    def settings(self, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        """`Msvm_VirtualSystemSettingData`: of virtual machines, and of checkpoints."""
        machine = equal.get("VirtualSystemIdentifier")
        own = place(equal.get("InstanceID"))
        if own is not None:
            yield from self.settings_of(own.guid)
        elif isinstance(machine, str):
            for found in self._world.machines_of(machine):
                yield self.realized(found)
                yield from (self.kept(found, kept) for kept in found.checkpoints)
        else:
            for each in self._world.machines():
                yield self.realized(each)
                yield from (self.kept(each, kept) for kept in each.checkpoints)

    def settings_of(self, guid: str) -> Iterator[Thing]:
        """The settings of one virtual machine or checkpoint."""
        yield from map(self.realized, self._world.machines_of(guid))
        found = self._world.store.checkpoint(guid)
        if found is not None:
            yield self.kept(*found)

    def host(self) -> Thing:
        """The host itself: its name is no GUID, and it was never installed."""
        words = self._world.words
        return Thing(
            COMPUTER,
            {
                "InstanceID": None,
                "CreationClassName": COMPUTER,
                "Name": self._world.name,
                "ElementName": self._world.name,
                "Caption": words["host"],
                "Description": words["host"],
                "InstallDate": None,
                "EnabledState": 2,
                "RequestedState": 12,
                "EnabledDefault": 2,
                "OperationalStatus": (2,),
                "StatusDescriptions": (words["fine"],),
                "Status": "OK",
                "HealthState": 5,
                "Dedicated": (0,),
                "ResetCapability": 1,
                "TimeOfLastStateChange": NEVER,
                "TimeOfLastConfigurationChange": NEVER,
            },
        )

    def system(self, machine: Machine) -> Thing:
        """A virtual machine."""
        world, words = self._world, self._world.words
        busy = world.busy.get(machine.id)
        state = machine.enabled
        if world.quirks.documented_states:
            state = _DOCUMENTED.get(state, state)
        created = datetime.fromisoformat(machine.created)
        return Thing(
            COMPUTER,
            {
                "InstanceID": None,
                "CreationClassName": COMPUTER,
                "Name": machine.id,
                "ElementName": machine.name,
                "Caption": words["machine"],
                # In English on a Japanese host, where the caption was not [V*]; libvirt relies on it.
                "Description": "Microsoft Virtual Machine",
                "InstallDate": created,
                "EnabledState": state,
                "RequestedState": 12,
                "EnabledDefault": 3,
                # One element when idle [V*].
                "OperationalStatus": (2,) if busy is None else (2, busy),
                "StatusDescriptions": (words["fine"],)
                if busy is None
                else (words["fine"], words["running"]),
                "Status": "OK",
                "HealthState": 5,
                "Dedicated": (0,),
                "ResetCapability": 1,
                "OnTimeInMilliseconds": 60_000 if machine.enabled == RUNNING else 0,
                "ProcessID": int(machine.id[:6], 16) + 1000
                if machine.enabled == RUNNING
                else None,
                "NumberOfNumaNodes": 1,
                "TimeOfLastStateChange": created,
                "TimeOfLastConfigurationChange": created,
                "ReplicationState": 4 if machine.replica else 0,
                "ReplicationHealth": 1 if machine.replica else 0,
                "ReplicationMode": 2 if machine.replica else 0,
                "FailedOverReplicationType": 0,
                "LastReplicationType": 0,
                "LastApplicationConsistentReplicationTime": NEVER,
                "LastReplicationTime": NEVER,
                "LastSuccessfulBackupTime": NEVER,
                "EnhancedSessionModeState": 2 if machine.enabled == RUNNING else 3,
            },
        )

    def realized(self, machine: Machine) -> Thing:
        """The settings of a virtual machine, planned ones too."""
        newest = machine.checkpoints[-1] if machine.checkpoints else None
        return self._settings(machine, None, newest.id if newest else None)

    def kept(self, machine: Machine, checkpoint: Checkpoint) -> Thing:
        """The settings of a checkpoint."""
        return self._settings(machine, checkpoint, checkpoint.parent)

    def summaries(self) -> tuple[Thing, ...]:
        """`GetSummaryInformation` of all."""
        return tuple(
            Thing(
                "Msvm_SummaryInformation",
                {
                    **{name: system.values[name] for name in _SUMMARY},
                    "InstanceID": settings_id(machine),
                    "Version": machine.version,
                    "Notes": machine.notes,
                    "NumberOfProcessors": 2,
                    "HostComputerSystemName": self._world.name,
                },
            )
            for machine in self._world.store
            for system in (self.system(machine),)
        )

    def _settings(
        self, machine: Machine, checkpoint: Checkpoint | None, parent: str | None
    ) -> Thing:
        owner = checkpoint or machine
        root, file = configuration(machine, checkpoint)
        system = "System:Planned" if machine.planned else "System:Realized"
        kind = system if checkpoint is None else f"Snapshot:{checkpoint.kind}"
        return Thing(
            SETTINGS,
            {
                "InstanceID": settings_id(owner),
                "Caption": self._world.words["settings"],
                "Description": self._world.words["settings"],
                "ElementName": owner.name,
                "VirtualSystemIdentifier": machine.id,
                "VirtualSystemType": f"Microsoft:Hyper-V:{kind}",
                "VirtualSystemSubType": f"Microsoft:Hyper-V:SubType:{machine.generation}",
                "Notes": (machine.notes,),
                "CreationTime": datetime.fromisoformat(owner.created),
                "ConfigurationID": owner.id,
                "ConfigurationDataRoot": root,
                "ConfigurationFile": file,
                "GuestStateDataRoot": root,
                "GuestStateFile": file.replace(".vmcx", ".vmgs")
                if has_guest_state(machine)
                else "",
                "SnapshotDataRoot": machine.snapshot_root or machine.root,
                "SuspendDataRoot": root,
                "SwapFileDataRoot": machine.swap_root or machine.root,
                "LogDataRoot": root,
                "AutomaticStartupAction": 2,
                "AutomaticStartupActionDelay": timedelta(0),
                "AutomaticStartupActionSequenceNumber": 0,
                "AutomaticShutdownAction": 3,
                "AutomaticRecoveryAction": 3,
                "BIOSGUID": f"{{{machine.id}}}",
                "BIOSSerialNumber": machine.id[:8],
                "BIOSNumLock": False,
                "BootOrder": (3, 2, 0, 1) if machine.generation == 1 else None,
                "Version": machine.version,
                "Parent": parent and f"Microsoft:{parent}",
                # It is about the host's VSS writer, not about RCT [V].
                "IncrementalBackupEnabled": True,
                "VirtualNumaEnabled": True,
                "AllowFullSCSICommandSet": False,
                "AllowReducedFcRedundancy": False,
                "IsSaved": machine.enabled == SAVED,
                "LowMmioGapSize": 128,
                "HighMmioGapSize": 512,
                "SecureBootEnabled": machine.generation == 2,
                "NetworkBootPreferredProtocol": 4096,
                "DebugChannelId": 0,
                "DebugPort": 0,
                "DebugPortEnabled": 0,
                "UserSnapshotType": machine.checkpoint_type,
                "IsAutomaticSnapshot": False,
                "AutomaticSnapshotsEnabled": False,
                "PauseAfterBootFailure": False,
            },
        )


def configuration(machine: Machine, checkpoint: Checkpoint | None) -> tuple[str, str]:
    """The folder of a virtual machine's configuration, and the file in it, of a checkpoint too."""
    folder = "Virtual Machines" if checkpoint is None else "Snapshots"
    owner = checkpoint or machine
    root = machine.root
    if checkpoint is not None and machine.snapshot_root:
        root = machine.snapshot_root
    return root, f"{folder}\\{owner.id}.vmcx"


def has_guest_state(machine: Machine) -> bool:
    """Whether there is a `.vmgs` file: from generation 2 and version 8.2 on [V: 1709]; not on Server 2016 (quirk Q33)."""
    return machine.generation == 2 and machine.has_version(8, 2)
