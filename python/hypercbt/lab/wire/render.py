"""CIM values as XML, in the form that was recorded of a real host.

Properties stand in alphabetical order, every one of them, null or not; an array is one element a value, so that an array of one
looks like a scalar; moments and intervals have an element of their own inside; a reference is an endpoint reference without a
wrapper; text that holds an instance is CIM-XML [V*]. A parameter that is declared as a class is an element tree [V].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypercbt.lab.wire import cimxml, moments, names, scalars
from hypercbt.lab.wire.provider import Cim, CimClass, Declared, Ref, Thing, Type
from hypercbt.lab.wire.text import attribute, content

_DECLARATIONS = f'xmlns:xsi="{names.SCHEMA_INSTANCE}" xmlns:cim="{names.CIM}"'
_ADDRESS = f"<a:Address>{names.ANONYMOUS}</a:Address>"


@dataclass(frozen=True, slots=True)
class Renderer:
    """Writes values of the classes that a host has."""

    classes: Mapping[str, CimClass]
    empty_array_is_nil: bool = False
    """An array of nothing is one nil element, not no element at all. No recording shows either [I]."""
    namespace_selector: bool = False
    """A reference also names its namespace, as the selector `__cimnamespace` [M]."""

    def instance(self, thing: Thing) -> str:
        """Return an instance as an item of an enumeration, or the body of a Get."""
        known = self.classes[thing.class_name]
        uri = names.class_uri(known.namespace, known.name)
        return (
            f'<p:{known.name} {_DECLARATIONS} xmlns:p="{uri}" xsi:type="p:{known.name}_Type">'
            f"{self._properties('p', known, thing)}</p:{known.name}>"
        )

    def projected(
        self, thing: Thing, properties: tuple[str, ...], *, fragment: bool
    ) -> str:
        """Return some properties of an instance, as a query that names them gets them.

        Args:
            thing: The instance.
            properties: Which.
            fragment: In a `w:XmlFragment`, not in an element of the class.
        """
        known = self.classes[thing.class_name]
        uri = names.class_uri(known.namespace, known.name)
        tag = "w:XmlFragment" if fragment else f"p:{known.name}"
        kind = "" if fragment else f' xsi:type="p:{known.name}_Type"'
        inside = "".join(
            self._value("p", name, known.properties[name], thing.values.get(name))
            for name in sorted(set(properties))
        )
        return f'<{tag} {_DECLARATIONS} xmlns:p="{uri}"{kind}>{inside}</{tag}>'

    def output(self, known: CimClass, method: str, answer: Mapping[str, Cim]) -> str:
        """Return what a method gave back, `ReturnValue` among it, by name."""
        declared = {
            **known.methods[method].outputs,
            "ReturnValue": Declared(Type.UINT32),
        }
        uri = names.class_uri(known.namespace, known.name)
        inside = "".join(
            self._value("p", name, declared[name], answer.get(name))
            for name in sorted(declared)
        )
        return f'<p:{method}_OUTPUT {_DECLARATIONS} xmlns:p="{uri}">{inside}</p:{method}_OUTPUT>'

    def reference(self, ref: Ref) -> str:
        """Return an endpoint reference, without the element around it."""
        keys = dict(ref.keys)
        if self.namespace_selector:
            keys = {"__cimnamespace": ref.namespace, **keys}
        selectors = "".join(
            f'<w:Selector Name="{attribute(name)}">{content(value)}</w:Selector>'
            for name, value in keys.items()
        )
        uri = content(names.class_uri(ref.namespace, ref.class_name))
        return (
            f"{_ADDRESS}<a:ReferenceParameters><w:ResourceURI>{uri}</w:ResourceURI>"
            f"<w:SelectorSet>{selectors}</w:SelectorSet></a:ReferenceParameters>"
        )

    def own_reference(self, thing: Thing) -> Ref:
        """Return the reference to an instance: its keys."""
        known = self.classes[thing.class_name]
        keys = {name: self._key_text(thing.values.get(name)) for name in known.keys}
        return Ref(known.name, keys, known.namespace)

    def _key_text(self, value: Cim) -> str:
        if isinstance(value, Ref):  # the keys of an association are references
            pairs = ",".join(f'{name}="{key}"' for name, key in value.keys.items())
            return f"{value.class_name}.{pairs}"
        return "" if value is None else scalars.to_text(value)

    def _properties(self, prefix: str, known: CimClass, thing: Thing) -> str:
        return "".join(
            self._value(prefix, name, known.properties[name], thing.values.get(name))
            for name in sorted(known.properties)
        )

    def _value(self, prefix: str, name: str, declared: Declared, value: Cim) -> str:
        tag = f"{prefix}:{name}"
        if not declared.array:
            return self._element(tag, declared, value)
        if value is None or (value == () and self.empty_array_is_nil):
            return f'<{tag} xsi:nil="true"/>'
        if not isinstance(value, tuple):
            raise TypeError(f"{name} is an array, not {value!r}")
        if scalars.is_integer(declared.type):
            # The long ones: offsets and lengths of changed ranges.
            return "".join(
                f'<{tag} xsi:nil="true"/>' if item is None else f"<{tag}>{item}</{tag}>"
                for item in value
            )
        return "".join(self._element(tag, declared, item) for item in value)

    def _element(self, tag: str, declared: Declared, value: Cim) -> str:
        if value is None:
            return f'<{tag} xsi:nil="true"/>'
        if isinstance(value, Thing) and declared.embedded is None:
            return self._tree(tag, value)
        return f"<{tag}>{self._content(declared, value)}</{tag}>"

    def _content(self, declared: Declared, value: Cim) -> str:
        if isinstance(value, Thing):
            return content(cimxml.encode(value, self.classes))
        if isinstance(value, Ref):
            return self.reference(value)
        if isinstance(value, datetime):
            return f"<cim:Datetime>{moments.xml_moment(value)}</cim:Datetime>"
        if isinstance(value, timedelta):
            return f"<cim:Interval>{moments.xml_interval(value)}</cim:Interval>"
        if scalars.is_integer(declared.type) and type(value) is not int:
            raise TypeError(f"{declared.type.value} is not {value!r}")
        return content(scalars.to_text(value))

    def _tree(self, tag: str, thing: Thing) -> str:
        """An instance as an element tree, under the name of its parameter; the prefix is free inside it."""
        known = self.classes[thing.class_name]
        uri = names.class_uri(known.namespace, known.name)
        return (
            f'<{tag} xmlns:e="{uri}" xsi:type="e:{known.name}_Type">'
            f"{self._properties('e', known, thing)}</{tag}>"
        )
