"""What changed on a disk since a reference point, as the host tells it.

The host is asked window by window, and no answer is believed because it came: whatever is not in order means that
tracking is lost for this disk, and the disk is compared instead. That costs time; a change that is missed costs a
backup. Only what says nothing of the disk is passed on: a host that cannot be reached, or has too much to do.
"""

from array import array
from collections.abc import Iterator, Mapping

from hypercbt._native import Extents
from hypercbt.errors import (
    ChangeTrackingLostError,
    HostFaultError,
    HostJobError,
    HostReplyError,
)
from hypercbt.hyperv import jobs
from hypercbt.hyperv.clock import SYSTEM_CLOCK, Clock
from hypercbt.hyperv.disks import IMAGE_SERVICE
from hypercbt.hyperv.faults import TIMED_OUT
from hypercbt.hyperv.reading import is_number, several
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.values import Answer, Value

LEAST_WINDOW_BYTES = 1 << 20
"""Ranges are whole sectors, so a MiB holds 1024 of them at most, with as many gaps: 110 KiB of answer at about 109
bytes each (hyperv-rct 6.5). That fits into the smallest envelope of any host, 150 KiB: less would not help."""
BATCH_RANGES = 1 << 16
"""So many ranges are collected before they are merged into the others: 1 MiB."""
MOST_EXTENTS = 1 << 21
"""More are joined across gaps, which reads some that did not change: 32 MiB of memory is enough."""
FIRST_GAP_BYTES = 64 << 10

INVALID_PARAMETER = (4, 32773)
"""In both families of codes."""
PASSING = ("QuotaLimit", "Concurrency", "TimedOut")
"""Faults that say nothing of the disk."""


def changed_extents(
    session: Session, path: str, since: str, size: int, *, clock: Clock = SYSTEM_CLOCK
) -> Extents:
    """Return what changed on a disk since a moment that the host keeps in mind: at least that, maybe more.

    Of a frozen disk the answer is what changed until it was frozen; of one that is written to it is not exact.

    Args:
        session: The host.
        path: The host path of the disk's file.
        since: The RCT id of that moment.
        size: The bytes of the disk.
        clock: By whose clock.

    Raises:
        ChangeTrackingLostError: The host does not know, or what it says makes no sense; why is said.
        HostUnreachableError: It does not answer.
        HostFaultError: It has too much to do.
    """
    collected = _Collected()
    window = _Window(size)
    offset = 0
    while offset < size:
        asked = min(window.length, size - offset)
        try:
            answer = _ask(
                session, path, since, offset, asked, clock, whole=asked == size
            )
        except _TooMuchError as error:
            window.shrink(asked, error)
            continue
        ranges = _ranges(answer, offset, asked, size)
        count = len(ranges) // 2
        processed = _processed(answer, asked, count)
        collected.add(ranges)
        window.grow(count)
        offset += processed
    return collected.extents()


class _TooMuchError(Exception):
    """The window was too large: for one answer, for the time of one, or for what the method takes."""


class _Window:
    """How much is asked for at once: all, until that is too much."""

    def __init__(self, size: int) -> None:
        self.length = size
        self._most_ranges = 0

    def shrink(self, asked: int, error: _TooMuchError) -> None:
        if asked <= LEAST_WINDOW_BYTES:
            raise ChangeTrackingLostError(
                f"the host cannot even say what changed within {asked} bytes: {error}"
            ) from error
        half = asked // 2 // LEAST_WINDOW_BYTES * LEAST_WINDOW_BYTES
        self.length = max(half, LEAST_WINDOW_BYTES)

    def grow(self, ranges: int) -> None:
        """Double it, where an answer was less than half as long as the longest that came through."""
        self._most_ranges = max(self._most_ranges, ranges)
        if 2 * ranges <= self._most_ranges:
            self.length *= 2


