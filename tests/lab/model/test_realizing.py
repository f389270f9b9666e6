"""A planned machine becomes one that stands, or goes away (quirk Q34). All over the wire."""

from pathlib import Path

import pytest

from hypercbt.errors import DiskInUseError
from hypercbt.lab import Quirks, TrackedDisk
from hypercbt.lab.model.vhd import VhdFile
from lab.model.calling import piece
from lab.model.restored import COPY, Site, site
from lab.wire.restoring import (
    COMPUTER,
    PLANNED,
    SETTINGS,
    settings,
    system,
)


@pytest.mark.parametrize("generation", [1, 2])
def test_a_planned_machine_becomes_one_that_stands(
    tmp_path: Path, generation: int
) -> None:
    with site(tmp_path, generation=generation) as made:
        made.vm.disks[0].write(4096, piece(1))
        planned = made.ready()
        assert made.done(made.validate(planned)) == []
        said = made.realize(planned)
        (nil,) = said.named("ResultingSystem")
        assert list(nil) == []
        job = made.job(said)
        assert (job.state, job.type) == (7, 141)
        assert job.created == [system(COMPUTER, planned.name)]
        assert made.all(PLANNED) == []
        (row,) = made.all(COMPUTER, f"WHERE Name='{planned.name}'")
        assert row["EnabledState"] == "3"
        copy = made.host.vm(planned.name)
        assert copy.disks[0].read(4096, 4096) == piece(1)
        copy.disks[0].write(4096, piece(2))
        assert made.vm.disks[0].read(4096, 4096) == piece(1)
        assert copy.reference_points == ()
        root, file = copy.machine.root, f"Virtual Machines\\{planned.name}.vmcx"
        assert root != made.vm.machine.root
        assert made.host.local(f"{root}\\{file}").exists()
        made.host.restart()
        assert made.host.vm(planned.name).disks[0].read(4096, 4096) == piece(2)


