r"""Each quirk of real hosts, and each switch of the lab in both positions, through a whole backup.

Each test makes a full backup, lets the guest write, and makes an incremental: every byte is compared with what was frozen, and
nothing is left on the host. And each sees that the quirk really happened, on the wire or in the lab's books. Those of change
tracking, Q21 to Q24, are in test_tracking.py.

| quirk (hyperv-rct (b)) | test |
| --- | --- |
| Q1 jobs pass 2, 3, 4 and 7; no `ResultingSnapshot` | `q1_…` |
| Q2 rows of other jobs | `a_host_with[affected_rows_of_others…]`, `q2_…` |
| Q3 jobs of the image service | `a_host_with[lost job]` |
| Q4 jobs vanish | `q4_…` |
| Q5 warnings, texts that say nothing | `a_host_with[jobs_end_with_warnings…]`, `[bland_job_errors…]` |
| Q6 return values, faults, 401 | `q6_…` |
| Q7 pulls | `a_host_with[one_item_pulls…]`, `[last_pull_empty…]`, `[max_batch_items…]` |
| Q8 filters (U1) | `a_host_with[refuse_filters…]`, `q8_…` |
| Q9 the host among its machines, its language | `a_host_with[host_name…]`, `[language…]` |
| Q10 two machines of one name | `q10_…` |
| Q11 nil, 1601, arrays of one | `q11_…`, `a_host_with[empty_array_is_nil…]` |
| Q12 CIM-XML in texts, both ways | `q12_…` |
| Q13 selectors (U10) | `a_host_with[selectors_required…]`, `[reference_point_selectors_required…]`, `[namespace_selector…]` |
| Q14 backslashes, the case of GUIDs | `a_host_with[guid_case_varies…]`, `[parent_case_varies…]`, `q14_…` |
| Q15 no order | `a_host_with[shuffle_seed…]` |
| Q16 a frozen chain (U8) | `a_host_with[application_layer…]`, `[layer_in_changes…]` |
| Q17 a live guest | `q17_…` |
| Q18 a merge in the background | `q18_…` |
| Q19 a merge that fails | `q19_…` |
| Q20 merging that is switched off | `a_host_with[export_stops_merging…]` |
| Q21 short, empty and coarse answers (U3, U4) | `a_host_with[short_answers…]`, `[most_ranges…]`, `[coarse_bytes…]`, `[whole_length…]`, `q21_…` |
| Q22 ids that are not known, each code (U2) | `a_host_with[lost…]`, `q22_…` |
| Q23 fewer ids than disks, another order | `a_host_with[untracked…]`, `[shuffled_disks…]`, `q23_…` |
| Q24 what makes ids invalid (U13) | `a_host_with[tracking_travels…]`, `q24_…`, and ../test_backup.py (a resize, a revert) |
| Q25 no consistency; off, paused, saved | `a_host_with[application_of_off…]`, `[documented_states…]`, `q25_…` |
| Q26 checkpoints of others | `a_host_with[second_recovery_checkpoint…]`, `[recovery_destroy_works…]` |
| Q27 32775 | `q27_…` |
| Q28 envelopes | `a_host_with[max_envelope_bytes…]`, `[short_answers…]` |
| Q29 timeouts and lost answers | `q29_…` |
| Q30 enumerations expire | `a_host_with[enumeration_timeout_seconds…]`, `[max_enumerations…]` |
| Q31 hand-over | `a_host_with[tracking_travels…]` |
| Q32 paths in another case, volumes of a cluster | `q32_…`; shares come with SMB |
| Q33 disks and machines without tracking | `q33_…` |
| Q34 read-only properties | `q34_…`; importing is no part of a backup: ../test_restored_machine.py, and tests/lab/model/test_importing.py, test_realizing.py, test_planned_disks.py |
| Q35 `GuestBackupType`, `SnapshotSettings` (U6) | `a_host_with[guest_backup_type…]`, `[empty_settings…]` |
| Q36 PowerShell | none is run |
"""

import re
from dataclasses import fields
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import pytest

from hypercbt.errors import AmbiguousVmError
from hypercbt.lab import NewDisk, Pace, Quirks
from hypercbt.lab.faults import (
    TIMEOUT,
    Drop,
    Effect,
    Run,
    Unauthorized,
)
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.server import TlsFiles
from integration.hyperv.backups import MIB, overwrite
from integration.hyperv.certificates import Authority
from integration.hyperv.quirks.cases import CASES
from integration.hyperv.quirks.shows import CHANGES, Case
from integration.hyperv.watched import Watched, until, watched

