"""Numbers, booleans and text: as an XML element or a CIM-XML VALUE holds them."""

import re

from hypercbt.lab.wire.provider import Cim, Ref, Thing, Type

_RANGES = {
    kind: (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    for kind, bits, signed in (
        (Type.UINT8, 8, False),
        (Type.UINT16, 16, False),
        (Type.UINT32, 32, False),
        (Type.UINT64, 64, False),
        (Type.SINT8, 8, True),
        (Type.SINT16, 16, True),
        (Type.SINT32, 32, True),
        (Type.SINT64, 64, True),
    )
}
_INTEGER = re.compile(r"[+-]?\d{1,20}", re.ASCII)


def is_integer(kind: Type) -> bool:
    """Whether values of this type are `int`."""
    return kind in _RANGES


def from_text(text: str, kind: Type) -> bool | int | float | str:
    """Read a value of a type that is one word or one text.

    Raises:
        ValueError: It is not of that type, or out of its range.
    """
    if kind is Type.STRING:
        return text
    word = text.strip()
    if kind is Type.BOOLEAN:
        if word.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"not a boolean: {word!r}")
        return word.lower() in ("true", "1")
    if kind is Type.REAL64:
        return float(word)
    if kind not in _RANGES or not _INTEGER.fullmatch(word):
        raise ValueError(f"not a {kind.value}: {word!r}")
    least, most = _RANGES[kind]
    number = int(word)
    if not least <= number <= most:
        raise ValueError(f"not a {kind.value}: {word!r}")
    return number


def to_text(value: Cim) -> str:
    """Return a value as one text, not yet escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | str):
        return str(value)
    assert not isinstance(value, Ref | Thing)
    raise TypeError(f"not a scalar: {value!r}")
