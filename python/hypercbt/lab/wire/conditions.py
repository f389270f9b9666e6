"""What the WHERE of a query matches. Text is compared without regard to case, and null with nothing."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from hypercbt.lab.wire import moments, scalars
from hypercbt.lab.wire.provider import Cim, CimClass, Declared, Ref, Thing, Type
from hypercbt.lab.wire.wql import (
    BadQueryError,
    Both,
    Compare,
    Condition,
    Literal,
    Not,
    Property,
    object_path,
)

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": eq,
    "<>": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}

Matches = Callable[[Thing], bool]
Read = Callable[[Thing], Cim]


def compiled(condition: Condition | None, known: CimClass, server: str) -> Matches:
    """Return what tells whether an instance of a class is meant.

    Args:
        condition: The WHERE; None: all are.
        known: The class.
        server: What `__SERVER` is: the host's name.

    Raises:
        BadQueryError: The class has no such property, or it cannot be compared so.
    """
    if condition is None:
        return lambda _: True
    if isinstance(condition, Compare):
        return _comparison(condition, known, server)
    if isinstance(condition, Not):
        inside = compiled(condition.part, known, server)
        return lambda thing: not inside(thing)
    parts = [compiled(part, known, server) for part in condition.parts]
    if isinstance(condition, Both):
        return lambda thing: all(part(thing) for part in parts)
    return lambda thing: any(part(thing) for part in parts)


def equalities(condition: Condition | None, known: CimClass) -> dict[str, Cim]:
    """Return what must be equal for a match, for a provider that would rather look up than list."""
    if isinstance(condition, Both):
        found: dict[str, Cim] = {}
        for part in condition.parts:
            found.update(equalities(part, known))
        return found
    if not isinstance(condition, Compare) or condition.operator != "=":
        return {}
    if isinstance(condition.value, Property) or condition.property.startswith("__"):
        return {}
    name = property_name(condition.property, known)
    return {name: _typed(condition.value, known.properties[name])}


def property_name(name: str, known: CimClass) -> str:
    """Return a property as its class spells it.

    Raises:
        BadQueryError: There is none.
    """
    for spelled in known.properties:
        if spelled.casefold() == name.casefold():
            return spelled
    raise BadQueryError(f"{known.name} has no property {name}")


def _operand(name: str, known: CimClass, server: str) -> tuple[Declared, Read]:
    """Return what a name stands for: a property of the class, or one that every object has."""
    system = {
        "__SERVER": server,
        "__CLASS": known.name,
        "__NAMESPACE": known.namespace.replace("/", "\\"),
    }.get(name.upper())
    if system is not None:
        return Declared(Type.STRING), lambda _: system
    spelled = property_name(name, known)
    return known.properties[spelled], lambda thing: thing.values.get(spelled)


def _comparison(condition: Compare, known: CimClass, server: str) -> Matches:
    name = condition.property
    declared, read = _operand(name, known, server)
    if condition.operator in ("is", "is not"):
        wanted = condition.operator == "is"
        return lambda thing: (read(thing) is None) == wanted
    if declared.array or declared.type is Type.OBJECT:
        raise BadQueryError(f"{name} cannot be compared")
    if condition.operator == "like":
        if declared.type is not Type.STRING:
            raise BadQueryError(f"{name} is no text")
        pattern = Pattern(str(condition.value))
        return lambda thing: pattern.matches(read(thing))
    operator = _OPERATORS[condition.operator]
    if isinstance(condition.value, Property):
        other, read_other = _operand(condition.value.name, known, server)
        if other.type is not declared.type or other.array:
            raise BadQueryError(f"{name} and {condition.value.name} are not alike")
        return _both_known(read, operator, read_other)
    literal = _typed(condition.value, declared)
    if not isinstance(literal, Ref):
        return _both_known(read, operator, lambda _: literal)
    if condition.operator not in ("=", "<>"):
        raise BadQueryError(f"{name} cannot be compared")
    equal = condition.operator == "="
    return lambda thing: same(read(thing), literal) == equal


def _both_known(
    read: Read, operator: Callable[[Any, Any], bool], other: Read
) -> Matches:
    """Compare two values, neither of which may be null."""

    def matches(thing: Thing) -> bool:
        mine, theirs = read(thing), other(thing)
        if mine is None or theirs is None:
            return False
        return operator(_comparable(mine), _comparable(theirs))

    return matches


def _typed(literal: Literal, declared: Declared) -> Cim:
    try:
        if declared.type is Type.REFERENCE:
            return object_path(str(literal))
        if declared.type is Type.DATETIME:
            return moments.from_xml(str(literal))
        if declared.type is Type.BOOLEAN and isinstance(literal, int):
            return bool(literal)
        # A number may stand in quotes: a 64-bit one has to.
        return scalars.from_text(str(literal), declared.type)
    except ValueError as error:
        raise BadQueryError(str(error)) from error


def _comparable(value: Cim) -> Any:
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, datetime | timedelta):
        return moments.cim_text(value)
    return value


def same(value: Cim, ref: Ref) -> bool:
    """Whether a value refers to what another reference does. Either may name fewer keys than the other."""
    if (
        not isinstance(value, Ref)
        or value.class_name.casefold() != ref.class_name.casefold()
    ):
        return False
    mine = {key.casefold(): text.casefold() for key, text in value.keys.items()}
    theirs = {key.casefold(): text.casefold() for key, text in ref.keys.items()}
    common = mine.keys() & theirs.keys()
    return len(common) == min(len(mine), len(theirs)) and all(
        mine[key] == theirs[key] for key in common
    )


class Pattern:
    """A LIKE pattern: `%` any text, `_` any character, `[a-f]` and `[^x]` one of a set.

    Matched without a regular expression: one from outside could take forever.
    """

    def __init__(self, text: str) -> None:
        self._parts: list[Callable[[str], bool] | None] = []
        """None: any text."""
        at = 0
        text = text.casefold()
        while at < len(text):
            end = text.find("]", at + 1) if text[at] == "[" else -1
            if text[at] == "%":
                self._parts.append(None)
            elif text[at] == "_":
                self._parts.append(lambda _: True)
            elif end > at:
                self._parts.append(_set(text[at + 1 : end]))
                at = end
            else:
                self._parts.append(text[at].__eq__)
            at += 1

    def matches(self, value: Cim) -> bool:
        """Whether a value is a text that fits."""
        if not isinstance(value, str):
            return False
        text, parts = value.casefold(), self._parts
        at = part = 0
        star, star_at = -1, 0
        while at < len(text):
            one = parts[part] if part < len(parts) else None
            if part < len(parts) and one is None:
                star, star_at = part, at
                part += 1
            elif one is not None and one(text[at]):
                at += 1
                part += 1
            elif star >= 0:  # let the last % take one character more
                star_at += 1
                at, part = star_at, star + 1
            else:
                return False
        return all(rest is None for rest in parts[part:])


def _set(text: str) -> Callable[[str], bool]:
    inverted = text.startswith("^")
    body = text[inverted:]
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(body):
        far = body[at + 1 : at + 2] in ("-", "=") and at + 2 < len(body)
        ranges.append((body[at], body[at + 2 if far else at]))
        at += 3 if far else 1

    def holds(character: str) -> bool:
        return any(low <= character <= high for low, high in ranges) != inverted

    return holds
