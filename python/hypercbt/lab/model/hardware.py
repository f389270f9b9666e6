"""Memory and processors of a virtual machine: the same for all, for clients that show them."""

from collections.abc import Iterator, Mapping

from hypercbt.lab.model.names import place
from hypercbt.lab.model.state import Checkpoint, Machine
from hypercbt.lab.model.world import World
from hypercbt.lab.wire.provider import Cim, Thing

MEMORY = "Msvm_MemorySettingData"
PROCESSOR = "Msvm_ProcessorSettingData"

_DEVICE = {
    MEMORY: "4764334D-E001-4176-82EE-5594EC9B530E",
    PROCESSOR: "B637F346-6A0E-4DEC-AF52-BD70CB80A21D",
}
_VALUES: Mapping[str, Mapping[str, Cim]] = {
    MEMORY: {
        "ResourceType": 4,
        "ResourceSubType": "Microsoft:Hyper-V:Memory",
        "AllocationUnits": "byte * 2^20",
        "VirtualQuantityUnits": "byte * 2^20",
        "VirtualQuantity": 2048,
        "Reservation": 2048,
        "Limit": 2048,
        "DynamicMemoryEnabled": False,
        "TargetMemoryBuffer": 20,
    },
    PROCESSOR: {
        "ResourceType": 3,
        "ResourceSubType": "Microsoft:Hyper-V:Processor",
        "AllocationUnits": "percent / 1000",
        "VirtualQuantityUnits": "count",
        "VirtualQuantity": 2,
        "Reservation": 0,
        "Limit": 100_000,
        "LimitCPUID": False,
        "LimitProcessorFeatures": False,
    },
}
CLASSES = tuple(_VALUES)
"""Which there are."""


def owners(
    world: World, equal: Mapping[str, Cim]
) -> Iterator[tuple[Machine, Checkpoint | None]]:
    """The virtual machines and checkpoints that an instance id leaves possible."""
    own = place(equal.get("InstanceID"))
    if own is None:
        for each in world.machines():
            yield each, None
            yield from ((each, kept) for kept in each.checkpoints)
        return
    for machine in world.machines_of(own.guid):
        yield machine, None
    found = world.store.checkpoint(own.guid)
    if found is not None:
        yield found


def hardware(machine: Machine, checkpoint: Checkpoint | None, class_name: str) -> Thing:
    """The memory or the processors of these settings."""
    guid = (checkpoint or machine).id
    values: dict[str, Cim] = {
        "InstanceID": f"Microsoft:{guid}\\{_DEVICE[class_name]}\\0",
        "ElementName": class_name.removeprefix("Msvm_").removesuffix("SettingData"),
        "Caption": "",
        "Description": "",
        "Weight": 5000,
        "ConsumerVisibility": 3,
        "AutomaticAllocation": True,
        "AutomaticDeallocation": True,
    }
    return Thing(class_name, values | dict(_VALUES[class_name]))
