"""How the simulated host names its objects: instance ids, references, and paths as text."""

import re
from dataclasses import dataclass

from hypercbt.lab.model.state import Checkpoint, Disk, Machine, ReferencePoint
from hypercbt.lab.wire.provider import VIRTUALIZATION, Ref

COMPUTER = "Msvm_ComputerSystem"
PLANNED = "Msvm_PlannedComputerSystem"
SETTINGS = "Msvm_VirtualSystemSettingData"
DRIVE = "Msvm_ResourceAllocationSettingData"
STORAGE = "Msvm_StorageAllocationSettingData"
POINT = "Msvm_VirtualSystemReferencePoint"

_GUID = re.compile(
    r"(?:Microsoft:)?([0-9A-F]{8}-(?:[0-9A-F]{4}-){3}[0-9A-F]{12})(.*)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Place:
    """What an instance id says: whose settings, and what of them."""

    guid: str
    rest: str


def place(instance_id: object) -> Place | None:
    r"""Take an instance id apart: `Microsoft:<GUID>\<rest>`, in any case."""
    found = _GUID.fullmatch(instance_id) if isinstance(instance_id, str) else None
    return found and Place(found[1].upper(), found[2].lstrip("\\").casefold())


def meant(ref: object, class_name: str, key: str) -> str | None:
    """The key of an instance that a reference names; None where it is none, or one to another class.

    Of an instance id it is the GUID, and nothing may follow it: else it is the id of a part.
    """
    if not isinstance(ref, Ref) or ref.class_name.casefold() != class_name.casefold():
        return None
    keys = {name.casefold(): value for name, value in ref.keys.items()}
    value = keys.get(key.casefold())
    if key != "InstanceID":
        return value
    own = place(value)
    return own.guid if own and not own.rest else None


def machine_ref(machine: Machine) -> Ref:
    """The virtual machine, planned or standing."""
    class_name = PLANNED if machine.planned else COMPUTER
    return Ref(class_name, {"CreationClassName": class_name, "Name": machine.id})


def settings_ref(owner: Machine | Checkpoint) -> Ref:
    """The settings of a virtual machine or a checkpoint."""
    return Ref(SETTINGS, {"InstanceID": settings_id(owner)})


def settings_id(owner: Machine | Checkpoint) -> str:
    """The instance id of these settings."""
    return f"Microsoft:{owner.id}"


def point_ref(machine: Machine, point: ReferencePoint) -> Ref:
    """The reference point."""
    keys = {
        "InstanceID": f"Microsoft:{point.id}",
        "VirtualSystemIdentifier": machine.id,
    }
    return Ref(POINT, keys)


def controller_id(machine: Machine, guid: str, kind: str, number: int) -> str:
    """The instance id of a controller. IDE ones share a GUID, each SCSI one has its own."""
    end = number if kind == "IDE" else 0
    return f"Microsoft:{guid}\\{machine.controllers[f'{kind} {number}']}\\{end}"


def drive_id(machine: Machine, guid: str, disk: Disk, end: str) -> str:
    """The instance id of a drive (`D`) or of what is in it (`L`)."""
    controller = controller_id(machine, guid, disk.controller, disk.number)
    return f"{controller}\\{disk.slot}\\{end}"


_PATH = re.compile(r'[^"]*:(\w+)\.InstanceID="([^"]*)"', re.ASCII)


def meant_by_path(text: object, class_name: str) -> str | None:
    """The instance id in a path as text, as `Parent` holds it; None where it is none, or one to another class."""
    found = _PATH.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[1].casefold() != class_name.casefold():
        return None
    return found[2].replace("\\\\", "\\")


def path_text(host: str, class_name: str, instance_id: str) -> str:
    """A path as text: backslashes are doubled inside the quotes (quirk Q14, [V*])."""
    doubled = instance_id.replace("\\", "\\\\")
    namespace = VIRTUALIZATION.replace("/", "\\")
    return f'\\\\{host}\\{namespace}:{class_name}.InstanceID="{doubled}"'
