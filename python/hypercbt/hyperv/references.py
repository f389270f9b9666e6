r"""References to instances, in the two forms that a host uses.

Over WS-Management one is an endpoint reference: an address that is always *anonymous*, the class as a URI, and the
keys as selectors. Inside texts it is a WMI path: `\\HOST\root\virtualization\v2:Class.Key="…",Other="…"`, in which
the quoted keys have their backslashes and quotes escaped by a backslash.
"""

import re
from xml.etree.ElementTree import Element

from hypercbt.errors import HostReplyError
from hypercbt.hyperv.markup import ANONYMOUS, child, escape, local, text_of
from hypercbt.hyperv.values import VIRTUALIZATION, Reference

WMI = "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
_DMTF = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
_NAMESPACE_SELECTOR = "__cimnamespace"

_PATH = re.compile(
    r"(?:(?:[\\/]{2}(?P<host>[^\\/]+)[\\/])?(?P<namespace>[^:]+):)?(?P<class>\w+)\.(?P<keys>.+)",
    re.DOTALL,
)
_KEY = re.compile(
    r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^,"]+))(?:,|$)', re.DOTALL | re.ASCII
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_DEPTH = 4
"""How deep references may be keys of references. Each level doubles the backslashes of those within."""


def class_uri(class_name: str, namespace: str) -> str:
    """Return the resource URI of a class; `*` stands for all of a namespace."""
    return f"{WMI}{namespace.replace(chr(92), '/').strip('/')}/{class_name}"


def selector_set(reference: Reference) -> str:
    """Return the selectors of a reference as an element, or nothing if there are none."""
    if not reference.selectors:
        return ""
    selectors = "".join(
        f'<w:Selector Name="{escape(name)}">{escape(value)}</w:Selector>'
        for name, value in reference.selectors.items()
    )
    return f"<w:SelectorSet>{selectors}</w:SelectorSet>"


def encode(reference: Reference) -> str:
    """Return what stands in a parameter that is a reference: directly, as an extra wrapper is refused."""
    uri = escape(class_uri(reference.class_name, reference.namespace))
    return (
        f"<a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{uri}</w:ResourceURI>{selector_set(reference)}</a:ReferenceParameters>"
    )


def decode(element: Element, *, depth: int = _DEPTH) -> Reference:
    """Return the reference that an element holds, directly, in a wrapper, or as a path.

    Raises:
        HostReplyError: It holds none, or references in references in references.
    """
    if depth == 0:
        message = "the host's answer has references in references in references"
        raise HostReplyError(message)
    wrapper = child(element, "EndpointReference")
    parameters = child(element if wrapper is None else wrapper, "ReferenceParameters")
    if parameters is None:
        return parse_path(text_of(element))
    class_name, namespace = _split_uri(text_of(child(parameters, "ResourceURI")))
    selectors: dict[str, str] = {}
    chosen = child(parameters, "SelectorSet")
    for selector in () if chosen is None else chosen:
        if local(selector.tag) != "Selector":
            continue
        name = selector.get("Name", "")
        if name == _NAMESPACE_SELECTOR:
            namespace = _namespace(text_of(selector))
        else:
            inner = child(selector, "EndpointReference")
            selectors[name] = (
                (selector.text or "")
                if inner is None
                else format_path(decode(selector, depth=depth - 1))
            )
    return Reference(class_name, selectors, namespace)


def parse_path(text: str, *, namespace: str = VIRTUALIZATION) -> Reference:
    """Return what a WMI path means, with its keys unescaped.

    Args:
        text: The path: with or without a host and a namespace.
        namespace: Where it says none.

    Raises:
        HostReplyError: It is no path of an instance.
    """
    found = _PATH.fullmatch(text.strip())
    selectors: dict[str, str] = {}
    position = 0
    while found and position < len(found["keys"]):
        key = _KEY.match(found["keys"], position)
        if key is None:
            break
        quoted = key[2]
        selectors[key[1]] = key[3] if quoted is None else _ESCAPED.sub(r"\1", quoted)
        position = key.end()
    if not found or position < len(found["keys"]):
        message = f"the host's answer has a path that is none: {text[:200]!r}"
        raise HostReplyError(message)
    said = found["namespace"]
    return Reference(
        found["class"], selectors, namespace if said is None else _namespace(said)
    )


def format_path(reference: Reference, *, host: str | None = None) -> str:
    r"""Return the WMI path of an instance, with `\\HOST\namespace:` in front where a host is given."""
    keys = ",".join(
        '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"'))
        for name, value in reference.selectors.items()
    )
    path = f"{reference.class_name}.{keys}"
    if host is None:
        return path
    return "\\\\{}\\{}:{}".format(host, reference.namespace.replace("/", "\\"), path)


def _namespace(text: str) -> str:
    return text.replace("\\", "/").strip("/")


def _split_uri(uri: str) -> tuple[str, str]:
    rest = uri.strip()
    for prefix in (WMI, _DMTF):
        if rest.startswith(prefix):
            namespace, _, class_name = rest.removeprefix(prefix).rpartition("/")
            if class_name:
                return class_name, namespace or VIRTUALIZATION
    message = f"the host's answer refers to no class: {uri[:200]!r}"
    raise HostReplyError(message)
