"""CIM values over WS-Management: what the elements of an answer mean, and how parameters become elements.

An array is its element several times over, so one of one looks like a scalar: the class says which it is. `xsi:nil`
is null; inside an array it keeps its place, and an array that is one nil element is null. Elements come in any order
and are read by their local name.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from xml.etree.ElementTree import Element

from hypercbt.errors import HostReplyError
from hypercbt.hyperv import cim_text, moments, references, scalars
from hypercbt.hyperv.classes import CLASSES, Declared, Type
from hypercbt.hyperv.markup import TYPE, escape, is_nil, local, text_of
from hypercbt.hyperv.values import Instance, Reference, Value

_FRAGMENT = "XmlFragment"


def decode_instance(element: Element, class_name: str) -> Instance:
    """Return the instance that an item of an enumeration, or the body of an answer to Get, describes.

    Args:
        element: Untrusted. A `w:XmlFragment`, which a projection gives, is of the class that was asked for.
        class_name: What was asked for. The instance may be of one that derives from it.

    Raises:
        HostReplyError: A value is not what its type says.
    """
    name = local(element.tag)
    if name == _FRAGMENT:
        name = class_name
    return Instance(name, _properties(element, name, class_name))


def decode_parameters(
    element: Element, kinds: Mapping[str, Declared]
) -> dict[str, Value]:
    """Return the declared ones of an element's children, by name.

    Raises:
        HostReplyError: A value is not what its type says.
    """
    return _children(element, kinds)


def encode_parameter(name: str, value: Value, kind: Declared) -> str:
    """Return a parameter as elements of the prefix `p`; nothing for None and for an empty array.

    Raises:
        ValueError: The value is out of range.
        TypeError: It is not of the declared type.
    """
    if value is None:
        return ""
    if not kind.array:
        return f"<p:{name}>{_content(name, value, kind)}</p:{name}>"
    return "".join(
        f'<p:{name} xsi:nil="true"/>'
        if item is None
        else f"<p:{name}>{_content(name, item, kind)}</p:{name}>"
        for item in scalars.items(name, value)
    )


def _properties(element: Element, *class_names: str) -> dict[str, Value]:
    """Return the properties by the first of these classes that is declared."""
    for name in class_names:
        if name in CLASSES:
            return _children(element, CLASSES[name].properties)
    return {}


def _children(element: Element, kinds: Mapping[str, Declared]) -> dict[str, Value]:
    groups: dict[str, list[Element]] = {}
    for entry in element:
        groups.setdefault(entry.tag, []).append(entry)
    values: dict[str, Value] = {}
    for tag, entries in groups.items():
        name = local(tag)
        kind = kinds.get(name)
        if kind is None:
            continue
        if kind.array:
            values[name] = _array(name, entries, kind)
        elif len(entries) > 1:
            message = (
                f"the host's answer has {name} {len(entries)} times, and it is no array"
            )
            raise HostReplyError(message)
        else:
            values[name] = _value(name, entries[0], kind)
    return values


def _array(
    name: str, entries: list[Element], kind: Declared
) -> tuple[Value, ...] | None:
    if len(entries) == 1 and is_nil(entries[0]):
        return None
    if kind.type.range is not None:
        if len(entries) == 1 and not text_of(entries[0]) and not len(entries[0]):
            return None  # one element without a number: an empty array
        texts = [entry.text or "" for entry in entries if not entry.attrib]
        if len(texts) == len(entries):
            return scalars.decode_integers(name, texts, kind.type)
    return tuple(_value(name, entry, kind) for entry in entries)


def _value(name: str, entry: Element, kind: Declared) -> Value:
    if is_nil(entry):
        return None
    if kind.type is Type.REFERENCE:
        return references.decode(entry) if len(entry) or entry.text else None
    if kind.type is Type.OBJECT:
        spelled = local(entry.get(TYPE, "").replace(":", "}")).removesuffix("_Type")
        return Instance(spelled, _properties(entry, spelled))
    text = entry.text or ""
    if kind.type is Type.DATETIME:
        inner = entry[0].text or "" if len(entry) else text
        return moments.decode(inner)
    if len(entry):
        message = (
            f"the host's answer has elements in {name}, which is a {kind.type.value}"
        )
        raise HostReplyError(message)
    if kind.embedded is not None:
        return cim_text.decode(text) if text.strip() else None
    return scalars.decode(name, text, kind.type)


def _content(name: str, value: Value, kind: Declared) -> str:
    if kind.type is Type.REFERENCE and isinstance(value, Reference):
        return references.encode(value)
    if kind.type is Type.DATETIME and isinstance(value, datetime):
        return f"<cim:Datetime>{moments.encode_moment(value)}</cim:Datetime>"
    if kind.type is Type.DATETIME and isinstance(value, timedelta):
        return f"<cim:Interval>{moments.encode_interval(value)}</cim:Interval>"
    if isinstance(value, Instance) and kind.embedded == value.class_name:
        return escape(cim_text.encode(value))
    return escape(scalars.encode(name, value, kind))


def keys_of(instance: Instance) -> tuple[object, ...]:
    """Return what tells an instance from all others of an enumeration, as a hashable value."""
    known = CLASSES.get(instance.class_name)
    names: Iterable[str] = known.keys if known and known.keys else instance.properties
    return (
        instance.class_name,
        *(_hashable(instance.properties.get(n)) for n in names),
    )


def _hashable(value: Value) -> object:
    if isinstance(value, Reference):
        return (
            value.class_name,
            value.namespace,
            tuple(sorted(value.selectors.items())),
        )
    if isinstance(value, Instance):
        return keys_of(value)
    if isinstance(value, tuple):
        return tuple(_hashable(item) for item in value)
    return value
