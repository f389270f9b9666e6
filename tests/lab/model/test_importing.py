"""Imports (quirk Q34): what a definition may be, and when it becomes a machine that stands. All over the wire."""

import json
import shutil
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from hypercbt.lab import Quirks, TrackedDisk
from hypercbt.lab.model.configuration import _MAGIC
from lab.model.calling import Host
from lab.model.restored import COPY, Site, site
from lab.wire.restoring import (
    COMPUTER,
    PLANNED,
    SETTINGS,
    STORAGE,
    reference,
    settings,
    system,
)


def test_an_import_makes_a_planned_machine_that_is_no_computer_system(
    tmp_path: Path,
) -> None:
    with site(tmp_path) as made:
        said = made.bring_in(made.definition, fresh=True)
        (nil,) = said.named("ImportedSystem")
        assert list(nil) == []
        job = made.job(said)
        assert (job.state, job.type) == (7, 61)
        (planned,) = job.created
        assert planned.class_name == PLANNED
        (row,) = made.all(PLANNED)
        assert row["Name"] == planned.name != made.vm.machine.id
        assert row["Description"] == "Microsoft Planned Virtual Machine"
        names = {row["Name"] for row in made.all(COMPUTER)}
        assert names == {"LAB1", made.vm.machine.id}
        assert len(made.all("CIM_ComputerSystem")) == 3
        kinds = {row["VirtualSystemType"] for row in made.all(SETTINGS)}
        assert kinds == {
            "Microsoft:Hyper-V:System:Realized",
            "Microsoft:Hyper-V:System:Planned",
        }


