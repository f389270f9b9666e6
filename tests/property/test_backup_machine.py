"""Whatever is written and however it is backed up, it restores byte for byte."""

import array
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

import hypercbt
from hypercbt import Extents, Repository, RestorePoint, errors
from vhdx.format import FULL, MIB
from vhdx.generator import Block, Image

CHUNK = 64 << 10
RAW_BYTES = 5 * CHUNK + 512
"""The last chunk of the disk is cut off and padded."""
VHDX_BYTES = 3 * MIB

Pairs = list[tuple[int, int]]


def as_extents(pairs: Pairs) -> Extents:
    return Extents(pairs)


def as_pairs(pairs: Pairs) -> Pairs:
    """Unsorted and twice, as a caller may say it."""
    return pairs[::-1] + pairs


def as_numbers(pairs: Pairs) -> memoryview:
    """An (n, 2) buffer of uint64; without changes there is nothing to give it a shape."""
    numbers = array.array("Q", [number for pair in pairs for number in pair])
    view = memoryview(numbers)
    return view.cast("B").cast("Q", (len(pairs), 2)) if pairs else view


FORMS: list[Callable[[Pairs], object]] = [as_extents, as_pairs, as_numbers]


def chunks(content: bytes | bytearray) -> list[bytes]:
    """Cut the bytes of a disk as a repository does."""
    return [bytes(content[at : at + CHUNK]) for at in range(0, len(content), CHUNK)]


class RawDisk:
    """A raw file without holes."""

    size = RAW_BYTES

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk.raw"

    def put(self, content: bytes) -> None:
        """Let the file hold these bytes."""
        self.path.write_bytes(content)

    def holds(self, _chunk: int, _content: bytes | bytearray) -> bool:
        """Whether the file has bytes for a chunk; else it declares it zero, which is no missed change."""
        return True


class VhdxDisk:
    """A dynamic VHDX, written anew from the specification; blocks of zeros are absent or said to be zero."""

    size = VHDX_BYTES

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "disk.vhdx"

    def put(self, content: bytes) -> None:
        """Let the disk hold these bytes."""
        pieces = [content[at : at + MIB] for at in range(0, self.size, MIB)]
        blocks = {
            n: Block(FULL, {0: piece}) for n, piece in enumerate(pieces) if any(piece)
        }
        image = Image(
            size=self.size, name="disk.vhdx", blocks=blocks, data_guid=UUID(int=7)
        )
        image.write(self.folder)

    def holds(self, chunk: int, content: bytes | bytearray) -> bool:
        """Whether the block around a chunk is present."""
        block = chunk * CHUNK // MIB * MIB
        return any(content[block : block + MIB])


