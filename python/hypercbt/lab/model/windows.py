"""The machine that the simulated host is: what clients ask of Windows itself."""

from collections.abc import Iterator

from hypercbt.lab.model.world import World
from hypercbt.lab.wire.provider import Cim, Thing

_MEMORY = 64 << 30


def windows(world: World, class_name: str) -> Iterator[Thing]:
    """The one instance of a class of `root/cimv2`."""
    now = world.clock.now()
    system: dict[str, dict[str, Cim]] = {
        "Win32_OperatingSystem": {
            "Caption": "Microsoft Windows Server 2022 Standard",
            "Version": "10.0.20348",
            "BuildNumber": "20348",
            "CSName": world.name,
            "Name": "Microsoft Windows Server 2022 Standard|C:\\Windows|\\Device\\Harddisk0\\Partition4",
            "OSArchitecture": "64-Bit",
            "OperatingSystemSKU": 7,
            "TotalVisibleMemorySize": _MEMORY >> 10,
            "FreePhysicalMemory": _MEMORY >> 11,
            "Locale": "0407",
            "LastBootUpTime": now,
            "LocalDateTime": now,
        },
        "Win32_ComputerSystem": {
            "Name": world.name,
            "DNSHostName": world.name.lower(),
            "Domain": "WORKGROUP",
            "PartOfDomain": False,
            "Manufacturer": "hypercbt",
            "Model": "lab",
            "TotalPhysicalMemory": _MEMORY,
            "NumberOfProcessors": 1,
            "NumberOfLogicalProcessors": 8,
            "SystemType": "x64-based PC",
            "HypervisorPresent": True,
        },
        "Win32_Processor": {
            "DeviceID": "CPU0",
            "Name": "hypercbt lab",
            "Architecture": 9,
            "AddressWidth": 64,
            "MaxClockSpeed": 2000,
            "NumberOfCores": 4,
            "NumberOfLogicalProcessors": 8,
        },
        "Win32_ComputerSystemProduct": {
            "IdentifyingNumber": "0000-0001",
            "Name": "lab",
            "UUID": "00000000-0000-4000-8000-000000000001",
            "Vendor": "hypercbt",
            "Version": "1",
        },
    }
    if (
        class_name in system
    ):  # CIM_DataFile has no instances: nobody may look around here
        yield Thing(class_name, system[class_name])
