"""Machines, their disks and files, and what the command line says of them, over real HTTP."""

import json
from pathlib import Path

import pytest

import hypercbt
from hypercbt.cli.app import run
from hypercbt.errors import (
    AmbiguousVmError,
    HostFileError,
    VmNotFoundError,
)
from hypercbt.hyperv import checkpoints as cp
from hypercbt.hyperv.disks import attached_disks
from hypercbt.hyperv.reference_points import (
    list_reference_points,
)
from hypercbt.lab import LabVm, NewDisk, Quirks
from integration.hyperv.backups import MIB
from integration.hyperv.operations.bench import Bench, bench

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
