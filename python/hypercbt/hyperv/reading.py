"""A host's answers, read with care: a property may be missing, null, or of another type than its class says.

What should be there and is not is a `HostReplyError`. GUIDs leave here in lower case without braces: hosts
spell one GUID in several ways.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeGuard

from hypercbt.errors import HostReplyError
from hypercbt.hyperv.values import Instance, Reference, Value

NEVER = datetime(1602, 1, 1, tzinfo=UTC)
"""Hosts say `1601-01-01T00:00:00Z` where nothing has happened yet."""

GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SETTINGS_ID = re.compile(rf"microsoft:({GUID.pattern})(?:\\(.*))?", re.DOTALL)
"""The `InstanceID` of settings, in lower case: whose they are, and which part."""


def text(instance: Instance, name: str) -> str:
    """Return a text that must be there, if empty."""
    value = instance.properties.get(name)
    if not isinstance(value, str):
        raise _bad(instance, name, value, "a text")
    return value


def optional_text(instance: Instance, name: str) -> str | None:
    """Return a text, or None where it is null, missing or empty."""
    value = instance.properties.get(name)
    return None if value is None else text(instance, name) or None


def number(instance: Instance, name: str) -> int:
    """Return a number that must be there."""
    value = instance.properties.get(name)
    if not is_number(value):
        raise _bad(instance, name, value, "a number")
    return value


def optional_number(instance: Instance, name: str) -> int | None:
    """Return a number, or None where it is null or missing."""
    value = instance.properties.get(name)
    return None if value is None else number(instance, name)


def moment(instance: Instance, name: str) -> datetime | None:
    """Return a moment with its time zone, or None where there is none: null, missing, or in 1601."""
    value = instance.properties.get(name)
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise _bad(instance, name, value, "a moment")
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return None if aware < NEVER else aware


def several(values: Mapping[str, Value], name: str) -> tuple[Value, ...]:
    """Return what an array holds. Nulls keep their place; an array that is null or missing is empty."""
    value = values.get(name)
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def texts(instance: Instance, name: str) -> tuple[str | None, ...]:
    """Return the texts of an array, None for each that is null or empty."""
    found: list[str | None] = []
    for value in several(instance.properties, name):
        if value is not None and not isinstance(value, str):
            raise _bad(instance, name, value, "texts")
        found.append(value or None)
    return tuple(found)


def is_number(value: object) -> TypeGuard[int]:
    """Whether it is a number; a boolean is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def reference(out: Mapping[str, Value], name: str) -> Reference | None:
    """Return a reference among the out parameters, or None."""
    value = out.get(name)
    return value if isinstance(value, Reference) else None


def guid(value: str) -> str | None:
    """Return a GUID in lower case without braces, or None if it is none."""
    plain = value.strip().removeprefix("{").removesuffix("}").lower()
    return plain if GUID.fullmatch(plain) else None


def required_guid(instance: Instance, name: str) -> str:
    """Return a GUID that must be there, as `guid` does."""
    value = text(instance, name)
    found = guid(value)
    if found is None:
        raise _bad(instance, name, value, "a GUID")
    return found


def device_of(settings_id: str) -> str:
    r"""Return what follows the GUID in `Microsoft:GUID\…`, in lower case: the same device in each checkpoint.

    A text of another form is a device of its own.
    """
    match = SETTINGS_ID.fullmatch(settings_id.lower())
    return match[2] if match and match[2] else settings_id.lower()


def same(first: str, second: str) -> bool:
    """Whether two names of a host mean the same. Hosts do not care about case."""
    return first.lower() == second.lower()


def _bad(instance: Instance, name: str, value: Value, wanted: str) -> HostReplyError:
    found = "nothing" if value is None else repr(value)[:80]
    return HostReplyError(
        f"the host says {found} where {instance.class_name}.{name} is {wanted}"
    )
