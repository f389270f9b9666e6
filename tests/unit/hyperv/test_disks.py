"""Which disks a machine has, and where."""

from collections.abc import Callable

import pytest

from hypercbt.errors import HostJobError, HostReplyError
from hypercbt.hyperv.disks import attached_disks, parent_id, vm_disks
from hypercbt.hyperv.values import Answer, Instance, Value
from unit.hyperv.scripted import (
    CONTROLLER,
    DISK_ID,
    SCSI,
    SNAPSHOT,
    WEB01,
    ScriptedSession,
    Slot,
    allocation,
    describes,
    disk_answer,
    parent_path,
    storage,
)

SETTINGS = f"Microsoft:{WEB01}"
C = "C:\\VMs\\web01\\"


def test_disks_come_by_controller_and_slot() -> None:
    other = "FFFFFFFF-04A1-4D29-B605-72E2FFB1DC7F"
    session = ScriptedSession(
        *storage(
            WEB01,
            Slot(C + "e.vhdx", slot=10),
            Slot(C + "d.vhdx", slot=2),
            Slot(C + "f.vhdx", slot=0, controller=other),
            Slot(C + "b.vhdx", controller=CONTROLLER, number=1),
            Slot(C + "a.vhdx", controller=CONTROLLER, number=0, slot=1),
        )
    )

    assert [
        (disk.path[-6:], disk.location) for disk in attached_disks(session, SETTINGS)
    ] == [
        ("a.vhdx", "IDE 0:1"),
        ("b.vhdx", "IDE 1:0"),
        ("d.vhdx", "SCSI 0:2"),
        ("e.vhdx", "SCSI 0:10"),
        ("f.vhdx", "SCSI 1:0"),
    ]
    assert len(session.requests) == 2


def test_an_empty_controller_counts() -> None:
    empty = allocation(
        f"{SETTINGS}\\00000000-04A1-4D29-B605-72E2FFB1DC7F\\0",
        "Microsoft:Hyper-V:Synthetic SCSI Controller",
        6,
    )
    session = ScriptedSession(empty, *storage(WEB01, Slot(C + "a.vhdx")))

    assert attached_disks(session, SETTINGS)[0].location == "SCSI 1:0"


def test_the_disks_of_other_machines_and_checkpoints_are_not_ours() -> None:
    session = ScriptedSession(
        *storage(WEB01, Slot(C + "a_1.avhdx")), *storage(SNAPSHOT, Slot(C + "a.vhdx"))
    )

    (live,) = attached_disks(session, SETTINGS)
    (frozen,) = attached_disks(session, f"Microsoft:{SNAPSHOT}")

    assert (live.kind, frozen.kind) == ("avhdx", "vhdx")
    assert live.instance_id != frozen.instance_id
    assert live.device == frozen.device == f"{SCSI}\\0\\0\\L".lower()


def test_a_dvd_is_no_disk_and_a_pass_through_disk_is_one_without_a_file() -> None:
    session = ScriptedSession(
        *storage(
            WEB01,
            Slot(
                C + "setup.iso",
                slot=1,
                kind="Microsoft:Hyper-V:Virtual CD/DVD Disk",
            ),
            Slot(
                '\\\\HV01\\root\\virtualization\\v2:Msvm_DiskDrive.DeviceID="7"',
                slot=2,
                kind="Microsoft:Hyper-V:Physical Disk Drive",
            ),
        )
    )

    (disk,) = vm_disks(session, SETTINGS)

    assert (disk.kind, disk.location, disk.size) == ("pass-through", "SCSI 0:2", None)


def test_a_shared_disk_is_not_looked_into() -> None:
    session = ScriptedSession(*storage(WEB01, Slot(C + "quorum.VHDS")))

    assert vm_disks(session, SETTINGS)[0].kind == "vhds"
    assert session.calls == []


@pytest.mark.parametrize("spelling", [str.lower, str.upper, str])
def test_the_case_of_a_parents_path_does_not_matter(
    spelling: Callable[[str], str],
) -> None:
    session = ScriptedSession(
        *storage(WEB01, Slot(C + "a.vhdx", slot=3, parent_case=spelling))
    )

    assert attached_disks(session, SETTINGS)[0].location == "SCSI 0:3"


def test_an_unknown_controller_has_its_own_name() -> None:
    controller = f"{SETTINGS}\\AAAA\\0"
    session = ScriptedSession(
        allocation(controller, "Microsoft:Hyper-V:Persistent Memory Controller", 6),
        allocation(
            controller + "\\4\\D",
            "Microsoft:Hyper-V:Key Storage Drive",
            17,
            parent=parent_path(controller),
            slot="4",
        ),
        Instance(
            "Msvm_StorageAllocationSettingData",
            {
                "HostResource": (C + "a.vhdpmem",),
                "InstanceID": controller + "\\4\\L",
                "Parent": parent_path(controller + "\\4\\D"),
                "ResourceSubType": "Microsoft:Hyper-V:Virtual Hard Disk",
            },
        ),
    )

    (disk,) = attached_disks(session, SETTINGS)

    assert (disk.kind, disk.location) == ("other", "Persistent Memory Controller 0:4")


