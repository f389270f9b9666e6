"""Which classes a host has, and what a query finds in them."""

import random
from collections.abc import Iterable, Iterator, Mapping

from hypercbt.lab.wire.conditions import compiled, equalities, property_name, same
from hypercbt.lab.wire.decode import resource
from hypercbt.lab.wire.provider import CimClass, Provider, Thing
from hypercbt.lab.wire.refusals import Refused
from hypercbt.lab.wire.wql import BadQueryError, Related, Select


class Catalogue:
    """A provider's classes and instances, found as a client names them: case does not matter.

    Args:
        provider: Whose they are.
        server: The host's name, as queries know it.
    """

    def __init__(self, provider: Provider, server: str) -> None:
        self._server = server
        self._provider = provider
        self.classes: Mapping[str, CimClass] = provider.classes()
        self._spelled = {name.casefold(): name for name in self.classes}
        self._namespaces = {known.namespace.lower() for known in self.classes.values()}
        self._derived: dict[str, list[str]] = {}
        for name, known in self.classes.items():
            for base in (name, *known.parents):
                self._derived.setdefault(base.casefold(), []).append(name)

    def place(self, uri: str) -> tuple[str, str]:
        """Return the namespace and the class (or `*`) of a resource URI.

        Raises:
            ProviderError: It is none, or the host has no such namespace.
        """
        found = resource(uri)
        if found is None:
            raise Refused.RESOURCE.error(uri)
        if found[0].lower() not in self._namespaces:
            raise Refused.NAMESPACE.error(found[0])
        return found[0].lower(), found[1]

    def known(self, class_name: str, namespace: str) -> CimClass:
        """Return a class that has instances of its own.

        Raises:
            ProviderError: There is none.
        """
        spelled = self._spelled.get(class_name.casefold())
        if spelled is None or self.classes[spelled].namespace.lower() != namespace:
            raise Refused.CLASS.error(class_name)
        return self.classes[spelled]

    def everything(self, class_name: str, namespace: str) -> list[Thing]:
        """Return all instances of a class and of those that derive from it."""
        return list(self._select(Select(class_name, None, None), namespace))

    def query(self, query: Select | Related, namespace: str) -> list[Thing]:
        """Return what a query means.

        Raises:
            BadQueryError: It names a property that is not there.
            ProviderError: It names a class that is not there.
        """
        if isinstance(query, Select):
            return list(self._select(query, namespace))
        return list(self._related(query, namespace))

    def _select(self, query: Select, namespace: str) -> Iterator[Thing]:
        names = [
            name
            for name in self._derived.get(query.class_name.casefold(), ())
            if self.classes[name].namespace.lower() == namespace
        ]
        if not names:
            raise Refused.CLASS.error(query.class_name)
        for name in names:
            known = self.classes[name]
            for asked in query.properties or ():
                property_name(asked, known)
            matches = compiled(query.where, known, self._server)
            equal = equalities(query.where, known)
            for thing in self._provider.instances(name, equal):
                if matches(thing):
                    yield thing

    def _related(self, query: Related, namespace: str) -> Iterator[Thing]:
        for named in (query.association, query.result, query.source.class_name):
            if named is not None and named.casefold() not in self._derived:
                raise Refused.CLASS.error(named)
        if not query.references:
            found = self._provider.associators(
                query.source, self._spell(query.association), self._spell(query.result)
            )
            yield from self._of_class(found, query.result)
            return
        if query.result is None:
            raise BadQueryError("REFERENCES OF needs a ResultClass here")
        for thing in self.everything(query.result, namespace):
            if any(same(value, query.source) for value in thing.values.values()):
                yield thing

    def _of_class(self, things: Iterable[Thing], wanted: str | None) -> Iterator[Thing]:
        allowed = None if wanted is None else self._derived[wanted.casefold()]
        return (
            thing for thing in things if allowed is None or thing.class_name in allowed
        )

    def _spell(self, name: str | None) -> str | None:
        return None if name is None else self._spelled.get(name.casefold(), name)


def shuffled(things: list[Thing], seed: int | None) -> list[Thing]:
    """Return them in no order (Q15), but in the same one for the same seed."""
    if seed is not None:
        random.Random(seed).shuffle(things)
    return things
