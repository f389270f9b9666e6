"""What is drawn for the machine of test_hyperv_machine.py: hosts, their wires and paces, and what goes wrong on the way."""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from hypothesis import strategies as st

from hypercbt.lab import Pace, Quirks
from hypercbt.lab.faults import (
    TIMEOUT,
    Answer,
    Drop,
    Effect,
    FailJob,
    Refuse,
    Return,
    Unauthorized,
)
from hypercbt.lab.wire.options import WireOptions
from integration.hyperv.backups import CHUNK, MIB

LOST_CODES = [*range(0xC03A0020, 0xC03A0025), 0xC03A0029, 0xC03A002A, 0xC03A0030]


def switches(kind: type[Any], **chosen: st.SearchStrategy[Any]) -> Any:
    """All switches of a kind, in any positions; those that are no booleans and no choices as said, or left alone."""
    hints = get_type_hints(kind)
    drawn = dict(chosen)
    for known in fields(kind):
        type_ = hints[known.name]
        if known.name in chosen:
            continue
        if type_ is bool:
            drawn[known.name] = st.booleans()
        elif type_ is not str and isinstance(known.default, str):
            drawn[known.name] = st.sampled_from(get_args(type_))
    return st.builds(kind, **drawn)


HOSTS = switches(
    Quirks,
    most_ranges=st.sampled_from([None, None, 1, 3]),
    coarse_bytes=st.sampled_from([0, 0, CHUNK, 3 * CHUNK, MIB]),
)
WIRES = switches(
    WireOptions,
    language=st.sampled_from(["de-DE", "en-US"]),
    max_envelope_bytes=st.sampled_from([512_000, 153_600, 32_768]),
    max_batch_items=st.sampled_from([32_000, 3, 1]),
    shuffle_seed=st.sampled_from([None, 0, 1]),
)
PACES = st.builds(
    Pace,
    job_seconds=st.sampled_from([0.0, 0.02, 2.0]),
    merge_seconds=st.sampled_from([0.05, 5.0]),
    removal_seconds=st.sampled_from([300.0, 300.0, 0.1]),
)

EFFECTS: st.SearchStrategy[Effect | Literal["power cut"]] = st.sampled_from(
    [
        Drop(),
        Drop(after=True),
        Drop(halfway=True),
        TIMEOUT,
        Unauthorized(),
        Refuse("w:QuotaLimit", 2150858843),
        Refuse("w:EncodingLimit", 2150858790),
        Refuse("w:InternalError", 2150859012),
        Refuse("a:DestinationUnreachable", 2150858752),
        Answer(b"<x/>"),
        Return(32775),
        Return(32768),
        Return(5),
        FailJob(32768, "no (0x80070005)"),
        "power cut",
    ]
)
CALLS = st.sampled_from(
    [
        "*",
        "*",
        "*",
        "Pull",
        "Get Msvm_ConcreteJob",
        "CreateSnapshot",
        "ModifySystemSettings",
        "GetVirtualHardDiskSettingData",
        "GetVirtualDiskChanges",
        "ConvertToReferencePoint",
        "DestroySnapshot",
        "DestroyReferencePoint",
    ]
)


@dataclass(frozen=True)
class Trouble:
    """What goes wrong at one request of a backup."""

    call: str
    what: Effect | Literal["power cut"]
    nth: int
    times: int


TROUBLE = st.builds(
    Trouble,
    call=CALLS,
    what=EFFECTS,
    nth=st.integers(1, 40),
    times=st.sampled_from([1, 1, 1, 2, 6]),
)
TROUBLES = st.lists(TROUBLE, min_size=1, max_size=2)

LEVELS = st.sampled_from(["prefer", "prefer", "crash", "require"])