def test_a_chain_is_followed_to_its_base() -> None:
    session = ScriptedSession(*storage(WEB01, Slot(C + "a_2.avhdx")))
    session.always(
        "GetVirtualHardDiskSettingData",
        describes(
            (C + "a_2.avhdx", disk_answer("", parent=C + "a_1.avhdx", size=7 << 30)),
            (C + "a_1.avhdx", disk_answer("", parent=C + "a.vhdx")),
            (C + "a.vhdx", disk_answer("")),
        ),
    )

    (disk,) = vm_disks(session, SETTINGS)

    assert disk.parents == (C + "a_1.avhdx", C + "a.vhdx")
    assert disk.size == 7 << 30
    assert disk.disk_id == DISK_ID.lower()
    assert all(call.repeatable for call in session.calls)


def test_the_braces_of_a_disks_id_go() -> None:
    session = ScriptedSession(*storage(WEB01, Slot(C + "a.vhdx")))
    session.on(
        "GetVirtualHardDiskSettingData", disk_answer("", disk_id="{" + DISK_ID + "}")
    )

    assert vm_disks(session, SETTINGS)[0].disk_id == DISK_ID.lower()


def test_a_vhd_without_an_id_has_none() -> None:
    session = ScriptedSession(*storage(WEB01, Slot(C + "a.vhd")))
    session.on("GetVirtualHardDiskSettingData", disk_answer("", disk_id=None, format=2))

    assert vm_disks(session, SETTINGS)[0].disk_id is None


def test_a_chain_that_leads_in_a_circle_is_refused() -> None:
    session = ScriptedSession(*storage(WEB01, Slot(C + "a.avhdx")))
    session.always(
        "GetVirtualHardDiskSettingData",
        describes(
            (C + "a.avhdx", disk_answer("", parent=C + "b.avhdx")),
            (C + "b.avhdx", disk_answer("", parent=C.lower() + "A.AVHDX")),
        ),
    )

    with pytest.raises(HostReplyError, match="without an end"):
        vm_disks(session, SETTINGS)
    assert len(session.calls) == 2


def test_a_chain_without_an_end_is_refused() -> None:
    session = ScriptedSession(*storage(WEB01, Slot(C + "0.avhdx")))
    names = iter(range(1, 1000))
    session.always(
        "GetVirtualHardDiskSettingData",
        lambda _: disk_answer("", parent=f"{C}{next(names)}.avhdx"),
    )

    with pytest.raises(HostReplyError, match="without an end"):
        vm_disks(session, SETTINGS)
    assert len(session.calls) <= 128


def test_a_file_that_the_host_cannot_read_is_named() -> None:
    session = ScriptedSession(*storage(WEB01, Slot(C + "a.vhdx")))
    session.on("GetVirtualHardDiskSettingData", Answer(32779, {}))

    with pytest.raises(HostJobError, match=r"web01\\a.vhdx is: file not found"):
        vm_disks(session, SETTINGS)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0, {}),
        Answer(0, {"SettingData": "<INSTANCE/>"}),
        disk_answer("", MaxInternalSize=None),
        disk_answer("", size=0),
        disk_answer("", size=-512),
        disk_answer("", size=(64 << 40) + 1),
        disk_answer("", MaxInternalSize="1073741824"),
        disk_answer("", Type=4),
        disk_answer("", ParentPath=5),
        disk_answer("", VirtualDiskId=5),
    ],
)
def test_a_description_that_makes_no_sense_is_not_believed(answer: Answer) -> None:
    session = ScriptedSession(*storage(WEB01, Slot(C + "a.vhdx")))
    session.on("GetVirtualHardDiskSettingData", answer)

    with pytest.raises(HostReplyError):
        vm_disks(session, SETTINGS)


@pytest.mark.parametrize(
    ("suffix", "changed"),
    [
        ("\\L", {"HostResource": None}),
        ("\\L", {"HostResource": ("",)}),
        ("\\L", {"HostResource": (5,)}),
        ("\\L", {"Parent": None}),
        ("\\L", {"Parent": "nobody"}),
        ("\\D", {"Parent": None}),
        ("\\D", {"AddressOnParent": None}),
        ("\\D", {"AddressOnParent": "-1"}),
        ("\\D", {"AddressOnParent": "²"}),
        ("\\D", {"AddressOnParent": "٣"}),
        ("\\D", {"AddressOnParent": "1" * 5000}),
        ("\\D", {"InstanceID": None}),
    ],
)
def test_a_disk_that_hangs_nowhere_is_not_believed(
    suffix: str, changed: dict[str, Value]
) -> None:
    session = ScriptedSession(
        *(
            Instance(one.class_name, {**one.properties, **changed})
            if str(one.properties["InstanceID"]).endswith(suffix)
            else one
            for one in storage(WEB01, Slot(C + "a.vhdx"))
        )
    )

    with pytest.raises(HostReplyError):
        attached_disks(session, SETTINGS)


def test_a_parent_is_found_in_a_path_and_as_a_plain_id() -> None:
    plain = f"Microsoft:{WEB01}\\A\\0"

    for spelled in (plain, parent_path(plain)):
        assert parent_id(Instance("X", {"Parent": spelled})) == plain.lower()
