"""One request in, one answer out: which action it is, and what the provider or the fault plan says to it."""

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

from hypercbt.lab.faults import Asked
from hypercbt.lab.wire import decode, names, soap, wql
from hypercbt.lab.wire.catalogue import Catalogue, shuffled
from hypercbt.lab.wire.conditions import property_name
from hypercbt.lab.wire.enumerations import Enumeration, Enumerations
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.provider import Call, CimClass, Provider, Thing
from hypercbt.lab.wire.refusals import Refused
from hypercbt.lab.wire.render import Renderer
from hypercbt.lab.wire.text import local_name

_HEADER_ROOM = 2048
"""More than everything around the items of an answer measures."""
_ACTIONS = {
    names.GET: "Get",
    names.PUT: "Put",
    names.CREATE: "Create",
    names.DELETE: "Delete",
    names.ENUMERATE: "Enumerate",
    names.PULL: "Pull",
    names.RELEASE: "Release",
}
_N = f"{{{names.ENUMERATION}}}"
_W = f"{{{names.WSMAN}}}"


@dataclass(frozen=True, slots=True)
class Job:
    """A request that is understood so far: what it is called, and how to do it."""

    asked: Asked
    action: str
    """The action of the answer."""
    do: Callable[["Planned"], str]
    """Gives the body of the answer."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What the fault plan wants of the one who does it."""

    fail_job: tuple[int, str] | None = None


