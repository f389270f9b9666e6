"""The virtual machines of a host: what they are, and what they do at this moment.

The host itself is an instance of `Msvm_ComputerSystem` too; its `Name` is no GUID, and that is the one sign of it
that is not in the host's language (hyperv-rct 1.4). Names of machines are not unique; GUIDs are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hypercbt.errors import (
    AmbiguousVmError,
    HostFaultError,
    HostReplyError,
    VmNotFoundError,
)
from hypercbt.hyperv.reading import (
    guid,
    is_number,
    optional_number,
    optional_text,
    required_guid,
    several,
    text,
)
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.values import Instance, Reference

COMPUTER_SYSTEM = "Msvm_ComputerSystem"
SETTINGS = "Msvm_VirtualSystemSettingData"
WHERE_TO_LOOK = (
    "in a cluster, ask the node that it runs on (hypercbt vms HOST lists them)"
)
MERGE_SETTINGS = "Msvm_DiskMergeSettingData"
SUSPENDED = 0
"""`EnabledState` of these: merging waits until `ModifyDiskMergeSettings` switches it on again."""
REALIZED = "Microsoft:Hyper-V:System:Realized"
"""A machine's own settings: not a checkpoint's, and not a planned machine's."""

STATES = {
    2: "running",
    3: "off",
    # Real hosts say 6 and 9; the class's documentation has the other two.
    6: "saved",
    9: "paused",
    32768: "paused",
    32769: "saved",
}
"""By `EnabledState`. Everything else is on its way from one of these to another."""

BUSY = {
    32768: "creating a checkpoint",
    32769: "applying a checkpoint",
    32770: "deleting a checkpoint",
    32771: "waiting to start",
    32772: "merging disks",
    32773: "exporting",
    32774: "migrating",
}
"""By `OperationalStatus[1]`, which an idle machine does not have (hyperv-rct 1.4)."""

