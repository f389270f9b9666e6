"""Settings of checkpoints, reference points, exports and merges."""

from hypercbt.lab.model.classes.declare import ELEMENT, cim_class

_SETTING = "CIM_SettingData CIM_ManagedElement"

CLASSES = (
    cim_class(
        "Msvm_VirtualSystemSnapshotSettingData",
        "InstanceID",
        ELEMENT,
        "uint8 ConsistencyLevel; boolean IgnoreNonSnapshottableDisks; uint8 GuestBackupType",
        parents=_SETTING,
    ),
    cim_class(
        "Msvm_VirtualSystemReferencePointSettingData",
        "InstanceID",
        ELEMENT,
        "uint8 ConsistencyLevel; uint8 GuestBackupType",
        parents=_SETTING,
    ),
    cim_class(
        "Msvm_VirtualSystemReferencePoint",
        "InstanceID VirtualSystemIdentifier",
        ELEMENT,
        """
        string VirtualSystemIdentifier; datetime CreationTime; uint16 ConsistencyLevel; uint16 ReferencePointType
        boolean HasAssociatedData; string[] VirtualDiskIdentifiers; string[] ResilientChangeTrackingIdentifiers
        string[] LogIdentifiers
        """,
        parents="CIM_ManagedElement",
    ),
    cim_class(
        "Msvm_VirtualSystemExportSettingData",
        "InstanceID",
        ELEMENT,
        """
        uint8 CopySnapshotConfiguration; string SnapshotVirtualSystem; string DifferentialBackupBase; uint8 BackupIntent
        uint8 CaptureLiveState; boolean CopyVmStorage; boolean CopyVmRuntimeInformation
        boolean CreateVmExportSubdirectory; boolean DisableDifferentialOfIgnoredStorage; string[] ExcludedVirtualHardDisks
        boolean ExportForLiveMigration
        """,
        parents=_SETTING,
    ),
    cim_class(
        "Msvm_DiskMergeSettingData",
        "InstanceID",
        ELEMENT,
        "uint32 EnabledState",
        parents=_SETTING,
    ),
)