NOT_MET = {
    "product_vendor": "Identify alone says it, which no backup asks for",
    "product_version": "the same",
    "clock": "no behaviour of a host: what enumerations expire by",
    "id_conflict": "importing is no part of a backup",
    "importable_versions": "the same",
}
"""Switches that have no case, and why."""


# Each switch


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.switch}={case.value}".replace("/", "")
)
def test_a_host_with(case: Case, tmp_path: Path) -> None:
    more: dict[str, Any] = {}
    if case.switch == "host_name":
        more["name"] = case.value
    if case.switch == "channel_bindings":
        authority = Authority(tmp_path)
        signed = authority.sign("lab", "127.0.0.1")
        more["tls"] = TlsFiles(signed.certificate, signed.key)
        more["ca"] = authority.file
    with watched(
        tmp_path, quirks=case.quirks(), options=case.options(), **more
    ) as world:
        case.play(world)


@pytest.mark.parametrize("kind", [Quirks, WireOptions])
def test_no_switch_is_forgotten(kind: type[Quirks | WireOptions]) -> None:
    hints = get_type_hints(kind)
    for known in fields(kind):
        if known.name in NOT_MET:
            continue
        values = {case.value for case in CASES if case.switch == known.name}
        type_ = hints[known.name]
        wanted = {True, False} if type_ is bool else set(get_args(type_))
        if type_ is bool or (isinstance(known.default, str) and wanted):
            assert values == wanted, known.name
        else:
            assert len(values) >= 2, known.name
        assert known.default in values, known.name


def test_every_case_is_of_a_switch_that_there_is() -> None:
    switches = {known.name for kind in (Quirks, WireOptions) for known in fields(kind)}
    assert {case.switch for case in CASES} | NOT_MET.keys() == switches


# Jobs


def test_q1_a_job_passes_its_states_and_does_not_name_what_it_made(
    tmp_path: Path,
) -> None:
    with watched(tmp_path, pace=Pace(job_seconds=2.0)) as world:
        world.story(world.web01())
        jobs = "".join(world.wire.answers("Get Msvm_ConcreteJob"))
        assert set(re.findall("JobState>([0-9]+)<", jobs)) == {"2", "3", "4", "7"}
        for answer in world.wire.answers("CreateSnapshot"):
            assert 'ResultingSnapshot xsi:nil="true"' in answer


def test_q2_a_machine_beside_it_is_backed_up_at_the_same_moment(world: Watched) -> None:
    vm, other = world.web01(), world.lab.add_vm("db01", disks=[4 * MIB])

    def elsewhere() -> None:
        other.recovery_checkpoint()

    world.fail("CreateSnapshot", Run(elsewhere), times=None)
    world.story(vm)
    assert len(other.checkpoints) == 3


@pytest.mark.parametrize("call", ["CreateSnapshot", "ConvertToReferencePoint"])
def test_q4_a_job_that_is_gone_when_it_is_asked_for_has_done_its_work(
    tmp_path: Path, call: str
) -> None:
    pace = Pace(job_seconds=0.0, removal_seconds=0.0)
    with watched(tmp_path, pace=pace) as world:
        world.story(world.web01())
        records = world.lab.server.requests
        after = [then for one, then in pairwise(records) if call in one.asked.names]
        assert "a:DestinationUnreachable" in {then.subcode for then in after}


def test_q6_a_host_asks_in_between_who_it_is(world: Watched) -> None:
    vm = world.web01()
    for nth in range(2, 60, 7):
        world.fail("*", Unauthorized(), nth=nth)
    world.story(vm)
    assert len(world.lab.faults.struck) > 5


def test_q8_a_query_is_sent_to_no_class(world: Watched) -> None:
    world.story(world.web01())
    queries = [one for one in world.wire.asked("Enumerate") if "/WQL" in one]
    assert queries
    assert all("virtualization/v2/*</" in one for one in queries)


def test_a_connection_that_was_let_go_of_is_closed_at_once(world: Watched) -> None:
    vm = world.web01()
    connections = world.lab.server._listener._threads
    with world.open() as host:
        assert host.vm(vm.id).name == "web01"
        assert len(connections) == 1
    until(lambda: not connections)


