"""Objects: config, leases, points and the other small files (§2 and §6)."""

import json
import re
import string
import unicodedata
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, TypeAlias

from .binary import RefusedError, blake3_of, checked, expect, number, part, reserved

Payload: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[object, str], None]

FIXED_BYTES: Final = 96
MAX_PAYLOAD_BYTES: Final = 64 << 20

CONFIG, LEASE, CLOSED, POINT, TOMBSTONE, BASELINE, DAMAGE, SUSPECT, VOID = range(1, 10)


def read_object(data: bytes, *kinds: int) -> tuple[int, Payload]:
    """Return the kind, which must be one of `kinds`, and the payload of an object file."""
    expect(len(data) >= FIXED_BYTES, "object: too short")
    checked(data, 60, data[:60], "object header")
    expect(part(data, 0, 8) == b"HCBTOBJ\0", "object: wrong magic")
    expect(number(data, 8, 2) == 0, "object: another format")
    kind = data[10]
    expect(kind in kinds, f"object: kind {kind} is not of {kinds}")
    reserved(data, 11, 1)
    length = number(data, 12, 4)
    expect(length <= MAX_PAYLOAD_BYTES, "object: payload too long")
    expect(
        not any(part(data, 16, 16)), "object: encrypted, and this reader has no keys"
    )
    expect(not any(part(data, 32, 24)), "object: a nonce without a key")
    reserved(data, 56, 4)
    expect(len(data) == FIXED_BYTES + length, "object: not as long as it says")
    expect(data[64 + length :] == blake3_of(data[: 64 + length]), "object: wrong hash")
    payload = _json(data[64 : 64 + length])
    _FIELDS[kind](payload, f"object of kind {kind}")
    return kind, payload


def _json(text: bytes) -> Payload:
    try:
        payload = json.loads(text.decode("utf-8"))
    except ValueError as error:
        raise RefusedError(f"object: no JSON: {error}") from None
    expect(isinstance(payload, dict), "object: the payload is no JSON object")
    return payload  # type: ignore[no-any-return]


# The types of §6.


def _text(value: object, what: str) -> None:
    expect(isinstance(value, str), f"{what}: no text")


def _word(value: object, what: str) -> None:
    _text(value, what)
    size = len(str(value).encode())
    expect(1 <= size <= 4096, f"{what}: {size} bytes are no word")


def _file_name(value: object, what: str) -> None:
    _text(value, what)
    name = str(value)
    expect(1 <= len(name.encode()) <= 255, f"{what}: too long or empty for a name")
    odd = any(unicodedata.category(c) == "Cc" or c in '/\\:*?"<>|' for c in name)
    expect(not odd and name[-1] not in ". ", f"{what}: {name!r} names no file")


def _unlike(keys: list[Any], what: str) -> None:
    expect(len(set(keys)) == len(keys), f"{what}: two that must differ do not")


def _hex(digits: int) -> Check:
    def check(value: object, what: str) -> None:
        fits = isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{digits}}}", value)
        expect(bool(fits), f"{what}: not {digits} lower-case hex digits")

    return check


def _int(value: object, what: str) -> None:
    fits = isinstance(value, int) and not isinstance(value, bool)
    expect(fits and 0 <= value < 1 << 63, f"{what}: no integer below 2^63")  # type: ignore[operator]


def _time(value: object, what: str) -> None:
    shape = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
    expect(
        isinstance(value, str) and bool(re.fullmatch(shape, value)), f"{what}: no time"
    )
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        raise RefusedError(f"{what}: no such day or hour") from None


def _one_of(*values: object) -> Check:
    def check(value: object, what: str) -> None:
        expect(value in values, f"{what}: {value!r} is none of {values}")

    return check


def _or_null(inner: Check) -> Check:
    def check(value: object, what: str) -> None:
        if value is not None:
            inner(value, what)

    return check


def _list(inner: Check) -> Check:
    def check(value: object, what: str) -> None:
        if not isinstance(value, list):
            raise RefusedError(f"{what}: no list")
        for index, item in enumerate(value):
            inner(item, f"{what}[{index}]")

    return check


