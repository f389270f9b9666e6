"""Disks of the older kind: readable by everybody, frozen, merged, and never tracked."""

from pathlib import Path

import pytest

from hypercbt import VirtualDisk
from hypercbt.lab import NewDisk
from hypercbt.lab.model.vhd import VhdFile
from lab.model.calling import Host, piece

SIZE = 8 << 20


def test_a_vhd_file_is_one_that_others_can_read_and_stands_still_when_frozen(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("old", disks=[NewDisk(SIZE, kind="vhd")], version="5.0")
        vm.disks[0].write(4096, piece(1))
        snapshot = host.snapshot(vm)
        (file,) = host.files(snapshot)
        assert file.endswith(".vhd")
        vm.disks[0].write(4096, piece(2))
        with VirtualDisk.open(host.local(file)) as disk:
            assert (disk.format, disk.size) == ("vhd", SIZE)
            assert disk.read_at(4096, 4096) == piece(1)
        assert vm.disks[0].path.endswith(".avhd")
        host.convert(snapshot)
        host.merge()
        assert vm.disks[0].path == file
        with VirtualDisk.open(host.local(file)) as disk:
            assert disk.read_at(4096, 4096) == piece(2)


def test_a_vhd_goes_back_to_its_checkpoint_and_comes_back_after_a_restart(
    tmp_path: Path,
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("old", disks=[NewDisk(SIZE, kind="vhd")])
        vm.disks[0].write(0, piece(1))
        vm.checkpoint()
        vm.disks[0].write(0, piece(2))
        vm.revert()
        assert vm.disks[0].read(0, 4096) == piece(1)
        vm.disks[0].write(0, piece(3))
        host.restart()
        assert vm.disks[0].read(0, 4096) == piece(3)
        vm.delete_checkpoint()
        host.merge()
        assert len(vm.disks[0].files) == 1
        assert vm.disks[0].read(0, 4096) == piece(3)


def test_the_guest_waits_while_its_disk_is_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("old", disks=[NewDisk(SIZE, kind="vhd")])
        gate = host.model.files.gate(vm.machine)
        thaw, seen = VhdFile.thaw, list[bool]()

        def look(disk: VhdFile) -> None:
            seen.append(gate.locked())
            thaw(disk)

        monkeypatch.setattr(VhdFile, "thaw", look)
        host.convert(host.snapshot(vm))
        host.merge()
        assert seen == [True]


def test_a_vhd_ends_where_it_ends(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("old", disks=[NewDisk(SIZE, kind="vhd")])
        with pytest.raises(ValueError, match="outside"):
            vm.disks[0].write(SIZE - 512, piece(1))
