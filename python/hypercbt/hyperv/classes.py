"""The classes of a host: which properties and parameters there are, and of what type.

A value on the wire does not say what it is: an array of one looks like a scalar, and a number like a text. So every
property that is read here and every parameter that is sent stands below, after the reference of the Hyper-V WMI
provider (V2), in a shorthand of MOF: `[]` an array, `string<C>` a string that holds an instance of class C as CIM-XML
text, `->` what a method gives back beside its `ReturnValue`. What is not declared is not read.

`tests/unit/hyperv/test_classes.py` has what each line means.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from hypercbt.hyperv.values import VIRTUALIZATION

CIMV2 = "root/cimv2"
"""The namespace of the host's own operating system."""


class Type(Enum):
    """The types of CIM, as a MOF file writes them."""

    BOOLEAN = "boolean"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    SINT8 = "sint8"
    SINT16 = "sint16"
    SINT32 = "sint32"
    SINT64 = "sint64"
    STRING = "string"
    DATETIME = "datetime"
    """A moment or an interval: the value says which."""
    REFERENCE = "ref"
    OBJECT = "object"
    """An instance that is declared as such, and comes as an element tree."""

    @property
    def range(self) -> range | None:
        """The integers of this type, or None if it is none of integers."""
        return _RANGES.get(self)


_RANGES = {
    kind: range(-(1 << bits - 1), 1 << bits - 1)
    if kind.value.startswith("s")
    else range(1 << bits)
    for kind in Type
    for bits in [int(re.sub(r"\D", "", kind.value) or 0)]
    if bits
}


@dataclass(frozen=True, slots=True)
class Declared:
    """The type of a property or a parameter."""

    type: Type
    array: bool = False
    embedded: str | None = None
    """The class of the instance that the string holds as CIM-XML text."""


@dataclass(frozen=True, slots=True)
class Method:
    """What a method takes and gives, beside its `ReturnValue`."""

    inputs: Mapping[str, Declared]
    outputs: Mapping[str, Declared]


@dataclass(frozen=True, slots=True)
class CimClass:
    """A class, as far as it is read and sent here."""

    name: str
    namespace: str
    keys: tuple[str, ...]
    properties: Mapping[str, Declared] = field(default_factory=dict)
    methods: Mapping[str, Method] = field(default_factory=dict)