class Dispatcher:
    """Answers requests. For several threads at once.

    Args:
        provider: What the host is.
        options: How its outside behaves.
    """

    def __init__(self, provider: Provider, options: WireOptions) -> None:
        self._provider = provider
        self._options = options
        self._catalogue = Catalogue(provider, options.host_name)
        self._renderer = Renderer(
            self._catalogue.classes,
            empty_array_is_nil=options.empty_array_is_nil,
            namespace_selector=options.namespace_selector,
        )
        self._enumerations = Enumerations(
            options.enumeration_timeout_seconds, options.max_enumerations, options.clock
        )

    def job(self, request: soap.Request, user: str) -> Job:
        """Return what a request asks for.

        It does nothing yet, and refuses nothing: a fault plan goes by names, and even a bad request has one.
        """
        action = _ACTIONS.get(request.action)
        if action in ("Pull", "Release"):
            return self._resumed(request, user, action)
        if action == "Enumerate":
            return self._enumerate(request, user)
        class_name = request.resource_uri.rpartition("/")[2]
        if action == "Get":
            return _job(
                Asked("Get", class_name, None, user),
                names.GET,
                lambda _: self._get(request),
            )
        if action is None:
            method = request.action.rpartition("/")[2]
            return _job(
                Asked("Invoke", class_name, method, user),
                request.action,
                lambda planned: self._invoke(request, user, planned),
            )
        # Hyper-V's classes are changed by methods; none of them takes these.
        return _job(
            Asked(action, class_name, None, user),
            request.action,
            lambda _: _refuse(Refused.ACTION),
        )

    def room_bytes(self, request: soap.Request) -> int:
        """Return what an answer may measure: the smaller of both sides' limits (Q28) [V]."""
        own = self._options.max_envelope_bytes
        return min(request.asked_envelope_bytes or own, own)

    def _get(self, request: soap.Request) -> str:
        known = self._class(request)
        if known.keys and not request.selectors:
            raise Refused.NO_KEYS.error(known.name)
        _check_selectors(request, known)
        thing = self._provider.get(known.name, request.selectors)
        if thing is None:
            raise Refused.NOT_FOUND.error()
        return self._renderer.instance(thing)

    def _class(self, request: soap.Request) -> CimClass:
        namespace, class_name = self._catalogue.place(request.resource_uri)
        return self._catalogue.known(class_name, namespace)

    def _invoke(self, request: soap.Request, user: str, planned: Planned) -> str:
        known = self._class(request)
        place, _, name = request.action.rpartition("/")
        if name not in known.methods or place.lower() != request.resource_uri.lower():
            raise Refused.NO_METHOD.error(name)
        _check_selectors(request, known)
        body = request.body
        if body is None or local_name(body.tag) != f"{name}_INPUT":
            raise Refused.SCHEMA.error(f"{name}_INPUT is missing")
        method = known.methods[name]
        arguments = decode.arguments(body, method, self._catalogue.classes)
        call = Call(
            known.name,
            request.selectors,
            name,
            arguments.values,
            user,
            self.room_bytes(request),
            planned.fail_job,
            arguments.misfits,
        )
        return self._renderer.output(known, name, self._provider.invoke(call))

    def returned(self, request: soap.Request, value: int) -> str:
        """Return the answer of a method that gives this `ReturnValue` and nothing else."""
        known = self._class(request)
        name = request.action.rpartition("/")[2]
        if name not in known.methods:
            raise Refused.NO_METHOD.error(name)
        return self._renderer.output(known, name, {"ReturnValue": value})

    def _enumerate(self, request: soap.Request, user: str) -> Job:
        text, dialect = _filter(request.body)
        query: wql.Select | wql.Related | None = None
        problem = ""
        class_name = request.resource_uri.rpartition("/")[2]
        if text is not None:
            place = decode.resource(request.resource_uri)
            try:
                query = wql.parse(text, place[0] if place else "")
                class_name = _meant(query)
            except wql.BadQueryError as error:
                problem = str(error)

        def do(_: Planned) -> str:
            if text is not None and dialect != names.WQL:
                raise Refused.DIALECT.error(dialect)
            if text is not None and self._options.refuse_filters:
                raise Refused.FILTER.error()
            if problem:
                raise Refused.FILTER.error(problem)
            return self._begin(request, user, class_name, query)

        asked = Asked("Enumerate", class_name, None, user)
        return _job(asked, names.ENUMERATE, do)

    def _begin(
        self,
        request: soap.Request,
        user: str,
        class_name: str,
        query: wql.Select | wql.Related | None,
    ) -> str:
        namespace, place = self._catalogue.place(request.resource_uri)
        if query is not None and (place != "*" or request.selectors):
            raise Refused.FILTER_CLASS.error()  # Q8 [V*]
        if query is None:
            things = self._catalogue.everything(place, namespace)
        else:
            try:
                things = self._catalogue.query(query, namespace)
            except wql.BadQueryError as error:
                raise Refused.FILTER.error(str(error)) from error
        show = self._shown(request.body, query)
        items = [
            lambda thing=thing: show(thing)
            for thing in shuffled(things, self._options.shuffle_seed)
        ]
        enumeration = self._enumerations.begin(user, class_name, items)
        body = request.body
        if body is None or body.find(f"{_W}OptimizeEnumeration") is None:
            self._enumerations.keep(enumeration)
            return (
                "<n:EnumerateResponse><n:EnumerationContext>"
                f"{enumeration.id}</n:EnumerationContext></n:EnumerateResponse>"
            )
        inside = self._page(request, enumeration, f"{_W}MaxElements", "w")
        return f"<n:EnumerateResponse>{inside}</n:EnumerateResponse>"

    def _shown(
        self,
        body: ElementTree.Element | None,
        query: wql.Select | wql.Related | None,
    ) -> Callable[[Thing], str]:
        mode = (
            ""
            if body is None
            else (body.findtext(f"{_W}EnumerationMode") or "").strip()
        )
        renderer = self._renderer

        def reference(thing: Thing) -> str:
            inside = renderer.reference(renderer.own_reference(thing))
            return f"<a:EndpointReference>{inside}</a:EndpointReference>"

        def projected(thing: Thing) -> str:
            if not isinstance(query, wql.Select) or query.properties is None:
                return renderer.instance(thing)
            known = self._catalogue.classes[thing.class_name]
            chosen = tuple(property_name(name, known) for name in query.properties)
            return renderer.projected(
                thing, chosen, fragment=self._options.projected_fragments
            )

        if mode == "EnumerateEPR":
            return reference
        if mode == "EnumerateObjectAndEPR":
            return lambda thing: (
                f"<w:Item>{projected(thing)}{reference(thing)}</w:Item>"
            )
        if mode:
            raise Refused.SCHEMA.error("w:EnumerationMode")
        return projected

    def _resumed(self, request: soap.Request, user: str, action: str) -> Job:
        body = request.body
        context = (
            "" if body is None else (body.findtext(f"{_N}EnumerationContext") or "")
        )
        class_name = request.resource_uri.rpartition("/")[2]
        named = self._enumerations.class_name(context.strip())

        def do(_: Planned) -> str:
            enumeration = self._enumerations.find(context.strip(), user)
            if action == "Release":
                self._enumerations.end(enumeration)
                return ""
            inside = self._page(request, enumeration, f"{_N}MaxElements", "n")
            return f"<n:PullResponse>{inside}</n:PullResponse>"

        asked = Asked(action, named or class_name, None, user)
        return _job(asked, request.action, do)

    def _page(
        self,
        request: soap.Request,
        enumeration: Enumeration,
        limit: str,
        prefix: str,
    ) -> str:
        options = self._options
        wanted = None if request.body is None else request.body.findtext(limit)
        most = 1 if options.one_item_pulls else options.max_batch_items
        if wanted is not None:
            most = _count(wanted)
        items, done = enumeration.pull(
            min(most, options.max_batch_items),
            self.room_bytes(request) - _HEADER_ROOM,
            last_pull_empty=options.last_pull_empty,
        )
        inside = f"<{prefix}:Items>{''.join(items)}</{prefix}:Items>"
        if not done:
            self._enumerations.keep(enumeration)
            return (
                f"<n:EnumerationContext>{enumeration.id}</n:EnumerationContext>{inside}"
            )
        self._enumerations.end(enumeration)
        # An Enumerate must have the element, even where there is nothing left (DSP0226).
        context = "<n:EnumerationContext/>" if prefix == "w" else ""
        return f"{context}{inside}<{prefix}:EndOfSequence/>"


def _job(asked: Asked, action: str, do: Callable[[Planned], str]) -> Job:
    return Job(asked, f"{action}Response", do)


def _refuse(refused: Refused) -> str:
    raise refused.error()


def _check_selectors(request: soap.Request, known: CimClass) -> None:
    keys = {key.casefold() for key in known.keys}
    for name in request.selectors:
        if name.casefold() not in keys:
            raise Refused.SELECTORS.error(name)


def _filter(body: ElementTree.Element | None) -> tuple[str | None, str]:
    """Return the filter of an Enumerate and its dialect. WS-Enumeration's own element is one, too."""
    if body is None:
        return None, ""
    for tag in (f"{_W}Filter", f"{_N}Filter"):
        found = body.find(tag)
        if found is not None:
            return "".join(found.itertext()), found.get("Dialect", "")
    return None, ""


def _meant(query: wql.Select | wql.Related) -> str:
    if isinstance(query, wql.Select):
        return query.class_name
    return query.result or query.association or query.source.class_name


def _count(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) < 1:
        raise Refused.SCHEMA.error("MaxElements")
    return int(text)
