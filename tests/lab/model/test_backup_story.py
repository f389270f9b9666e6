"""The story of a backup, as a model tells it: freeze, ask, convert, merge, and again."""

from pathlib import Path

from hypercbt import VirtualDisk
from lab.model.calling import APPLICATION, Host, piece, system


def read(host: Host, path: str, offset: int, length: int = 4096) -> bytes:
    with VirtualDisk.open(host.local(path)) as disk:
        return disk.read_at(offset, length)


def test_a_frozen_file_stands_still_while_the_guest_goes_on(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.disks[0].write(0, piece(1))
        (file,) = host.files(host.snapshot(vm))
        vm.disks[0].write(0, piece(2))
        assert read(host, file, 0) == piece(1)
        assert vm.disks[0].read(0, 4096) == piece(2)
        assert vm.disks[0].path != file
        assert vm.disks[0].path.endswith(".avhdx")


def test_changes_are_those_between_two_freezes(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        vm.disks[0].write(0, piece(1))
        since = host.base(vm)
        vm.disks[0].write(1 << 20, piece(2))
        (file,) = host.files(host.snapshot(vm))
        vm.disks[0].write(2 << 20, piece(3))
        assert host.ranges(file, since) == [(1 << 20, 4096)]


def test_a_conversion_takes_the_checkpoint_away_and_merges_in_the_background(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        snapshot = host.snapshot(vm)
        vm.disks[0].write(0, piece(2))
        (file,) = host.files(snapshot)
        point = host.convert(snapshot)
        assert host.get(snapshot) is None
        (status,) = [
            thing.values["OperationalStatus"]
            for thing in [host.get(system(vm))]
            if thing
        ]
        assert status == (2, 32772)
        assert point["ReferencePointType"] == 2
        host.merge()
        assert vm.disks[0].path == file
        # What was frozen is the guest's again: who goes on reading it reads something else.
        assert read(host, file, 0) == piece(2)
        (status,) = [
            thing.values["OperationalStatus"]
            for thing in [host.get(system(vm))]
            if thing
        ]
        assert status == (2,)


def test_all_disks_are_frozen_at_one_moment(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[32 << 20, 32 << 20])
        seen: list[bool] = []

        def look(_: object, files: object) -> None:
            seen.append(host.model.files.gate(vm.machine).locked())

        host.when_frozen(look)
        assert len(host.files(host.snapshot(vm))) == 2
        assert seen == [True]


def test_an_application_consistent_checkpoint_has_a_layer_of_its_own(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01")
        sealed = vm.disks[0].path
        snapshot = host.snapshot(vm, APPLICATION)
        (file,) = host.files(snapshot)
        assert host.setting_data(file)["ParentPath"] == sealed
        assert host.setting_data(file)["Type"] == 4
        with VirtualDisk.open(host.local(file)) as whole:
            layers = whole.inspect().layers
            assert len(layers) == 2
        host.convert(snapshot)
        host.merge()
        assert not host.local(file).exists()
