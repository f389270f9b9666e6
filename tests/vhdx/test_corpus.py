"""Real images, made by Windows, Disk2vhd and qemu, read to the digests of their content.

The digests were taken by other readers than ours and compared with each other. Two of the images
have a live log (case 6), one is a child (cases 20 and 23), three were made by other tools than Windows
(case 5).
"""

import hashlib
from pathlib import Path

import pytest
from blake3 import blake3

from .corpus import CORPUS, RealImage, real_images, unpack
from .format import GIB, MIB
from .readers import Reader, has_log

STEP = 8 * MIB
ZEROS = bytes(STEP)

IMAGES = real_images(".vhdx")
"""Nothing where the folder is absent: then pytest skips, with the folder in the message."""


def each(images: list[RealImage]) -> pytest.MarkDecorator:
    absent = pytest.param(None, marks=pytest.mark.skip(f"no images in {CORPUS}"))
    return pytest.mark.parametrize(
        "image", images or [absent], ids=lambda image: image.name if image else "none"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All images side by side, so that children find their parents."""
    folder = tmp_path_factory.mktemp("corpus")
    for image in IMAGES:
        unpack(image, folder)
    return folder


@each([image for image in IMAGES if image.disk_bytes <= GIB])
def test_a_real_image_reads_to_its_digest(
    reader: Reader, folder: Path, image: RealImage
) -> None:
    disk = reader.open(folder / image.name)
    assert disk.size == image.disk_bytes
    digest = blake3()
    for offset in range(0, disk.size, STEP):
        digest.update(disk.read(offset, min(STEP, disk.size - offset)))
    assert digest.hexdigest() == image.content_blake3


@each(IMAGES)
def test_the_allocated_extents_of_a_real_image_and_zeros_between_give_its_digest(
    reader: Reader, folder: Path, image: RealImage
) -> None:
    """Quicker for those of 10 GiB, and says that nothing allocated was left out."""
    disk = reader.open(folder / image.name)
    assert disk.size == image.disk_bytes
    digest, at = blake3(), 0
    for offset, length in disk.allocated():
        hash_zeros(digest, offset - at)
        at = offset + length
        for start in range(offset, at, STEP):
            digest.update(disk.read(start, min(STEP, at - start)))
    hash_zeros(digest, disk.size - at)
    assert digest.hexdigest() == image.content_blake3


def hash_zeros(digest: blake3, length: int) -> None:
    for at in range(0, length, STEP):
        digest.update(ZEROS[: min(STEP, length - at)])


@each([image for image in IMAGES if "dirty" in image.exercises])
def test_reading_a_real_image_with_a_live_log_leaves_its_file_as_it_was(
    reader: Reader, folder: Path, image: RealImage
) -> None:
    """Case 6."""
    path = folder / image.name
    assert has_log(path)
    before = hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns
    disk = reader.open(path)
    for offset, length in disk.allocated():
        disk.read(offset, length)
    assert (
        hashlib.sha256(path.read_bytes()).digest(),
        path.stat().st_mtime_ns,
    ) == before
