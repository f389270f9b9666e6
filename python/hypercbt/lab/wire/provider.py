"""What the wire asks of a simulated host: classes, instances and methods, as plain values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol, TypeAlias

VIRTUALIZATION = "root/virtualization/v2"
CIMV2 = "root/cimv2"


class Type(Enum):
    """The types of CIM, as a MOF file writes them."""

    BOOLEAN = "boolean"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    SINT8 = "sint8"
    SINT16 = "sint16"
    SINT32 = "sint32"
    SINT64 = "sint64"
    REAL64 = "real64"
    STRING = "string"
    DATETIME = "datetime"
    """A moment, or an interval: the value says which."""
    REFERENCE = "reference"
    OBJECT = "object"
    """An instance that is declared as such, and goes as an element tree."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The type of a property or a parameter."""

    type: Type
    array: bool = False
    embedded: str | None = None
    """A string that holds an instance of this class as CIM-XML text, both ways."""


@dataclass(frozen=True, slots=True)
class Method:
    """What a method takes and gives. `ReturnValue` is uint32 and not named here."""

    inputs: Mapping[str, Declared]
    outputs: Mapping[str, Declared]


@dataclass(frozen=True, slots=True)
class CimClass:
    """A class: what every instance of it has, null or not."""

    name: str
    keys: tuple[str, ...]
    properties: Mapping[str, Declared]
    methods: Mapping[str, Method] = field(default_factory=dict)
    namespace: str = VIRTUALIZATION
    parents: tuple[str, ...] = ()
    """The classes that it derives from, nearest first, for queries that name one of them."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to an instance."""

    class_name: str
    keys: Mapping[str, str]
    namespace: str = VIRTUALIZATION


@dataclass(frozen=True, slots=True)
class Thing:
    """An instance. A declared property that is missing here is null."""

    class_name: str
    values: Mapping[str, "Cim"]


Cim: TypeAlias = (
    bool
    | int
    | float
    | str
    | datetime
    | timedelta
    | Ref
    | Thing
    | tuple["Cim", ...]
    | None
)


@dataclass(frozen=True, slots=True)
class Call:
    """A method that a client calls."""

    class_name: str
    selectors: Mapping[str, str]
    """As sent: maybe only some of the keys, or none."""
    method: str
    arguments: Mapping[str, Cim]
    """Decoded by the class: numbers are `int`, references `Ref`, embedded instances `Thing`."""
    user: str
    max_envelope_bytes: int
    """What the answer may measure: the smaller of what the client asked for and the server allows."""
    fail_job: tuple[int, str] | None = None
    """The fault plan wants the job of this call to fail, with this code and text."""
    misfits: tuple[str, ...] = ()
    """Embedded instances in which a property had another TYPE than in its class: the host starts a job that ends in
    an exception, 32768 [V*]. Such a property is left out of the `Thing`."""


class ProviderError(Exception):
    """A fault that the provider means: the wire turns it into HTTP 500.

    Args:
        subcode: Such as `w:InvalidSelectors` or `a:DestinationUnreachable`.
        code: The WS-Management code.
        provider_code: The code of an `MSFT_WmiError`, where there is one.
        message: In the host's language.
    """

    def __init__(
        self,
        subcode: str,
        code: int,
        message: str,
        provider_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.subcode = subcode
        self.code = code
        self.provider_code = provider_code


class Provider(Protocol):
    """A simulated host. Called from several threads at once."""

    def classes(self) -> Mapping[str, CimClass]:
        """Every class, by name, of all namespaces."""
        ...

    def instances(self, class_name: str, equal: Mapping[str, Cim]) -> Iterable[Thing]:
        """The instances of a class (not of those that derive from it), in any order.

        `equal` are conditions that the query has: the provider may use them to look up instead of listing, and may
        ignore them: the wire checks again.
        """
        ...

    def get(self, class_name: str, selectors: Mapping[str, str]) -> Thing | None:
        """The one instance that the selectors mean, or None."""
        ...

    def associators(
        self, source: Ref, association: str | None, result: str | None
    ) -> Iterable[Thing]:
        """What is associated with an instance."""
        ...

    def invoke(self, call: Call) -> Mapping[str, Cim]:
        """Call a method: its out parameters, and `ReturnValue`."""
        ...