class BackupMachine(RuleBasedStateMachine):
    """A disk that is written to and backed up in every way, against a `bytearray`."""

    kind: type[RawDisk] | type[VhdxDisk] = RawDisk
    points: Bundle[RestorePoint] = Bundle("points")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hypercbt-"))
        self.repository = Repository.create(
            self.folder / "repository", chunk_size=CHUNK
        )
        self.disk = self.kind(self.folder)
        self.content = bytearray(self.kind.size)
        self.states: dict[str, bytes] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(target=points, seed=st.integers(0, 3))
    def first_backup(self, seed: int) -> RestorePoint:
        """Some of the disk is noise, the rest zeros."""
        noise = random.Random(seed).randbytes(seed * CHUNK)
        self.content[CHUNK : CHUNK + len(noise)] = noise
        return self.kept(self.back_up())

    @rule(at=st.integers(0, RAW_BYTES - 64), data=st.binary(min_size=1, max_size=64))
    def write(self, at: int, data: bytes) -> None:
        self.content[at : at + len(data)] = data

    @rule(chunk=st.integers(0, 4), like=st.integers(0, 4))
    def copy_a_chunk(self, chunk: int, like: int) -> None:
        source = self.content[like * CHUNK : (like + 1) * CHUNK]
        self.content[chunk * CHUNK : (chunk + 1) * CHUNK] = source

    @rule(at=st.integers(0, RAW_BYTES - 1), length=st.integers(1, 3 * CHUNK))
    def discard(self, at: int, length: int) -> None:
        end = min(at + length, RAW_BYTES)
        self.content[at:end] = bytes(end - at)

    @rule(target=points, full=st.booleans())
    def back_up_all(self, full: bool) -> RestorePoint:
        return self.kept(self.back_up(full=full))

    @rule(
        target=points,
        since=points,
        extra=st.lists(
            st.tuples(st.integers(0, RAW_BYTES - 600), st.integers(1, 600)), max_size=3
        ),
        form=st.sampled_from(FORMS),
        audit=st.sampled_from(["off", "full"]),
    )
    def back_up_a_list(
        self,
        since: RestorePoint,
        extra: Pairs,
        form: Callable[[Pairs], object],
        audit: str,
    ) -> RestorePoint:
        """What changed since any older point, and some more that did not."""
        if since.id not in self.states:  # deleted: refused, and nothing happens
            try:
                self.back_up(changes=form(extra), since=since, audit=audit)
            except errors.PointNotFoundError:
                return since
            raise AssertionError("a list relative to a point that is gone")
        old = self.states[since.id]
        changed: Pairs = [
            (at, len(old[at : at + 512]))
            for at in range(0, len(old), 512)
            if old[at : at + 512] != self.content[at : at + 512]
        ]
        point = self.back_up(changes=form(changed + extra), since=since, audit=audit)
        assert point.stats.missed_chunks == 0
        assert point.stats.changed_bytes == Extents(changed + extra).total_bytes
        return self.kept(point)

    @rule(target=points, since=points, hidden=st.sets(st.integers(0, 5), min_size=1))
    def back_up_a_list_with_gaps(
        self, since: RestorePoint, hidden: set[int]
    ) -> RestorePoint:
        """Changes in some chunks are kept quiet: the audit finds each, and the point is right."""
        if since.id not in self.states:
            return since
        changed = [
            number
            for number, (old, new) in enumerate(
                zip(chunks(self.states[since.id]), chunks(self.content), strict=True)
            )
            if old != new
        ]
        told = [(number * CHUNK, 1) for number in changed if number not in hidden]
        point = self.back_up(changes=told, since=since, audit="full")
        missed = [
            n for n in changed if n in hidden and self.disk.holds(n, self.content)
        ]
        assert point.stats.missed_chunks == len(missed)
        return self.kept(point)

    @rule(point=consumes(points))
    def delete(self, point: RestorePoint) -> None:
        if self.states.pop(point.id, None) is not None:
            self.repository.delete(point)

    @rule(point=points)
    def restore(self, point: RestorePoint) -> None:
        if point.id in self.states:
            target = self.folder / "restored.raw"
            point.restore(target)
            assert target.read_bytes() == self.states[point.id]
            target.unlink()

    @rule(first=points, second=points)
    def compare(self, first: RestorePoint, second: RestorePoint) -> None:
        """A difference is told in whole chunks, and no chunk without one is told."""
        if first.id in self.states and second.id in self.states:
            one, two = self.states[first.id], self.states[second.id]
            differing = [
                (at, len(one[at : at + CHUNK]))
                for at in range(0, len(one), CHUNK)
                if one[at : at + CHUNK] != two[at : at + CHUNK]
            ]
            [told] = self.repository.diff(first, second).disks
            assert told.extents.align(CHUNK) == Extents(differing).align(CHUNK)

    @rule()
    def verify(self) -> None:
        assert self.repository.verify().clean

    @rule()
    def open_again(self) -> None:
        self.repository.close()
        self.repository = Repository.open(self.folder / "repository")

    @invariant()
    def every_point_is_listed_in_order_and_reads_what_it_held(self) -> None:
        points = self.repository.points()
        assert [point.id for point in points] == list(self.states)[::-1]
        for point in points:
            assert point.open().read() == self.states[point.id]

    def back_up(self, **options: object) -> RestorePoint:
        self.disk.put(bytes(self.content))
        return hypercbt.backup_disk(
            self.disk.path,
            repository=self.repository,
            **{"audit": "off", **options},  # type: ignore[arg-type]
        )

    def kept(self, point: RestorePoint) -> RestorePoint:
        self.states[point.id] = bytes(self.content)
        return point


class VhdxMachine(BackupMachine):
    """The same of a VHDX file."""

    kind = VhdxDisk


FEW = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)

TestRawDisk = BackupMachine.TestCase
TestRawDisk.settings = FEW
TestVhdxDisk = VhdxMachine.TestCase
TestVhdxDisk.settings = FEW
