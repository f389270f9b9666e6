"""Packs: many chunks and nodes in one file (§3)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import zstandard

from .binary import (
    RefusedError,
    blake3_of,
    checked,
    crc32c,
    expect,
    node_id,
    number,
    part,
    reserved,
)

CHUNK: Final = 1
NODE: Final = 2
HEADER_BYTES: Final = 64
RECORD_BYTES: Final = 96
ENTRY_BYTES: Final = 48
TRAILER_BYTES: Final = 32
MAX_PACK_BYTES: Final = 512 << 20
MAX_PLAIN_BYTES: Final = {CHUNK: 4 << 20, NODE: 8232}


@dataclass(frozen=True, slots=True)
class Record:
    """What a record's header, or its entry in the footer, says about it."""

    kind: int
    codec: int
    id: bytes
    offset: int
    stored_bytes: int
    plain_bytes: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + RECORD_BYTES + self.stored_bytes

    def check(self) -> None:
        """Refuse what no record may be."""
        expect(self.kind in (CHUNK, NODE), f"record: kind {self.kind}")
        expect(self.codec in (0, 1), f"record: codec {self.codec}")
        expect(
            1 <= self.plain_bytes <= MAX_PLAIN_BYTES[self.kind],
            "record: plain length out of bounds",
        )
        if self.codec == 0:
            expect(
                self.stored_bytes == self.plain_bytes, "record: plain, of two lengths"
            )
        else:
            expect(
                1 <= self.stored_bytes < self.plain_bytes,
                "record: compressed, not shorter",
            )


def check_header(data: bytes, repository: bytes) -> bytes:
    """Check the first 64 bytes of a pack, and return the run that made it."""
    checked(data, 60, part(data, 0, 60), "pack header")
    expect(data[:8] == b"HCBTPACK", "pack: wrong magic")
    expect(number(data, 8, 2) == 0, "pack: another format")
    reserved(data, 10, 6)
    expect(data[32:48] == repository, "pack: of another repository")
    reserved(data, 48, 12)
    return data[16:32]


def read_record(data: bytes, offset: int) -> Record:
    """Return what the record header at a place says."""
    header = part(data, offset, RECORD_BYTES)
    checked(header, 92, header[:92], "record header")
    expect(header[:4] == b"HREC", "record: wrong magic")
    reserved(header, 6, 2)
    expect(not any(header[48:64]), "record: encrypted, and this reader has no keys")
    expect(not any(header[64:88]), "record: a nonce without a key")
    record = Record(
        kind=header[4],
        codec=header[5],
        plain_bytes=number(header, 8, 4),
        stored_bytes=number(header, 12, 4),
        id=header[16:48],
        offset=offset,
    )
    record.check()
    return record


def read_plain(data: bytes, record: Record) -> bytes:
    """Return the plain bytes of a record, checked by the checksum of what is stored and by its id."""
    stored = part(data, record.offset + RECORD_BYTES, record.stored_bytes)
    checked(data, record.offset + 88, stored, "stored bytes")
    plain = stored if record.codec == 0 else _decompress(stored, record.plain_bytes)
    expect(len(plain) == record.plain_bytes, "record: another length than it says")
    identify = blake3_of if record.kind == CHUNK else node_id
    expect(identify(plain) == record.id, "record: another id than it says")
    return plain


def _decompress(frame: bytes, plain_bytes: int) -> bytes:
    """One whole frame without a dictionary that fills the stored bytes and states its size."""
    try:
        parameters = zstandard.get_frame_parameters(frame)
        expect(parameters.content_size == plain_bytes, "frame: another content size")
        expect(parameters.dict_id == 0, "frame: with a dictionary")
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        plain = decompressor.decompress(frame)
    except zstandard.ZstdError as error:
        raise RefusedError(f"frame: {error}") from None
    expect(
        decompressor.eof and not decompressor.unused_data, "frame: not one whole frame"
    )
    return plain


def read_footer(data: bytes, repository: bytes) -> list[Record]:
    """Return what the footer says of every record; its order and places are checked too."""
    check_header(data, repository)
    expect(
        HEADER_BYTES + TRAILER_BYTES <= len(data) <= MAX_PACK_BYTES,
        "pack: too short or long",
    )
    trailer_at = len(data) - TRAILER_BYTES
    trailer = data[trailer_at:]
    expect(trailer[24:] == b"HCBTFOOT", "pack: no footer")
    checked(trailer, 20, trailer[:20], "trailer")
    reserved(trailer, 16, 4)
    count, at = number(trailer, 0, 4), number(trailer, 8, 8)
    expect(at + count * ENTRY_BYTES == trailer_at, "footer: does not reach the trailer")
    entries = data[at:trailer_at]
    expect(number(trailer, 4, 4) == crc32c(entries), "footer: wrong checksum")
    records = []
    place = HEADER_BYTES
    for start in range(0, len(entries), ENTRY_BYTES):
        record = _entry(entries[start : start + ENTRY_BYTES])
        expect(record.offset == place, "footer: a gap between records")
        place = record.end
        records.append(record)
    expect(place == at, "footer: does not begin where the last record ends")
    return records


def _entry(entry: bytes) -> Record:
    reserved(entry, 34, 2)
    record = Record(
        id=entry[:32],
        kind=entry[32],
        codec=entry[33],
        offset=number(entry, 36, 4),
        stored_bytes=number(entry, 40, 4),
        plain_bytes=number(entry, 44, 4),
    )
    record.check()
    return record


def scan(data: bytes, repository: bytes) -> Iterator[Record]:
    """Yield the whole records of a pack without asking its footer.

    It ends at the first header that does not check. A record whose stored bytes fail their
    checksum is passed over.
    """
    check_header(data, repository)
    offset = HEADER_BYTES
    while True:
        try:
            record = read_record(data, offset)
        except RefusedError:
            return
        if record.end > len(data):
            return
        stored = data[offset + RECORD_BYTES : record.end]
        if number(data, offset + 88, 4) == crc32c(stored):
            yield record
        offset = record.end
