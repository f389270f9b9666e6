"""A host's paths, and where they are from here."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hypercbt.errors import (
    HostFileError,
    HostFileMissingError,
    ParentDiskError,
    VhdxCorruptError,
)
from hypercbt.hyperv.files import HostFiles
from hypercbt.hyperv.host_path import fold, parse_host_path
from hypercbt.lab import TrackedDisk
from unit.hyperv.scripted import ManualClock

MIB = 1 << 20


def on(map: dict[str, Path], windows: bool = False) -> HostFiles:
    return HostFiles(map, windows=windows, clock=ManualClock())


def made(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- paths


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("C:\\VMs\\a.vhdx", ("C:", "VMs", "a.vhdx")),
        ("c:/VMs//a.vhdx", ("C:", "VMs", "a.vhdx")),
        ("C:\\", ("C:",)),
        ("C:", ("C:",)),
        ("\\\\fs\\vms\\a.vhdx", ("\\\\fs\\vms", "a.vhdx")),
        ("\\\\?\\C:\\VMs\\a.vhdx", ("C:", "VMs", "a.vhdx")),
        ("\\\\?\\UNC\\fs\\vms\\a.vhdx", ("\\\\fs\\vms", "a.vhdx")),
        (
            "\\\\?\\Volume{0d15c000-0000-4000-8000-00000000000d}\\a.vhdx",
            ("\\\\?\\Volume{0d15c000-0000-4000-8000-00000000000d}", "a.vhdx"),
        ),
        (
            "C:\\ClusterStorage\\Volume 1\\ä ü=1.vhdx",
            ("C:", "ClusterStorage", "Volume 1", "ä ü=1.vhdx"),
        ),
    ],
)
def test_a_host_path_has_a_root_and_names(text: str, parts: tuple[str, ...]) -> None:
    path = parse_host_path(text)

    assert (path.root, *path.names) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.vhdx",
        "VMs\\a.vhdx",
        "C:a.vhdx",
        "\\a.vhdx",
        "/etc/passwd",
        "\\\\fs",
        "\\\\.\\PhysicalDrive1",
        "\\\\?\\GLOBALROOT\\Device\\x",
        "\\\\..\\vms\\a.vhdx",
        "\\\\fs\\..\\a.vhdx",
        "C:\\VMs\\..\\a.vhdx",
        "C:\\VMs\\.. \\a.vhdx",
        "C:\\VMs\\.\\a.vhdx",
        "C:\\VMs\\...\\a.vhdx",
        "C:/VMs/../a.vhdx",
        "C:\\VMs\\a.vhdx:stream",
        "C:\\VMs\\a\x00.vhdx",
        "C:\\VMs\\a?.vhdx",
        "C:\\VMs\\\n.vhdx",
        "CC:\\VMs",
    ],
)
def test_what_is_no_path_of_a_file_is_refused(text: str) -> None:
    with pytest.raises(HostFileError):
        parse_host_path(text)


def test_names_fold_letter_by_letter() -> None:
    assert fold("straße-ä") == "STRAßE-Ä"
    assert fold("a.VHDX") == "A.VHDX"


# --- mapping


def test_a_folder_is_mapped_whatever_its_case(tmp_path: Path) -> None:
    file = made(tmp_path / "web01" / "a.vhdx")

    assert on({"C:\\VMs": tmp_path}).local("c:\\vms\\web01\\a.vhdx") == file


def test_the_longest_folder_that_fits_counts(tmp_path: Path) -> None:
    far = made(tmp_path / "far" / "a.vhdx")
    near = made(tmp_path / "near" / "a.vhdx")
    deep = made(tmp_path / "drive" / "VMs2" / "a.vhdx")
    files = on(
        {
            "C:": tmp_path / "drive",
            "C:\\VMs": tmp_path / "far",
            "C:\\VMs\\web01\\": tmp_path / "near",
        }
    )

    assert files.local("C:\\VMs\\a.vhdx") == far
    assert files.local("C:\\VMs\\WEB01\\a.vhdx") == near
    assert files.local("C:\\VMs2\\a.vhdx") == deep


def test_shares_and_cluster_volumes_are_mapped_as_drives_are(tmp_path: Path) -> None:
    file = made(tmp_path / "a.vhdx")
    files = on(
        {
            "\\\\FS\\vms": tmp_path,
            "C:\\ClusterStorage\\Volume1": tmp_path,
            "\\\\?\\Volume{0D15C000-0000-4000-8000-00000000000D}": tmp_path,
        }
    )

    for path in (
        "\\\\fs\\VMs\\a.vhdx",
        "C:\\ClusterStorage\\volume1\\a.vhdx",
        "\\\\?\\Volume{0d15c000-0000-4000-8000-00000000000d}\\a.vhdx",
    ):
        assert files.local(path) == file


def test_a_folder_that_is_not_mapped_is_named_with_what_would_help() -> None:
    with pytest.raises(HostFileError, match=r"--map 'D:\\VMs\\web01=/where/it/is'"):
        on({"C:\\VMs": Path("/x")}).local("D:\\VMs\\web01\\a.vhdx")


def test_windows_opens_shares_by_itself_and_drives_of_others_not() -> None:
    windows = on({}, windows=True)

    assert str(windows.local("//fs/vms/a.vhdx")) == "\\\\fs\\vms\\a.vhdx"
    with pytest.raises(HostFileError):
        windows.local("C:\\VMs\\a.vhdx")
    with pytest.raises(HostFileError):
        on({}).local("\\\\fs\\vms\\a.vhdx")


@pytest.mark.parametrize("map", [{"VMs": "/x"}, {"C:\\VMs": "/x", "c:\\vms\\": "/y"}])
def test_a_mapping_that_is_none_is_misuse(map: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"mapped twice|no folder"):
        HostFiles(map)


# --- looking up


def test_names_are_looked_up_one_by_one_whatever_their_case(tmp_path: Path) -> None:
    file = made(tmp_path / "Web01" / "Virtual Hard Disks" / "Ä.VHDX")

    assert (
        on({"C:\\VMs": tmp_path}).local("C:\\VMs\\WEB01\\virtual hard disks\\ä.vhdx")
        == file
    )


def test_the_exact_name_counts_before_others(tmp_path: Path) -> None:
    made(tmp_path / "A.vhdx")
    file = made(tmp_path / "a.vhdx")

    assert on({"C:": tmp_path}).local("C:\\a.vhdx") == file


def test_two_names_that_differ_by_case_alone_are_refused(tmp_path: Path) -> None:
    made(tmp_path / "A.vhdx")
    made(tmp_path / "a.vhdx")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system does not tell them apart")

    with pytest.raises(HostFileError, match=r"A.vhdx, a.vhdx"):
        on({"C:": tmp_path}).local("C:\\a.VHDX")


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    made(tmp_path / "a.vhdx")
    files = on({"C:": tmp_path})

    for path in ("C:\\b.vhdx", "C:\\x\\a.vhdx", "C:\\a.vhdx\\b"):
        with pytest.raises(HostFileMissingError):
            files.local(path)
        assert not files.exists(path)
    assert files.exists("C:\\A.vhdx")
    with pytest.raises(HostFileError):
        files.exists("D:\\a.vhdx")


def test_a_share_that_is_not_mounted_is_not_a_missing_file(tmp_path: Path) -> None:
    files = on({"C:": tmp_path / "mount"})

    with pytest.raises(HostFileError, match="is it mounted"):
        files.exists("C:\\a.vhdx")


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret = made(tmp_path / "secret")
    base = tmp_path / "base"
    made(base / "real")
    (base / "out").symlink_to(secret)
    (base / "in").symlink_to(base / "real")
    linked = tmp_path / "linked"
    linked.symlink_to(base)
    files = on({"C:": linked})

    assert files.local("C:\\in").read_bytes() == b"x"
    with pytest.raises(HostFileError, match="leads out"):
        files.local("C:\\out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="not of this system")
def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.vhdx")
    files = on({"C:": tmp_path})

    with pytest.raises(HostFileError, match="is no file"):
        files.open_chain("C:\\pipe.vhdx", [])


# --- opening


def frozen(folder: Path) -> tuple[Path, Path]:
    """Make a disk and its child, and return both files."""
    base = folder / "a.vhdx"
    with TrackedDisk.create(base, size=8 * MIB) as disk:
        disk.write_at(0, b"base" * 1024)
        disk.freeze()
        disk.write_at(MIB, b"leaf" * 1024)
    (leaf,) = folder.glob("*.avhdx")
    return base, leaf


def test_a_chain_is_opened_where_the_host_says_its_parents_are(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    base, leaf = frozen(tmp_path / "1")
    moved = shutil.move(leaf, tmp_path / "2" / "leaf.avhdx")
    files = on({"C:\\1": tmp_path / "1", "D:\\2": tmp_path / "2"})

    with files.open_chain("D:\\2\\LEAF.avhdx", ["C:\\1\\A.VHDX"]) as disk:
        assert disk.read_at(0, 4) == b"base"
        assert disk.read_at(MIB, 4) == b"leaf"
    assert Path(moved).exists()
    assert base.exists()
    with pytest.raises(ParentDiskError):
        files.open_chain("D:\\2\\leaf.avhdx", [])


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="not of this system")
def test_nothing_that_the_system_remembers_of_a_disk_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen(tmp_path)
    forgotten: list[int] = []

    def advise(file: int, start: int, length: int, advice: int) -> None:
        assert (start, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        forgotten.append(os.fstat(file).st_ino)
        raise OSError(errno.EINVAL, "no such thing here")

    monkeypatch.setattr(os, "posix_fadvise", advise)
    on({"C:": tmp_path}).open_chain("C:\\a.vhdx", []).close()
    assert forgotten == [(tmp_path / "a.vhdx").stat().st_ino]


def test_a_parent_that_is_missing_is_named(tmp_path: Path) -> None:
    frozen(tmp_path)
    files = on({"C:": tmp_path})

    with pytest.raises(HostFileMissingError, match=r"C:\\b.vhdx"):
        files.open_chain("C:\\a.vhdx", ["C:\\b.vhdx"])


def test_a_file_that_is_no_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    made(tmp_path / "a.vhdx", b"vhdxfile" + bytes(MIB))

    with pytest.raises(VhdxCorruptError):
        on({"C:": tmp_path}).open_chain("C:\\a.vhdx", [])


def refusing(
    monkeypatch: pytest.MonkeyPatch, code: int, times: int
) -> Callable[[], int]:
    """Let the next opens of any file fail; return how many there were."""
    real, seen = Path.open, 0

    def opened(self: Path, mode: str = "r") -> object:
        nonlocal seen
        seen += 1
        if seen <= times:
            raise OSError(code, os.strerror(code))
        return real(self, mode)

    monkeypatch.setattr(Path, "open", opened)
    return lambda: seen


@pytest.mark.parametrize("code", [errno.EACCES, errno.EBUSY, errno.ETXTBSY])
def test_a_file_that_is_held_for_a_moment_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    frozen(tmp_path)
    tries = refusing(monkeypatch, code, 3)

    on({"C:": tmp_path}).open_chain("C:\\a.vhdx", []).close()

    assert tries() == 4


def test_a_file_that_stays_held_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen(tmp_path)
    refusing(monkeypatch, errno.EACCES, 1000)
    clock = ManualClock()
    files = HostFiles({"C:": tmp_path}, clock=clock)

    with pytest.raises(HostFileError, match=r"C:\\a.vhdx cannot be read from here"):
        files.open_chain("C:\\a.vhdx", [])
    assert clock.time == pytest.approx(5)


def test_that_a_file_is_there_does_not_mean_that_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen(tmp_path)
    files = on({"C:": tmp_path})
    assert files.readable("C:\\a.vhdx") == tmp_path / "a.vhdx"

    refusing(monkeypatch, errno.EACCES, 1000)

    assert files.exists("C:\\a.vhdx")
    with pytest.raises(HostFileError, match="cannot be read from here"):
        files.readable("C:\\a.vhdx")


def test_a_broken_disk_of_ours_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen(tmp_path)
    tries = refusing(monkeypatch, errno.EIO, 1)

    with pytest.raises(HostFileError):
        on({"C:": tmp_path}).open_chain("C:\\a.vhdx", [])
    assert tries() == 1


def test_the_free_space_is_that_of_the_mapped_folder(tmp_path: Path) -> None:
    made(tmp_path / "a.vhdx")

    free, total = on({"C:": tmp_path}).free_bytes("C:\\a.vhdx")

    assert 0 < free < total


def test_the_room_beside_a_file_is_known_when_the_file_has_been_merged_away(
    tmp_path: Path,
) -> None:
    (tmp_path / "web01").mkdir()

    for path in ("C:\\VMs\\web01\\a_1.avhdx", "C:\\VMs\\a_1.avhdx"):
        free, total = on({"C:\\VMs": tmp_path}).free_bytes(path)
        assert 0 < free < total
    with pytest.raises(HostFileError):
        on({"C:\\VMs": tmp_path}).free_bytes("C:\\VMs\\web02\\a.vhdx")
