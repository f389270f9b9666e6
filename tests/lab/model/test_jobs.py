"""Jobs: their states, what they created, how they fail, and how they vanish."""

from datetime import timedelta
from pathlib import Path

import pytest

from hypercbt.lab.model.quirks import Quirks
from hypercbt.lab.model.services import MANAGEMENT, SNAPSHOTS
from hypercbt.lab.wire.provider import Call, Ref, Thing
from lab.model.calling import SETTINGS, Host, system


def test_a_job_passes_new_starting_and_running_before_it_is_done(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        answer = host.ask_snapshot(host.add_vm("web01"))
        states = []
        for _ in range(5):
            found = host.get(answer["Job"])
            assert found is not None
            states.append(found.values["JobState"])
            host.time.advance(host.pace.job_seconds / 4)
        assert states == [2, 3, 4, 4, 7]
        assert answer["ResultingSnapshot"] is None


def test_a_healthy_job_says_nothing_of_errors(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        job = host.job(host.ask_snapshot(host.add_vm("web01")))
        assert (job["ErrorCode"], job["ErrorDescription"]) == (0, "")
        assert job["ErrorSummaryDescription"] == ""
        assert job["PercentComplete"] == 100
        assert job["JobType"] == 70
        assert job["TimeBeforeRemoval"] == timedelta(minutes=5)


def test_what_a_job_created_is_the_last_row_and_comes_when_it_is_done(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        answer = host.ask_snapshot(vm)

        def effects() -> list[object]:
            rows = host.all("Msvm_AffectedJobElement")
            return [
                row["ElementEffects"]
                for row in rows
                if row["AffectingElement"] == answer["Job"]
            ]

        assert effects() == [(0,)]
        host.job(answer)
        assert effects() == [(0,), (5,)]
        (made,) = host.of(answer["Job"], "Msvm_AffectedJobElement", SETTINGS)
        assert made.values["VirtualSystemType"] == "Microsoft:Hyper-V:Snapshot:Recovery"


def test_rows_of_other_jobs_are_mixed_in(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.add_vm("web01")
        rows = host.all("Msvm_AffectedJobElement")
        assert [row["ElementEffects"] for row in rows] == [(0,), (5,)]
    with Host(tmp_path, quirks=Quirks(affected_rows_of_others=False)) as host:
        assert host.all("Msvm_AffectedJobElement") == []


def test_a_reference_without_a_key_leads_nowhere(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.job(host.ask_snapshot(host.add_vm("web01")))
        nobody = Ref("Msvm_ConcreteJob", {"Name": "x"})
        assert host.of(nobody, "Msvm_AffectedJobElement") == []


def test_a_job_vanishes_five_minutes_after_its_end(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        answer = host.ask_snapshot(host.add_vm("web01"))
        host.job(answer)
        host.time.advance(299)
        assert host.get(answer["Job"]) is not None
        host.time.advance(2)
        assert host.get(answer["Job"]) is None
        assert host.of(answer["Job"], "Msvm_AffectedJobElement") == []


def test_a_job_of_a_fault_plan_fails_with_its_words_and_does_nothing(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        call = Call(
            SNAPSHOTS,
            {"CreationClassName": SNAPSHOTS},
            "CreateSnapshot",
            {"AffectedSystem": system(vm), "SnapshotType": 32768},
            "lab",
            512_000,
            fail_job=(0x8007052F, "Anmeldefehler (0x8007052F)"),
        )
        job = host.job(host.model.invoke(call))
        assert job["JobState"] == 10
        assert job["ErrorCode"] == 32768
        assert job["ErrorDescription"] == "Anmeldefehler (0x8007052F)"
        assert vm.checkpoints == ()
        assert host.done(host.ask_snapshot(vm))  # and the virtual machine is free again


@pytest.mark.parametrize("bland", [False, True])
def test_the_reason_is_in_the_errors_also_where_the_job_says_little(
    tmp_path: Path, bland: bool
) -> None:
    with Host(tmp_path, quirks=Quirks(bland_job_errors=bland)) as host:
        vm = host.add_vm("web01")
        vm.set_consistency(False)
        answer = host.ask_snapshot(vm, 1)
        job = host.job(answer)
        assert ("0x800423F2" in job["ErrorDescription"]) is not bland
        ref = answer["Job"]
        call = Call(ref.class_name, ref.keys, "GetErrorEx", {}, "lab", 512_000)
        errors = host.model.invoke(call)["Errors"]
        assert isinstance(errors, tuple)
        (error,) = errors
        assert isinstance(error, Thing)
        assert "0x800423F2" in str(error.values["Message"])


def test_a_job_can_end_with_warnings(tmp_path: Path) -> None:
    with Host(tmp_path, quirks=Quirks(jobs_end_with_warnings=True)) as host:
        assert host.job(host.ask_snapshot(host.add_vm("web01")))["JobState"] == 32768


def test_a_property_of_the_wrong_type_fails_the_job_and_not_the_call(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        call = Call(
            MANAGEMENT,
            {"CreationClassName": MANAGEMENT},
            "ModifySystemSettings",
            {"SystemSettings": Thing(SETTINGS, {"InstanceID": f"Microsoft:{vm.id}"})},
            "lab",
            512_000,
            misfits=("AutomaticStartupActionDelay",),
        )
        job = host.job(host.model.invoke(call))
        assert (job["JobState"], job["ErrorCode"]) == (10, 32768)


def test_the_next_operation_is_refused_until_the_job_before_has_ended(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        first = host.ask_snapshot(vm)
        assert host.ask_snapshot(vm)["ReturnValue"] == 32775
        host.job(first)
        (made,) = vm.checkpoints
        snapshot = Ref(SETTINGS, {"InstanceID": f"Microsoft:{made.id}"})
        host.job(host.ask_destroy(snapshot))
        assert host.ask_snapshot(vm)["ReturnValue"] == 32775  # it merges
        host.merge()
        assert host.ask_snapshot(vm)["ReturnValue"] == 4096
