"""Drives and disks of planned machines, changed over the wire (quirk Q34)."""

from pathlib import Path

import pytest

from hypercbt.lab import NewDisk
from lab.model.restored import COPY, Site, site
from lab.wire.restoring import (
    COMPUTER,
    DRIVE,
    PLANNED,
    SETTINGS,
    STORAGE,
    Object,
    part,
    settings,
    system,
)

MEMORY = "Msvm_MemorySettingData"
NEW = "C:\\VMs\\copy\\new.vhdx"


def file_of(made: Site, disk: str) -> str | None:
    (row,) = [row for row in made.all(STORAGE) if row["InstanceID"] == disk]
    return row["HostResource"]


def drive(parent: str, slot: str) -> str:
    return settings(
        "ResourceSettings",
        DRIVE,
        ResourceSubType="Microsoft:Hyper-V:Synthetic Disk Drive",
        Parent=path(parent),
        AddressOnParent=slot,
    )


def disk(parent: str, *files: str) -> str:
    return settings(
        "ResourceSettings",
        STORAGE,
        ResourceSubType="Microsoft:Hyper-V:Virtual Hard Disk",
        Parent=path(parent),
        HostResource=files,
    )


def path(instance_id: str) -> str:
    doubled = instance_id.replace("\\", "\\\\")
    return f'\\\\LAB1\\root\\virtualization\\v2:{DRIVE}.InstanceID="{doubled}"'


def controller(made: Site, guid: str) -> str:
    (found,) = made.parts(DRIVE, guid, "Synthetic SCSI Controller")
    return found


# Changing