def _object(**wanted: Check) -> Check:
    """Unknown fields are ignored, missing ones refuse the object (§2)."""

    def check(value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise RefusedError(f"{what}: no object")
        for name, inner in wanted.items():
            expect(name in value, f"{what}: {name} is missing")
            inner(value[name], f"{what}.{name}")

    return check


_id, _hash = _hex(32), _hex(64)
_sector = _one_of(512, 4096)

_STATS = _object(
    disk_bytes=_int, allocated_bytes=_int, changed_bytes=_or_null(_int), read_bytes=_int,
    audited_bytes=_int, unmapped_bytes=_int, chunks=_int, new_chunks=_int, new_bytes=_int,
    stored_bytes=_int, zero_bytes=_int, metadata_bytes=_int, missed_chunks=_int,
)  # fmt: skip


def _audit(value: object, what: str) -> None:
    stretch = _object(**{"from": _int, "to": _int, "at": _time})
    _object(cursor=_int, owed_chunks=_int, read=_list(stretch))(value, what)
    read = value["read"]  # type: ignore[index]
    expect(len(read) <= 64, f"{what}: more than 64 stretches")
    ends = [(entry["from"], entry["to"]) for entry in read]
    expect(all(start < end for start, end in ends), f"{what}: an empty stretch")
    pairs = pairwise(ends)
    expect(all(a[1] <= b[0] for a, b in pairs), f"{what}: stretches not in order")


def _pair(value: object, what: str) -> None:
    _list(_int)(value, what)
    expect(len(value) == 2, f"{what}: no pair")  # type: ignore[arg-type]


_DISK = _object(
    index=_int, name=_text, disk_id=_or_null(_text), size=_int, format=_text,
    logical_sector_bytes=_sector, physical_sector_bytes=_sector, block_bytes=_or_null(_int),
    location=_or_null(_word), sealed_in=_or_null(_file_name), layer_extents=_list(_pair),
    root=_or_null(_hash), method=_one_of("full", "compare", "list", "rct"),
    fallback_reason=_or_null(_text), base=_or_null(_id), stats=_STATS, audit=_audit,
)  # fmt: skip


def _disks(value: object, what: str) -> None:
    _list(_DISK)(value, what)
    indexes = [disk["index"] for disk in value]  # type: ignore[attr-defined]
    expect(indexes == list(range(len(indexes))), f"{what}: not numbered 0, 1, 2, …")
    for disk in value:  # type: ignore[attr-defined]
        _layers(disk, what)


def _layers(disk: Payload, what: str) -> None:
    extents = disk["layer_extents"]
    expect(len(extents) <= 4096, f"{what}: more than 4,096 extents of layers")
    expect(disk["sealed_in"] or not extents, f"{what}: layers above nothing")
    expect(all(length for _, length in extents), f"{what}: an empty extent")
    stops = [at + length for at, length in extents]
    starts = [at for at, _ in extents]
    expect(
        all(stop <= start for stop, start in zip(stops, starts[1:], strict=False)),
        f"{what}: extents not in order",
    )
    expect(all(stop <= disk["size"] for stop in stops), f"{what}: outside the disk")


def lower(text: str) -> str:
    """Compare as the format does: letters of ASCII without case, all others as they are."""
    return text.translate(str.maketrans(string.ascii_uppercase, string.ascii_lowercase))


def _files(value: object, what: str) -> None:
    _list(_object(name=_file_name, size=_int, root=_or_null(_hash)))(value, what)
    files: list[Payload] = value  # type: ignore[assignment]
    _unlike([lower(file["name"]) for file in files], what)
    full = [file for file in files if file["size"] == 0 and file["root"] is not None]
    expect(not full, f"{what}: an empty file with a root")


def _baselines(value: object, what: str) -> None:
    disk = _object(
        machine=_word, disk_id=_word, location=_or_null(_word), size=_int, rct_id=_word
    )
    _list(disk)(value, what)
    disks: list[Payload] = value  # type: ignore[assignment]
    _unlike([(d["machine"], lower(d["disk_id"]), d["location"]) for d in disks], what)


def _void_disks(value: object, what: str) -> None:
    _list(_word)(value, what)
    _unlike(list(value), what)  # type: ignore[call-overload]


def _chunk_bytes(value: object, what: str) -> None:
    expect(
        value in [1 << bits for bits in range(16, 23)],
        f"{what}: {value!r} is not allowed",
    )


_VM = _object(host=_word, checkpoints=_list(_word), reference_points=_list(_word))

_FIELDS: Final[dict[int, Check]] = {
    CONFIG: _object(repository=_id, chunk_bytes=_chunk_bytes, created=_time),
    LEASE: _object(
        run=_id, created=_time, machine=_text, bases=_list(_object(point=_id, roots=_list(_hash))),
        owner=_or_null(_word), vm=_or_null(_VM),
    ),
    CLOSED: _object(run=_id, outcome=_one_of("committed", "aborted")),
    POINT: _object(
        id=_id, sequence=_int, machine=_text, name=_text, created=_time, elapsed_micros=_int, disks=_disks,
        consistency=_or_null(_one_of("application", "crash", "off")), files=_files,
    ),
    TOMBSTONE: _object(run=_id, created=_time),
    BASELINE: _object(
        point=_id, created=_time, reference_point=_word, disks=_baselines,
    ),
    DAMAGE: _object(places=_list(_object(kind=_one_of("chunk", "node"), id=_hash, pack=_hash, offset=_int))),
    SUSPECT: _object(
        machine=_text, disk=_text, extents=_list(_pair), first=_id, last=_id, found_by=_id, found_at=_time,
        points=_list(_id),
    ),
    VOID: _object(machine=_word, disks=_void_disks, created=_time, sequence=_int),
}  # fmt: skip
