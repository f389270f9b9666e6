"""What is said to have changed: whole, in windows, short, too much, too little, or not at all."""

from pathlib import Path
from typing import Any

import pytest

from hypercbt.lab import NewDisk, Quirks
from hypercbt.lab.model.services import IMAGES
from hypercbt.lab.wire.provider import ProviderError
from lab.model.calling import APPLICATION, Host, piece

SIZE = 64 << 20


def frozen(host: Host, *writes: int) -> tuple[Any, str, str]:
    """A disk with these writes since a reference point: itself, the frozen file, the id."""
    vm = host.add_vm("web01")
    since = host.base(vm)
    for at in writes:
        vm.disks[0].write(at, piece(at))
    (file,) = host.files(host.snapshot(vm))
    return vm.disks[0], file, since


def test_nothing_changed_is_an_answer(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        _, file, since = frozen(host)
        answer = host.changes(file, since)
        assert answer["ReturnValue"] == 0
        assert answer["ChangedByteOffsets"] == answer["ChangedByteLengths"] == ()
        assert answer["ProcessedByteLength"] == SIZE


def test_a_window_has_what_is_in_it_and_cuts_what_crosses_its_edges(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        _, file, since = frozen(host, 0, 1 << 20, 2 << 20)
        answer = host.changes(file, since, (1 << 20) + 1024, (1 << 20) + 512)
        assert answer["ChangedByteOffsets"] == ((1 << 20) + 1024, 2 << 20)
        assert answer["ChangedByteLengths"] == (3072, 1536)
        assert answer["ProcessedByteLength"] == (1 << 20) + 512


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (SIZE, 1), (0, SIZE + 1)])
def test_a_window_outside_the_disk_is_refused(
    tmp_path: Path, offset: int, length: int
) -> None:
    with Host(tmp_path) as host:
        _, file, since = frozen(host)
        assert host.changes(file, since, offset, length)["ReturnValue"] == 32773


def test_some_hosts_take_less_than_the_whole_length_only(tmp_path: Path) -> None:
    with Host(tmp_path, quirks=Quirks(whole_length=False)) as host:
        _, file, since = frozen(host)
        assert host.changes(file, since, 0, SIZE)["ReturnValue"] == 32773
        assert host.changes(file, since, 0, SIZE - 512)["ReturnValue"] == 0


def test_a_short_answer_says_how_far_it_goes_and_the_rest_is_there_for_the_asking(
    tmp_path: Path,
) -> None:
    with Host(tmp_path, quirks=Quirks(most_ranges=2)) as host:
        writes = [at << 20 for at in range(5)]
        _, file, since = frozen(host, *writes)
        found: list[int] = []
        at = 0
        while at < SIZE:
            answer = host.changes(file, since, at, SIZE - at)
            assert len(answer["ChangedByteOffsets"]) <= 2
            assert answer["ProcessedByteLength"] > 0
            found += answer["ChangedByteOffsets"]
            at += answer["ProcessedByteLength"]
        assert (found, at) == (writes, SIZE)