_VIRTUALIZATION_CLASSES = """
class Msvm_ComputerSystem key CreationClassName Name
    string InstanceID, Caption, Description, ElementName, Status, OtherEnabledState, CreationClassName, Name
    string StatusDescriptions[]
    uint16 OperationalStatus[], AvailableRequestedStates[]
    uint16 HealthState, EnabledState, RequestedState, EnabledDefault, NumberOfNumaNodes
    uint16 ReplicationState, ReplicationHealth, ReplicationMode, FailedOverReplicationType, LastReplicationType
    uint16 EnhancedSessionModeState
    uint32 ProcessID
    uint64 OnTimeInMilliseconds
    datetime InstallDate, TimeOfLastStateChange, TimeOfLastConfigurationChange, LastSuccessfulBackupTime

class Msvm_VirtualSystemSettingData key InstanceID
    string InstanceID, Caption, Description, ElementName, VirtualSystemIdentifier, VirtualSystemType, ConfigurationID
    string ConfigurationDataRoot, ConfigurationFile, SnapshotDataRoot, SuspendDataRoot, SwapFileDataRoot, LogDataRoot
    string RecoveryFile, GuestStateFile, GuestStateDataRoot, Parent, Version, VirtualSystemSubType, Architecture
    string BIOSGUID, BIOSSerialNumber
    string Notes[], BootSourceOrder[]
    datetime CreationTime
    uint16 UserSnapshotType, AutomaticStartupAction, AutomaticShutdownAction, AutomaticRecoveryAction
    boolean IsSaved, IncrementalBackupEnabled, IsAutomaticSnapshot, AutomaticSnapshotsEnabled, VirtualNumaEnabled
    boolean SecureBootEnabled

class Msvm_StorageAllocationSettingData key InstanceID
    string InstanceID, Caption, Description, ElementName, OtherResourceType, ResourceSubType, PoolID, Parent
    string Address, AddressOnParent, AllocationUnits, VirtualQuantityUnits, HostExtentName, SnapshotId
    string HostResource[], Connection[]
    uint16 ResourceType, ConsumerVisibility, Access, CachingMode, WriteHardeningMethod
    uint64 VirtualQuantity, Limit, Reservation, VirtualResourceBlockSize, HostResourceBlockSize, IOPSLimit
    boolean AutomaticAllocation, AutomaticDeallocation, PersistentReservationsSupported, IgnoreFlushes

class Msvm_ResourceAllocationSettingData key InstanceID
    string InstanceID, Caption, Description, ElementName, OtherResourceType, ResourceSubType, PoolID, Parent
    string Address, AddressOnParent, AllocationUnits, VirtualQuantityUnits
    string HostResource[], Connection[], VirtualSystemIdentifiers[]
    uint16 ResourceType, ConsumerVisibility
    uint64 VirtualQuantity, Limit, Reservation
    boolean AutomaticAllocation, AutomaticDeallocation

class Msvm_VirtualHardDiskSettingData key InstanceID
    string InstanceID, Caption, Description, ElementName, Path, ParentPath, ParentIdentifier, VirtualDiskId
    uint16 Type, Format, PmemAddressAbstractionType
    uint32 BlockSize, LogicalSectorSize, PhysicalSectorSize
    uint64 MaxInternalSize, DataAlignment
    datetime ParentTimestamp
    boolean IsPmemCompatible

class Msvm_VirtualHardDiskState key InstanceID
    string InstanceID, Caption, Description, ElementName
    uint64 FileSize, MinInternalSize
    uint32 PhysicalSectorSize, Alignment, FragmentationPercentage
    boolean InUse
    datetime Timestamp

class Msvm_ConcreteJob key InstanceID
    string InstanceID, Caption, Description, ElementName, Name, Status, JobStatus, Owner
    string ErrorDescription, ErrorSummaryDescription
    string StatusDescriptions[]
    uint16 OperationalStatus[]
    uint16 HealthState, PercentComplete, ErrorCode, JobState, JobType, RecoveryAction
    datetime InstallDate, TimeSubmitted, ScheduledStartTime, StartTime, ElapsedTime, TimeOfLastStateChange
    datetime TimeBeforeRemoval
    boolean Cancellable, DeleteOnCompletion
    method GetErrorEx() -> string<Msvm_Error> Errors[]
    method RequestStateChange(uint16 RequestedState, datetime TimeoutPeriod)

class Msvm_StorageJob key InstanceID
    string InstanceID, Caption, Description, ElementName, Name, Status, JobStatus, Owner
    string ErrorDescription, ErrorSummaryDescription, Child, Parent
    string StatusDescriptions[]
    uint16 OperationalStatus[]
    uint16 HealthState, PercentComplete, ErrorCode, JobState, JobType, RecoveryAction
    uint32 JobCompletionStatusCode
    datetime InstallDate, TimeSubmitted, ScheduledStartTime, StartTime, ElapsedTime, TimeOfLastStateChange
    datetime TimeBeforeRemoval
    boolean Cancellable, DeleteOnCompletion
    method GetErrorEx() -> string<Msvm_Error> Errors[]
    method RequestStateChange(uint16 RequestedState, datetime TimeoutPeriod)

class Msvm_Error
    string OtherErrorType, OwningEntity, MessageID, Message, ProbableCauseDescription, ErrorSource
    string OtherErrorSourceFormat, CIMStatusCodeDescription
    string MessageArguments[], RecommendedActions[]
    uint16 ErrorType, PerceivedSeverity, ProbableCause, ErrorSourceFormat
    uint32 CIMStatusCode

class Msvm_AffectedJobElement key AffectedElement AffectingElement
    ref AffectedElement, AffectingElement
    uint16 ElementEffects[]
    string OtherElementEffectsDescriptions[]

class Msvm_VirtualSystemReferencePoint key InstanceID VirtualSystemIdentifier
    string InstanceID, VirtualSystemIdentifier
    string VirtualDiskIdentifiers[], ResilientChangeTrackingIdentifiers[]
    uint16 ReferencePointType, ConsistencyLevel
    boolean HasAssociatedData

class Msvm_VirtualSystemSnapshotSettingData
    uint8 ConsistencyLevel, GuestBackupType
    boolean IgnoreNonSnapshottableDisks

class Msvm_VirtualSystemReferencePointSettingData
    uint8 ConsistencyLevel

class Msvm_DiskMergeSettingData key InstanceID
    string InstanceID, Caption, Description, ElementName
    uint32 EnabledState

class Msvm_VirtualSystemManagementService key CreationClassName Name SystemCreationClassName SystemName
    string CreationClassName, Name, SystemCreationClassName, SystemName, ElementName
    method ModifySystemSettings(string<Msvm_VirtualSystemSettingData> SystemSettings) -> ref Job
    method ModifyDiskMergeSettings(string<Msvm_DiskMergeSettingData> SettingData) -> ref Job

class Msvm_VirtualSystemSnapshotService key CreationClassName Name SystemCreationClassName SystemName
    string CreationClassName, Name, SystemCreationClassName, SystemName, ElementName
    method CreateSnapshot(ref AffectedSystem, string<Msvm_VirtualSystemSnapshotSettingData> SnapshotSettings, uint16 SnapshotType, ref ResultingSnapshot) -> ref ResultingSnapshot, ref Job
    method DestroySnapshot(ref AffectedSnapshot) -> ref Job
    method ConvertToReferencePoint(ref AffectedSnapshot, string<Msvm_VirtualSystemReferencePointSettingData> ReferencePointSettings, ref ResultingReferencePoint) -> ref ResultingReferencePoint, ref Job

class Msvm_VirtualSystemReferencePointService key CreationClassName Name SystemCreationClassName SystemName
    string CreationClassName, Name, SystemCreationClassName, SystemName, ElementName
    method DestroyReferencePoint(ref AffectedReferencePoint) -> ref Job

class Msvm_ImageManagementService key CreationClassName Name SystemCreationClassName SystemName
    string CreationClassName, Name, SystemCreationClassName, SystemName, ElementName
    method GetVirtualDiskChanges(string Path, string LimitId, string TargetSnapshotId, uint64 ByteOffset, uint64 ByteLength) -> uint64 ProcessedByteLength, uint64 ChangedByteOffsets[], uint64 ChangedByteLengths[], ref Job
    method GetVirtualHardDiskSettingData(string Path) -> string<Msvm_VirtualHardDiskSettingData> SettingData, ref Job
    method GetVirtualHardDiskState(string Path) -> string<Msvm_VirtualHardDiskState> State, ref Job
"""

