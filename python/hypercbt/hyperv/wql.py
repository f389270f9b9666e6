r"""Queries in WQL: how values get into one, and the same conditions where a host refuses queries.

A text stands in single quotes, with backslashes doubled and quotes escaped: `'Microsoft:A\\B\\0\\0\\L'`. WQL compares
texts without regard to case; so does `matches`.
"""

import re
from collections.abc import Mapping

from hypercbt.hyperv.values import Instance

DIALECT = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PATTERN = re.compile(r"[%_\[]")

Condition = str | int | bool


def select(
    class_name: str,
    where: Mapping[str, Condition],
    prefix: Mapping[str, str],
) -> str:
    """Return the query for instances whose properties equal `where` and begin with `prefix`."""
    conditions = [f"{_name(name)} = {_literal(value)}" for name, value in where.items()]
    conditions += [
        f"{_name(name)} LIKE {_literal(_like(start) + '%')}"
        for name, start in prefix.items()
    ]
    query = f"SELECT * FROM {_name(class_name)}"
    return f"{query} WHERE {' AND '.join(conditions)}" if conditions else query


def matches(
    instance: Instance,
    where: Mapping[str, Condition],
    prefix: Mapping[str, str],
) -> bool:
    """Whether an instance is one that the query of `select` asks for."""
    values = instance.properties
    return all(
        _equal(values.get(name), value) for name, value in where.items()
    ) and all(_begins(values.get(name), start) for name, start in prefix.items())


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no name of a class or a property"
        raise ValueError(message)
    return name


def _literal(value: Condition) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _like(text: str) -> str:
    """Take the wildcards of LIKE as what they are: `%`, `_` and `[` each in brackets."""
    return _PATTERN.sub(lambda found: f"[{found[0]}]", text)


def _equal(value: object, wanted: Condition) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return value.casefold() == wanted.casefold()
    return type(value) is type(wanted) and value == wanted


def _begins(value: object, start: str) -> bool:
    return isinstance(value, str) and value.casefold().startswith(start.casefold())