def test_an_answer_is_as_short_as_the_envelope_wants_it(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        disk, file, since = frozen(host)
        disk.pretend((at << 10, 512) for at in range(10_000))
        answer = host.changes(file, since)
        assert 2000 < len(answer["ChangedByteOffsets"]) < 512_000 // 96
        assert answer["ProcessedByteLength"] < SIZE
    with Host(tmp_path / "whole", quirks=Quirks(short_answers=False)) as host:
        disk, file, since = frozen(host)
        disk.pretend((at << 10, 512) for at in range(10_000))
        assert len(host.changes(file, since)["ChangedByteOffsets"]) == 10_000


def test_ranges_are_as_coarse_as_it_is_said_and_stay_within_the_disk(
    tmp_path: Path,
) -> None:
    with Host(tmp_path, quirks=Quirks(coarse_bytes=3 << 20)) as host:
        _, file, since = frozen(host, SIZE - 4096)
        assert host.ranges(file, since) == [(63 << 20, 1 << 20)]


def test_what_is_hidden_is_not_reported_and_all_else_is(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        disk, file, since = frozen(host, 0, 1 << 20)
        disk.under_report([(0, 65536)])
        assert host.ranges(file, since) == [(1 << 20, 4096)]
        disk.under_report([])
        assert len(host.ranges(file, since)) == 2


def test_a_share_of_changes_is_hidden_the_same_each_time(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        disk, file, since = frozen(host, *(at << 16 for at in range(1000)))
        disk.vm.under_report(0.1, seed=7)
        seen = host.ranges(file, since)
        assert 850 < len(seen) < 950
        disk.vm.under_report(0.1, seed=7)
        assert host.ranges(file, since) == seen


def test_the_answer_ends_at_the_freeze_whatever_the_guest_does_later(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        disk, file, since = frozen(host, 0)
        disk.write(1 << 20, piece(9))
        assert host.ranges(file, since) == [(0, 4096)]
        assert len(host.ranges(disk.path, since)) == 2  # of the live file: up to now


def test_an_id_of_a_later_moment_is_refused_also_after_a_restart(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        (file,) = host.files(host.snapshot(vm))
        later = host.snapshot(vm)
        rct = vm.checkpoints[1].disks[0].rct_id
        assert rct is not None
        assert host.changes(file, rct)["ReturnValue"] == 32768
        host.restart()
        assert host.changes(file, rct)["ReturnValue"] == 32768
        assert host.get(later) is not None


def test_after_a_restart_the_answer_covers_what_it_was(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        disk, file, since = frozen(host, 0)
        disk.write(1 << 20, piece(9))
        host.restart()
        ranges = host.ranges(file, since)
        assert any(at <= 0 < at + length for at, length in ranges)


@pytest.mark.parametrize(
    "id",
    [
        "rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001",
        "",
        "nonsense",
        "rctX:",
    ],
)
def test_foreign_ids_are_not_known(tmp_path: Path, id: str) -> None:
    with Host(tmp_path) as host:
        _, file, _ = frozen(host)
        assert host.changes(file, id)["ReturnValue"] == 32768


def test_an_id_goes_with_its_reference_point(tmp_path: Path) -> None:
    for by_job in (True, False):
        with Host(
            tmp_path / str(by_job), quirks=Quirks(clean_up_by_job=by_job)
        ) as host:
            disk, file, since = frozen(host)
            (point,) = host.all("Msvm_VirtualSystemReferencePoint")
            answer = host.forget(point)
            if by_job:
                host.done(answer)
            assert host.all("Msvm_VirtualSystemReferencePoint") == []
            assert host.changes(file, since)["ReturnValue"] == 32768
            assert since not in disk.tracked.ids


@pytest.mark.parametrize("code", [0xC03A0020, 0xC03A0021, 0xC03A0024, 0xC03A002A])
def test_lost_tracking_is_said_in_three_ways(tmp_path: Path, code: int) -> None:
    with Host(tmp_path / "return") as host:
        disk, file, since = frozen(host)
        disk.lose_tracking(code)
        assert host.changes(file, since)["ReturnValue"] == 32768
        disk.lose_tracking(None)
        assert host.changes(file, since)["ReturnValue"] == 0
    with Host(tmp_path / "job", quirks=Quirks(lost="job")) as host:
        disk, file, since = frozen(host)
        disk.lose_tracking(code)
        answer = host.changes(file, since)
        assert answer["Job"].class_name == "Msvm_StorageJob"
        job = host.job(answer)
        assert job["JobState"] == 10
        assert f"0x{code:08X}" in job["ErrorDescription"]
    with Host(tmp_path / "fault", quirks=Quirks(lost="fault")) as host:
        disk, file, since = frozen(host)
        disk.lose_tracking(code)
        with pytest.raises(ProviderError) as caught:
            host.changes(file, since)
        assert caught.value.provider_code == code


def test_a_resized_disk_has_lost_its_ids(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        since = host.base(vm)
        vm.disks[0].resize(SIZE * 2)
        (file,) = host.files(host.snapshot(vm))
        assert host.setting_data(file)["MaxInternalSize"] == SIZE * 2
        assert host.changes(file, since, 0, SIZE * 2)["ReturnValue"] == 32768


@pytest.mark.parametrize(
    ("disk", "version"), [(SIZE, "5.0"), (NewDisk(SIZE, kind="vhd"), "10.0")]
)
def test_old_machines_and_old_disks_are_not_tracked(
    tmp_path: Path, disk: int | NewDisk, version: str
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[disk], version=version)
        point = host.convert(host.snapshot(vm))
        host.merge()
        assert point["ResilientChangeTrackingIdentifiers"] == ()
        assert len(point["VirtualDiskIdentifiers"]) == 1
        (file,) = host.files(host.snapshot(vm))
        foreign = "rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001"
        assert host.changes(file, foreign)["ReturnValue"] == 32768


@pytest.mark.parametrize("covers", [False, True])
def test_a_layer_of_its_own_is_in_the_answer_or_not(
    tmp_path: Path, covers: bool
) -> None:
    with Host(tmp_path, quirks=Quirks(layer_in_changes=covers)) as host:
        vm = host.add_vm("web01")
        since = host.base(vm)
        (file,) = host.files(host.snapshot(vm, APPLICATION))
        assert (host.ranges(file, since) != []) is covers


def test_a_file_that_nobody_knows_is_not_found(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        host.add_vm("web01")
        for method in (
            "GetVirtualDiskChanges",
            "GetVirtualHardDiskSettingData",
            "GetVirtualHardDiskState",
        ):
            answer = host.call(IMAGES, method, Path="C:\\VMs\\no.vhdx")
            assert answer["ReturnValue"] == 32779


def test_a_file_that_was_merged_away_is_not_found_any_more(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        snapshot = host.snapshot(vm)
        leaf = vm.disks[0].path
        assert host.setting_data(leaf)["Path"] == leaf
        host.convert(snapshot)
        host.merge()
        answer = host.call(IMAGES, "GetVirtualHardDiskSettingData", Path=leaf)
        assert answer["ReturnValue"] == 32779


def test_a_reference_point_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.add_reference_points(1)
        (point,) = host.all("Msvm_VirtualSystemReferencePoint")
        host.done(host.forget(point))
        with pytest.raises(ProviderError) as caught:
            host.forget(point)
        assert caught.value.subcode == "a:DestinationUnreachable"


def test_a_path_is_found_in_any_case(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        _, file, since = frozen(host, 0)
        assert host.ranges(file.upper(), since) == [(0, 4096)]


def test_two_tebibytes_with_a_million_ranges_cost_no_data(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("big", disks=[2 << 40])
        since = host.base(vm)
        vm.disks[0].pretend((at << 21, 4096) for at in range(1 << 20))
        (file,) = host.files(host.snapshot(vm))
        found = at = asked = 0
        while at < 2 << 40:
            answer = host.changes(file, since, at, (2 << 40) - at)
            found += len(answer["ChangedByteOffsets"])
            at += answer["ProcessedByteLength"]
            asked += 1
        assert found == 1 << 20
        assert asked < 500
        assert sum(path.stat().st_size for path in vm.disks[0].files) < 64 << 20
