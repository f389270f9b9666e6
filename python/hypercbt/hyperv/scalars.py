"""Single values as text: booleans, integers and strings, checked against their type both ways."""

import re

from hypercbt.errors import HostReplyError
from hypercbt.hyperv.classes import Declared, Type
from hypercbt.hyperv.values import Value

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def decode(name: str, text: str, kind: Type) -> bool | int | str:
    """Return what the text of a boolean, an integer or a string says.

    Raises:
        HostReplyError: It is no value of this type.
    """
    if kind is Type.STRING:
        return text
    stripped = text.strip()
    if kind is Type.BOOLEAN:
        value = _BOOLEANS.get(stripped.lower())
        if value is not None:
            return value
    elif kind.range is not None and _INTEGER.fullmatch(stripped):
        number = int(stripped)
        if number in kind.range:
            return number
    message = f"the host's answer has no {kind.value} in {name}, but {text[:60]!r}"
    raise HostReplyError(message)


def decode_integers(name: str, texts: list[str], kind: Type) -> tuple[int, ...]:
    """Return many integers at once: what `decode` gives for each, several times as fast.

    Raises:
        HostReplyError: One is no value of this type.
    """
    # Where all are digits alone, the smallest and the largest tell of all.
    if all(map(_DIGITS, texts)):
        numbers = tuple(map(int, texts))
        bounds = kind.range
        if bounds is not None and min(numbers) in bounds and max(numbers) in bounds:
            return numbers
    return tuple(int(decode(name, text, kind)) for text in texts)


_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII).fullmatch


def encode(name: str, value: Value, kind: Declared) -> str:
    """Return the text of a boolean, an integer or a string.

    Raises:
        ValueError: It is out of the type's range.
        TypeError: It is not of the type.
    """
    if kind.type is Type.BOOLEAN and isinstance(value, bool):
        return "true" if value else "false"
    if kind.type is Type.STRING and isinstance(value, str):
        return value
    bounds = kind.type.range
    if bounds is not None and isinstance(value, int) and not isinstance(value, bool):
        if value not in bounds:
            message = f"{name} is a {kind.type.value}, and {value} is none"
            raise ValueError(message)
        return str(value)
    message = (
        f"{name} is a {kind.embedded or kind.type.value}, not {type(value).__name__}"
    )
    raise TypeError(message)


def items(name: str, value: Value) -> tuple[Value, ...]:
    """Return the elements of an array.

    Raises:
        TypeError: It is none.
    """
    if isinstance(value, tuple):
        return value
    message = f"{name} is an array: a tuple, not {type(value).__name__}"
    raise TypeError(message)
