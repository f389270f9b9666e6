"""Drives, virtual hard disks in them, and disk files."""

from hypercbt.lab.model.classes.declare import ELEMENT, cim_class

ALLOCATION = """
    uint16 ResourceType; string OtherResourceType; string ResourceSubType; string PoolID; uint16 ConsumerVisibility
    string[] HostResource; string AllocationUnits; uint64 VirtualQuantity; uint64 Reservation; uint64 Limit
    uint32 Weight; boolean AutomaticAllocation; boolean AutomaticDeallocation; string Parent; string[] Connection
    string Address; uint16 MappingBehavior; string AddressOnParent; string VirtualQuantityUnits
"""
"""`CIM_ResourceAllocationSettingData`."""

_PARENTS = "CIM_ResourceAllocationSettingData CIM_SettingData CIM_ManagedElement"

CLASSES = (
    cim_class(
        "Msvm_ResourceAllocationSettingData",
        "InstanceID",
        ELEMENT,
        ALLOCATION,
        "string[] VirtualSystemIdentifiers",
        parents=_PARENTS,
    ),
    cim_class(
        "Msvm_StorageAllocationSettingData",
        "InstanceID",
        ELEMENT,
        ALLOCATION,
        """
        uint16 Access; string HostExtentName; uint16 HostExtentNameFormat; uint16 HostExtentNameNamespace
        uint64 HostExtentStartingAddress; uint64 HostResourceBlockSize; string OtherHostExtentNameFormat
        string OtherHostExtentNameNamespace; uint64 VirtualResourceBlockSize; boolean PersistentReservationsSupported
        uint16 CachingMode; string SnapshotId; string IOPSAllocationUnits; uint64 IOPSLimit; uint64 IOPSReservation
        string StorageQoSPolicyID; uint16 WriteHardeningMethod; boolean IgnoreFlushes
        """,
        parents=f"CIM_StorageAllocationSettingData {_PARENTS}",
    ),
    cim_class(
        "Msvm_VirtualHardDiskSettingData",
        "InstanceID",
        ELEMENT,
        """
        uint16 Type; uint16 Format; string Path; string ParentPath; string ParentIdentifier; datetime ParentTimestamp
        uint64 MaxInternalSize; uint32 BlockSize; uint32 LogicalSectorSize; uint32 PhysicalSectorSize
        string VirtualDiskId; uint64 DataAlignment; uint16 PmemAddressAbstractionType; boolean IsPmemCompatible
        """,
        parents="CIM_SettingData CIM_ManagedElement",
    ),
    cim_class(
        "Msvm_VirtualHardDiskState",
        "",
        """
        uint32 Alignment; uint64 FileSize; uint32 FragmentationPercentage; boolean InUse; uint64 MinInternalSize
        uint32 PhysicalSectorSize; datetime Timestamp
        """,
        parents="",
    ),
)