def test_its_settings_and_disks_are_found_through_it(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.planned(made.definition)
        where = (
            f"{{{PLANNED}.CreationClassName='{PLANNED}',Name='{planned.name}'}}"
            f" WHERE AssocClass=Msvm_SettingsDefineState ResultClass={SETTINGS}"
        )
        (row,) = made.query(f"ASSOCIATORS OF {where}")
        text = {one.tag.rpartition("}")[2]: one.text for one in row}
        assert text["ElementName"] == "web01"
        assert text["VirtualSystemIdentifier"] == planned.name
        assert len(made.disks(planned.name)) == len(made.drives(planned.name)) == 1
        said = made.invoke("GetSummaryInformation", "")
        assert made.vm.machine.id in said.text
        assert planned.name not in said.text


def test_nothing_of_a_planned_machine_merges_or_is_exported(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.planned(made.definition)
        for name in ("Msvm_DiskMergeSettingData", "Msvm_SystemExportSettingData"):
            assert len(made.all(name)) == 1
        text = (
            '<INSTANCE CLASSNAME="Msvm_DiskMergeSettingData">'
            f'<PROPERTY NAME="InstanceID" TYPE="string"><VALUE>Microsoft:{planned.name}\\D</VALUE></PROPERTY>'
            '<PROPERTY NAME="EnabledState" TYPE="uint32"><VALUE>0</VALUE></PROPERTY></INSTANCE>'
        )
        said = f"<p:SettingData>{escape(text)}</p:SettingData>"
        assert made.code(made.invoke("ModifyDiskMergeSettings", said)) == 32773
        export = reference("ComputerSystem", planned)
        export += "<p:ExportDirectory>C:\\VMs\\again</p:ExportDirectory>"
        refused = made.invoke("ExportSystemDefinition", export)
        assert refused.fault[0] == "a:DestinationUnreachable"


def test_the_id_is_kept_unless_a_new_one_is_wanted(tmp_path: Path) -> None:
    with site(tmp_path / "a") as made, Host(tmp_path / "b") as host:
        file, guid = "C:\\VMs\\web01.vmcx", made.vm.machine.id
        shutil.copyfile(made.host.local(made.definition), host.local(file))
        other = Site(host, made.vm)
        for fresh in (None, False):
            (kept,) = other.done(other.bring_in(file, fresh))
            assert kept.name == guid
            other.done(other.destroy(kept))
        assert other.planned(file, fresh=True).name != guid


def test_an_id_that_stands_already_fails_the_import(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        job = made.job(made.bring_in(made.definition, fresh=False))
        assert job.state == 10
        assert made.vm.machine.id in job.error
        assert made.all(PLANNED) == []


def test_or_it_is_said_when_the_planned_one_is_validated_or_realized(
    tmp_path: Path,
) -> None:
    with site(tmp_path, quirks=Quirks(id_conflict="validate")) as made:
        planned = made.planned(made.definition, fresh=False)
        assert planned == system(PLANNED, made.vm.machine.id)
        # Two of one id: a disk of which one is meant is not known.
        made.copy_disk()
        disk, _ = made.disks(planned.name)
        assert made.code(made.rewire(disk, COPY)) == 32773
        where = f"Microsoft:{planned.name}"
        named = settings("SystemSettings", SETTINGS, InstanceID=where, ElementName="x")
        assert made.code(made.invoke("ModifySystemSettings", named)) == 32773
        for ask in (made.validate, made.realize):
            job = made.job(ask(planned))
            assert job.state == 10
            assert any(planned.name in reason for reason in job.reasons)
        made.done(made.destroy(planned))
        assert made.all(PLANNED) == []
        assert made.vm.machine.made


def test_two_planned_machines_never_have_one_id(tmp_path: Path) -> None:
    with site(tmp_path, quirks=Quirks(id_conflict="validate")) as made:
        made.planned(made.definition, fresh=False)
        assert made.job(made.bring_in(made.definition, fresh=False)).state == 10
        assert len(made.all(PLANNED)) == 1


def test_a_machine_that_is_handed_over_meanwhile_has_taken_the_id(
    tmp_path: Path,
) -> None:
    with site(tmp_path / "a") as made, Host(tmp_path / "b") as host:
        made.vm.rename("web02")  # its folder is that of the old name
        made.export()
        made.copy_disk()
        for file in (made.definition, COPY):
            host.local(file).parent.mkdir(parents=True)
            shutil.copyfile(made.host.local(file), host.local(file))
        other = Site(host, made.vm)
        planned = other.planned(made.definition, fresh=False)
        (disk,) = other.disks(planned.name)
        other.done(other.rewire(disk, COPY))
        other.done(other.validate(planned))
        made.host.move(made.vm, host)
        for ask in (other.validate, other.realize):
            job = other.job(ask(planned))
            assert job.state == 10
            assert planned.name in job.error
        assert host.vm(planned.name).disks[0].path.endswith("web01\\disk0.vhdx")


def test_nobody_gets_the_folder_that_a_planned_machine_will_have(
    tmp_path: Path,
) -> None:
    with site(tmp_path) as made:
        machines = [made.vm.machine.id]
        machines += [made.planned(made.definition).name for _ in range(2)]
        machines.append(made.host.add_vm("web01").machine.id)
        roots = [
            row["ConfigurationDataRoot"]
            for guid in machines
            for row in made.all(SETTINGS, f"WHERE InstanceID='Microsoft:{guid}'")
        ]
        assert len(roots) == len(set(roots)) == 4


def test_a_machine_whose_disks_are_elsewhere_is_not_handed_over_without_them(
    tmp_path: Path,
) -> None:
    storage = tmp_path / "shared"
    with (
        site(tmp_path / "a", storage=storage) as made,
        Host(tmp_path / "b") as apart,
        Host(tmp_path / "c", storage=storage) as beside,
    ):
        planned = made.ready()
        made.done(made.realize(planned))
        copy = made.host.vm(planned.name)
        with pytest.raises(ValueError, match="outside"):
            made.host.move(copy, apart)
        assert copy.disks[0].read(0, 512) == bytes(512)
        made.host.move(copy, beside)
        assert copy.disks[0].read(0, 512) == bytes(512)


def test_a_definition_in_use_is_32779(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        checkpoint = made.vm.checkpoint()
        root = made.vm.machine.root
        for file in (
            f"Virtual Machines\\{made.vm.machine.id}.vmcx",
            f"Snapshots\\{checkpoint.upper()}.vmcx",
        ):
            assert made.host.local(f"{root}\\{file}").exists()
            assert made.code(made.bring_in(f"{root}\\{file}", fresh=True)) == 32779


def test_a_definition_that_is_being_imported_is_in_use_as_well(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        first = made.bring_in(made.definition, fresh=True)
        assert made.code(made.bring_in(made.definition, fresh=True)) == 32779
        made.done(first)
        made.planned(made.definition)


@pytest.mark.parametrize(
    "file",
    [
        "C:\\VMs\\absent.vmcx",
        "D:\\absent.vmcx",
        "C:\\VMs\\..\\web01.vmcx",
        "C:\\VMs\\export",
        "C:\\VMs\\web01\\disk0.vhdx",
        "",
    ],
)
def test_what_is_no_definition_file_is_a_bad_parameter(
    tmp_path: Path, file: str
) -> None:
    with site(tmp_path) as made:
        assert made.code(made.bring_in(file)) == 32773


def test_a_snapshot_folder_must_be_one(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        said = made.bring_in(made.definition, True, "C:\\VMs\\absent")
        assert made.code(said) == 32773
        made.done(made.bring_in(made.definition, True, "C:\\VMs\\export"))


def broken(change: dict[str, object]) -> bytes:
    guid = "01234567-89AB-4DEF-8123-456789ABCDEF"
    good = {
        "id": guid,
        "name": "web01",
        "generation": 2,
        "version": "10.0",
        "controllers": {"SCSI 0": guid},
        "disks": {"SCSI 0:0": ["vhdx", "C:\\VMs\\a.vhdx"]},
    }
    return _MAGIC + json.dumps(good | change).encode()


GUID = "01234567-89AB-4DEF-8123-456789ABCDEF"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"real ones look otherwise",
        _MAGIC,
        _MAGIC + b"[" * 100_000,
        _MAGIC + b"[]",
        _MAGIC + b'"\xff"',
        broken({"id": "../../etc"}),
        broken({"id": 1}),
        broken({"name": ""}),
        broken({"name": "a\0b"}),
        broken({"name": "a" * 5000}),
        broken({"generation": 3}),
        broken({"generation": True}),
        broken({"version": "ten"}),
        broken({"controllers": {"USB 0": GUID}}),
        broken({"controllers": {}}),
        broken({"controllers": {"SCSI 0": "no guid"}}),
        broken({"disks": {"SCSI 0:64": ["vhdx", "a"]}}),
        broken({"disks": {"SCSI 0:63": ["vhdx", "a"]}}),  # of the DVD drive
        broken({"disks": {"SCSI 1:0": ["vhdx", "a"]}}),
        broken({"disks": {"SCSI 0:0": ["iso", "a"]}}),
        broken({"disks": {"SCSI 0:0": ["vhdx"]}}),
        broken({"disks": 7}),
        broken({"disks": {"SCSI 0:0": 7}}),
        broken({"controllers": None}),
        broken({"name": "x"})[:-10],
        broken({"more": "x" * (1 << 20)}),
    ],
    ids=range(27),
)
def test_a_file_that_is_no_definition_fails_the_job(
    tmp_path: Path, content: bytes
) -> None:
    with site(tmp_path) as made:
        made.host.local("C:\\VMs\\a.vmcx").write_bytes(content)
        job = made.job(made.bring_in("C:\\VMs\\a.vmcx"))
        assert job.state == 10
        assert "a.vmcx" in job.error
        assert made.all(PLANNED) == []
        made.host.local("C:\\VMs\\a.vmcx").write_bytes(broken({}))
        made.planned("C:\\VMs\\a.vmcx", fresh=False)


def test_a_definition_names_the_files_of_its_moment(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        guid = made.vm.checkpoint().upper()
        made.export()
        frozen, active = made.vm.machine.disks[0].files
        kept = f"{made.vm.machine.root}\\Snapshots\\{guid}.vmcx"
        copy = "C:\\VMs\\kept.vmcx"
        shutil.copyfile(made.host.local(kept), made.host.local(copy))
        for definition, file in ((made.definition, active), (copy, frozen)):
            (disk,) = made.disks(made.planned(definition).name)
            (row,) = [row for row in made.all(STORAGE) if row["InstanceID"] == disk]
            assert row["HostResource"] == file


# Validating


def test_what_is_wrong_is_said_all_at_once(tmp_path: Path) -> None:
    with site(tmp_path, version="5.0") as made:
        planned = made.planned(made.definition)
        job = made.job(made.validate(planned))
        assert (job.state, job.type) == (10, 140)
        version, used = job.reasons
        assert version.endswith("5.0")
        assert used.endswith(made.vm.disks[0].path)
        assert job.error == f"{version}; {used}"
        (row,) = made.all(PLANNED)
        assert row["Name"] == planned.name


def test_a_missing_disk_file_is_named(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        made.host.local(COPY).unlink()
        for ask in (made.validate, made.realize):
            (reason,) = made.job(ask(planned)).reasons
            assert reason.endswith(f": {COPY}")
        (disk,) = made.disks(planned.name)
        made.done(made.rewire(disk, "E:\\elsewhere.vhdx"))
        (reason,) = made.job(made.validate(planned)).reasons
        assert reason.endswith(": E:\\elsewhere.vhdx")


def test_a_file_that_a_machine_uses_is_in_use_in_any_case(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.planned(made.definition)
        (reason,) = made.job(made.validate(planned)).reasons
        assert reason.endswith(made.vm.disks[0].path)
        made.host.local("C:\\VMs\\WEB01").symlink_to(made.host.local("C:\\VMs\\web01"))
        (disk,) = made.disks(planned.name)
        made.done(made.rewire(disk, "C:\\VMs\\WEB01\\disk0.vhdx"))
        assert made.job(made.validate(planned)).state == 10


@pytest.mark.parametrize("content", [b"", b"no disk" * 1000])
@pytest.mark.parametrize("suffix", ["vhdx", "vhd", "iso"])
def test_a_file_that_is_no_disk_is_none(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        file = f"C:\\VMs\\copy\\bad.{suffix}"
        made.host.local(file).write_bytes(content)
        (disk,) = made.disks(planned.name)
        made.done(made.rewire(disk, file))
        (reason,) = made.job(made.validate(planned)).reasons
        assert reason.endswith(f": {file}")


def test_a_disk_that_stands_on_another_is_not_taken(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        with TrackedDisk.open(made.host.local(COPY)) as disk:
            disk.freeze()
        (layer,) = made.host.local(COPY).parent.glob("*.avhdx")
        layer.rename(layer.with_suffix(".vhdx"))
        file = f"C:\\VMs\\copy\\{layer.stem}.vhdx"
        (storage,) = made.disks(planned.name)
        made.done(made.rewire(storage, file))
        (reason,) = made.job(made.validate(planned)).reasons
        assert reason.endswith(f": {file}")


def test_folders_for_checkpoints_and_for_swapping_must_be_there(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        where = {"InstanceID": f"Microsoft:{planned.name}"}
        for name in ("SnapshotDataRoot", "SwapFileDataRoot"):
            for folder, state in (("C:\\VMs\\absent", 10), ("C:\\VMs\\copy", 7)):
                said = settings("SystemSettings", SETTINGS, **where, **{name: folder})
                assert made.code(made.invoke("ModifySystemSettings", said)) == 0
                (row,) = made.all(SETTINGS, f"WHERE InstanceID='{where['InstanceID']}'")
                assert row[name] == folder
                job = made.job(made.validate(planned))
                assert job.state == state
                assert all(folder in reason for reason in job.reasons)


@pytest.mark.parametrize(
    ("versions", "state"),
    [(("8.0", "10.0"), 7), (("8.0", "9.3"), 10), (("10.1", "12.0"), 10)],
)
def test_a_version_that_the_host_does_not_know_is_named(
    tmp_path: Path, versions: tuple[str, str], state: int
) -> None:
    quirks = Quirks(importable_versions=versions)
    with site(tmp_path, quirks=quirks) as made:
        assert made.job(made.validate(made.ready())).state == state