def test_its_guest_state_is_copied_from_beside_the_definition(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        state = made.host.local(made.definition).with_suffix(".vmgs")
        state.write_bytes(b"what the guest's firmware remembers")
        planned = made.ready()
        made.done(made.realize(planned))
        root = made.host.vm(planned.name).machine.root
        own = made.host.local(f"{root}\\Virtual Machines\\{planned.name}.vmgs")
        assert own.read_bytes() == state.read_bytes()


@pytest.mark.parametrize("travels", [True, False])
def test_ids_travel_with_the_files_of_a_tracker_or_not_at_all(
    tmp_path: Path, travels: bool
) -> None:
    with site(tmp_path, quirks=Quirks(tracking_travels=travels)) as made:
        planned = made.ready()
        with TrackedDisk.open(made.host.local(COPY)) as disk:
            sealed = disk.seal()
        made.done(made.realize(planned))
        ids = made.host.vm(planned.name).disks[0].tracked.ids
        assert ids == ([sealed] if travels else [])


@pytest.mark.parametrize("travels", [True, False])
def test_a_file_that_somebody_else_has_open_leaves_the_machine_planned(
    tmp_path: Path, travels: bool
) -> None:
    with site(tmp_path, quirks=Quirks(tracking_travels=travels)) as made:
        planned = made.ready()
        with TrackedDisk.open(made.host.local(COPY)) as theirs:
            sealed = theirs.seal()
            theirs.flush_tracking()
            trackers = sorted(made.host.local(COPY).parent.iterdir())
            assert made.job(made.realize(planned)).state == 10
            assert kind_of(made, planned.name) == "System:Planned"
            assert len(made.host.vms) == 1
            assert sorted(made.host.local(COPY).parent.iterdir()) == trackers
            assert theirs.ids == [sealed]
        made.done(made.realize(planned))
        assert kind_of(made, planned.name) == "System:Realized"
        assert len(made.host.vms) == 2


def kind_of(made: Site, guid: str) -> str:
    (row,) = made.all(SETTINGS, f"WHERE InstanceID='Microsoft:{guid}'")
    return (row["VirtualSystemType"] or "").removeprefix("Microsoft:Hyper-V:")


@pytest.mark.parametrize("written", [False, True])
def test_what_fails_late_leaves_nothing_of_it_behind(
    tmp_path: Path, written: bool
) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        where = f"WHERE InstanceID='Microsoft:{planned.name}'"
        (row,) = made.all(SETTINGS, where)
        root = made.host.local(row["ConfigurationDataRoot"] or "")
        (root / "Virtual Machines").mkdir(parents=True)
        # The runtime state cannot be written; or, after everything else, not be copied from where the definition is.
        blocked = root / "Virtual Machines" / f"{planned.name}.vmrs"
        if written:
            blocked.symlink_to(made.host.local(made.definition).with_suffix(".vmrs"))
        else:
            blocked.mkdir()
        assert made.job(made.realize(planned)).state == 10
        assert kind_of(made, planned.name) == "System:Planned"
        assert len(made.host.vms) == 1
        TrackedDisk.open(made.host.local(COPY)).close()  # nobody has it
        assert not blocked.with_suffix(".vmcx").exists()
        if not written:
            blocked.rmdir()
        made.done(made.realize(planned))
        assert blocked.with_suffix(".vmcx").exists()
        assert len(made.host.vms) == 2


def test_from_then_on_nobody_else_can_open_its_disks(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        made.done(made.realize(made.ready()))
        with pytest.raises(DiskInUseError):
            TrackedDisk.open(made.host.local(COPY))


@pytest.mark.parametrize(
    ("file", "version", "tracked"),
    [(COPY, "10.0", True), (COPY, "7.1", False), ("C:\\VMs\\a.vhd", "10.0", False)],
)
def test_only_vhdx_files_of_newer_machines_are_tracked(
    tmp_path: Path, file: str, version: str, tracked: bool
) -> None:
    quirks = Quirks(importable_versions=("5.0", "10.0"))
    with site(tmp_path, quirks=quirks, version=version) as made:
        planned = made.ready()
        VhdFile.create(made.host.local("C:\\VMs\\a.vhd"), 4 << 20)
        (disk,) = made.disks(planned.name)
        made.done(made.rewire(disk, file))
        made.done(made.realize(planned))
        copy = made.host.vm(planned.name)
        assert copy.disks[0].size == (8 << 20 if file == COPY else 4 << 20)
        host = made.host
        point = host.convert(host.snapshot(copy))
        ids = point["ResilientChangeTrackingIdentifiers"] or ()
        assert len(ids) == (1 if tracked else 0)
        (kept,) = copy.reference_points
        assert (kept.disks[0][1] is not None) is tracked


def test_a_checkpoint_of_it_is_where_it_was_told_to_be(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        where = {"InstanceID": f"Microsoft:{planned.name}"}
        said = settings(
            "SystemSettings", SETTINGS, **where, SnapshotDataRoot="C:\\VMs\\copy"
        )
        made.invoke("ModifySystemSettings", said)
        made.done(made.realize(planned))
        guid = made.host.vm(planned.name).checkpoint().upper()
        assert made.host.local(f"C:\\VMs\\copy\\Snapshots\\{guid}.vmcx").exists()
        (row,) = made.all(SETTINGS, f"WHERE InstanceID='Microsoft:{guid}'")
        assert row["ConfigurationDataRoot"] == "C:\\VMs\\copy"


# The end of a planned one


def test_a_planned_machine_that_is_destroyed_leaves_its_files_alone(
    tmp_path: Path,
) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        before = made.host.local(COPY).read_bytes()
        made.done(made.destroy(planned))
        assert made.all(PLANNED) == []
        assert made.host.local(COPY).read_bytes() == before
        assert made.destroy(planned).fault[0] == "a:DestinationUnreachable"
        assert made.validate(planned).fault[0] == "a:DestinationUnreachable"


def test_a_machine_that_stands_is_neither_planned_nor_destroyed(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        stands = system(COMPUTER, made.vm.machine.id)
        assert made.code(made.destroy(stands)) == 32770
        for ask in (made.validate, made.realize):
            assert ask(stands).fault[0] == "a:DestinationUnreachable"
        assert made.vm.disks


def test_a_job_keeps_others_from_a_planned_machine(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        planned = made.ready()
        (disk,) = made.disks(planned.name)
        for ask in (made.validate, made.realize, made.destroy):
            said = made.validate(planned)
            assert made.code(ask(planned)) == 32775
            assert made.code(made.rewire(disk, COPY)) == 32775
            named = settings(
                "SystemSettings",
                SETTINGS,
                InstanceID=f"Microsoft:{planned.name}",
                ElementName="web02",
            )
            assert made.code(made.invoke("ModifySystemSettings", named)) == 32775
            made.done(said)
        made.done(made.realize(planned))


def test_a_planned_machine_does_not_outlive_a_restart(tmp_path: Path) -> None:
    with site(tmp_path) as made:
        made.ready()
        made.host.restart()
        assert made.host.all(PLANNED) == []
        assert len(made.host.vms) == 1
