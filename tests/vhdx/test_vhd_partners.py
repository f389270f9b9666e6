"""Other programs and real files: they read what the generator writes, and we read what they write.

qemu judges fixed and dynamic disks all of whose bits are set: it ignores bits and parents. libvhdi judges
whole blocks. Real images of Windows 10 come with the digests of what they hold.
"""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from .corpus import CORPUS, RealImage, real_images, unpack
from .readers import Reader
from .test_partners import assert_same, needs_qemu, qemu_img
from .vhd_generator import VhdImage, full

MIB = 1 << 20

DYNAMIC = VhdImage(
    size=9 * MIB,
    blocks={n: full(n, 2 * MIB) for n in (3, 0, 4)},
)
FIXED = VhdImage(size=3 * MIB, content={0: b"start", 2 * MIB: b"end"})
IMAGES = real_images(".vhd")


def qemu_raw(path: Path) -> Path:
    """The content of a VHD file as qemu reads it."""
    raw = path.with_suffix(".raw")
    qemu_img("convert", "-f", "vpc", "-O", "raw", path, raw)
    return raw


@needs_qemu
@pytest.mark.parametrize(
    "image",
    [
        DYNAMIC,
        FIXED,
        replace(DYNAMIC, size=9 * MIB + 512),
        DYNAMIC.with_footer(creator=b"d2v "),
    ],
    ids=["dynamic", "fixed", "odd", "disk2vhd"],
)
def test_qemu_reads_what_the_generator_expects(tmp_path: Path, image: VhdImage) -> None:
    raw = qemu_raw(image.write(tmp_path))
    assert raw.read_bytes() == image.expected(0, image.size)


@needs_qemu
def test_qemu_shows_less_of_a_disk_of_virtual_pc(tmp_path: Path) -> None:
    """As far as cylinders, heads and sectors reach; what it shows is the same."""
    image = DYNAMIC.with_footer(creator=b"vpc ", geometry=(100, 4, 17))
    shown = qemu_raw(image.write(tmp_path)).read_bytes()
    assert len(shown) == 100 * 4 * 17 * 512 < image.size
    assert shown == image.expected(0, len(shown))


@needs_qemu
@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
@pytest.mark.parametrize("force_size", ["on", "off"])
def test_we_read_what_qemu_wrote(
    vhd_reader: Reader, tmp_path: Path, subformat: str, force_size: str
) -> None:
    """Also where the size is what its cylinders make."""
    path = tmp_path / "disk.vhd"
    options = f"subformat={subformat},force_size={force_size}"
    qemu_img("create", "-q", "-f", "vpc", "-o", options, path, "11M")
    writes = [
        f"write -P {seed} {at} {length}"
        for seed, (at, length) in enumerate(
            [
                (0, 512),
                (3 * MIB + 512, 9 * 512),
                (4 * MIB - 1024, 4096),
                (10 * MIB, 64 * 1024),
            ],
            start=1,
        )
    ]
    commands = [part for write in writes for part in ("-c", write)]
    subprocess.run(
        ["qemu-io", "-f", "vpc", *commands, path],
        check=True,
        capture_output=True,
    )
    disk = vhd_reader.open(path)
    assert_same(disk, qemu_raw(path))


def test_libvhdi_finds_the_disks_of_the_generator(tmp_path: Path) -> None:
    if shutil.which("vhdiinfo") is None:
        pytest.skip("vhdiinfo is not installed")
    child = VhdImage(size=9 * MIB, name="child.vhd", parent=DYNAMIC)
    for image, kind in (
        (DYNAMIC, "Dynamic"),
        (FIXED, "Fixed"),
        (child, "Differential"),
    ):
        done = subprocess.run(
            ["vhdiinfo", image.write(tmp_path)],
            check=True,
            capture_output=True,
            text=True,
        )
        assert f": {kind}" in done.stdout
        assert f"({image.size} bytes)" in done.stdout
    assert str(DYNAMIC.unique_id.bytes.hex())[16:] in done.stdout.replace("-", "")
    assert "C:\\vm\\disk.vhd" in done.stdout


def test_libvhdi_reads_what_the_generator_expects(tmp_path: Path) -> None:
    """Whole blocks of a chain of two: mixed bits inside a byte it gets wrong."""
    pyvhdi = pytest.importorskip("pyvhdi", reason="libvhdi-python is not installed")
    bits = b"\xff" * 128 + bytes(128)
    child = replace(DYNAMIC, name="child.vhd", parent=DYNAMIC, blocks={})
    child = replace(child, blocks={1: replace(full("own", 2 * MIB), bits=bits)})
    parent, leaf = (
        pyvhdi.open(str(image.write(tmp_path))) for image in (DYNAMIC, child)
    )
    leaf.set_parent(parent)
    assert leaf.read_buffer(child.size) == child.expected(0, child.size)
    leaf.close()
    parent.close()


def test_dissect_reads_what_the_generator_expects(tmp_path: Path) -> None:
    """Disks without a parent, of which all bits are set: it ignores both."""
    vhd = pytest.importorskip(
        "dissect.hypervisor.disk.vhd", reason="dissect.hypervisor is not installed"
    )
    for image in (DYNAMIC, FIXED):
        with image.write(tmp_path).open("rb") as file:
            assert vhd.VHD(file).read(image.size) == image.expected(0, image.size)


def each(images: list[RealImage]) -> pytest.MarkDecorator:
    absent = pytest.param(None, marks=pytest.mark.skip(f"no images in {CORPUS}"))
    return pytest.mark.parametrize(
        "image", images or [absent], ids=lambda image: image.name if image else "none"
    )


@each(IMAGES)
def test_a_real_image_reads_to_its_digest(
    vhd_reader: Reader, tmp_path: Path, image: RealImage
) -> None:
    """Made by Windows 10: fixed, dynamic, and a child with mixed bits."""
    for other in IMAGES:
        unpack(other, tmp_path)
    disk = vhd_reader.open(tmp_path / image.name)
    assert disk.size == image.disk_bytes
    assert blake3(disk.read(0, disk.size)).hexdigest() == image.content_blake3
    digest, at = blake3(), 0
    for offset, length in disk.allocated():
        digest.update(bytes(offset - at))
        digest.update(disk.read(offset, length))
        at = offset + length
    digest.update(bytes(disk.size - at))
    assert digest.hexdigest() == image.content_blake3
