"""Devices that a virtual machine here has not got, and clients ask for: the classes alone, as far as they declare them."""

from hypercbt.lab.model.classes.declare import (
    ELEMENT,
    ENABLED,
    STATUS,
    cim_class,
)
from hypercbt.lab.model.classes.disks import ALLOCATION

SETTING_DATA = "CIM_ResourceAllocationSettingData CIM_SettingData CIM_ManagedElement"
LOGICAL_ELEMENT = "CIM_EnabledLogicalElement CIM_LogicalElement CIM_ManagedSystemElement CIM_ManagedElement"

DEVICE = """
    string SystemCreationClassName; string SystemName; string CreationClassName; string DeviceID
    boolean PowerManagementSupported; uint16[] PowerManagementCapabilities; uint16 Availability; uint16 StatusInfo
    uint32 LastErrorCode; string ErrorDescription; boolean ErrorCleared; string[] OtherIdentifyingInfo
    uint64 PowerOnHours; uint64 TotalPowerOnHours; string[] IdentifyingDescriptions
    uint16[] AdditionalAvailability; uint64 MaxQuiesceTime
"""
"""`CIM_LogicalDevice`, in the order in which most classes have it."""

DISPLAY = """
    datetime TimeOfLastReset; uint16 ProtocolSupported
    uint32 MaxNumberControlled; string ProtocolDescription; string VideoProcessor; uint16 VideoMemoryType
    string OtherVideoMemoryType; uint32 NumberOfVideoPages; uint32 MaxMemorySupported
    uint16[] AcceleratorCapabilities; string[] CapabilityDescriptions; string OtherVideoArchitecture
    uint16 VideoArchitecture
"""
"""What both display controllers have after it."""

CLASSES = (
    cim_class(
        "Msvm_SerialPortSettingData",
        "InstanceID",
        ELEMENT,
        ALLOCATION,
        """
        string[] VirtualSystemIdentifiers; boolean DebuggerMode
        """,
        parents=SETTING_DATA,
    ),
    cim_class(
        "Msvm_SyntheticEthernetPortSettingData",
        "InstanceID",
        ELEMENT,
        ALLOCATION,
        """
        uint16 DesiredVLANEndpointMode; string OtherEndpointMode; string[] VirtualSystemIdentifiers
        boolean StaticMacAddress; boolean ClusterMonitored
        """,
        parents=SETTING_DATA,
    ),
    cim_class(
        "Msvm_EthernetPortAllocationSettingData",
        "InstanceID",
        ELEMENT,
        ALLOCATION,
        """
        uint16 DesiredVLANEndpointMode; string OtherEndpointMode; uint16 EnabledState; string[] RequiredFeatures
        string[] RequiredFeatureHints; string TestReplicaPoolID; string TestReplicaSwitchName
        """,
        parents=SETTING_DATA,
    ),
    cim_class(
        "Msvm_Keyboard",
        "DeviceID",
        ELEMENT,
        STATUS,
        ENABLED,
        DEVICE,
        """
        boolean IsLocked; string Layout
        uint16 NumberOfFunctionKeys; uint16 Password; boolean UnicodeSupported
        """,
        parents=LOGICAL_ELEMENT,
    ),
    cim_class(
        "Msvm_ShutdownComponent",
        "DeviceID",
        ELEMENT,
        STATUS,
        ENABLED,
        DEVICE,
        parents=LOGICAL_ELEMENT,
    ),
    cim_class(
        "Msvm_DiskDrive",
        "DeviceID",
        ELEMENT,
        STATUS,
        ENABLED,
        DEVICE,
        """
        uint16[] Capabilities; string[] CapabilityDescriptions
        string ErrorMethodology; string CompressionMethod; uint32 NumberOfMediaSupported; uint64 MaxMediaSize
        uint64 DefaultBlockSize; uint64 MaxBlockSize; uint64 MinBlockSize; boolean NeedsCleaning
        boolean MediaIsLocked; uint16 Security; datetime LastCleaned; uint64 MaxAccessTime
        uint32 UncompressedDataRate; uint64 LoadTime; uint64 UnloadTime; uint64 MountCount; datetime TimeOfLastMount
        uint64 TotalMountTime; string UnitsDescription; uint64 MaxUnitsBeforeCleaning; uint64 UnitsUsed
        uint32 DriveNumber
        """,
        parents=LOGICAL_ELEMENT,
    ),
    cim_class(
        "Msvm_VirtualEthernetSwitch",
        "Name",
        ELEMENT,
        STATUS,
        ENABLED,
        """
        string CreationClassName; string PrimaryOwnerName; string PrimaryOwnerContact; string[] Roles
        string NameFormat; string[] OtherIdentifyingInfo; string[] IdentifyingDescriptions; uint16[] Dedicated
        string[] OtherDedicatedDescriptions; uint16 ResetCapability; uint16[] PowerManagementCapabilities
        uint32 MaxVMQOffloads; uint32 MaxIOVOffloads
        """,
        parents=LOGICAL_ELEMENT,
    ),
    cim_class(
        "Msvm_VirtualEthernetSwitchManagementService",
        "Name",
        ELEMENT,
        STATUS,
        ENABLED,
        """
        string SystemCreationClassName; string SystemName; string CreationClassName; string PrimaryOwnerName
        string PrimaryOwnerContact; string StartMode; boolean Started
        """,
        parents=LOGICAL_ELEMENT,
    ),
    cim_class(
        "Msvm_SyntheticDisplayController",
        "DeviceID",
        ELEMENT,
        STATUS,
        ENABLED,
        """
        string SystemCreationClassName; string SystemName; string CreationClassName; string DeviceID
        boolean PowerManagementSupported; uint16[] PowerManagementCapabilities; uint16 Availability; uint16 StatusInfo
        uint32 LastErrorCode; string ErrorDescription; boolean ErrorCleared; uint64 PowerOnHours
        uint64 TotalPowerOnHours; string[] OtherIdentifyingInfo; string[] IdentifyingDescriptions
        uint16[] AdditionalAvailability; uint64 MaxQuiesceTime
        """,
        DISPLAY,
        parents=LOGICAL_ELEMENT,
    ),
    cim_class(
        "Msvm_S3DisplayController",
        "DeviceID",
        ELEMENT,
        STATUS,
        ENABLED,
        DEVICE,
        DISPLAY,
        parents=LOGICAL_ELEMENT,
    ),
    cim_class(
        "Msvm_VideoHead",
        "DeviceID",
        ELEMENT,
        STATUS,
        ENABLED,
        DEVICE,
        """
        uint32 CurrentBitsPerPixel
        uint32 CurrentHorizontalResolution; uint32 CurrentVerticalResolution; uint32 MaxRefreshRate
        uint32 MinRefreshRate; uint32 CurrentRefreshRate; uint16 CurrentScanMode; string OtherCurrentScanMode
        uint32 CurrentNumberOfRows; uint32 CurrentNumberOfColumns; uint64 CurrentNumberOfColors
        """,
        parents=LOGICAL_ELEMENT,
    ),
)