# Lists and texts


def test_q10_of_two_machines_of_one_name_each_is_backed_up_by_its_id(
    world: Watched,
) -> None:
    one, other = world.web01(), world.web01()
    with pytest.raises(AmbiguousVmError, match=one.id):
        world.backup("web01")
    world.story(one)
    world.story(other)
    machines = {point.machine for point in world.repository.points()}
    assert machines == {f"vm:{one.id}", f"vm:{other.id}"}


def test_q11_what_is_null_never_or_alone_is_read_as_that(world: Watched) -> None:
    world.story(world.web01())
    text = "".join(answer for _, answer in world.wire.exchanges)
    for form in (
        'xsi:nil="true"/>',
        "<cim:Datetime>1601-01-01T00:00:00Z<",
        "<cim:Interval>P",
        "<p:OperationalStatus>2</p:OperationalStatus><p:OtherEnabledState",
    ):
        assert form in text, form


def test_q12_instances_travel_as_texts_both_ways(world: Watched) -> None:
    world.story(world.web01())
    sent = world.wire.asked("CreateSnapshot")
    got = world.wire.answers("GetVirtualHardDiskSettingData")
    assert sent
    assert got
    assert all("INSTANCE CLASSNAME=" in one for one in sent + got)


def test_q14_backslashes_are_doubled_in_paths_and_queries(world: Watched) -> None:
    vm = world.web01()
    vm.rename("O'Neill\\web")
    for then in ("full", "rct"):
        assert world.methods(world.backup("O'Neill\\web", audit="off")) == [then]
        overwrite(vm, len(then))
    parents = "".join(world.wire.answers("Msvm_StorageAllocationSettingData"))
    assert re.search(r'Parent>\\\\LAB1\\root[^<]*"Microsoft:[^<\\]*\\\\[^<\\]', parents)
    by_name = world.wire.asked("Enumerate Msvm_ComputerSystem")
    assert any(r"ElementName = 'O\'Neill\\web'" in one for one in by_name)
    world.assert_clean(vm)


# Checkpoints and merges


def test_q17_a_guest_that_writes_all_the_time_goes_on_in_a_child(
    world: Watched,
) -> None:
    vm = world.web01()
    children: list[str] = []

    def look(*_: object) -> None:
        children.extend(disk.path for disk in vm.disks)

    with vm.guest(seed=3) as guest:
        for then in ("full", "rct", "rct"):
            guest.wait(5)
            point = world.backup(audit="off", progress=look)
            assert world.methods(point) == [then]
    world.assert_clean(vm)
    guid = "[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}"
    assert children
    for child in children:
        assert re.search(rf"\\disk0_{guid}[.]avhdx$", child, re.IGNORECASE), child


def test_q18_a_merge_is_waited_for(
    tmp_path: Path,
) -> None:
    with watched(tmp_path, pace=Pace(merge_seconds=30.0)) as world:
        world.story(world.web01())
        seen = world.wire.answers("Get Msvm_ComputerSystem")
        merging = ["OperationalStatus>32772<" in one for one in seen]
        assert any(merging)
        assert not merging[-1]


def test_q19_the_next_backup_stands_on_what_a_merge_has_left(world: Watched) -> None:
    vm = world.web01()
    frozen: list[str] = []
    vm.fail_merges(2)
    for seed, then in enumerate(("full", "rct", "rct")):
        overwrite(vm, seed)
        done = world.try_backup(audit="off", consistency="crash")
        world.compare(done.point)
        assert world.methods(done.point) == [then]
        frozen.append(vm.disks[0].path)
    assert ["avhdx" in path for path in frozen] == [True, True, False]
    world.assert_clean(vm)


def test_q19_what_a_merge_has_left_may_be_merged_by_a_checkpoint_that_fails(
    world: Watched,
) -> None:
    vm = world.web01()
    vm.fail_merges()
    done = world.try_backup()
    vm.set_consistency(possible=False)
    assert "avhdx" in vm.disks[0].path
    for seed in range(3):
        overwrite(vm, seed)
        done = world.try_backup(audit="off")
        world.compare(done.point)
        assert world.methods(done.point) == ["rct"]
        ran_on = ["without a checkpoint" in text for text in done.point.stats.findings]
        assert ran_on == [True] * (seed == 0)
        world.assert_clean(vm)