def test_a_disk_gets_another_file_and_the_first_one_counts(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        (own,) = made.disks(planned.name)
        said = settings(
            "ResourceSettings", STORAGE, InstanceID=own, HostResource=(NEW, COPY)
        )
        job = made.job(made.invoke("ModifyResourceSettings", said))
        assert (job.state, job.created) == (7, [])
        assert file_of(made, own) == NEW
        (original,) = made.disks(made.vm.machine.id)
        assert file_of(made, original) == made.vm.disks[0].path


@pytest.mark.parametrize(
    "more", [{"Parent": "elsewhere"}, {"ElementName": "x"}, {"AddressOnParent": "7"}]
)
def test_a_read_only_property_fails_the_job_and_changes_nothing(
    tmp_path: Path, more: dict[str, str]
) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        (own,) = made.disks(planned.name)
        job = made.job(made.rewire(own, NEW, **more))
        assert job.state == 10
        assert next(iter(more)) in job.error
        assert file_of(made, own) == COPY


def test_of_a_planned_machine_only_names_notes_and_two_folders_can_be_changed(
    tmp_path: Path,
) -> None:
    with site(tmp_path) as made:
        for guid, state in ((made.planned(made.definition).name, 0), (made.vm.id, 10)):
            where = {"InstanceID": f"Microsoft:{guid}"}
            for name, wanted in (
                ("ElementName", 0),
                ("SwapFileDataRoot", state),
                ("ConfigurationDataRoot", 10),
                ("VirtualSystemType", 10),
            ):
                said = settings("SystemSettings", SETTINGS, **where, **{name: "C:\\x"})
                answer = made.invoke("ModifySystemSettings", said)
                if wanted == 0:
                    assert made.code(answer) == 0
                else:
                    job = made.job(answer)
                    assert job.state == 10
                    assert name in job.error


def test_a_drive_has_nothing_that_can_be_changed(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        (own,) = made.drives(made.ready().name)
        said = settings("ResourceSettings", DRIVE, InstanceID=own, HostResource=(NEW,))
        assert made.job(made.invoke("ModifyResourceSettings", said)).state == 10


@pytest.mark.parametrize("inside", ["", "absent", "none", "empty", "nobody", "other"])
def test_what_names_no_disk_of_one_planned_machine_is_a_bad_parameter(
    tmp_path: Path, inside: str
) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        (own,) = made.disks(planned.name)
        (others,) = made.disks(made.planned(made.definition).name)
        where = own.removeprefix(f"Microsoft:{planned.name}")
        sent = {
            "": "",
            "absent": settings("ResourceSettings", STORAGE, HostResource=(NEW,)),
            "none": settings("ResourceSettings", STORAGE, InstanceID="x"),
            "empty": settings(
                "ResourceSettings", STORAGE, InstanceID=own, HostResource=()
            ),
            "nobody": settings(
                "ResourceSettings",
                STORAGE,
                InstanceID=f"Microsoft:01234567-89AB-4DEF-8123-456789ABCDEF{where}",
                HostResource=(NEW,),
            ),
            "other": settings(
                "ResourceSettings", STORAGE, InstanceID=own, HostResource=(NEW,)
            )
            + settings(
                "ResourceSettings", STORAGE, InstanceID=others, HostResource=(NEW,)
            ),
        }[inside]
        assert made.code(made.invoke("ModifyResourceSettings", sent)) == 32773
        assert file_of(made, own) == COPY


def test_the_disks_of_a_machine_that_stands_are_not_changed_here(
    tmp_path: Path,
) -> None:
    with site(tmp_path) as made:
        guid = made.vm.machine.id
        (own,), (place,) = made.disks(guid), made.drives(guid)
        assert made.code(made.rewire(own, NEW)) == 32770
        assert made.code(made.remove(part(STORAGE, own))) == 32770
        assert made.code(made.add(guid, disk(place, NEW))) == 32770
        assert made.vm.disks[0].path.endswith("disk0.vhdx")


# Removing


def test_the_disk_goes_before_its_drive_and_never_after_it(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        (inner,), (outer,) = made.disks(planned.name), made.drives(planned.name)
        wrong = (part(DRIVE, outer), part(STORAGE, inner))
        for parts in (wrong[:1], wrong):
            job = made.job(made.remove(*parts))
            assert job.state == 10
            assert made.disks(planned.name) == [inner]
            assert made.drives(planned.name) == [outer]
        made.done(made.remove(part(STORAGE, inner)))
        assert made.disks(planned.name) == []
        assert made.drives(planned.name) == [outer]
        # An empty drive hinders, and the drive that is gone does not.
        (reason,) = made.job(made.validate(planned)).reasons
        assert reason.endswith("SCSI 0:0")
        made.done(made.remove(part(DRIVE, outer)))
        assert made.drives(planned.name) == []
        made.done(made.realize(planned))
        assert made.host.vm(planned.name).disks == ()


def test_both_go_in_one_call_in_the_right_order(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        (inner,), (outer,) = made.disks(planned.name), made.drives(planned.name)
        made.done(made.remove(part(STORAGE, inner), part(DRIVE, outer)))
        assert made.drives(planned.name) == made.disks(planned.name) == []
        gone = made.remove(part(STORAGE, inner))
        assert gone.fault[0] == "a:DestinationUnreachable"


def test_a_pass_through_disk_is_its_drive_and_no_host_has_that_of_another(
    tmp_path: Path,
) -> None:
    with site(tmp_path) as made:
        made.vm.attach(NewDisk(kind="pass-through"))
        made.export()
        planned = made.planned(made.definition)
        (own,) = made.disks(planned.name)
        made.copy_disk()
        made.done(made.rewire(own, COPY))
        (reason,) = made.job(made.validate(planned)).reasons
        assert "disk1.disk" in reason
        (outer,) = made.parts(DRIVE, planned.name, "Physical Disk Drive")
        nothing = part(STORAGE, f"{outer.removesuffix('D')}L")
        assert made.remove(nothing).fault[0] == "a:DestinationUnreachable"
        made.done(made.remove(part(DRIVE, outer)))
        made.done(made.realize(planned))


def not_ours(made: Site, guid: str) -> list[tuple[Object, bool]]:
    """Parts, and whether there is such a thing at all."""
    (own,) = made.disks(guid)
    (dvd,) = made.parts(DRIVE, guid, "Synthetic DVD Drive")
    (memory,) = [
        row["InstanceID"] or ""
        for row in made.all(MEMORY, f"WHERE InstanceID LIKE 'Microsoft:{guid}%'")
    ]
    return [
        (part(DRIVE, controller(made, guid)), True),
        (part(DRIVE, dvd), True),
        (part(MEMORY, memory), True),
        (part(MEMORY, own), False),
        (part(DRIVE, own), False),
        (part(STORAGE, f"{own}\\more"), False),
        (system(COMPUTER, made.vm.machine.id), False),
    ]


def test_only_disks_and_their_drives_are_removed(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        guid = made.ready().name
        for target, known in not_ours(made, guid):
            said = made.remove(target)
            if known:
                assert made.code(said) == 32770
            else:
                assert said.fault[0] == "a:DestinationUnreachable"
        assert made.code(made.remove()) == 32773
        assert len(made.disks(guid)) == len(made.drives(guid)) == 1


# Adding


def test_a_drive_and_then_a_disk_in_it_are_added(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        made.copy_disk(to=NEW)
        (outer,) = made.done(
            made.add(planned.name, drive(controller(made, planned.name), "5"))
        )
        assert outer.class_name == DRIVE
        place = dict(outer.keys)["InstanceID"]
        (inner,) = made.done(made.add(planned.name, disk(place, NEW)))
        assert inner.class_name == STORAGE
        assert file_of(made, dict(inner.keys)["InstanceID"]) == NEW
        made.done(made.realize(planned))
        copy = made.host.vm(planned.name)
        assert [each.location for each in copy.disks] == ["SCSI 0:0", "SCSI 0:5"]
        assert copy.disks[1].path == NEW


def test_a_file_is_in_one_drive(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        guid = made.ready().name
        (outer,) = made.done(made.add(guid, drive(controller(made, guid), "5")))
        made.done(made.add(guid, disk(dict(outer.keys)["InstanceID"], COPY)))
        (reason,) = made.job(made.validate(system(PLANNED, guid))).reasons
        assert reason.endswith(f": {COPY}")


@pytest.mark.parametrize("slot", ["0", "63", "64", "-1", "x", "05"])
def test_a_drive_needs_a_free_slot(tmp_path: Path, slot: str) -> None:
    with site(tmp_path) as made:
        guid = made.ready().name
        assert made.job(made.add(guid, drive(controller(made, guid), slot))).state == 10
        assert len(made.drives(guid)) == 1


def test_a_disk_needs_an_empty_drive_of_this_machine(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        guid = made.ready().name
        (full,), (others,) = made.drives(guid), made.drives(made.vm.machine.id)
        for place in (full, others, controller(made, guid), "x"):
            assert made.job(made.add(guid, disk(place, NEW))).state == 10
        assert made.code(made.add(guid, disk(full))) == 32773
        assert len(made.disks(guid)) == 1
        # Of the same place, but not of this machine.
        (inner,) = made.disks(guid)
        made.done(made.remove(part(STORAGE, inner)))
        assert made.job(made.add(guid, disk(others, NEW))).state == 10
        made.done(made.add(guid, disk(full, NEW)))


def test_what_cannot_all_be_added_is_not_added_at_all(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        guid = made.ready().name
        where = controller(made, guid)
        job = made.job(made.add(guid, drive(where, "5"), drive(where, "5")))
        assert job.state == 10
        assert len(made.drives(guid)) == 1


def test_other_things_are_not_added(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        guid = made.ready().name
        kind = "Microsoft:Hyper-V:Synthetic DVD Drive"
        said = settings("ResourceSettings", DRIVE, ResourceSubType=kind)
        assert made.code(made.add(guid, said)) == 32770
        assert made.code(made.add(guid)) == 32773
        unknown = made.add("01234567-89AB-4DEF-8123-456789ABCDEF", said)
        assert unknown.fault[0] == "a:DestinationUnreachable"
