"""What a host says, as Python values.

A CIM value is a Python value: boolean, integer, text, `datetime`, `timedelta`, a `Reference`, an embedded `Instance`,
a tuple of these where the class declares an array, and None for null. Which of them a property is stands in the class
(`hypercbt.hyperv.classes`): an array of one looks like a scalar on the wire.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

VIRTUALIZATION = "root/virtualization/v2"
"""The namespace of Hyper-V, from Windows Server 2012 on."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Which instance of a class: an endpoint reference."""

    class_name: str
    selectors: Mapping[str, str]
    """The keys, or as many of them as tell it from the others."""
    namespace: str = VIRTUALIZATION


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that a host has described. Untrusted: read it through `required` and its like."""

    class_name: str
    properties: Mapping[str, "Value"] = field(default_factory=dict)
    """By name, as spelled in the class. A property that was not sent is not here; one that is null is None."""


Value: TypeAlias = (
    bool
    | int
    | str
    | datetime
    | timedelta
    | Reference
    | Instance
    | tuple["Value", ...]
    | None
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method gave back."""

    return_value: int
    """0: done. 4096: a job was started, `out["Job"]` is its `Reference`. Anything else: refused; that is no fault."""
    out: Mapping[str, Value]
    """The out parameters, by name. One that was absent or null is None or missing."""
