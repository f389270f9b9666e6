"""What belongs to what: the classes alone; `hypercbt.lab.model.associations` has the pairs."""

from hypercbt.lab.model.classes.declare import cim_class

CLASSES = (
    cim_class(
        "Msvm_SettingsDefineState",
        "ManagedElement SettingData",
        "ref ManagedElement; ref SettingData",
        parents="CIM_SettingsDefineState",
    ),
    cim_class(
        "Msvm_SnapshotOfVirtualSystem",
        "Antecedent Dependent",
        "ref Antecedent; ref Dependent",
        parents="CIM_Dependency",
    ),
    cim_class(
        "Msvm_MostCurrentSnapshotInBranch",
        "Antecedent Dependent",
        "ref Antecedent; ref Dependent",
        parents="CIM_Dependency",
    ),
    cim_class(
        "Msvm_VirtualSystemSettingDataComponent",
        "GroupComponent PartComponent",
        "ref GroupComponent; ref PartComponent",
        parents="CIM_VirtualSystemSettingDataComponent CIM_Component",
    ),
    cim_class(
        "Msvm_ReferencePointOfVirtualSystem",
        "Antecedent Dependent",
        "ref Antecedent; ref Dependent",
        parents="CIM_Dependency",
    ),
    cim_class(
        "Msvm_SystemExportSettingData",
        "ManagedElement SettingData",
        "ref ManagedElement; ref SettingData",
        parents="CIM_ElementSettingData",
    ),
)
