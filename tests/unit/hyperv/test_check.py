"""What a check says of a machine, and what it takes away."""

from dataclasses import replace
from typing import Any

import pytest

from hypercbt.errors import (
    HostAccessDeniedError,
    HostFaultError,
    HostUnreachableError,
)
from hypercbt.hyperv.check import CLASSES, VmCheck, check_machine, rights
from hypercbt.hyperv.machines import Configuration
from hypercbt.hyperv.values import Instance
from unit.hyperv.backing_up import committed_and_dead
from unit.hyperv.pretend import GIB, REPOSITORY, Scene, vm_disk
from unit.hyperv.scripted import ScriptedSession, vm

RUN = "bb" * 16


def look(scene: Scene, *, repository: bool = False, **order: Any) -> VmCheck:
    known = scene.repository if repository else None
    return check_machine(scene.machine, scene.vm, known, scene.order(**order))


def blocking(found: VmCheck) -> list[str]:
    return [problem.text for problem in found.problems if problem.blocking]


def notes(found: VmCheck) -> list[str]:
    return [problem.text for problem in found.problems if not problem.blocking]


def with_tracking(scene: Scene, on: bool) -> Scene:
    if not on:
        scene.missing |= {r"C:\VMs\web01.vhdx.rct", r"C:\VMs\web01.vhdx.mrt"}
    return scene


@pytest.mark.parametrize(("on", "word"), [(True, "on"), (False, "off")])
def test_a_machine_that_can_be_backed_up_has_no_problems(on: bool, word: str) -> None:
    found = look(with_tracking(Scene(), on))
    assert found.problems == ()
    (disk,) = found.disks
    assert (disk.readable, disk.tracked, disk.disk_bytes) == (True, word, 64 << 20)
    assert found.free_bytes == 500 * GIB


def test_one_of_the_two_files_of_tracking_is_not_enough() -> None:
    scene = Scene()
    scene.missing.add(r"C:\VMs\web01.vhdx.mrt")
    assert look(scene).disks[0].tracked == "off"


def test_a_check_changes_nothing_on_the_host() -> None:
    scene = Scene()
    scene.add_checkpoint(f"hypercbt {REPOSITORY} {RUN}")
    look(scene)
    changing = ("create", "destroy", "convert", "rename", "begin", "fence")
    assert not [e for e in scene.events if e.startswith(changing)]


def test_a_folder_that_is_not_mapped_is_a_problem() -> None:
    scene = Scene()
    scene.unmapped.add("C:\\")
    found = look(scene)
    assert "nobody said where" in blocking(found)[0]
    assert (found.disks[0].readable, found.disks[0].tracked) == (False, "unknown")
    assert found.free_bytes is None


def test_a_file_that_is_not_there_is_a_problem() -> None:
    scene = Scene()
    scene.missing.add(r"C:\VMs\web01.vhdx")
    assert "is not there" in blocking(look(scene))[0]


def test_a_file_that_is_there_and_cannot_be_opened_is_a_problem() -> None:
    scene = Scene()
    scene.unreadable.add(r"C:\VMs\web01.vhdx")
    found = look(scene)
    assert "cannot be read" in blocking(found)[0]
    assert not found.disks[0].readable


def test_that_merging_is_suspended_is_a_note_before_anything_waits_for_it() -> None:
    scene = Scene()
    scene.merges = False
    (note,) = notes(look(scene))
    assert "merging is suspended" in note
    assert "ModifyDiskMergeSettings" in note


def test_a_configuration_that_cannot_be_reached_is_a_note() -> None:
    scene = Scene()
    scene.vm = replace(
        scene.vm, configuration=Configuration(r"D:\Hyper-V", "web01.vmcx")
    )
    scene.unmapped.add("D:\\")
    found = look(scene)
    assert blocking(found) == []
    (note,) = notes(found)
    assert "configuration" in note
    assert r"D:\Hyper-V\web01.vmcx" in note


@pytest.mark.parametrize("said", [True, False])
def test_a_configuration_that_is_not_there_is_a_note(said: bool) -> None:
    scene = Scene()
    if said:
        assert scene.vm.configuration is not None
        scene.missing.add(scene.vm.configuration.path)
    else:
        scene.vm = replace(scene.vm, configuration=None)
    (note,) = notes(look(scene))
    assert "configuration" in note


def test_too_little_room_is_a_problem() -> None:
    scene = Scene()
    scene.free = (19 * GIB, 100 * GIB)
    assert "should stay free" in blocking(look(scene))[0]
    assert blocking(look(scene, space_floor_bytes=0)) == []


def test_a_disk_that_is_refused_is_a_problem() -> None:
    scene = Scene(vm_disk(), vm_disk("raw", kind="pass-through", slot=1, size=None))
    found = look(scene)
    assert "pass-through" in blocking(found)[0]
    assert found.disks[1].tracked == "never"


def test_a_disk_that_is_compared_each_time_is_a_note() -> None:
    found = look(Scene(vm_disk(kind="vhd")))
    assert blocking(found) == []
    assert "is compared each time" in notes(found)[0]
    assert found.disks[0].tracked == "never"


def test_a_machine_without_disks_has_a_problem() -> None:
    scene = Scene()
    scene.active.clear()
    assert blocking(look(scene)) == ["web01 has no disk"]


def test_a_replica_has_a_problem() -> None:
    scene = Scene()
    scene.vm = replace(scene.vm, replication="replica")
    assert "is a replica" in blocking(look(scene))[0]