class _Collected:
    """Ranges in any order and with overlaps, in bounded memory."""

    def __init__(self) -> None:
        self._extents = Extents()
        self._pending = array("Q")

    def add(self, ranges: "array[int]") -> None:
        self._pending.extend(ranges)
        if len(self._pending) >= 2 * BATCH_RANGES:
            self._merge()

    def extents(self) -> Extents:
        self._merge()
        return self._extents

    def _merge(self) -> None:
        if not self._pending:
            return
        pairs = memoryview(self._pending).cast("B")
        new = Extents(pairs.cast("Q", (len(self._pending) // 2, 2)))
        self._extents = self._extents.union(new)
        self._pending = array("Q")
        gap = FIRST_GAP_BYTES
        while len(self._extents) > MOST_EXTENTS:
            self._extents = self._extents.coalesce(gap)
            gap *= 2


def _ask(
    session: Session,
    path: str,
    since: str,
    offset: int,
    length: int,
    clock: Clock,
    *,
    whole: bool,
) -> Mapping[str, Value]:
    """Return what the host says of a window, which may be the whole disk."""
    arguments: dict[str, Value] = {
        "Path": path,
        "LimitId": since,
        "TargetSnapshotId": "",  # of VHD sets alone
        "ByteOffset": offset,
        "ByteLength": length,
    }
    try:
        answer = session.invoke(
            IMAGE_SERVICE, "GetVirtualDiskChanges", arguments, repeatable=True
        )
        if whole and answer.return_value in INVALID_PARAMETER:
            # Documented as less than the disk; one client asks for all of it, and gets it (hyperv-rct 1.7).
            raise _TooMuchError(jobs.code_text(answer.return_value))
        if answer.return_value not in (jobs.DONE, jobs.STARTED):
            # A code of the storage stack may come in place of one of the method's own (hyperv-rct U2).
            raise _lost(jobs.code_text(answer.return_value))
        if answer.return_value == jobs.STARTED:
            _wait_in_vain(session, answer, clock)
        return answer.out
    except HostFaultError as error:
        if error.subcode == "EncodingLimit" or error.code == TIMED_OUT:
            raise _TooMuchError(str(error)) from error
        if error.subcode in PASSING:
            raise
        raise _lost(jobs.named_codes(str(error))) from error
    except HostReplyError as error:
        raise _lost(str(error)) from error


def _wait_in_vain(session: Session, answer: Answer, clock: Clock) -> None:
    """Wait for a job. It fails and says why; else nobody knows where it would leave the ranges."""
    try:
        jobs.finish(session, answer, what="say what changed", clock=clock)
    except HostJobError as error:
        raise _lost(str(error)) from error
    raise _lost("it answered by a job, which cannot hold the ranges")


def _processed(out: Mapping[str, Value], asked: int, ranges: int) -> int:
    """Return how much of a window was covered.

    A short answer is short because it is full: one that covers next to nothing and is not would go on for ever.
    """
    processed = out.get("ProcessedByteLength")
    if not is_number(processed) or not 0 < processed <= asked:
        raise _lost(f"it covered {processed!r:.40} of {asked} bytes")
    if processed < min(asked, LEAST_WINDOW_BYTES) and not ranges:
        raise _lost(f"it covered only {processed} of {asked} bytes")
    return processed


def _ranges(
    out: Mapping[str, Value], offset: int, asked: int, size: int
) -> "array[int]":
    """Return the ranges of an answer as starts and lengths in turn, clipped to the disk.

    Coarse tracking may widen a range beyond the window that was asked for; one that does not even touch it is of
    another question.
    """
    offsets = several(out, "ChangedByteOffsets")
    lengths = several(out, "ChangedByteLengths")
    if len(offsets) != len(lengths):
        raise _lost(f"it gave {len(offsets)} offsets and {len(lengths)} lengths")
    found = array("Q")
    for start, length in _numbers(offsets, lengths):
        end = start + length
        if length <= 0 or not 0 <= start < offset + asked or end <= offset:
            raise _lost(
                f"it gave {length} bytes at {start} for a window of {asked} bytes at {offset}"
            )
        found.append(start)
        found.append(min(end, size) - start)
    return found


def _numbers(
    offsets: tuple[Value, ...], lengths: tuple[Value, ...]
) -> Iterator[tuple[int, int]]:
    for start, length in zip(offsets, lengths, strict=True):
        if not is_number(start) or not is_number(length):
            raise _lost(f"it gave {length!r:.40} bytes at {start!r:.40}")
        yield start, length


def _lost(why: str) -> ChangeTrackingLostError:
    return ChangeTrackingLostError(f"the host does not say what changed: {why}")
