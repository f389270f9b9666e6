"""Changed extents from a lab host over real HTTP, and how lost tracking is told."""

from pathlib import Path

import pytest

from hypercbt.errors import (
    ChangeTrackingLostError,
)
from hypercbt.hyperv.changes import changed_extents
from hypercbt.lab import LabVm, Quirks
from hypercbt.lab.faults import Drop, Fault
from hypercbt.lab.wire.options import WireOptions
from integration.hyperv.backups import MIB
from integration.hyperv.operations.bench import Bench, bench

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
