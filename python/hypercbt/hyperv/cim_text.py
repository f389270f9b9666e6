"""Instances as CIM-XML text, which is what a string parameter that holds an instance wants and gives (DSP0201).

```xml
<INSTANCE CLASSNAME="C"><PROPERTY NAME="n" TYPE="uint8"><VALUE>1</VALUE></PROPERTY>
<PROPERTY.ARRAY NAME="a" TYPE="string"><VALUE.ARRAY><VALUE>x</VALUE><VALUE.NULL/></VALUE.ARRAY></PROPERTY.ARRAY></INSTANCE>
```

What goes out has the type of the class: a host fails the job of one that does not (a datetime as a string, say).
What comes in says its types itself. A property without a value is null.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from xml.etree.ElementTree import Element

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import moments, references, scalars
from hypercbt.hyperv.classes import Declared, Type, declared
from hypercbt.hyperv.markup import child, escape, local, parse, text_of
from hypercbt.hyperv.values import VIRTUALIZATION, Instance, Reference, Value

_DEPTH = 8
"""How deep instances may hold instances. Hyper-V's hold none."""


def encode(instance: Instance) -> str:
    """Return an instance as text. A property that is None is left out: only what changes is sent.

    Raises:
        ValueError: The class or the property is not declared, or the value is out of range.
        TypeError: The value is not of the declared type.
    """
    known = declared(instance.class_name).properties
    parts = []
    for name, value in instance.properties.items():
        if name not in known:
            message = f"{instance.class_name} has no declared property {name}"
            raise ValueError(message)
        if value is not None:
            parts.append(_property(name, value, known[name]))
    return f'<INSTANCE CLASSNAME="{escape(instance.class_name)}">{"".join(parts)}</INSTANCE>'


def _property(name: str, value: Value, kind: Declared) -> str:
    spelled = kind.type.value
    if kind.type in (Type.REFERENCE, Type.OBJECT):
        message = f"{name}: {spelled} cannot be sent inside CIM-XML text"
        raise TypeError(message)
    if kind.array:
        items = "".join(
            "<VALUE.NULL/>" if item is None else _value(name, item, kind)
            for item in scalars.items(name, value)
        )
        return (
            f'<PROPERTY.ARRAY NAME="{name}" TYPE="{spelled}">'
            f"<VALUE.ARRAY>{items}</VALUE.ARRAY></PROPERTY.ARRAY>"
        )
    return f'<PROPERTY NAME="{name}" TYPE="{spelled}">{_value(name, value, kind)}</PROPERTY>'


def _value(name: str, value: Value, kind: Declared) -> str:
    if kind.type is Type.DATETIME:
        if not isinstance(value, datetime | timedelta):
            message = f"{name} is a datetime, not {type(value).__name__}"
            raise TypeError(message)
        # CIM's own form here, though reads over WS-Management give ISO 8601.
        return f"<VALUE>{moments.encode_cim(value)}</VALUE>"
    return f"<VALUE>{escape(scalars.encode(name, value, kind))}</VALUE>"


def decode(text: str) -> Instance:
    """Return the instance in an untrusted text.

    Raises:
        HostReplyError: There is none, or a value is not what its type says.
    """
    root = parse(text, what="an instance in the host's answer")
    found = root if root.tag == "INSTANCE" else next(root.iter("INSTANCE"), None)
    if found is None:
        message = (
            "the host's answer has a text that should hold an instance, and does not"
        )
        raise HostReplyError(message)
    return _instance(found, _DEPTH)


def _instance(element: Element, depth: int) -> Instance:
    if depth == 0:
        message = "the host's answer has instances in instances in instances"
        raise HostReplyError(message)
    properties: dict[str, Value] = {}
    for entry in element:
        name = entry.get("NAME", "")
        if entry.tag == "PROPERTY":
            properties[name] = _one(child(entry, "VALUE"), entry, depth)
        elif entry.tag == "PROPERTY.ARRAY":
            array = child(entry, "VALUE.ARRAY")
            properties[name] = (
                None if array is None else tuple(_each(array, entry, depth))
            )
        elif entry.tag == "PROPERTY.REFERENCE":
            properties[name] = _reference(child(entry, "VALUE.REFERENCE"))
    return Instance(element.get("CLASSNAME", ""), properties)


def _each(array: Element, entry: Element, depth: int) -> Iterable[Value]:
    for item in array:
        yield _one(item if item.tag == "VALUE" else None, entry, depth)


def _one(value: Element | None, entry: Element, depth: int) -> Value:
    """Return one value. `entry` is the property, which says the type."""
    if value is None:
        return None
    text = value.text or ""
    spelled = entry.get("TYPE", "string").lower()
    if spelled == "datetime":
        return moments.decode(text)
    if spelled == "string":
        if "EmbeddedObject" in entry.attrib or "EMBEDDEDOBJECT" in entry.attrib:
            return _instance(parse(text, what="an embedded instance"), depth - 1)
        return text
    try:
        kind = Type(spelled)
    except ValueError:
        return text  # reals and characters: nobody reads them
    return scalars.decode(entry.get("NAME", ""), text, kind)


def _reference(value: Element | None) -> Reference | None:
    """Return what a VALUE.REFERENCE means: an INSTANCENAME somewhere inside, or a path as text."""
    if value is None:
        return None
    name = next(value.iter("INSTANCENAME"), None)
    if name is None:
        return references.parse_path(text_of(value))
    parts = [part.get("NAME", "") for part in value.iter("NAMESPACE")]
    selectors = {}
    for binding in name.iter("KEYBINDING"):
        inner = child(binding, "VALUE.REFERENCE")
        if inner is not None:
            message = "the host's answer has a reference whose key is a reference"
            raise HostReplyError(message)
        selectors[binding.get("NAME", "")] = next(
            (key.text or "" for key in binding if local(key.tag) == "KEYVALUE"), ""
        )
    return Reference(
        name.get("CLASSNAME", ""), selectors, "/".join(parts) or VIRTUALIZATION
    )
