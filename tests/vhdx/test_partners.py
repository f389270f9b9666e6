"""Programs that nobody here wrote: they read what the generator writes, and we read what they write.

qemu-img judges clean 512-byte disks without a parent and ordinary logs; libvhdi and dissect.hypervisor
judge clean chains of two levels. Each is asked only what it is known to get right, and where it is not
installed its tests are skipped.
"""

import gc
import random
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from .format import KIB, MIB, RegionTable
from .generator import (
    Block,
    Image,
    fixed_image,
    full,
    journal,
    noise,
    partial,
    with_blocks,
)
from .readers import Disk, Reader, has_log
from .slow_reader import RefusedError, SlowDisk

needs_qemu = pytest.mark.skipif(
    not (shutil.which("qemu-img") and shutil.which("qemu-io")),
    reason="qemu-img and qemu-io are not installed",
)


def qemu_img(*arguments: str | Path) -> None:
    command = ["qemu-img", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def qemu_raw(path: Path) -> Path:
    """The content of a clean VHDX file as qemu reads it."""
    raw = path.with_suffix(".raw")
    qemu_img("convert", "-f", "vhdx", "-O", "raw", path, raw)
    return raw


def assert_same(disk: Disk, raw: Path) -> None:
    assert disk.size == raw.stat().st_size
    with raw.open("rb") as file:
        for offset in range(0, disk.size, 8 * MIB):
            length = min(8 * MIB, disk.size - offset)
            assert disk.read(offset, length) == file.read(length), (
                f"differs after {offset}"
            )


# What the generator writes.


PLAIN = Image(
    size=9 * MIB + 512,
    blocks={
        7: full("7"),
        2: full("2"),
        9: full("9"),
        3: full("3"),
        4: Block(2),
        5: Block(3),
    },
)


@needs_qemu
@pytest.mark.parametrize(
    "image",
    [
        PLAIN,
        replace(
            PLAIN, block_bytes=8 * MIB, blocks={1: full("1"), 0: full("0", 8 * MIB)}
        ),
        fixed_image(5 * MIB, {n: full(n) for n in range(5)}),
        replace(PLAIN, log_at=3 * MIB, metadata_at=MIB, bat_at=5 * MIB),
        replace(PLAIN, tables=(RegionTable(PLAIN.region_table().regions[::-1]),) * 2),
    ],
    ids=["dynamic", "large-blocks", "fixed", "layout", "order"],
)
def test_qemu_reads_what_the_generator_expects(tmp_path: Path, image: Image) -> None:
    raw = qemu_raw(image.write(tmp_path))
    assert raw.read_bytes()[: image.size] == image.expected(0, image.size)


@needs_qemu
def test_qemu_replays_a_log_of_the_generator(tmp_path: Path) -> None:
    """One entry, as qemu's own: it is known to be wrong about unusual logs."""
    before = Image(size=9 * MIB, blocks={2: full("2")})
    after = with_blocks(before, {4: full("4"), 5: full("5")})
    path = journal(before, after).write(tmp_path)
    qemu_img("check", "-r", "all", path)
    assert qemu_raw(path).read_bytes() == after.expected(0, after.size)


CHAIN_PARENT = Image(
    size=6 * MIB, name="parent.vhdx", blocks={n: full(n) for n in range(6)}
)
CHAIN = Image(
    size=6 * MIB,
    parent=CHAIN_PARENT,
    blocks={
        1: partial("own", random.Random(1).getrandbits(2048)),
        4: full("own 4"),
        3: full("3"),
    },
)


def test_libvhdi_reads_what_the_generator_expects(tmp_path: Path) -> None:
    """Dynamic disks, 4096-byte sectors, and a child that has its bitmap block."""
    pyvhdi = pytest.importorskip("pyvhdi", reason="libvhdi-python is not installed")
    for image in (PLAIN, replace(PLAIN, size=9 * MIB + 4096, sector_bytes=4096)):
        file = pyvhdi.open(str(image.write(tmp_path)))
        assert file.get_media_size() == image.size
        assert file.read_buffer(image.size) == image.expected(0, image.size)
        file.close()
    parent, child = (
        pyvhdi.open(str(image.write(tmp_path))) for image in (CHAIN_PARENT, CHAIN)
    )
    child.set_parent(parent)
    assert child.read_buffer(CHAIN.size) == CHAIN.expected(0, CHAIN.size)
    child.close()
    parent.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_dissect_reads_what_the_generator_expects(tmp_path: Path) -> None:
    """Whole blocks of one and of two levels; it takes the parent from beside the child."""
    vhdx = pytest.importorskip(
        "dissect.hypervisor.disk.vhdx", reason="dissect.hypervisor is not installed"
    )
    CHAIN_PARENT.write(tmp_path)
    for image in (PLAIN, CHAIN):
        disk = vhdx.VHDX(image.write(tmp_path))
        for offset in range(0, image.size, MIB):
            length = min(MIB, image.size - offset)
            disk.seek(offset)
            assert disk.read(length) == image.expected(offset, length)
        del disk
        gc.collect()  # it leaves its files open; let that be said here, where it is ignored


# What qemu writes.


@needs_qemu
@pytest.mark.parametrize(
    "options",
    [
        "subformat=dynamic,block_size=1M",
        "subformat=dynamic,block_size=16M",
        "subformat=dynamic,block_size=1M,block_state_zero=off",
        "subformat=dynamic,block_size=256M,log_size=4M",
        "subformat=fixed",
    ],
)
def test_a_disk_that_qemu_wrote_is_read(
    reader: Reader, tmp_path: Path, options: str
) -> None:
    """Case 5: regions not marked required, BAT before metadata."""
    path = tmp_path / "disk.vhdx"
    qemu_img("create", "-q", "-f", "vhdx", "-o", options, path, "66M")
    chance = random.Random(options)
    writes = ["write -q -P 0x5a 15M 3M", "write -q -P 0x11 65M 1M"]
    for _ in range(25):
        at, length = (
            chance.randrange(0, 65 * MIB, 512),
            chance.randrange(512, 200 * KIB, 512),
        )
        writes.append(f"write -q -P {chance.randrange(1, 256)} {at} {length}")
    qemu_io(path, writes)
    assert_same(reader.open(path), qemu_raw(path))


@needs_qemu
@pytest.mark.parametrize(
    "options", ["subformat=dynamic,block_size=2M", "subformat=fixed"]
)
def test_a_disk_that_qemu_converted_is_read(
    reader: Reader, tmp_path: Path, options: str
) -> None:
    raw, path = tmp_path / "source.raw", tmp_path / "disk.vhdx"
    content = noise("a", 3 * MIB) + bytes(9 * MIB) + noise("b", 5 * MIB - 512)
    raw.write_bytes(content)
    qemu_img("convert", "-f", "raw", "-O", "vhdx", "-o", options, raw, path)
    assert_same(reader.open(path), raw)


def qemu_io(path: Path, commands: list[str]) -> None:
    text = "\n".join([*commands, "quit"]) + "\n"
    subprocess.run(
        ["qemu-io", "-f", "vhdx", str(path)],
        input=text,
        text=True,
        check=True,
        capture_output=True,
    )


# What qemu leaves when it is killed.


KILLS = 10
ENOUGH_LOGS = 3


def kill_while_writing(path: Path, chance: random.Random) -> None:
    """Kills qemu-io in the middle of writes to blocks that are new to the file.

    The log has room for all of them: qemu replays stale entries after a log has wrapped.
    """
    options = "subformat=dynamic,block_size=1M,log_size=16M"
    qemu_img("create", "-q", "-f", "vhdx", "-o", options, path, "200M")
    blocks = random.Random(chance.random()).sample(range(199), 199)
    lines = [
        f"write -q -P {1 + block % 255} {block * MIB + chance.randrange(0, 900 * KIB, 512)} 100k\n"
        for block in blocks
    ]
    writer = subprocess.Popen(
        ["qemu-io", "-f", "vhdx", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert writer.stdin is not None
        writer.stdin.write("".join(lines).encode())
        writer.stdin.flush()
        time.sleep(chance.uniform(0.010, 0.200))
    finally:
        writer.kill()
        writer.communicate()


@needs_qemu
def test_a_log_that_a_killed_qemu_left_is_replayed_as_qemu_does(
    reader: Reader, tmp_path: Path
) -> None:
    """Case 6: genuine dirty logs, cut where the kill happened to fall."""
    chance = random.Random("kill")
    logs = 0
    for number in range(KILLS):
        path = tmp_path / f"killed{number}.vhdx"
        kill_while_writing(path, chance)
        is_dirty = has_log(path)
        repaired = tmp_path / f"repaired{number}.vhdx"
        shutil.copyfile(path, repaired)
        qemu_img("check", "-q", "-r", "all", repaired)
        raw = qemu_raw(repaired)
        try:
            disk = reader.open(path)
        except reader.refusals:
            # Killed between the log GUID and the first whole entry: MS-VHDX 2.3.3 refuses, qemu does not.
            with pytest.raises(RefusedError, match="no valid sequence"):
                SlowDisk(path)
            continue
        assert_same(disk, raw)
        raw.unlink()
        logs += is_dirty
        if logs == ENOUGH_LOGS:
            break
    if not logs:
        pytest.skip(f"none of {KILLS} kills left a live log")
