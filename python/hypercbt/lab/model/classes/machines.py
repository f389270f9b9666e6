"""The host, virtual machines and their settings."""

from hypercbt.lab.model.classes.declare import (
    ELEMENT,
    ENABLED,
    STATUS,
    cim_class,
    method,
)
from hypercbt.lab.model.classes.disks import ALLOCATION

_SETTINGS = "CIM_SettingData CIM_ManagedElement"

_PARENTS = "CIM_ComputerSystem CIM_System CIM_EnabledLogicalElement CIM_LogicalElement CIM_ManagedSystemElement CIM_ManagedElement"

CLASSES = (
    cim_class(
        "Msvm_ComputerSystem",
        "CreationClassName Name",
        ELEMENT,
        STATUS,
        ENABLED,
        """
        string CreationClassName; string PrimaryOwnerName; string PrimaryOwnerContact; string[] Roles; string NameFormat
        string[] OtherIdentifyingInfo; string[] IdentifyingDescriptions; uint16[] Dedicated
        string[] OtherDedicatedDescriptions; uint16 ResetCapability; uint16[] PowerManagementCapabilities
        uint64 OnTimeInMilliseconds; uint32 ProcessID; datetime TimeOfLastConfigurationChange; uint16 NumberOfNumaNodes
        uint16 ReplicationState; uint16 ReplicationHealth; uint16 ReplicationMode; uint16 FailedOverReplicationType
        uint16 LastReplicationType; datetime LastApplicationConsistentReplicationTime; datetime LastReplicationTime
        datetime LastSuccessfulBackupTime; uint16 EnhancedSessionModeState; uint32 HwThreadsPerCoreRealized
        """,
        parents=_PARENTS,
        methods={
            "RequestStateChange": method(
                "uint16 RequestedState; datetime TimeoutPeriod", "ref Job"
            )
        },
    ),
    cim_class(
        "Msvm_PlannedComputerSystem",
        "CreationClassName Name",
        ELEMENT,
        STATUS,
        ENABLED,
        """
        string CreationClassName; string NameFormat; string PrimaryOwnerName; string PrimaryOwnerContact; string[] Roles
        string[] OtherIdentifyingInfo; string[] IdentifyingDescriptions; uint16[] Dedicated
        string[] OtherDedicatedDescriptions; uint16 ResetCapability; uint16[] PowerManagementCapabilities
        uint16[] AssignedNumaNodeList; uint64 OnTimeInMilliseconds; uint32 ProcessID
        datetime TimeOfLastConfigurationChange
        """,
        parents=_PARENTS,
    ),
    cim_class(
        "Msvm_VirtualSystemSettingData",
        "InstanceID",
        ELEMENT,
        """
        string VirtualSystemIdentifier; string VirtualSystemType; string[] Notes; datetime CreationTime
        string ConfigurationID; string ConfigurationDataRoot; string ConfigurationFile; string SnapshotDataRoot
        string SuspendDataRoot; string SwapFileDataRoot; string LogDataRoot; uint16 AutomaticStartupAction
        datetime AutomaticStartupActionDelay; uint16 AutomaticStartupActionSequenceNumber; uint16 AutomaticShutdownAction
        uint16 AutomaticRecoveryAction; string RecoveryFile; string BIOSGUID; string BIOSSerialNumber
        string BaseBoardSerialNumber; string ChassisSerialNumber; string ChassisAssetTag; string Architecture
        string Version; string Parent; uint16[] BootOrder; boolean BIOSNumLock; boolean IncrementalBackupEnabled
        boolean VirtualNumaEnabled; boolean TurnOffOnGuestRestart; boolean AllowFullSCSICommandSet
        boolean AllowReducedFcRedundancy; boolean GuestControlledCacheTypes; boolean IsSaved; uint64 LowMmioGapSize
        uint64 HighMmioGapSize; boolean SecureBootEnabled; string SecureBootTemplateId
        uint16 NetworkBootPreferredProtocol; uint16 ConsoleMode; boolean LockOnDisconnect; uint32 DebugChannelId
        uint32 DebugPort; uint16 DebugPortEnabled; uint16 UserSnapshotType; boolean IsAutomaticSnapshot
        boolean AutomaticSnapshotsEnabled; string GuestStateDataRoot; string GuestStateFile
        uint16 EnhancedSessionTransportType; boolean PauseAfterBootFailure; string[] BootSourceOrder
        string VirtualSystemSubType; boolean GuestStateIsolationEnabled; uint16 GuestStateIsolationType
        string AdditionalRecoveryInformation; boolean EnableHibernation
        """,
        parents=f"CIM_VirtualSystemSettingData {_SETTINGS}",
    ),
    cim_class(
        "Msvm_MemorySettingData",
        "InstanceID",
        ELEMENT,
        ALLOCATION,
        """
        boolean DynamicMemoryEnabled; uint32 TargetMemoryBuffer; boolean IsVirtualized; boolean SwapFilesInUse
        uint64 MaxMemoryBlocksPerNumaNode
        """,
        parents=f"CIM_ResourceAllocationSettingData {_SETTINGS}",
    ),
    cim_class(
        "Msvm_ProcessorSettingData",
        "InstanceID",
        ELEMENT,
        ALLOCATION,
        """
        boolean LimitCPUID; boolean LimitProcessorFeatures; uint64 MaxProcessorsPerNumaNode
        uint64 MaxNumaNodesPerSocket
        """,
        parents=f"CIM_ResourceAllocationSettingData {_SETTINGS}",
    ),
    cim_class(
        "Msvm_SummaryInformation",
        "InstanceID",
        """
        string AllocatedGPU; datetime CreationTime; string ElementName; uint16 EnabledState; string GuestOperatingSystem
        uint16 HealthState; uint16 Heartbeat; string InstanceID; sint32 MemoryAvailable; uint64 MemoryUsage; string Name
        string Notes; uint16 NumberOfProcessors; uint16[] OperationalStatus; uint16 ProcessorLoad
        string[] StatusDescriptions; uint64 UpTime; string Version; string VirtualSystemSubType; string HostComputerSystemName
        """,
        parents="",
    ),
)
