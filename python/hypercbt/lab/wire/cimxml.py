"""Embedded instances as text: CIM-XML (DSP0201), which travels inside string parameters, both ways."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from xml.etree import ElementTree

from hypercbt.lab.wire import moments, scalars
from hypercbt.lab.wire.provider import Cim, CimClass, Declared, Ref, Thing, Type
from hypercbt.lab.wire.text import BadXmlError, attribute, content, parse


class NotCimXmlError(ValueError):
    """A text that should hold an instance holds something else."""


class Decoder:
    """Reads instances of the classes that a host has.

    Args:
        classes: By name.
    """

    def __init__(self, classes: Mapping[str, CimClass]) -> None:
        self._classes = {name.casefold(): known for name, known in classes.items()}
        self.misfits: list[str] = []
        """The properties that had another TYPE than in their class, as `Class.Property`. They are left out."""

    def decode(self, text: str, expected: str) -> Thing:
        """Read an instance of a class, or of one that derives from it.

        Raises:
            NotCimXmlError: It is none.
        """
        try:
            root = parse(text)
        except BadXmlError as error:
            raise NotCimXmlError(str(error)) from error
        if root.tag == "DECLGROUP" and len(root) == 1 and len(root[0]) == 1:
            root = root[0][0]  # <DECLGROUP><VALUE.OBJECT><INSTANCE>
        if root.tag != "INSTANCE":
            raise NotCimXmlError(f"{root.tag} instead of INSTANCE")
        known = self._classes.get(root.get("CLASSNAME", "").casefold())
        if known is None or not _is_a(known, expected):
            raise NotCimXmlError(f"not an instance of {expected}")
        values: dict[str, Cim] = {}
        for element in root:
            self._property(element, known, values)
        return Thing(known.name, values)

    def _property(
        self, element: ElementTree.Element, known: CimClass, values: dict[str, Cim]
    ) -> None:
        if element.tag == "QUALIFIER":
            return
        name = element.get("NAME", "")
        declared = known.properties.get(name)
        if declared is None:
            raise NotCimXmlError(f"{known.name} has no property {name!r}")
        shapes = {
            "PROPERTY": (False, "VALUE"),
            "PROPERTY.ARRAY": (True, "VALUE.ARRAY"),
            "PROPERTY.REFERENCE": (False, "VALUE.REFERENCE"),
        }
        if element.tag not in shapes:
            raise NotCimXmlError(f"{element.tag} is not a property")
        array, holder = shapes[element.tag]
        try:
            if array != declared.array or not _same_type(element, declared):
                raise ValueError(element.get("TYPE", ""))
            found = element.find(holder)
            values[name] = None if found is None else self._value(found, declared)
        except ValueError:
            self.misfits.append(f"{known.name}.{name}")

    def _value(self, found: ElementTree.Element, declared: Declared) -> Cim:
        if found.tag == "VALUE.ARRAY":
            return tuple(
                None
                if item.tag == "VALUE.NULL"
                else self._scalar("".join(item.itertext()), declared)
                for item in found
            )
        return self._scalar("".join(found.itertext()), declared)

    def _scalar(self, text: str, declared: Declared) -> Cim:
        if declared.type is Type.DATETIME:
            # A host wants CIM's own form here, though it writes ISO 8601 elsewhere [V*].
            return moments.from_cim(text)
        if declared.embedded is not None:
            return self.decode(text, declared.embedded)
        if declared.type in (Type.REFERENCE, Type.OBJECT):
            return text
        return scalars.from_text(text, declared.type)


def _same_type(element: ElementTree.Element, declared: Declared) -> bool:
    if declared.type is Type.REFERENCE:
        return element.tag == "PROPERTY.REFERENCE"
    sent = "string" if declared.type is Type.OBJECT else declared.type.value
    return element.get("TYPE", "").casefold() == sent


def _is_a(known: CimClass, expected: str) -> bool:
    names = (known.name, *known.parents)
    return expected.casefold() in (name.casefold() for name in names)


def encode(thing: Thing, classes: Mapping[str, CimClass]) -> str:
    """Return an instance as text. A property without VALUE is null."""
    known = classes[thing.class_name]
    inside = "".join(
        _property_text(name, declared, thing.values.get(name), classes)
        for name, declared in known.properties.items()
    )
    return f'<INSTANCE CLASSNAME="{attribute(known.name)}">{inside}</INSTANCE>'


def _property_text(
    name: str, declared: Declared, value: Cim, classes: Mapping[str, CimClass]
) -> str:
    if declared.type is Type.REFERENCE:
        inside = _reference_text(value) if isinstance(value, Ref) else ""
        return f'<PROPERTY.REFERENCE NAME="{name}">{inside}</PROPERTY.REFERENCE>'
    sent = "string" if declared.type is Type.OBJECT else declared.type.value
    if declared.array:
        items = value if isinstance(value, tuple) else None
        inside = "" if items is None else "".join(_value(i, classes) for i in items)
        inside = "" if items is None else f"<VALUE.ARRAY>{inside}</VALUE.ARRAY>"
        return f'<PROPERTY.ARRAY NAME="{name}" TYPE="{sent}">{inside}</PROPERTY.ARRAY>'
    inside = "" if value is None else _value(value, classes)
    return f'<PROPERTY NAME="{name}" TYPE="{sent}">{inside}</PROPERTY>'


def _value(value: Cim, classes: Mapping[str, CimClass]) -> str:
    if value is None:
        return "<VALUE.NULL/>"
    if isinstance(value, Thing):
        text = encode(value, classes)
    elif isinstance(value, datetime | timedelta):
        text = moments.cim_text(value)
    else:
        text = scalars.to_text(value)
    return f"<VALUE>{content(text)}</VALUE>"


def _reference_text(ref: Ref) -> str:
    keys = "".join(
        f'<KEYBINDING NAME="{attribute(name)}"><KEYVALUE>{content(value)}</KEYVALUE></KEYBINDING>'
        for name, value in ref.keys.items()
    )
    name = attribute(ref.class_name)
    return f'<VALUE.REFERENCE><INSTANCENAME CLASSNAME="{name}">{keys}</INSTANCENAME></VALUE.REFERENCE>'
