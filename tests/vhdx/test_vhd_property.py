"""Any table of legacy VHD reads as the generator says it must."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .generator import noise
from .readers import Reader
from .vhd_generator import SECTOR, Block, VhdImage

MIB = 1 << 20
KIB = 1 << 10
PATTERNS = [b"\x80", b"\x01", b"\x00\x01", b"\x55\xaa", b"\xf0\x0f\xff\x00"]


@st.composite
def blocks(draw: st.DrawFn, image: VhdImage, level: int) -> dict[int, Block]:
    """A table for `image`, in the order in which the blocks were written."""
    table: dict[int, Block] = {}
    for number in draw(st.permutations(range(image.block_count))):
        if draw(st.booleans()):
            continue
        at = draw(st.sampled_from([0, image.block_bytes // 2, 4 * KIB]))
        data = {
            at: noise((level, number, at), min(4 * KIB, image.block_bytes)),
            8 * KIB: noise((level, number), 2 * KIB),
        }
        data = {at: piece for at, piece in data.items() if at < image.block_bytes}
        bits = None
        if draw(st.booleans()):
            pattern = draw(
                st.sampled_from(PATTERNS) | st.binary(min_size=1, max_size=8)
            )
            bits = (pattern * image.bitmap_bytes)[: image.bitmap_bytes]
        table[number] = Block(data, bits)
    return table


@st.composite
def chains(draw: st.DrawFn) -> VhdImage:
    """A fixed or dynamic disk, or a chain of up to four levels over one."""
    size = draw(st.integers(1, 2 * MIB // SECTOR)) * SECTOR
    levels = draw(st.integers(1, 4))
    image: VhdImage | None = None
    if draw(st.booleans()):
        content = {0: noise("fixed", min(size, 64 * KIB))}
        image = VhdImage(size=size, name="base.vhd", content=content)
        levels -= 1
    for level in range(levels):
        image = VhdImage(
            size=size,
            name=f"level{level}.vhd",
            block_bytes=draw(st.sampled_from([64 * KIB, 512 * KIB, 2 * MIB])),
            parent=image,
            footer_bytes=draw(st.sampled_from([512, 512, 511])),
        )
        table = draw(blocks(image, level))
        image = VhdImage(**{**vars(image), "blocks": table})
    assert image is not None
    return image


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_chain_reads_as_its_tables_say(
    vhd_reader: Reader, data: st.DataObject
) -> None:
    image = data.draw(chains())
    with tempfile.TemporaryDirectory() as folder:
        disk = vhd_reader.open(image.write_chain(Path(folder)))
        assert disk.size == image.size
        assert disk.read(0, image.size) == image.expected(0, image.size)
        for _ in range(3):
            offset = data.draw(st.integers(0, image.size))
            length = data.draw(st.integers(0, image.size - offset))
            assert disk.read(offset, length) == image.expected(offset, length)
