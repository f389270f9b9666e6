import pytest

from hypercbt.hyperv.classes import CIMV2, CLASSES, Declared, Type, declared
from hypercbt.hyperv.values import VIRTUALIZATION


def test_a_line_declares_properties_with_types_arrays_and_keys() -> None:
    point = CLASSES["Msvm_VirtualSystemReferencePoint"]

    assert point.namespace == VIRTUALIZATION
    assert point.keys == ("InstanceID", "VirtualSystemIdentifier")
    assert point.properties["VirtualSystemIdentifier"] == Declared(Type.STRING)
    assert point.properties["ResilientChangeTrackingIdentifiers"] == Declared(
        Type.STRING, array=True
    )
    assert point.properties["HasAssociatedData"] == Declared(Type.BOOLEAN)


def test_a_line_declares_a_method_with_what_it_takes_and_gives() -> None:
    create = CLASSES["Msvm_VirtualSystemSnapshotService"].methods["CreateSnapshot"]

    assert create.inputs == {
        "AffectedSystem": Declared(Type.REFERENCE),
        "SnapshotSettings": Declared(
            Type.STRING, embedded="Msvm_VirtualSystemSnapshotSettingData"
        ),
        "SnapshotType": Declared(Type.UINT16),
        "ResultingSnapshot": Declared(Type.REFERENCE),
    }
    assert create.outputs == {
        "ResultingSnapshot": Declared(Type.REFERENCE),
        "Job": Declared(Type.REFERENCE),
    }


def test_a_method_may_take_or_give_nothing() -> None:
    job = CLASSES["Msvm_ConcreteJob"].methods

    assert job["GetErrorEx"].inputs == {}
    assert job["GetErrorEx"].outputs == {
        "Errors": Declared(Type.STRING, array=True, embedded="Msvm_Error")
    }
    assert job["RequestStateChange"].outputs == {}


def test_the_changes_are_asked_for_as_microsoft_declares_them() -> None:
    changes = CLASSES["Msvm_ImageManagementService"].methods["GetVirtualDiskChanges"]
    text, number = Declared(Type.STRING), Declared(Type.UINT64)
    numbers = Declared(Type.UINT64, array=True)

    assert changes.inputs == {
        "Path": text,
        "LimitId": text,
        "TargetSnapshotId": text,
        "ByteOffset": number,
        "ByteLength": number,
    }
    assert changes.outputs == {
        "ProcessedByteLength": number,
        "ChangedByteOffsets": numbers,
        "ChangedByteLengths": numbers,
        "Job": Declared(Type.REFERENCE),
    }


def test_every_key_is_a_property_and_every_embedded_class_is_declared() -> None:
    for known in CLASSES.values():
        assert set(known.keys) <= set(known.properties), known.name
        for method in known.methods.values():
            for kind in (*method.inputs.values(), *method.outputs.values()):
                assert kind.embedded is None or kind.embedded in CLASSES


def test_integers_know_their_bounds() -> None:
    assert Type.UINT8.range == range(256)
    assert Type.UINT64.range == range(1 << 64)
    assert Type.SINT16.range == range(-32768, 32768)
    assert Type.STRING.range is None
    assert Type.BOOLEAN.range is None


def test_the_hosts_own_system_is_in_another_namespace() -> None:
    assert declared("Win32_OperatingSystem").namespace == CIMV2


def test_a_class_that_is_not_declared_is_misuse() -> None:
    with pytest.raises(ValueError, match="Msvm_Unheard"):
        declared("Msvm_Unheard")
