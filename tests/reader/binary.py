"""Numbers, checksums and hashes as the document writes them, and what it means to refuse."""

from typing import Final

from blake3 import blake3

HASH_BYTES: Final = 32
NODE_CONTEXT: Final = "hypercbt 2026 disk tree node v0"


class RefusedError(Exception):
    """The bytes are not what the document promises."""


def expect(condition: bool, what: str) -> None:
    """Refuse unless what the document promises is so."""
    if not condition:
        raise RefusedError(what)


def number(data: bytes, at: int, width: int) -> int:
    """Return the little-endian number at a place; one that is not wholly there is refused."""
    expect(at + width <= len(data), f"no {width} bytes at {at}")
    return int.from_bytes(data[at : at + width], "little")


def part(data: bytes, at: int, width: int) -> bytes:
    """Return the bytes at a place; what is not wholly there is refused."""
    expect(at + width <= len(data), f"no {width} bytes at {at}")
    return data[at : at + width]


def reserved(data: bytes, at: int, width: int) -> None:
    """Refuse anything but zeros."""
    expect(not any(part(data, at, width)), f"reserved bytes at {at} are not zero")


def checked(data: bytes, at: int, covered: bytes, what: str) -> None:
    """Refuse unless the checksum at a place is the one of the covered bytes."""
    expect(number(data, at, 4) == crc32c(covered), f"{what}: wrong checksum")


def blake3_of(data: bytes) -> bytes:
    """Return the BLAKE3 of the bytes: the id of a chunk, the name of a file."""
    return blake3(data).digest()


def node_id(data: bytes) -> bytes:
    """Return the id of a tree node, which no chunk can have (§4)."""
    return blake3(data, derive_key_context=NODE_CONTEXT).digest()


def _remainders() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_REMAINDERS: Final = _remainders()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of the bytes."""
    crc, table = 0xFFFFFFFF, _REMAINDERS
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF
