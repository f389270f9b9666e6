"""Any table that the format allows reads as the generator says it must (MS-VHDX 2.4, 2.5)."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .format import FULL, MIB, NOT_PRESENT, PARTIAL, UNDEFINED, UNMAPPED, ZERO
from .generator import Block, Image, journal, noise
from .readers import Reader

NO_PARENT = [NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, FULL, FULL]
WITH_PARENT = [
    NOT_PRESENT,
    NOT_PRESENT,
    UNDEFINED,
    ZERO,
    UNMAPPED,
    FULL,
    PARTIAL,
    PARTIAL,
]
PATTERNS = [0, 1, 1 << 7, 1 << 8, 0b1_1000_0000, 0x55, 0xF0F0]

QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def blocks(draw: st.DrawFn, image: Image, level: int) -> dict[int, Block]:
    """A table for `image`, in the order in which the blocks were written."""
    per_block = image.block_bytes // image.sector_bytes
    table: dict[int, Block] = {}
    for number in draw(st.permutations(range(image.payload_blocks))):
        state = draw(st.sampled_from(WITH_PARENT if image.parent else NO_PARENT))
        if state == NOT_PRESENT and draw(st.booleans()):
            continue
        at = draw(
            st.sampled_from([0, image.block_bytes // 2, image.block_bytes - 4096])
        )
        data = {
            at: noise((level, number, at), 4096),
            8192: noise((level, number), 2048),
        }
        stale = draw(st.sampled_from([None, MIB, 1 << 43]))
        bits = None
        if state == PARTIAL or (image.parent and draw(st.booleans())):
            bits = draw(st.sampled_from(PATTERNS) | st.integers(0, (1 << 64) - 1))
            bits |= bits << per_block - 64
        if state in (FULL, PARTIAL):
            table[number] = Block(state, data, bits=bits)
        else:
            table[number] = Block(state, at=stale, bits=bits)
    return table


@st.composite
def chains(draw: st.DrawFn) -> Image:
    """A dynamic disk, or a chain of up to four levels over one."""
    sector = draw(st.sampled_from([512, 4096]))
    image: Image | None = None
    for level in range(draw(st.integers(1, 4))):
        image = Image(
            size=draw(st.integers(1, 5 * MIB // sector)) * sector,
            name=f"level{level}.vhdx",
            block_bytes=draw(st.sampled_from([MIB, MIB, 2 * MIB])),
            sector_bytes=sector,
            parent=image,
        )
        image = replace(image, blocks=draw(blocks(image, level)))
    assert image is not None
    return image


@st.composite
def extents(draw: st.DrawFn, size: int) -> tuple[int, int]:
    offset = draw(st.integers(0, size))
    return offset, draw(st.integers(0, size - offset))


@QUICK
@given(data=st.data())
def test_any_chain_reads_as_its_tables_say(reader: Reader, data: st.DataObject) -> None:
    image = data.draw(chains())
    with tempfile.TemporaryDirectory() as folder:
        disk = reader.open(image.write_chain(Path(folder)))
        assert disk.size == image.size
        assert disk.read(0, image.size) == image.expected(0, image.size)
        for _ in range(3):
            offset, length = data.draw(extents(image.size))
            assert disk.read(offset, length) == image.expected(offset, length)


@QUICK
@given(data=st.data())
def test_any_chain_with_a_live_log_reads_as_its_last_tables_say(
    reader: Reader, data: st.DataObject
) -> None:
    """The log leads from a first part of the table to all of it, from anywhere in the ring."""
    image = data.draw(chains())
    known = data.draw(st.integers(0, len(image.blocks)))
    steps = [
        replace(image, blocks=dict(list(image.blocks.items())[:count]))
        for count in range(known, len(image.blocks) + 1)
    ]
    steps.append(image)  # an entry without descriptors, if there is no other
    at = data.draw(st.integers(0, 255)) * 4096
    sequence = data.draw(st.sampled_from([1, 7, (1 << 32) - 2, 1 << 63]))
    with tempfile.TemporaryDirectory() as folder:
        image.write_chain(Path(folder))
        path = journal(*steps, at=at, sequence=sequence).write(Path(folder))
        disk = reader.open(path)
        assert disk.read(0, image.size) == image.expected(0, image.size)
