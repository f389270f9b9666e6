"""Controllers, drives and disks of virtual machines and checkpoints, as resource settings."""

from collections.abc import Iterator, Mapping

from hypercbt.lab.model.hardware import CLASSES, hardware, owners
from hypercbt.lab.model.names import (
    DRIVE,
    STORAGE,
    controller_id,
    drive_id,
    path_text,
)
from hypercbt.lab.model.state import DVD_SLOT, Checkpoint, Disk, Machine
from hypercbt.lab.model.world import World
from hypercbt.lab.wire.provider import Cim, Thing

_CONTROLLERS = {"IDE": (5, "Emulated IDE"), "SCSI": (6, "Synthetic SCSI")}
_ISO = "C:\\Windows\\system32\\vmguest.iso"


class Disks:
    """What can be seen of disks."""

    def __init__(self, world: World) -> None:
        self._world = world

    def drives(self, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        """`Msvm_ResourceAllocationSettingData`: controllers and drives."""
        for machine, checkpoint in owners(self._world, equal):
            yield from self._controllers(machine, checkpoint)
            yield from self._drives(machine, checkpoint)

    def storage(self, equal: Mapping[str, Cim]) -> Iterator[Thing]:
        """`Msvm_StorageAllocationSettingData`: what is in the drives."""
        for machine, checkpoint in owners(self._world, equal):
            yield from self._storage(machine, checkpoint)

    def components(
        self, machine: Machine, checkpoint: Checkpoint | None
    ) -> Iterator[Thing]:
        """All that belongs to these settings."""
        yield from (hardware(machine, checkpoint, name) for name in CLASSES)
        yield from self._controllers(machine, checkpoint)
        yield from self._drives(machine, checkpoint)
        yield from self._storage(machine, checkpoint)

    def _controllers(
        self, machine: Machine, checkpoint: Checkpoint | None
    ) -> Iterator[Thing]:
        guid = (checkpoint or machine).id
        for location in machine.controllers:
            kind, _, number = location.partition(" ")
            type_, name = _CONTROLLERS[kind]
            yield self._resource(
                DRIVE,
                controller_id(machine, guid, kind, int(number)),
                {
                    "ResourceType": type_,
                    "ResourceSubType": f"Microsoft:Hyper-V:{name} Controller",
                    "ElementName": f"{kind} {self._world.words['controller']} {number}",
                    "Address": number if kind == "IDE" else None,
                    "HostResource": (),
                    "VirtualSystemIdentifiers": (f"{{{machine.id.lower()}}}",),
                },
            )

    def _drives(
        self, machine: Machine, checkpoint: Checkpoint | None
    ) -> Iterator[Thing]:
        guid = (checkpoint or machine).id
        for disk, name, type_ in [
            *((disk, "", 17) for disk in _attached(machine, checkpoint)),
            (_dvd(machine), "Synthetic DVD Drive", 16),
        ]:
            physical = disk.kind == "pass-through"
            name = name or f"{'Physical' if physical else 'Synthetic'} Disk Drive"
            parent = controller_id(machine, guid, disk.controller, disk.number)
            yield self._resource(
                DRIVE,
                drive_id(machine, guid, disk, "D"),
                {
                    "ResourceType": type_,
                    "ResourceSubType": f"Microsoft:Hyper-V:{name}",
                    "ElementName": self._world.words["drive"],
                    "Parent": self._path(parent),
                    "AddressOnParent": str(disk.slot),
                    # Empty, not null: libvirt takes one that is null for a physical disk, and falls over it [I].
                    "HostResource": (disk.active,) if physical else (),
                },
            )

    def _storage(
        self, machine: Machine, checkpoint: Checkpoint | None
    ) -> Iterator[Thing]:
        guid = (checkpoint or machine).id
        frozen = {
            disk.location: disk.layer or disk.file
            for disk in (checkpoint.disks if checkpoint else ())
        }
        for disk in _attached(machine, checkpoint):
            if disk.kind != "pass-through" and disk.files:
                file = frozen.get(disk.location, disk.active)
                yield self._disc(machine, guid, disk, "Virtual Hard Disk", file)
        yield self._disc(machine, guid, _dvd(machine), "Virtual CD/DVD Disk", _ISO)

    def _disc(
        self, machine: Machine, guid: str, disk: Disk, name: str, file: str
    ) -> Thing:
        return self._resource(
            STORAGE,
            drive_id(machine, guid, disk, "L"),
            {
                "ResourceType": 31,
                "ResourceSubType": f"Microsoft:Hyper-V:{name}",
                "ElementName": self._world.words["disk"],
                "HostResource": (file,),
                "Parent": self._path(drive_id(machine, guid, disk, "D")),
                "VirtualQuantity": 1,
                "VirtualQuantityUnits": "count(disk)",
                "AllocationUnits": "count(disk)",
                "Limit": 1,
                "Access": 3,
                "CachingMode": 0,
                "IOPSLimit": 0,
                "IOPSReservation": 0,
                "IOPSAllocationUnits": "count(disk operations) per second",
                "PersistentReservationsSupported": disk.kind == "vhds",
                "SnapshotId": "00000000-0000-0000-0000-000000000000",
            },
        )

    def _resource(
        self, class_name: str, instance_id: str, values: Mapping[str, Cim]
    ) -> Thing:
        base: dict[str, Cim] = {
            "InstanceID": instance_id,
            "Caption": self._world.words["disk"],
            "Description": self._world.words["disk"],
            "AutomaticAllocation": True,
            "AutomaticDeallocation": True,
            "ConsumerVisibility": 3,
            "VirtualQuantity": 1,
            "Reservation": 0,
            "Weight": 0,
            "PoolID": "",
        }
        return Thing(class_name, base | dict(values))

    def _path(self, instance_id: str) -> str:
        if self._world.quirks.parent_case_varies:
            instance_id = instance_id.lower().replace("microsoft:", "Microsoft:")
        return path_text(self._world.name, DRIVE, instance_id)


def _attached(machine: Machine, checkpoint: Checkpoint | None) -> list[Disk]:
    if checkpoint is None:
        return machine.disks
    kept = {frozen.location for frozen in checkpoint.disks}
    return [disk for disk in machine.disks if disk.location in kept]


def _dvd(machine: Machine) -> Disk:
    kind, number, slot = DVD_SLOT[machine.generation]
    return Disk(kind, number, slot, "iso", [_ISO], "", 0)