def test_a_busy_machine_is_a_note() -> None:
    scene = Scene()
    scene.vm = replace(scene.vm, busy="merging disks")
    assert notes(look(scene)) == ["web01 is merging disks"]


@pytest.mark.parametrize(
    ("busy", "words"), [(None, "suspended or has failed"), ("merging disks", "being merged")]
)  # fmt: skip
def test_a_child_in_use_without_a_checkpoint_is_a_note(
    busy: str | None, words: str
) -> None:
    child = vm_disk("web01_9", kind="avhdx", parents=(r"C:\VMs\web01.vhdx",))
    scene = Scene(child)
    scene.vm = replace(scene.vm, busy=busy)
    assert any(words in text for text in notes(look(scene)))


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("Bareos JobId 7", "not marked as hypercbt's"),
        (f"hypercbt {'ab' * 16} {RUN}", f"of the repository {'ab' * 16}"),
        (f"hypercbt {REPOSITORY} {RUN}", "of a run that this repository does not know"),
    ],
)
def test_a_foreign_checkpoint_is_a_problem_and_stays(name: str, whose: str) -> None:
    scene = Scene()
    scene.add_checkpoint(name)
    found = look(scene, repository=True)
    assert any(whose in text for text in blocking(found))
    assert len(scene.checkpoint_list) == 1


def test_a_foreign_checkpoint_is_a_problem_also_while_the_host_works_on_the_machine() -> (
    None
):
    scene = Scene()
    scene.vm = replace(scene.vm, busy="exporting")
    scene.add_checkpoint("Bareos JobId 7")
    found = look(scene, repository=True)
    assert any("still exporting" in text for text in notes(found))
    assert any("not marked as hypercbt's" in text for text in blocking(found))


@pytest.mark.parametrize("marked", [True, False])
def test_nobody_is_told_to_adopt_the_checkpoint_of_a_run_that_may_live(
    marked: bool,
) -> None:
    scene = Scene()
    scene.add_lease(RUN, owner="another-machine 1 2.0")
    scene.add_checkpoint(*[f"hypercbt {REPOSITORY} {RUN}"] * marked)
    found = look(scene, repository=True)
    assert blocking(found) == []
    (note,) = (text for text in notes(found) if "recovery checkpoint" in text)
    assert note.endswith(": look again when its backup is over")
    assert (f"of the run {RUN} of this repository" in note) is marked


def test_a_users_checkpoint_is_no_problem() -> None:
    scene = Scene()
    scene.add_checkpoint("mine", kind="user")
    assert look(scene).problems == ()


def test_what_a_dead_run_left_is_taken_away_where_its_repository_is_known() -> None:
    scene = Scene()
    scene.add_lease(RUN)
    scene.add_checkpoint(f"hypercbt {REPOSITORY} {RUN}")
    found = look(scene, repository=True)
    assert scene.clean
    assert scene.open_leases == []
    assert "removed the checkpoint" in found.removed[0]
    assert found.problems == ()


def test_what_a_dead_run_may_have_left_and_somebody_else_may_own_is_a_note() -> None:
    scene = Scene()
    committed_and_dead(scene)
    scene.add_reference_point("RP-other")
    found = look(scene, repository=True)
    assert [p.id for p in scene.points] == ["RP-other"]
    (note,) = notes(found)
    assert "RP-other may be ours or somebody else's" in note
    assert found.removed == ()


def test_reference_points_that_no_backup_asks_from_any_more_are_taken_away() -> None:
    scene = Scene()
    scene.add_reference_point("RP-foreign")
    for number in range(3):
        scene.add_reference_point(f"RP-{number}")
        scene.add_baseline(f"{number}{number}" * 16, f"RP-{number}")
    found = look(scene, repository=True)
    assert [p.id for p in scene.points] == ["RP-foreign", "RP-1", "RP-2"]
    assert found.removed == (
        "removed the reference point RP-0 that no backup asks from any more",
    )


def test_a_run_that_may_live_is_a_note() -> None:
    scene = Scene()
    scene.add_lease(RUN, owner="another-machine 1 2.0")
    found = look(scene, repository=True)
    assert "another-machine" in notes(found)[0]
    assert blocking(found) == []


def test_a_host_that_goes_away_is_no_problem_of_the_machine() -> None:
    scene = Scene()
    scene.on("disks", HostUnreachableError("no route"))
    with pytest.raises(HostUnreachableError):
        look(scene)


def session(*without: str) -> ScriptedSession:
    services = [
        Instance(name, {"CreationClassName": name})
        for name in CLASSES
        if name.endswith("Service") and name not in without
    ]
    return ScriptedSession(
        *services, *vm("A1B2C3D4-0000-4000-8000-000000000001", "web01")
    )


def test_a_host_with_everything_has_no_problems() -> None:
    assert list(rights(session())) == []


def test_a_host_without_reference_points_is_too_old() -> None:
    missing = "Msvm_VirtualSystemReferencePointService"
    (problem,) = rights(session(missing))
    assert problem.blocking
    assert "older than Windows Server 2016" in problem.text


@pytest.mark.parametrize(
    "error",
    [HostAccessDeniedError("access is denied"), HostFaultError("no such class")],
)
def test_a_class_that_cannot_be_read_is_named(error: Exception) -> None:
    asked = session()
    asked.on_query("Msvm_ImageManagementService", error)
    (problem,) = rights(asked)
    assert problem.text.startswith("Msvm_ImageManagementService cannot be read")
