"""The arguments of a method, out of XML, typed by the class.

What a real host refuses is refused here the same way: an instance as an element tree instead of text, and a reference inside an
`a:EndpointReference` of its own, are both `w:SchemaValidationError` [V*].
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from hypercbt.lab.wire import moments, names, scalars
from hypercbt.lab.wire.cimxml import Decoder, NotCimXmlError
from hypercbt.lab.wire.provider import Cim, CimClass, Declared, Method, Ref, Type
from hypercbt.lab.wire.refusals import Refused
from hypercbt.lab.wire.text import local_name

_NIL = f"{{{names.SCHEMA_INSTANCE}}}nil"


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a method was called with."""

    values: Mapping[str, Cim]
    misfits: tuple[str, ...]


def arguments(
    sent: Iterable[ElementTree.Element],
    method: Method,
    classes: Mapping[str, CimClass],
) -> Arguments:
    """Read the children of a METHOD_INPUT element.

    Raises:
        ProviderError: `w:SchemaValidationError`, or a parameter that the method does not have.
    """
    decoder = Decoder(classes)
    elements: dict[str, list[ElementTree.Element]] = {}
    for element in sent:
        elements.setdefault(local_name(element.tag), []).append(element)
    values = {
        name: _parameter(name, found, method.inputs.get(name), decoder)
        for name, found in elements.items()
    }
    return Arguments(values, tuple(decoder.misfits))


def _parameter(
    name: str,
    found: list[ElementTree.Element],
    declared: Declared | None,
    decoder: Decoder,
) -> Cim:
    if declared is None:
        raise Refused.SCHEMA.error(f"no parameter {name}")
    if declared.array:
        if len(found) == 1 and _is_nil(found[0]):
            return None  # a null array is one nil element
        return tuple(_one(element, declared, decoder) for element in found)
    if len(found) > 1:
        raise Refused.SCHEMA.error(f"{name} is not an array")
    return _one(found[0], declared, decoder)


def _is_nil(element: ElementTree.Element) -> bool:
    return element.get(_NIL) in ("true", "1")


def _one(element: ElementTree.Element, declared: Declared, decoder: Decoder) -> Cim:
    if _is_nil(element):
        return None
    if declared.type is Type.REFERENCE:
        return reference(element)
    name = local_name(element.tag)
    if declared.type is Type.DATETIME:
        return _moment(element)
    if len(element):
        raise Refused.SCHEMA.error(f"{name} holds elements")
    text = element.text or ""
    if declared.embedded is not None:
        if not text:
            return None  # an empty text is no instance [V: the settings may be empty]
        try:
            return decoder.decode(text, declared.embedded)
        except NotCimXmlError as error:
            # A host says so in its own way, which no source tells: [I].
            raise Refused.SELECTOR_MISSING.error(f"{name}: {error}") from error
    try:
        return scalars.from_text(text, declared.type)
    except ValueError as error:
        raise Refused.SCHEMA.error(f"{name}: {error}") from error


def _moment(element: ElementTree.Element) -> Cim:
    inside = list(element)
    wrapped = len(inside) == 1 and local_name(inside[0].tag) in ("Datetime", "Interval")
    text = inside[0].text if wrapped else element.text
    try:
        return moments.from_xml((text or "").strip())
    except ValueError as error:
        raise Refused.SCHEMA.error(f"{local_name(element.tag)}: {error}") from error


def reference(element: ElementTree.Element) -> Ref:
    """Read a parameter that is a reference: it holds `a:Address` and `a:ReferenceParameters` directly."""
    name = local_name(element.tag)
    if element.find(f"{{{names.ADDRESSING}}}EndpointReference") is not None:
        raise Refused.SCHEMA.error(f"{name} holds a wrapped reference")
    uri = element.findtext(
        f"{{{names.ADDRESSING}}}ReferenceParameters/{{{names.WSMAN}}}ResourceURI"
    )
    chosen = element.find(
        f"{{{names.ADDRESSING}}}ReferenceParameters/{{{names.WSMAN}}}SelectorSet"
    )
    place = resource(uri or "")
    if place is None:
        raise Refused.SCHEMA.error(f"{name} is not a reference")
    return Ref(place[1], selectors(chosen), place[0])


def selectors(chosen: ElementTree.Element | None) -> dict[str, str]:
    """Read a `w:SelectorSet`. The namespace is in the URI already; where a selector repeats it, it is dropped.

    Raises:
        ProviderError: One has no name, or comes twice, or is itself a reference.
    """
    result: dict[str, str] = {}
    for selector in () if chosen is None else chosen:
        name = selector.get("Name", "")
        if not name or name in result or len(selector):
            raise Refused.SELECTORS.error(name)
        if name != "__cimnamespace":
            result[name] = selector.text or ""
    return result


def resource(uri: str) -> tuple[str, str] | None:
    """Return the namespace and the class of a resource URI, or None if it is not one of WMI."""
    if not uri.lower().startswith(names.WMI):
        return None
    namespace, _, name = uri[len(names.WMI) :].partition("?")[0].rpartition("/")
    return (namespace, name) if namespace and name else None