CHECKPOINT_TYPES = {2: "off", 3: "production", 4: "production only", 5: "standard"}
REPLICATION = {
    0: "none",
    1: "primary",
    2: "replica",
    3: "test replica",
    4: "extended replica",
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where a machine, or a checkpoint, keeps its configuration."""

    root: str
    """The host path of a folder."""
    file: str
    """The file's path below it."""

    @property
    def path(self) -> str:
        """The host path of the file."""
        return self.root.rstrip("\\/") + "\\" + self.file.lstrip("\\/")


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """A virtual machine as it was when it was looked at."""

    id: str
    """Its GUID in lower case, without braces."""
    name: str
    state: str
    """`running`, `off`, `saved`, `paused`, or `other` on the way between them."""
    busy: str | None
    """What is done with it, such as `merging disks`; None when idle."""
    version: str
    """Of its configuration, such as `10.0`."""
    generation: int | None
    checkpoint_type: str | None
    """What a user's checkpoint of it is: `production`, `production only`, `standard` or `off`."""
    replication: str
    """`none`, `primary`, `replica`, `test replica`, `extended replica` or `unknown`."""
    settings_id: str
    """The `InstanceID` of its settings."""
    configuration: Configuration | None

    @property
    def reference(self) -> Reference:
        """Which instance it is."""
        return system_reference(self.id)


def list_vms(session: Session) -> tuple[VirtualMachine, ...]:
    """Return all machines, sorted by name: two enumerations, however many there are."""
    settings = _by_owner(session.query(SETTINGS, where={"VirtualSystemType": REALIZED}))
    found = []
    for system in session.enumerate(COMPUTER_SYSTEM):
        vm_id = guid(text(system, "Name"))
        if vm_id is None:  # the host
            continue
        known = settings.get(vm_id) or _settings_of(session, vm_id)
        if known is not None:  # else it was deleted while we looked
            found.append(_machine(system, known))
    return tuple(sorted(found, key=lambda vm: (vm.name.lower(), vm.id)))


def find_vm(session: Session, name_or_id: str) -> VirtualMachine:
    """Return one machine by its name or GUID: two requests or three, however many others there are.

    Raises:
        VmNotFoundError: There is none; as `AmbiguousVmError`, several have this name.
    """
    system = _system(session, name_or_id)
    settings = _settings_of(session, required_guid(system, "Name"))
    if settings is None:
        raise VmNotFoundError(
            f"{session.host} has a machine {name_or_id!r} without settings: it is being made or deleted"
        )
    return _machine(system, settings)


def merging_is_suspended(session: Session, id: str) -> bool:
    """Tell whether somebody switched merging off for a machine: checkpoints that go leave their files then.

    An export without its disks does that (hyperv-rct 1.9). Of a host that does not show it, nothing is known.
    """
    key = rf"Microsoft:{id.upper()}\DeviceSpecificData"
    try:
        found = session.get(Reference(MERGE_SETTINGS, {"InstanceID": key}))
    except HostFaultError:
        return False
    return found is not None and optional_number(found, "EnabledState") == SUSPENDED


def system_reference(id: str) -> Reference:
    """Return which instance a machine is. Hosts write the GUID in upper case."""
    return Reference(
        COMPUTER_SYSTEM, {"CreationClassName": COMPUTER_SYSTEM, "Name": id.upper()}
    )


def busy_of(system: Instance) -> str | None:
    """Return what is done with a machine, or None."""
    for status in several(system.properties, "OperationalStatus")[1:]:
        if status is None or status == 0:
            continue
        if not is_number(status):
            raise HostReplyError(
                f"the host says {status!r:.80} where a machine's status is a number"
            )
        return BUSY.get(status, f"busy (status {status})")
    return None


def configuration_of(settings: Instance) -> Configuration | None:
    """Return where the configuration of these settings is, or None where they do not say."""
    root = optional_text(settings, "ConfigurationDataRoot")
    file = optional_text(settings, "ConfigurationFile")
    return Configuration(root, file) if root and file else None


def _system(session: Session, name_or_id: str) -> Instance:
    vm_id = guid(name_or_id)
    if vm_id is not None:
        system = session.get(system_reference(vm_id))
        if system is not None:
            return system
    named = [
        system
        for system in session.query(COMPUTER_SYSTEM, where={"ElementName": name_or_id})
        if guid(text(system, "Name")) is not None
    ]
    exact = [one for one in named if one.properties.get("ElementName") == name_or_id]
    found = exact or named
    if not found:
        raise VmNotFoundError(
            f"{session.host} has no virtual machine {name_or_id!r}; {WHERE_TO_LOOK}"
        )
    if len(found) > 1:
        ids = ", ".join(sorted(required_guid(one, "Name") for one in found))
        raise AmbiguousVmError(
            f"{session.host} has {len(found)} virtual machines {name_or_id!r}; say which by its id: {ids}"
        )
    return found[0]


def _settings_of(session: Session, id: str) -> Instance | None:
    found = _by_owner(
        session.query(
            SETTINGS,
            where={
                "VirtualSystemIdentifier": id.upper(),
                "VirtualSystemType": REALIZED,
            },
        )
    )
    return found.get(id)


def _by_owner(settings: Iterable[Instance]) -> dict[str, Instance]:
    return {required_guid(one, "VirtualSystemIdentifier"): one for one in settings}


def _machine(system: Instance, settings: Instance) -> VirtualMachine:
    kind = optional_text(settings, "VirtualSystemSubType") or ""
    generation = kind.rpartition(":")[2]
    checkpoint_type = optional_number(settings, "UserSnapshotType")
    replication = optional_number(system, "ReplicationMode")
    return VirtualMachine(
        id=required_guid(system, "Name"),
        name=text(system, "ElementName"),
        state=STATES.get(optional_number(system, "EnabledState") or 0, "other"),
        busy=busy_of(system),
        version=optional_text(settings, "Version") or "",
        generation=int(generation) if generation in ("1", "2") else None,
        checkpoint_type=CHECKPOINT_TYPES.get(checkpoint_type or 0),
        replication=REPLICATION.get(replication or 0, "unknown"),
        settings_id=text(settings, "InstanceID"),
        configuration=configuration_of(settings),
    )
