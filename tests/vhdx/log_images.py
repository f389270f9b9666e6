"""Images with a log, and what they hold after replay.

The images V0 to V4 each have one block more than the one before, its BAT entry on a page of its own,
so that it shows which log entries were replayed and which were not.
"""

from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from uuid import UUID

from . import format as f
from .format import MIB
from .generator import (
    PAGE_OF_BLOCKS,
    Block,
    Image,
    dirty,
    steps,
    with_blocks,
)
from .log import LOG_GUID, Entry, Placed, Write, run
from .readers import Reader, check, check_refused


def block(number: int) -> int:
    """The first block whose BAT entry is on this page."""
    return number * PAGE_OF_BLOCKS


def marked(seed: str, at: int | None = None) -> Block:
    return Block(f.FULL, {0: seed.encode() * 100}, at)


VERSIONS = list(
    accumulate(
        (1, 2, 3, 4),
        lambda image, number: with_blocks(
            image, {block(number): marked(f"block {number} ")}
        ),
        initial=Image(size=5 * PAGE_OF_BLOCKS * MIB, blocks={0: marked("block 0 ")}),
    )
)
V0, V1, V2, V3, V4 = VERSIONS
END = V4.end
STEPS = steps(*VERSIONS)
"""What leads from V0 to V1, from V1 to V2, and so on: one write each."""
ALL = [block(number) * MIB for number in range(5)]


def with_log(log: list[Placed], *, guid: UUID = LOG_GUID) -> Image:
    """V0 in place, the payload of all versions, and this log."""
    return dirty(V0, log, *VERSIONS, guid=guid)


def having(*numbers: int) -> Image:
    """The image with just these of the blocks that the log may bring, at their places."""
    places, _ = V4.places()
    at = {index: places[index] for index in V4.blocks}
    blocks = {
        block(n): replace(V4.blocks[block(n)], at=at[block(n)]) for n in (0, *numbers)
    }
    return replace(V0, blocks=blocks)


def assert_reads(
    reader: Reader, folder: Path, log: list[Placed], *numbers: int
) -> None:
    check(reader, with_log(log).write(folder), having(*numbers), *ALL)


def assert_refused(reader: Reader, folder: Path, log: list[Placed]) -> None:
    check_refused(reader, with_log(log).write(folder))


def entries(*writes: tuple[Write, ...], **more: int) -> list[Entry]:
    return run(writes, file_bytes=END, **more)  # type: ignore[arg-type]


MANY_PAGES = [block(number) for number in range(130)]
BEFORE = Image(size=130 * PAGE_OF_BLOCKS * MIB, blocks={0: marked("block 0 ")})
AFTER_ONE = with_blocks(BEFORE, {1: marked("block 1 ")})
AFTER_MANY = with_blocks(
    AFTER_ONE, {index: marked(f"at {index} ") for index in MANY_PAGES[1:]}
)
