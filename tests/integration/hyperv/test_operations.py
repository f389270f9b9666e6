"""The client's middle against a lab host over real HTTP: each operation, on each kind of host, and when answers are lost."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import hypercbt
from hypercbt import Extents
from hypercbt.cli.app import run
from hypercbt.errors import (
    AmbiguousVmError,
    ChangeTrackingLostError,
    HostFileError,
    HostJobError,
    LostReplyError,
    VmNotFoundError,
)
from hypercbt.hyperv import checkpoints as cp
from hypercbt.hyperv.changes import changed_extents
from hypercbt.hyperv.checkpoints import Checkpoint
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.disks import VmDisk, attached_disks, vm_disks
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.reference_points import (
    ReferencePoint,
    destroy_reference_point,
    list_reference_points,
)
from hypercbt.hyperv.session import Session
from hypercbt.lab import LabHost, LabVm, ManualClock, NewDisk, Pace, Quirks
from hypercbt.lab.faults import Drop, FailJob, Fault, Return
from hypercbt.lab.wire.options import WireOptions

MIB = 1 << 20


class LabTime:
    """The client waits by the clock of the lab host, so nobody does."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def now(self) -> float:
        return self.clock.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)


@dataclass
class Bench:
    """A lab host, a conversation with it, and what is done in it."""

    lab: LabHost
    host: hypercbt.Host
    time: LabTime

    @property
    def session(self) -> Session:
        return self.host.session

    def web01(self) -> VirtualMachine:
        return self.host.vm("web01")

    def ids(self, vm: VirtualMachine) -> list[str]:
        return [one.id for one in cp.list_checkpoints(self.session, vm.id)]

    def create(self, level: cp.Level = "application") -> Checkpoint:
        vm = self.web01()
        return cp.create_checkpoint(
            self.session, vm, level=level, before=self.ids(vm), clock=self.time
        )

    def disks(self, settings_id: str) -> tuple[VmDisk, ...]:
        return vm_disks(self.session, settings_id, clock=self.time)

    def convert(self, checkpoint: Checkpoint) -> ReferencePoint:
        disks = self.disks(checkpoint.id)
        return cp.convert(self.session, checkpoint, disks=disks, clock=self.time)

    def merged(self) -> VirtualMachine:
        """Wait for the merge."""
        for _ in range(1000):
            vm = self.web01()
            if vm.busy is None:
                return vm
            self.time.sleep(0.1)
        raise AssertionError(f"{vm.name} is still {vm.busy}")


@contextmanager
def bench(
    folder: Path,
    quirks: Quirks | None = None,
    options: WireOptions | None = None,
    pace: Pace | None = None,
) -> Iterator[Bench]:
    clock = ManualClock()
    with LabHost(
        folder,
        clock=clock,
        quirks=quirks or Quirks(),
        options=options or WireOptions(),
        pace=pace or Pace(job_seconds=2, merge_seconds=5),
    ) as lab:
        credentials = Credentials(*lab.credentials)
        with hypercbt.Host(lab.host, credentials=credentials, map=lab.map) as host:
            yield Bench(lab, host, LabTime(clock))


@pytest.fixture
def one(tmp_path: Path) -> Iterator[tuple[Bench, LabVm]]:
    """A host with one machine of two disks."""
    with bench(tmp_path) as made:
        yield made, made.lab.add_vm("web01", disks=[32 * MIB, 16 * MIB])


HOSTS: dict[str, tuple[Quirks, WireOptions]] = {
    "as recorded": (Quirks(), WireOptions()),
    "the other way": (
        Quirks(
            jobs_end_with_warnings=True,
            rename_by_job=True,
            clean_up_by_job=False,
            affected_rows_of_others=False,
            guid_case_varies=False,
            documented_states=True,
            reference_point_selectors_required=True,
            guest_backup_type=False,
            application_layer=False,
            untracked="null",
            shuffled_disks=False,
            short_answers=False,
            layer_in_changes=True,
        ),
        WireOptions(
            one_item_pulls=False,
            last_pull_empty=True,
            empty_array_is_nil=True,
            namespace_selector=True,
            shuffle_seed=None,
            wmi_error_alone=True,
        ),
    ),
    "without filters": (Quirks(most_ranges=1), WireOptions(refuse_filters=True)),
}


