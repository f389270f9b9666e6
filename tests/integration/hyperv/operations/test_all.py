"""All operations on a machine, one after the other, on every kind of host, over real HTTP."""

from pathlib import Path

import pytest

from hypercbt import Extents
from hypercbt.hyperv import checkpoints as cp
from hypercbt.hyperv.changes import changed_extents
from hypercbt.hyperv.reference_points import (
    destroy_reference_point,
    list_reference_points,
)
from hypercbt.lab import NewDisk, Quirks
from hypercbt.lab.wire.options import WireOptions
from integration.hyperv.backups import MIB
from integration.hyperv.operations.bench import bench

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
