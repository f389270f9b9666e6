"""What clients ask of Windows itself, in `root/cimv2`."""

from hypercbt.lab.model.classes.declare import cim_class
from hypercbt.lab.wire.provider import CIMV2

CLASSES = (
    cim_class(
        "Win32_OperatingSystem",
        "Name",
        """
        string Caption; string Version; string BuildNumber; string CSName; string Name; string OSArchitecture
        uint32 OperatingSystemSKU; uint64 TotalVisibleMemorySize; uint64 FreePhysicalMemory; string Locale
        datetime LastBootUpTime; datetime LocalDateTime
        """,
        parents="CIM_OperatingSystem",
        namespace=CIMV2,
    ),
    cim_class(
        "Win32_ComputerSystem",
        "Name",
        """
        string Name; string DNSHostName; string Domain; boolean PartOfDomain; string Manufacturer; string Model
        uint64 TotalPhysicalMemory; uint32 NumberOfProcessors; uint32 NumberOfLogicalProcessors; string SystemType
        boolean HypervisorPresent
        """,
        parents="CIM_UnitaryComputerSystem",
        namespace=CIMV2,
    ),
    cim_class(
        "Win32_ComputerSystemProduct",
        "IdentifyingNumber Name Version",
        """
        string Caption; string Description; string IdentifyingNumber; string Name; string SKUNumber; string UUID
        string Vendor; string Version
        """,
        parents="CIM_Product",
        namespace=CIMV2,
    ),
)
