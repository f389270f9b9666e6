"""A lab host that cannot be had as it is wanted: it says why, and leaves nothing behind."""

import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hypercbt.errors import AddressInUseError, DiskInUseError, HypercbtError
from hypercbt.lab import (
    LabHost,
    ManualClock,
    NewDisk,
    Quirks,
    TlsFiles,
    TrackedDisk,
)
from hypercbt.lab.faults import Fault, Run
from hypercbt.lab.model.services import MANAGEMENT
from hypercbt.lab.wire.provider import Thing
from lab.model.calling import Host, piece, system
from lab.wire.http.posting import post


def open_files() -> set[Path]:
    """What this process has open; nothing where it cannot be asked."""
    folder = Path("/proc/self/fd")
    links = list(folder.iterdir()) if folder.exists() else []
    return {link.readlink() for link in links if link.is_symlink()}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made meanwhile."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


class WantedError(Exception):
    """Something goes wrong in a `with` block."""


@pytest.mark.parametrize("how", ["closed", "raised", "interrupted", "cut"])
def test_a_host_that_ends_leaves_no_thread_file_or_folder_behind(
    tmp_path: Path, temporary: Path, how: str
) -> None:
    threads, files = threading.enumerate(), open_files()
    kinds = {"raised": WantedError, "interrupted": KeyboardInterrupt}
    try:
        with LabHost(tmp_path / "lab", power_cuts=how == "cut") as host:
            vm = host.add_vm("web01", disks=[8 << 20, NewDisk(8 << 20, kind="vhd")])
            vm.checkpoint()
            vm.disks[0].write(0, piece(1))
            assert list(temporary.iterdir())
            if how == "cut":
                host.power_cut()
            if how in kinds:
                raise kinds[how]
    except tuple(kinds.values()):
        pass
    assert threading.enumerate() == threads
    assert open_files() - files == set()
    assert list(temporary.iterdir()) == []


def test_a_port_that_is_taken_is_named_and_the_folder_is_free_again(
    tmp_path: Path, temporary: Path
) -> None:
    with LabHost(tmp_path / "one") as one:
        one.add_vm("web01", disks=[8 << 20])
    with LabHost(tmp_path / "two") as two:
        threads = threading.enumerate()
        before = list(temporary.iterdir())
        port = two.server.port
        with pytest.raises(AddressInUseError, match=str(port)):
            LabHost(tmp_path / "one", port=port)
        assert threading.enumerate() == threads
        assert list(temporary.iterdir()) == before
    with LabHost(tmp_path / "one") as one:
        assert one.vm("web01").disks[0].read(0, 512) == bytes(512)


@pytest.mark.parametrize(
    "wrong",
    [
        {"auth": ("digest",)},
        {"users": {"a:b": "c"}},
        {"users": {"a": "\ud800"}},
        {"tls": TlsFiles(Path("nowhere.pem"), Path("nowhere.key"))},
    ],
)
def test_what_its_wire_refuses_leaves_the_folder_free(
    tmp_path: Path, temporary: Path, wrong: dict[str, object]
) -> None:
    folder = tmp_path / "lab"
    with LabHost(folder) as host:
        host.add_vm("web01", disks=[8 << 20])
    with pytest.raises((ValueError, FileNotFoundError)):
        LabHost(folder, **wrong)  # type: ignore[arg-type]
    assert list(temporary.iterdir()) == []
    with LabHost(folder) as host:
        assert host.vm("web01").disks[0].read(0, 512) == bytes(512)


def test_a_disk_that_cannot_be_opened_leaves_the_others_free(tmp_path: Path) -> None:
    with LabHost(tmp_path) as host:
        vm = host.add_vm("web01", disks=[8 << 20, 8 << 20])
        good, bad = (disk.files[0] for disk in vm.disks)
    bad.write_bytes(b"no disk")
    with pytest.raises(HypercbtError):
        LabHost(tmp_path)
    TrackedDisk.open(good).close()


def test_a_folder_whose_disks_are_in_use_is_no_other_host_s(tmp_path: Path) -> None:
    with LabHost(tmp_path) as host:
        host.add_vm("web01", disks=[8 << 20]).disks[0].write(0, bytes(512))
        with pytest.raises(DiskInUseError):
            LabHost(tmp_path)
        assert host.vm("web01").disks[0].read(0, 512) == bytes(512)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"disks": 1}'])
