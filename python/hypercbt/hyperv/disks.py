r"""The disks of a machine or of a checkpoint, in the order in which its guest has them.

A disk file hangs on a drive, and the drive on a controller: each names the one above by a WMI path, within which the
backslashes of an `InstanceID` are doubled (hyperv-rct 1.4). Who is where is asked once for each class by the prefix
`Microsoft:GUID`, so it costs two requests whatever else the host has.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PureWindowsPath

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import jobs
from hypercbt.hyperv.clock import SYSTEM_CLOCK, Clock
from hypercbt.hyperv.reading import (
    device_of,
    guid,
    number,
    optional_number,
    optional_text,
    same,
    text,
    texts,
)
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.values import Instance, Reference

STORAGE = "Msvm_StorageAllocationSettingData"
RESOURCE = "Msvm_ResourceAllocationSettingData"
VIRTUAL_DISK = "Microsoft:Hyper-V:Virtual Hard Disk"
PASS_THROUGH = "Microsoft:Hyper-V:Physical Disk Drive"
CONTROLLERS = {
    "microsoft:hyper-v:emulated ide controller": "IDE",
    "microsoft:hyper-v:synthetic scsi controller": "SCSI",
}
IMAGE_SERVICE = Reference(
    "Msvm_ImageManagementService", {"CreationClassName": "Msvm_ImageManagementService"}
)

KINDS = ("vhdx", "avhdx", "vhd", "avhd", "vhds")
DIFFERENCING = 4
"""`Msvm_VirtualHardDiskSettingData.Type`."""
CHAIN_FILES = 128
"""Hyper-V allows 50 checkpoints; a longer chain is a mistake, or leads in a circle."""
DISK_BYTES = 64 << 40
"""The most that a VHDX holds (MS-VHDX 1.1)."""

SLOT = re.compile("[0-9]{1,4}")
PARENT = re.compile(r'\.InstanceID="((?:[^"\\]|\\.)*)"\s*$', re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class VmDisk:
    """A disk of a machine, or of one of its checkpoints."""

    instance_id: str
    """The `InstanceID` of its settings: another one in each checkpoint. See `device`."""
    path: str
    """The host path of its file; of a pass-through disk, what the host calls it."""
    kind: str
    """`vhdx`, `avhdx`, `vhd`, `avhd`, `vhds`, `pass-through`, or `other` for a file of another name."""
    location: str
    """Controller and slot: `SCSI 0:1`."""
    disk_id: str | None = None
    """The identity that the file gives its disk: a GUID in lower case. None where it has none or was not asked."""
    size: int | None = None
    """The bytes that the guest sees; None where nobody asked, or there is no file."""
    parents: tuple[str, ...] = ()
    """The host paths of the files below, nearest first."""

    @property
    def device(self) -> str:
        """What this disk is in every checkpoint of the machine."""
        return device_of(self.instance_id)


def vm_disks(
    session: Session, settings_id: str, *, clock: Clock = SYSTEM_CLOCK
) -> tuple[VmDisk, ...]:
    """Return the disks of a machine's or a checkpoint's settings, by location, with all that the host says of them.

    Raises:
        HostJobError: The host cannot read a file.
        HostReplyError: What it says makes no sense.
    """
    return tuple(
        describe(session, disk, clock=clock)
        for disk in attached_disks(session, settings_id)
    )


def attached_disks(session: Session, settings_id: str) -> tuple[VmDisk, ...]:
    """Return the disks by location, without asking what is in their files: two requests."""
    prefix = {"InstanceID": settings_id.partition("\\")[0]}
    resources = {
        text(one, "InstanceID").lower(): one
        for one in session.query(RESOURCE, prefix=prefix)
    }
    controllers = _numbered(resources.values())
    found: list[tuple[tuple[str, int, int], VmDisk]] = []
    for one in session.query(STORAGE, prefix=prefix):
        if same(optional_text(one, "ResourceSubType") or "", VIRTUAL_DISK):
            path = next(iter(texts(one, "HostResource")), None)
            drive = resources.get(parent_id(one) or "")
            if path is None or drive is None:
                raise HostReplyError(
                    f"the host does not say what the disk {text(one, 'InstanceID')} is, or where it hangs"
                )
            found.append(_placed(one, path, kind_of(path), drive, controllers))
    for one in resources.values():
        if same(optional_text(one, "ResourceSubType") or "", PASS_THROUGH):
            path = next(iter(texts(one, "HostResource")), None) or ""
            found.append(_placed(one, path, "pass-through", one, controllers))
    found.sort(key=lambda entry: (entry[0], entry[1].instance_id))
    return tuple(disk for _, disk in found)


def describe(session: Session, disk: VmDisk, *, clock: Clock = SYSTEM_CLOCK) -> VmDisk:
    """Return the disk with its identity, its size and its parents: one request for each file.

    A pass-through disk and a `.vhds` file, which only points to others, stay as they are.
    """
    if disk.kind in ("pass-through", "vhds"):
        return disk
    leaf = file_settings(session, disk.path, clock=clock)
    size = number(leaf, "MaxInternalSize")
    if not 0 < size <= DISK_BYTES:
        raise HostReplyError(f"the host says that {disk.path} has {size} bytes")
    seen = [disk.path]
    parent = _parent_path(leaf)
    while parent is not None:
        if any(same(parent, path) for path in seen) or len(seen) >= CHAIN_FILES:
            raise HostReplyError(
                f"the host says that {disk.path} has a chain of parents without an end"
            )
        seen.append(parent)
        parent = _parent_path(file_settings(session, parent, clock=clock))
    spelled = optional_text(leaf, "VirtualDiskId")
    return replace(
        disk,
        disk_id=None if spelled is None else guid(spelled),
        size=size,
        parents=tuple(seen[1:]),
    )


def file_settings(
    session: Session, path: str, *, clock: Clock = SYSTEM_CLOCK
) -> Instance:
    """Return what the host says of one disk file."""
    job = jobs.run(
        session,
        IMAGE_SERVICE,
        "GetVirtualHardDiskSettingData",
        {"Path": path},
        what=f"say what {path} is",
        repeatable=True,
        clock=clock,
    )
    settings = job.out.get("SettingData")
    if not isinstance(settings, Instance):
        raise HostReplyError(f"the host does not say what {path} is")
    return settings


def kind_of(path: str) -> str:
    """Return what a file is by its suffix, as a host sees it."""
    suffix = PureWindowsPath(path).suffix.lower().removeprefix(".")
    return suffix if suffix in KINDS else "other"


def parent_id(settings: Instance) -> str | None:
    """Return, in lower case, the `InstanceID` of what something hangs on, or None."""
    path = optional_text(settings, "Parent")
    if path is None:
        return None
    quoted = PARENT.search(path)
    plain = re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL) if quoted else path
    return plain.lower()


def _numbered(resources: Iterable[Instance]) -> dict[str, tuple[str, int]]:
    """Return kind and number of each controller, by its id.

    Hosts list in no order, and only IDE controllers have an address. The order of their device ids is that of nothing
    in particular, but it is the same in every checkpoint and every listing.
    """
    everything = list(resources)
    holders = {parent_id(one) for one in everything}
    kinds: dict[str, list[str]] = {}
    for one in everything:
        spelled = optional_text(one, "ResourceSubType") or ""
        kind = CONTROLLERS.get(spelled.lower())
        controller = text(one, "InstanceID").lower()
        if kind is None and controller in holders:
            kind = spelled.rpartition(":")[2]
        if kind is not None:
            kinds.setdefault(kind, []).append(controller)
    return {
        controller: (kind, place)
        for kind, controllers in kinds.items()
        for place, controller in enumerate(sorted(controllers, key=device_of))
    }


def _placed(
    settings: Instance,
    path: str,
    kind: str,
    drive: Instance,
    controllers: Mapping[str, tuple[str, int]],
) -> tuple[tuple[str, int, int], VmDisk]:
    """Return a disk and what it is sorted by."""
    instance_id = text(settings, "InstanceID")
    controller = controllers.get(parent_id(drive) or "")
    address = optional_text(drive, "AddressOnParent") or ""
    if controller is None or not SLOT.fullmatch(address):
        raise HostReplyError(
            f"the host does not say where the disk {instance_id} hangs"
        )
    place = (*controller, int(address))
    location = f"{place[0]} {place[1]}:{place[2]}"
    return place, VmDisk(instance_id, path, kind, location)


def _parent_path(settings: Instance) -> str | None:
    parent = optional_text(settings, "ParentPath")
    if parent is None and optional_number(settings, "Type") == DIFFERENCING:
        raise HostReplyError(
            f"the host does not say on which file {optional_text(settings, 'Path')} builds"
        )
    return parent