@pytest.mark.parametrize("kind", HOSTS)
def test_a_machine_goes_through_all_operations_on_every_kind_of_host(
    tmp_path: Path, kind: str
) -> None:
    with bench(tmp_path, *HOSTS[kind]) as on:
        on.lab.add_vm("db01", disks=[8 * MIB])
        vm = on.lab.add_vm(
            "web01", disks=[32 * MIB, NewDisk(16 * MIB, kind="vhd"), 8 * MIB]
        )
        vm.disks[0].write(0, b"first" + bytes(507))

        first = on.create()
        cp.rename(on.session, first, "hypercbt a b", clock=on.time)
        vm.disks[0].write(0, b"later" + bytes(507))
        (seen,) = cp.list_checkpoints(on.session, vm.id)
        frozen = on.disks(first.id)
        assert (seen.name, seen.kind) == ("hypercbt a b", "recovery")
        assert [disk.location for disk in frozen] == [
            disk.location for disk in on.disks(on.web01().settings_id)
        ]
        with on.host.files.open_chain(frozen[0].path, frozen[0].parents) as disk:
            assert disk.read_at(0, 5) == b"first"
            assert disk.disk_id == frozen[0].disk_id == vm.disks[0].id
        assert on.host.files.exists(cp.configuration_files(first)[0])

        point = on.convert(first)
        assert set(point.rct_ids) == {frozen[0].device, frozen[2].device}
        assert cp.list_checkpoints(on.session, vm.id) == ()
        assert list_reference_points(on.session, vm.id)[0].id == point.id
        on.merged()

        vm.disks[0].write(MIB, bytes(range(256)) * 16)
        vm.disks[0].write(9 * MIB, b"x" * 4096)
        second = on.create("crash")
        now = on.disks(second.id)
        since = point.rct_ids[now[0].device]
        truth = Extents([(0, 512), (MIB, 4096), (9 * MIB, 4096)])
        assert now[0].size is not None
        told = changed_extents(on.session, now[0].path, since, now[0].size)
        assert len(truth.subtract(told)) == 0
        assert told.total_bytes < 4 * MIB

        cp.destroy(on.session, second, clock=on.time)
        cp.destroy(on.session, second, clock=on.time)
        assert cp.list_checkpoints(on.session, vm.id) == ()
        destroy_reference_point(on.session, point, clock=on.time)
        destroy_reference_point(on.session, point, clock=on.time)
        assert list_reference_points(on.session, vm.id) == ()
        on.merged()
        assert all(disk.parents == () for disk in on.disks(on.web01().settings_id))


# --- machines


def test_names_need_not_be_unique_and_the_host_is_no_machine(tmp_path: Path) -> None:
    with bench(tmp_path) as on:
        first = on.lab.add_vm("same", disks=[])
        second = on.lab.add_vm("same", disks=[])
        host_name = on.lab.name

        assert {vm.id for vm in on.host.vms()} == {first.id, second.id}
        with pytest.raises(AmbiguousVmError):
            on.host.vm("same")
        assert on.host.vm(first.id.upper()).id == first.id
        with pytest.raises(VmNotFoundError):
            on.host.vm(host_name)


@pytest.mark.parametrize("documented", [False, True])
def test_the_states_of_a_machine_have_names(tmp_path: Path, documented: bool) -> None:
    with bench(tmp_path, Quirks(documented_states=documented)) as on:
        vm = on.lab.add_vm("web01", disks=[])
        seen = [on.web01().state]
        for change in (vm.pause, vm.save, vm.stop, vm.start):
            change()
            seen.append(on.web01().state)

    assert seen == ["running", "paused", "saved", "off", "running"]


def test_one_machine_costs_the_same_whatever_the_number_of_others(
    tmp_path: Path,
) -> None:
    def asked(folder: Path, others: int) -> int:
        with bench(folder) as on:
            vm = on.lab.add_vm("web01", disks=[8 * MIB])
            for number in range(others):
                on.lab.add_vm(f"vm{number}", disks=[8 * MIB], light=True)
            vm.add_reference_points(3)
            on.host.vm("web01")
            before = sum(on.lab.counts.values())
            found = on.host.vm("web01")
            attached_disks(on.session, found.settings_id)
            cp.list_checkpoints(on.session, found.id)
            list_reference_points(on.session, found.id)
            return sum(on.lab.counts.values()) - before

    few = asked(tmp_path / "few", 3)
    assert few == asked(tmp_path / "many", 60)


# --- checkpoints


