"""Enumerations: page after page, without skipping an instance, and to an end.

A page is asked for with a number of items (a host gives one at a time otherwise) and may hold fewer; the first comes
with the answer to Enumerate, if the host can; the last item comes with the end, or an empty page does.

Three things make an enumeration begin anew: its context has expired, the answer to a Pull was lost (asked again, the
host would go on *after* the lost page), or a page was too large for an envelope (then the next are half as large).
What was given out already is left out then, and all the rest is fetched before more is given out, so that a slow
caller does not lose the context again and again. That, the number of new beginnings, of pages without items and of
items are bounded.
"""

from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Protocol
from xml.etree.ElementTree import Element

from hypercbt.errors import HostReplyError, HostUnreachableError, HyperVError
from hypercbt.hyperv import cim
from hypercbt.hyperv.envelope import Envelopes, Page, Request, page_of
from hypercbt.hyperv.faults import Fault, error_of
from hypercbt.hyperv.values import Instance

PAGE_ITEMS = 50
"""Hyper-V's instances measure up to some 7 KB, and 500 KB fit into an envelope."""
_NEW_BEGINNINGS = 8
_EMPTY_PAGES = 3
_MAX_ITEMS = 200_000
"""Ten times what a very large host has of anything; what goes on after that is not to be believed."""


class Ask(Protocol):
    """Sends a request until there is an answer or a fault."""

    def __call__(
        self, make: Callable[[], Request], *, repeatable: bool
    ) -> Element | Fault:
        """See `Conversation`."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """What is enumerated."""

    class_name: str
    namespace: str
    query: str | None = None
    """In WQL; None: all instances."""

    @property
    def what(self) -> str:
        """For people."""
        return f"Enumerate {self.class_name}"


class _BeginAgainError(Exception):
    """The enumeration cannot go on. `cause` is raised where that has happened too often."""

    def __init__(self, cause: HyperVError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Enumeration:
    """Enumerates on one host, and remembers what it has learned of it."""

    def __init__(self, envelopes: Envelopes, ask: Ask) -> None:
        self._envelopes = envelopes
        self._ask = ask
        self._page_items = PAGE_ITEMS
        self.filter_refused = False
        """Whether the host has refused a filter, and then answered without one."""

    def all(
        self, source: Source, *, instead: Source | None = None
    ) -> Generator[Instance, None, None]:
        """Return the instances of a source, each once.

        Args:
            source: What is wanted.
            instead: What is enumerated if the host refuses the filter of `source`.
        """
        given: set[object] = set()
        for beginning in range(_NEW_BEGINNINGS + 1):
            try:
                with closing(self._from_the_start(source, instead)) as pages:
                    for instance in list(pages) if beginning else pages:
                        key = cim.keys_of(instance)
                        if beginning == 0 or key not in given:
                            given.add(key)
                            yield instance
            except _BeginAgainError as again:
                if beginning == _NEW_BEGINNINGS:
                    raise again.cause from again
            else:
                return

    def _from_the_start(
        self, source: Source, instead: Source | None
    ) -> Generator[Instance, None, None]:
        source, page = self._begin(source, instead)
        count = empty = 0
        context: str | None = None
        try:
            while True:
                context = page.context
                for item in page.items:
                    yield cim.decode_instance(item, source.class_name)
                count += len(page.items)
                empty = 0 if page.items else empty + 1
                if context is None:
                    return
                if count > _MAX_ITEMS or empty > _EMPTY_PAGES:
                    message = f"{source.what} does not come to an end"
                    raise HostReplyError(message)
                page = self._pull(source, context)
        except GeneratorExit:
            if context is not None:
                self._release(source, context)
            raise

    def _begin(self, source: Source, instead: Source | None) -> tuple[Source, Page]:
        """Return the first page, and what it is of."""
        answer = self._ask(
            lambda: self._envelopes.enumerate(
                source.class_name,
                source.namespace,
                query=source.query,
                page=self._page_items,
            ),
            repeatable=True,
        )
        if isinstance(answer, Fault):
            if instead is not None and answer.filter_refused:
                begun = self._begin(instead, None)
                self.filter_refused = True
                return begun
            self._smaller_pages(answer, source)
            raise error_of(answer, source.what)
        return source, page_of(answer, source.what)

    def _pull(self, source: Source, context: str) -> Page:
        try:
            answer = self._ask(
                lambda: self._envelopes.pull(
                    source.class_name,
                    source.namespace,
                    context,
                    query=source.query is not None,
                    page=self._page_items,
                ),
                repeatable=False,
            )
        except HostUnreachableError as error:
            raise _BeginAgainError(error) from error
        if isinstance(answer, Fault):
            self._smaller_pages(answer, source)
            refusal = error_of(answer, source.what)
            if answer.context_gone or answer.timed_out:
                raise _BeginAgainError(refusal)
            raise refusal
        return page_of(answer, source.what)

    def _smaller_pages(self, fault: Fault, source: Source) -> None:
        if fault.too_large and self._page_items > 1:
            self._page_items //= 2
            raise _BeginAgainError(error_of(fault, source.what))

    def _release(self, source: Source, context: str) -> None:
        # The caller is done, and the host forgets the context by itself: nothing here is worth an error.
        with suppress(HyperVError, ValueError):
            self._ask(
                lambda: self._envelopes.release(
                    source.class_name,
                    source.namespace,
                    context,
                    query=source.query is not None,
                ),
                repeatable=False,
            )