@pytest.mark.parametrize("consistency", ["prefer", "crash"])
def test_q25_a_guest_that_cannot_be_made_consistent_is_crash_consistent(
    world: Watched, consistency: Literal["prefer", "crash"]
) -> None:
    vm = world.web01()
    vm.set_consistency(possible=False)
    for then in ("full", "rct", "rct"):
        point = world.backup(audit="off", consistency=consistency)
        assert world.methods(point) == [then]
        assert point.consistency == "crash"
        overwrite(vm, len(then))
    failed = world.wire.answers("GetErrorEx")
    assert bool(failed) is (consistency == "prefer")
    world.assert_clean(vm)


@pytest.mark.parametrize("call", ["CreateSnapshot", "ConvertToReferencePoint"])
def test_q27_who_comes_while_somebody_works_on_the_machine_comes_again(
    tmp_path: Path, call: str
) -> None:
    with watched(tmp_path, pace=Pace(merge_seconds=5.0)) as world:
        vm = world.web01()

        def at_work() -> None:
            world.lab.model.world.busy[vm.machine.id] = 32774
            due = world.clock.now() + timedelta(seconds=3)
            world.lab.model.world.agenda.at(due, over)

        def over() -> None:
            world.lab.model.world.busy.pop(vm.machine.id, None)

        world.fail(call, Run(at_work))
        world.story(vm)
        assert any("ReturnValue>32775<" in one for one in world.wire.answers(call))


@pytest.mark.parametrize(
    "call",
    [
        "CreateSnapshot",
        "ModifySystemSettings",
        "ConvertToReferencePoint",
        "DestroyReferencePoint",
        "Get Msvm_ConcreteJob",
        CHANGES,
    ],
)
def test_q29_a_request_whose_answer_is_lost_is_done_once(
    world: Watched, call: str
) -> None:
    vm = world.web01()
    world.backup()
    overwrite(vm, 0)
    world.backup()
    losses: list[Effect] = [TIMEOUT, Drop(), Drop(after=True), Drop(halfway=True)]
    for seed, what in enumerate(losses, 1):
        world.fail(call, what)
        overwrite(vm, seed)
        done = world.try_backup(audit="off")
        world.compare(done.point)
        assert world.methods(done.point) == ["rct"]
        world.assert_clean(vm)
        assert len(world.lab.faults.struck) == seed
        # A conversion that was not done is not asked for again: the next backup builds on the point before.
        lost = call == "ConvertToReferencePoint" and what in losses[:2]
        findings = done.point.stats.findings
        assert ["no baseline" in one for one in findings] == [True] * lost
    overwrite(vm, 9)
    assert world.methods(world.backup(audit="off")) == ["rct"]
    assert len(vm.reference_points) == 2
    assert len(world.repository.points()) == 7


# Files, machines and disks of other kinds


@pytest.mark.parametrize("drive", ["C:\\VMs", "C:\\ClusterStorage\\Volume1"])
def test_q32_a_folder_may_be_said_in_another_case(tmp_path: Path, drive: str) -> None:
    with watched(tmp_path, drive=drive) as world:
        world.map = {name.upper(): path for name, path in world.lab.map.items()}
        world.story(world.web01())


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"version": "5.0"}, "version 5.0 has no change tracking"),
        ({"disks": [NewDisk(4 * MIB, kind="vhd")]}, "a VHD file has no change"),
    ],
)
def test_q33_what_has_no_tracking_is_compared(
    world: Watched, more: dict[str, Any], reason: str
) -> None:
    vm = world.web01(**more)
    world.story(vm, then="compare")
    assert reason in world.reason(world.backup())


def test_q33_a_machine_without_guest_state_is_whole(world: Watched) -> None:
    vm = world.web01(generation=1)
    world.story(vm)
    (*_, point) = world.repository.points()
    suffixes = {Path(file.name).suffix for file in point.configuration}
    assert suffixes == {".vmcx", ".vmrs"}


def test_q34_only_what_changes_is_sent(world: Watched) -> None:
    world.story(world.web01())
    sent = world.wire.asked("ModifySystemSettings")
    assert len(sent) == 3
    for one in sent:
        assert set(re.findall('PROPERTY NAME=(?:"|&quot;)([A-Za-z]+)', one)) == {
            "InstanceID",
            "ElementName",
        }