def test_what_is_in_the_folder_and_no_machine_is_named(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "state" / "odd.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ValueError, match=r"odd\.json"):
        LabHost(tmp_path)


def test_a_disk_to_begin_with_that_is_missing_or_none_leaves_no_machine(
    tmp_path: Path,
) -> None:
    none = tmp_path / "none.vhdx"
    none.write_bytes(b"no disk")
    with Host(tmp_path / "lab") as host:
        with pytest.raises(FileNotFoundError, match="missing"):
            host.add_vm("web01", disks=[8 << 20, tmp_path / "missing.vhdx"])
        with pytest.raises(HypercbtError):
            host.add_vm("web01", disks=[8 << 20, none])
        assert host.vms == ()
        assert list((tmp_path / "lab" / "VMs").iterdir()) == []
        vm = host.add_vm("web01", disks=[8 << 20])
        with pytest.raises(HypercbtError):
            vm.attach(NewDisk(source=none))
        assert len(vm.disks) == 1
    with Host(tmp_path / "lab") as host:
        assert len(host.vm("web01").disks) == 1


@pytest.mark.parametrize(
    ("disks", "said"),
    [
        ([NewDisk(kind="floppy")], "floppy"),
        ([NewDisk(location="SCSI 1:0")], "SCSI 1:0"),
        ([NewDisk(location="SCSI 0:63")], "SCSI 0:63"),
        ([NewDisk(location="here")], "here"),
        ([NewDisk(location="SCSI 0:0"), NewDisk(location="SCSI 0:0")], "SCSI 0:0"),
        ([NewDisk(kind="pass-through")] * 64, "no place left"),
        ([NewDisk(kind="vhd", source=Path("a.vhd"))], "VHDX"),
        ([0], "0 bytes"),
        ([NewDisk(-1, kind="pass-through")], "-1 bytes"),
    ],
)
def test_disks_that_make_no_sense_are_refused(
    tmp_path: Path, disks: list[int | NewDisk], said: str
) -> None:
    with Host(tmp_path) as host:
        with pytest.raises(ValueError, match=said):
            host.add_vm("web01", disks=disks)
        assert host.vms == ()


def test_machines_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        with pytest.raises(ValueError, match="generation 3"):
            host.add_vm("web01", generation=3)
        with pytest.raises(ValueError, match="newest"):
            host.add_vm("web01", version="newest")
        assert host.vms == ()


@pytest.mark.parametrize("wrong", [{"lost": "somehow"}, {"untracked": "long"}])
def test_a_quirk_of_another_kind_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Quirks(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../../out", "..", "", "a/b", "C:\\x", "a\0b", ". "])
def test_whatever_a_machine_is_called_its_files_are_in_the_folder(
    tmp_path: Path, name: str
) -> None:
    with Host(tmp_path / "lab") as host:
        vm = host.add_vm(name, disks=[8 << 20])
        assert vm.name == name
        storage = (tmp_path / "lab" / "VMs").resolve()
        assert vm.disks[0].files[0].resolve().parent.parent == storage


@pytest.mark.parametrize("name", ["../../../out", "/{}/out", "..\\..\\..\\out", ".."])
def test_whatever_a_client_calls_a_machine_an_export_stays_in_its_folder(
    tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with Host(outside / "lab") as host:
        vm = host.add_vm("web01", disks=[8 << 20])
        name = name.format(tmp_path)
        host.modify(f"Microsoft:{vm.id}", ElementName=name)
        before = set(tmp_path.rglob("*"))
        answer = host.call(
            MANAGEMENT,
            "ExportSystemDefinition",
            ComputerSystem=system(vm),
            ExportDirectory="C:\\VMs\\export\\here",
            ExportSettingData=Thing("Msvm_VirtualSystemExportSettingData", {}),
        )
        assert host.job(answer)["JobState"] == 7
        folder = host.local("C:\\VMs\\export\\here")
        made = [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]
        assert len(made) == 3
        assert all(path.is_relative_to(folder) for path in made)


def test_a_checkpoint_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[8 << 20])
        with pytest.raises(LookupError, match="web01 has no checkpoint"):
            vm.delete_checkpoint()
        with pytest.raises(LookupError, match="web01 has no checkpoint"):
            vm.revert()
        with pytest.raises(LookupError, match="SCSI 0:7"):
            vm.detach("SCSI 0:7")


def test_a_new_disk_never_takes_the_file_of_another(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[8 << 20, 8 << 20])
        first = vm.disks[0].state
        vm.disks[1].write(0, piece(1))
        vm.detach("SCSI 0:0")
        new = vm.attach(NewDisk(8 << 20))
        assert new.location == "SCSI 0:0"
        assert new.read(0, 4096) == bytes(4096)
        assert new.path != vm.disks[0].path
        vm.detach("SCSI 0:0")
        assert vm.attach(first).path == first.active
        with pytest.raises(ValueError, match="SCSI 0:0"):
            vm.attach(NewDisk(location="SCSI 0:0"))


def test_a_machine_is_not_handed_over_onto_another(tmp_path: Path) -> None:
    with Host(tmp_path / "1") as one, Host(tmp_path / "2", name="HV2") as two:
        vm = one.add_vm("web01", disks=[8 << 20])
        other = two.add_vm("web01", disks=[8 << 20])
        vm.disks[0].write(0, piece(1))
        with pytest.raises(ValueError, match="has a folder"):
            one.move(vm, two)
        with pytest.raises(ValueError, match="not here"):
            one.move(other, two)
        with pytest.raises(ValueError, match="already there"):
            one.move(vm, one)
        assert vm.disks[0].read(0, 4096) == piece(1)
        assert other.disks[0].read(0, 4096) == bytes(4096)


def test_two_hosts_that_share_a_folder_give_two_machines_of_one_name_two(
    tmp_path: Path,
) -> None:
    storage = tmp_path / "shared"
    with (
        Host(tmp_path / "1", storage=storage) as one,
        Host(tmp_path / "2", name="HV2", storage=storage) as two,
    ):
        first, second = one.add_vm("web01"), two.add_vm("web01")
        assert first.disks[0].path != second.disks[0].path


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own, where the package that only the extra brings is hidden."""
    code = (
        "import sys; sys.modules['spnego'] = None\n"
        "from hypercbt.lab import TrackedDisk, Quirks\n"
        "from hypercbt.lab import LabHost\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: hypercbt.lab.LabHost needs spnego")
    assert last.endswith("pip install 'hypercbt[lab]'")


class BrokenError(Exception):
    """The simulation is broken."""


def broken() -> None:
    raise BrokenError


def test_what_the_simulation_does_wrong_is_not_taken_for_a_clients_mistake(
    tmp_path: Path,
) -> None:
    host = LabHost(tmp_path, clock=ManualClock(), power_cuts=True)
    host.options = replace(host.options, allow_unencrypted=True)
    host.restart()
    host.faults.add(Fault("*", Run(broken)))
    headers = {"Authorization": "Basic bGFiOmxhYg=="}
    assert post(host.server, headers=headers)[0] == 500
    host.power_cut()
    host.restart()
    assert [type(error) for error in host.errors] == [BrokenError]
    with pytest.raises(BrokenError), host:
        pass
    with pytest.raises(WantedError), host:
        raise WantedError


def test_time_goes_on_where_something_that_was_due_has_failed(tmp_path: Path) -> None:
    happened = threading.Event()
    host = LabHost(tmp_path)
    with host.model.world.lock:
        now = host.clock.now()
        host.model.world.agenda.at(now, broken)
        host.model.world.agenda.at(now + timedelta(milliseconds=1), happened.set)
    assert happened.wait(60)
    with pytest.raises(BrokenError), host:
        pass


def test_a_guest_ends_with_its_disk(tmp_path: Path) -> None:
    with Host(tmp_path) as host:
        vm = host.add_vm("web01", disks=[8 << 20])
        with vm.guest(pause_seconds=0) as guest:
            guest.wait(1)
            vm.detach("SCSI 0:0")
            guest.wait(1_000_000)
        assert isinstance(guest.error, LookupError)
