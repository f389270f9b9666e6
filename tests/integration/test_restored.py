"""Programs that are not ours agree with the disks that we restore: qemu-img, libvhdi, dissect."""

import hashlib
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hypercbt import Repository, VirtualDisk, backup_disk

MIB = 1 << 20
SIZE = 70 * MIB + 512
"""Not a multiple of the block or of the chunk, so the last of both are cut."""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sparse disk with data at its start, around a border of blocks, and at its very end."""
    path = tmp_path_factory.mktemp("source") / "disk.img"
    rng = random.Random(1)
    with path.open("wb") as file:
        for at, length in ((0, 5000), (32 * MIB - 700, 1500), (SIZE - 600, 600)):
            file.seek(at)
            file.write(rng.randbytes(length))
    return path


@pytest.fixture(scope="module")
def restored(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same disk, through a repository, as a VHDX file."""
    folder = tmp_path_factory.mktemp("restored")
    with Repository.create(folder / "repository") as repository:
        backup_disk(raw, repository=repository).restore(folder / "disk.vhdx")
    return folder / "disk.vhdx"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_qemu_finds_nothing_wrong_and_every_byte_the_same(
    raw: Path, restored: Path
) -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    check = ["qemu-img", "check", "-f", "vhdx", str(restored)]
    compare = [
        "qemu-img",
        "compare",
        "-f",
        "raw",
        "-F",
        "vhdx",
        str(raw),
        str(restored),
    ]
    for command in (check, compare):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_libvhdi_reads_every_byte_the_same(raw: Path, restored: Path) -> None:
    pyvhdi = pytest.importorskip("pyvhdi", reason="libvhdi-python is not installed")
    file = pyvhdi.open(str(restored))
    assert file.get_media_size() == SIZE
    assert digest(file.read_buffer_at_offset(SIZE, 0)) == digest(raw.read_bytes())


def test_dissect_reads_every_byte_the_same(raw: Path, restored: Path) -> None:
    vhdx = pytest.importorskip(
        "dissect.hypervisor.disk.vhdx", reason="dissect.hypervisor is not installed"
    )
    block = 32 * MIB
    with restored.open("rb") as file:
        disk = vhdx.VHDX(file)
        assert disk.size == SIZE
        # Whole blocks only: a read that crosses a border of blocks is a known fault of its.
        read = b""
        for at in range(0, SIZE, block):
            disk.seek(at)
            read += disk.read(min(block, SIZE - at))
    assert digest(read) == digest(raw.read_bytes())


def test_a_vhdx_that_is_backed_up_and_restored_keeps_what_the_guest_sees(
    raw: Path, restored: Path, tmp_path: Path
) -> None:
    with Repository.create(tmp_path / "repository") as repository:
        point = backup_disk(restored, repository=repository)
        point.restore(tmp_path / "again.vhdx")
        point.restore(tmp_path / "again.img")
    with (
        VirtualDisk.open(restored) as before,
        VirtualDisk.open(tmp_path / "again.vhdx") as after,
    ):
        facts = ("disk_bytes", "disk_id", "block_bytes", "logical_sector_bytes")
        for fact in (*facts, "physical_sector_bytes"):
            kept = getattr(before.inspect(), fact)
            assert getattr(after.inspect(), fact) == kept, fact
        assert after.read_at(0, SIZE) == raw.read_bytes()
    assert (tmp_path / "again.img").read_bytes() == raw.read_bytes()