def test_a_guest_that_cannot_be_made_consistent_says_why_and_can_be_frozen_as_it_is(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    vm.set_consistency(False)

    with pytest.raises(HostJobError) as raised:
        on.create("application")
    assert "0x800423" in str(raised.value).lower()

    assert on.create("crash").kind == "recovery"


def test_checkpoints_of_others_are_told_from_ours(one: tuple[Bench, LabVm]) -> None:
    on, vm = one
    users = vm.checkpoint("mine")
    theirs = vm.recovery_checkpoint("other product")

    ours = on.create()

    found = {
        c.id.lower().partition(":")[2]: c
        for c in cp.list_checkpoints(on.session, vm.id)
    }
    assert found[users].kind == "user"
    assert found[theirs].kind == "recovery"
    assert ours.id.lower().partition(":")[2] not in (users, theirs)
    cp.destroy(on.session, ours, clock=on.time)
    on.merged()
    assert len(cp.list_checkpoints(on.session, vm.id)) == 2


@pytest.mark.parametrize(
    ("call", "do"),
    [
        ("CreateSnapshot", lambda on: on.create()),
        ("ConvertToReferencePoint", lambda on: on.convert(on.create())),
        (
            "DestroySnapshot",
            lambda on: cp.destroy(on.session, on.create(), clock=on.time),
        ),
        (
            "DestroyReferencePoint",
            lambda on: destroy_reference_point(
                on.session, on.convert(on.create()), clock=on.time
            ),
        ),
        (
            "ModifySystemSettings",
            lambda on: cp.rename(on.session, on.create(), "x", clock=on.time),
        ),
    ],
)
def test_an_answer_that_is_lost_changes_nothing_of_the_outcome(
    one: tuple[Bench, LabVm], call: str, do: Callable[[Bench], object]
) -> None:
    on, vm = one
    on.lab.faults.add(Fault(call, Drop(after=True)))

    do(on)

    assert len(on.lab.faults.struck) == 1
    on.merged()
    left = [c.name for c in cp.list_checkpoints(on.session, vm.id)]
    points = list_reference_points(on.session, vm.id)
    assert (len(left), len(points)) == {
        "CreateSnapshot": (1, 0),
        "ConvertToReferencePoint": (0, 1),
        "DestroySnapshot": (0, 0),
        "DestroyReferencePoint": (0, 0),
        "ModifySystemSettings": (1, 0),
    }[call]
    assert on.lab.counts[call] == (2 if call == "ModifySystemSettings" else 1)


def test_a_checkpoint_whose_request_never_arrived_is_not_asked_for_twice(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    on.lab.faults.add(Fault("CreateSnapshot", Drop()))

    with pytest.raises(LostReplyError):
        on.create()

    assert cp.list_checkpoints(on.session, vm.id) == ()


def test_a_deletion_whose_request_never_arrived_is_asked_for_again(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    made = on.create()
    on.lab.faults.add(Fault("DestroySnapshot", Drop()))

    cp.destroy(on.session, made, clock=on.time)

    assert cp.list_checkpoints(on.session, vm.id) == ()


def test_a_busy_machine_is_asked_again(one: tuple[Bench, LabVm]) -> None:
    on, _ = one
    on.lab.faults.add(Fault("CreateSnapshot", Return(32775)))

    on.create()

    assert on.lab.counts["CreateSnapshot"] == 2


def test_a_job_that_the_host_has_forgotten_is_looked_for(tmp_path: Path) -> None:
    with bench(tmp_path, pace=Pace(job_seconds=2, removal_seconds=0.01)) as on:
        on.lab.add_vm("web01", disks=[8 * MIB])

        made = on.create()
        point = on.convert(made)

        assert list_reference_points(on.session, on.web01().id)[0].id == point.id


def test_a_conversion_that_fails_leaves_the_checkpoint(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    made = on.create()
    on.lab.faults.add(
        Fault("ConvertToReferencePoint", FailJob(32768, "Anlage 0x8007052F"))
    )

    with pytest.raises(HostJobError, match="0x8007052F"):
        on.convert(made)

    assert [c.id for c in cp.list_checkpoints(on.session, vm.id)] == [made.id]


def test_bland_jobs_are_asked_for_their_reason(tmp_path: Path) -> None:
    with bench(tmp_path, Quirks(bland_job_errors=True)) as on:
        on.lab.add_vm("web01", disks=[8 * MIB]).set_consistency(False)

        with pytest.raises(HostJobError, match=r"0x800423"):
            on.create("application")


# --- disks and files


def test_disks_of_all_kinds_are_listed_and_only_files_are_described(
    tmp_path: Path,
) -> None:
    with bench(tmp_path) as on:
        on.lab.add_vm(
            "web01",
            disks=[
                NewDisk(8 * MIB, kind="vhds"),
                NewDisk(8 * MIB, kind="pass-through"),
                NewDisk(8 * MIB, kind="vhd"),
                8 * MIB,
            ],
        )

        found = on.disks(on.web01().settings_id)

    assert [disk.kind for disk in found] == ["vhds", "pass-through", "vhd", "vhdx"]
    assert [disk.size for disk in found] == [None, None, 8 * MIB, 8 * MIB]


def test_a_host_whose_folders_are_elsewhere_needs_another_mapping(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    with (
        hypercbt.Host("x", map={"D:\\": "/mnt"}, session=on.session) as other,
        pytest.raises(HostFileError, match="--map"),
    ):
        other.files.open_chain(vm.disks[0].path, ())


# --- changes


@pytest.mark.parametrize("lost", ["return", "job", "fault"])
@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0xC03A0020, "CTLOG_TRACKING_NOT_INITIALIZED"),
        (0xC03A0022, "CTLOG_VHD_CHANGED_OFFLINE"),
        (0xC03A0030, "VHD_MISSING_CHANGE_TRACKING_INFORMATION"),
    ],
)
def test_tracking_that_is_lost_is_named_however_the_host_says_it(
    tmp_path: Path, lost: str, code: int, name: str
) -> None:
    with bench(tmp_path, Quirks(lost=lost)) as on:  # type: ignore[arg-type]
        vm = on.lab.add_vm("web01", disks=[8 * MIB])
        point = on.convert(on.create())
        on.merged()
        vm.disks[0].lose_tracking(code)
        (disk,) = on.disks(on.create("crash").id)

        said = r"failed \(32768\)" if lost == "return" else name
        with pytest.raises(ChangeTrackingLostError, match=said):
            changed_extents(
                on.session,
                disk.path,
                point.rct_ids[disk.device],
                8 * MIB,
                clock=on.time,
            )


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("short", [False, True])
def test_a_long_list_comes_whole_through_small_envelopes(
    tmp_path: Path, short: bool, refused: bool
) -> None:
    options = WireOptions(max_envelope_bytes=32_000, refuse_filters=refused)
    with bench(tmp_path, Quirks(short_answers=short), options) as on:
        vm = on.lab.add_vm("web01", disks=[1 << 30])
        point = on.convert(on.create("crash"))
        on.merged()
        truth = [(at * 262144, 65536) for at in range(3000)]
        vm.disks[0].pretend(truth)
        (disk,) = on.disks(on.create("crash").id)

        told = changed_extents(
            on.session, disk.path, point.rct_ids[disk.device], 1 << 30
        )

    assert list(told) == truth


def test_a_query_of_changes_that_breaks_is_sent_again(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    point = on.convert(on.create("crash"))
    on.merged()
    vm.disks[0].write(0, bytes(512))
    disk = on.disks(on.create("crash").id)[0]
    on.lab.faults.add(Fault("GetVirtualDiskChanges", Drop(after=True)))

    told = changed_extents(on.session, disk.path, point.rct_ids[disk.device], 32 * MIB)

    assert 0 in told


def test_a_disk_that_was_reverted_has_lost_its_tracking(
    one: tuple[Bench, LabVm],
) -> None:
    on, vm = one
    point = on.convert(on.create("crash"))
    on.merged()
    vm.checkpoint()
    vm.disks[0].write(0, bytes(512))
    vm.revert()
    disk = on.disks(on.create("crash").id)[0]

    with pytest.raises(ChangeTrackingLostError):
        changed_extents(on.session, disk.path, point.rct_ids[disk.device], 32 * MIB)


def test_changes_are_asked_without_a_checkpoint(one: tuple[Bench, LabVm]) -> None:
    on, vm = one
    point = on.convert(on.create("crash"))
    on.merged()
    vm.disks[0].write(MIB, bytes(4096))
    since = point.rct_ids[on.disks(on.web01().settings_id)[0].device]
    before = on.lab.counts["CreateSnapshot"]

    report = on.host.changes("web01", since=since)

    first, second = report.disks
    assert not report.exact
    assert first.extents is not None
    assert MIB in first.extents
    assert second.reason is not None
    assert on.lab.counts["CreateSnapshot"] == before
    vm.stop()
    assert on.host.changes("web01", since=since).exact


# --- the command line


def test_the_command_line_lists_machines_and_changes_over_the_wire(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bench(tmp_path) as on:
        vm = on.lab.add_vm("web01", disks=[8 * MIB])
        point = on.convert(on.create("crash"))
        on.merged()
        vm.disks[0].write(0, bytes(512))
        user, password = on.lab.credentials
        monkeypatch.setenv("HYPERCBT_USER", user)
        monkeypatch.setenv("HYPERCBT_PASSWORD", password)
        (since,) = point.rct_ids.values()

        assert run(["vms", on.lab.host, "--json"]) == 0
        (listed,) = json.loads(capsys.readouterr().out)["vms"]
        assert run(["changes", on.lab.host, "WEB01", "--since", since, "--json"]) == 0
        changed = json.loads(capsys.readouterr().out)

    assert listed["id"] == changed["vm_id"] == vm.id
    assert changed["disks"][0]["changed_bytes"] > 0
    assert changed["disks"][0]["extents"][0][0] == 0
