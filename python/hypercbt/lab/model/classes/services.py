"""The services that are asked to do something."""

from collections.abc import Mapping

from hypercbt.lab.model.classes.declare import (
    ELEMENT,
    ENABLED,
    STATUS,
    cim_class,
    method,
)
from hypercbt.lab.wire.provider import CimClass, Method

_SERVICE = """
    string SystemCreationClassName; string SystemName; string CreationClassName; string PrimaryOwnerName
    string PrimaryOwnerContact; string StartMode; boolean Started
"""


def _service(name: str, methods: Mapping[str, Method]) -> CimClass:
    return cim_class(
        name,
        "CreationClassName Name SystemCreationClassName SystemName",
        ELEMENT,
        STATUS,
        ENABLED,
        _SERVICE,
        parents="CIM_Service CIM_EnabledLogicalElement CIM_LogicalElement CIM_ManagedSystemElement CIM_ManagedElement",
        methods=methods,
    )


CLASSES = (
    _service(
        "Msvm_VirtualSystemManagementService",
        {
            "ModifySystemSettings": method(
                "<Msvm_VirtualSystemSettingData> SystemSettings", "ref Job"
            ),
            "ModifyDiskMergeSettings": method(
                "<Msvm_DiskMergeSettingData> SettingData", "ref Job"
            ),
            "ExportSystemDefinition": method(
                "ref ComputerSystem; string ExportDirectory; <Msvm_VirtualSystemExportSettingData> ExportSettingData",
                "ref Job",
            ),
            "ImportSystemDefinition": method(
                "string SystemDefinitionFile; string SnapshotFolder; boolean GenerateNewSystemIdentifier",
                "ref ImportedSystem; ref Job",
            ),
            "AddResourceSettings": method(
                "ref AffectedConfiguration; <CIM_ResourceAllocationSettingData>[] ResourceSettings",
                "ref[] ResultingResourceSettings; ref Job",
            ),
            "ModifyResourceSettings": method(
                "<CIM_ResourceAllocationSettingData>[] ResourceSettings",
                "ref[] ResultingResourceSettings; ref Job",
            ),
            "RemoveResourceSettings": method("ref[] ResourceSettings", "ref Job"),
            "ValidatePlannedSystem": method("ref PlannedSystem", "ref Job"),
            "RealizePlannedSystem": method(
                "ref PlannedSystem", "ref ResultingSystem; ref Job"
            ),
            "DestroySystem": method("ref AffectedSystem", "ref Job"),
            "GetSummaryInformation": method(
                "ref[] SettingData; uint32[] RequestedInformation",
                "Msvm_SummaryInformation[] SummaryInformation",
            ),
        },
    ),
    _service(
        "Msvm_VirtualSystemSnapshotService",
        {
            "CreateSnapshot": method(
                """
                ref AffectedSystem; <Msvm_VirtualSystemSnapshotSettingData> SnapshotSettings; uint16 SnapshotType
                ref ResultingSnapshot
                """,
                "ref ResultingSnapshot; ref Job",
            ),
            "DestroySnapshot": method("ref AffectedSnapshot", "ref Job"),
            "DestroySnapshotTree": method("ref SnapshotSettingData", "ref Job"),
            "ApplySnapshot": method("ref Snapshot", "ref Job"),
            "ConvertToReferencePoint": method(
                """
                ref AffectedSnapshot; <Msvm_VirtualSystemReferencePointSettingData> ReferencePointSettings
                ref ResultingReferencePoint
                """,
                "ref ResultingReferencePoint; ref Job",
            ),
        },
    ),
    _service(
        "Msvm_VirtualSystemReferencePointService",
        {"DestroyReferencePoint": method("ref AffectedReferencePoint", "ref Job")},
    ),
    _service(
        "Msvm_ImageManagementService",
        {
            "GetVirtualDiskChanges": method(
                "string Path; string LimitId; string TargetSnapshotId; uint64 ByteOffset; uint64 ByteLength",
                "uint64 ProcessedByteLength; uint64[] ChangedByteOffsets; uint64[] ChangedByteLengths; ref Job",
            ),
            "GetVirtualHardDiskSettingData": method(
                "string Path", "<Msvm_VirtualHardDiskSettingData> SettingData; ref Job"
            ),
            "GetVirtualHardDiskState": method(
                "string Path", "<Msvm_VirtualHardDiskState> State; ref Job"
            ),
        },
    ),
)