_CIMV2_CLASSES = """
class Win32_OperatingSystem key Name
    string Name, Caption, Version, BuildNumber, CSName, OSArchitecture
    uint32 OperatingSystemSKU, ProductType, OSLanguage
    datetime LastBootUpTime, LocalDateTime

class Win32_ComputerSystem key Name
    string Name, DNSHostName, Domain
    boolean PartOfDomain

class Win32_Volume key DeviceID
    string DeviceID, Name, DriveLetter, FileSystem, Label
    uint64 Capacity, FreeSpace, BlockSize
    uint32 DriveType
"""

_TYPE = re.compile(r"([a-z0-9]+)(?:<(\w+)>)?")
_METHOD = re.compile(r"method (\w+)\(([^)]*)\)(?: -> (.+))?")


def _read(text: str, namespace: str) -> dict[str, CimClass]:
    classes: dict[str, CimClass] = {}
    for block in text.strip().split("\n\n"):
        title, *lines = block.splitlines()
        name, _, keys = title.removeprefix("class ").partition(" key ")
        properties: dict[str, Declared] = {}
        methods: dict[str, Method] = {}
        for line in lines:
            found = _METHOD.fullmatch(line.strip())
            if found:
                methods[found[1]] = Method(_several(found[2]), _several(found[3]))
            else:
                properties |= _several(line.strip())
        classes[name] = CimClass(
            name, namespace, tuple(keys.split()), properties, methods
        )
    return classes


def _several(text: str | None) -> dict[str, Declared]:
    """Read `type name, name[], type name`: a type holds for the names that follow it."""
    declared: dict[str, Declared] = {}
    kind, embedded = Type.STRING, None
    for part in filter(None, (text or "").split(", ")):
        spelled, _, name = part.rpartition(" ")
        if spelled:
            found = _TYPE.fullmatch(spelled)
            assert found is not None, part
            kind, embedded = Type(found[1]), found[2]
        declared[name.removesuffix("[]")] = Declared(
            kind, name.endswith("[]"), embedded
        )
    return declared


CLASSES: Mapping[str, CimClass] = {
    **_read(_VIRTUALIZATION_CLASSES, VIRTUALIZATION),
    **_read(_CIMV2_CLASSES, CIMV2),
}
"""Every class that is spoken of with a host, by name."""


def declared(class_name: str) -> CimClass:
    """Return a class.

    Raises:
        ValueError: It is none of those that are spoken of with a host.
    """
    try:
        return CLASSES[class_name]
    except KeyError:
        message = f"{class_name} is none of the declared classes"
        raise ValueError(message) from None
