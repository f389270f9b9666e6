"""A session with a host: what is asked, how often, and what an answer means.

What carries the envelopes is a `Channel`: `hypercbt.hyperv.wsman` has the one to a real host,
`hypercbt.hyperv.transcript` one that answers from a file.

What only asks is repeated where the connection broke; what changes something is repeated only where it was surely not
sent. A Pull is neither: the host has moved on with it, so a lost one begins the enumeration anew.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import NoReturn, Protocol
from xml.etree.ElementTree import Element

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_result,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from hypercbt.closing import Closing
from hypercbt.errors import (
    HostCertificateError,
    HostReplyError,
    HostUnreachableError,
    LostReplyError,
)
from hypercbt.hyperv import cim, scalars
from hypercbt.hyperv.classes import Type, declared
from hypercbt.hyperv.enumeration import Enumeration, Source
from hypercbt.hyperv.envelope import Envelopes, Request, body_of, first
from hypercbt.hyperv.faults import Fault, error_of, read_fault
from hypercbt.hyperv.markup import child, text_of
from hypercbt.hyperv.values import VIRTUALIZATION, Answer, Instance, Reference, Value
from hypercbt.hyperv.wql import matches, select

_ATTEMPTS = 5
_FIRST_ATTEMPTS = 2
"""Of a host that has never answered yet: its name may be a slip of the pen."""
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 8.0


class Channel(Protocol):
    """Carries envelopes to one host and back."""

    @property
    def url(self) -> str:
        """The endpoint."""
        ...

    def send(self, request: Request) -> bytes:
        """Return the host's envelope, be it an answer or a fault.

        Raises:
            LostReplyError: It was sent, and nothing that can be believed came back.
            HostUnreachableError: It was surely not sent.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Conversation(Closing):
    """Implements `hypercbt.hyperv.session.Session` on top of a channel.

    Args:
        host: As the caller spells it.
        channel: To the host. Closed with this.
        timeout_seconds: How long the host may take for one request.
        sleep: Waits between two attempts.
    """

    def __init__(
        self,
        host: str,
        channel: Channel,
        *,
        timeout_seconds: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._host = host
        self._channel = channel
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep
        self._envelopes = Envelopes(channel.url, timeout_seconds)
        self._enumeration = Enumeration(self._envelopes, self._ask)
        self._answered = False
        self._closed = False

    @property
    def host(self) -> str:
        """The host as it was asked for."""
        return self._host

    def get(self, reference: Reference) -> Instance | None:
        """Return the instance, or None if there is none (any more)."""
        what = f"Get {reference.class_name}"
        answer = self._ask(lambda: self._envelopes.get(reference), repeatable=True)
        if isinstance(answer, Fault) and answer.not_found:
            return None
        body = self._believe(answer, what)
        if not len(body):
            message = f"the answer to {what} is empty"
            raise HostReplyError(message)
        return cim.decode_instance(body[0], reference.class_name)

    def enumerate(
        self, class_name: str, *, namespace: str = VIRTUALIZATION
    ) -> Iterator[Instance]:
        """Return all instances of a class, in no order. Sent and decoded page by page."""
        yield from self._enumeration.all(Source(class_name, namespace))

    def query(
        self,
        class_name: str,
        *,
        where: Mapping[str, str | int | bool] | None = None,
        prefix: Mapping[str, str] | None = None,
        namespace: str = VIRTUALIZATION,
    ) -> Iterator[Instance]:
        """Return the instances whose properties equal `where`, and begin with `prefix` (case does not matter).

        By WQL; where the host refuses filters, by enumerating the class and matching here, which it remembers. What
        comes back is matched here in either case.
        """
        equal, begins = where or {}, prefix or {}
        text = select(class_name, equal, begins)
        plain = Source(class_name, namespace)
        if self._enumeration.filter_refused:
            instances = self._enumeration.all(plain)
        else:
            instances = self._enumeration.all(
                Source(class_name, namespace, text), instead=plain
            )
        with closing(instances):
            for instance in instances:
                if matches(instance, equal, begins):
                    yield instance

    def invoke(
        self,
        target: Reference,
        method: str,
        arguments: Mapping[str, Value],
        *,
        repeatable: bool = False,
    ) -> Answer:
        """Call a method. Its parameters' types stand in `hypercbt.hyperv.classes`; None leaves one out.

        Args:
            target: The instance; a service by its class's `CreationClassName` alone.
            method: Its name.
            arguments: By name. An `Instance` goes as CIM-XML text, a `Reference` as an endpoint reference.
            repeatable: It only asks, so it may be sent again after a broken connection.

        Raises:
            LostReplyError: The connection broke, and the host may have done it.
            ValueError: There is no such method or parameter, or a value is out of range.
            TypeError: A value is not of its parameter's type.
        """
        known = declared(target.class_name).methods.get(method)
        if known is None:
            message = f"{target.class_name} has no declared method {method}"
            raise ValueError(message)
        answer = self._ask(
            lambda: self._envelopes.invoke(target, method, known, arguments),
            repeatable=repeatable,
        )
        if isinstance(answer, Fault) and answer.timed_out and not repeatable:
            raise LostReplyError(str(error_of(answer, method)))
        body = self._believe(answer, method)
        try:
            output = first(body, f"{method}_OUTPUT", method)
            value = text_of(child(output, "ReturnValue"))
            return Answer(
                return_value=int(scalars.decode("ReturnValue", value, Type.UINT32)),
                out=cim.decode_parameters(output, known.outputs),
            )
        except HostReplyError as error:
            _lost_unless(repeatable, error)

    def close(self) -> None:
        """Let go of the connection."""
        self._closed = True
        self._channel.close()

    def _ask(self, make: Callable[[], Request], *, repeatable: bool) -> Element | Fault:
        """Send a request until there is an answer or a fault, as often as that may be done.

        Args:
            make: Makes the request, with a message id of its own each time.
            repeatable: It only asks.
        """
        too_late = stop_after_delay(3 * self._timeout_seconds)
        retrying = Retrying(
            stop=lambda state: self._tried_enough(state) or too_late(state),
            wait=wait_exponential(
                multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS
            )
            + wait_random(0, _FIRST_WAIT_SECONDS),
            retry=retry_if_exception(lambda error: _again(error, repeatable))
            | retry_if_result(
                lambda answer: (
                    isinstance(answer, Fault)
                    and (answer.busy or (answer.timed_out and repeatable))
                )
            ),
            sleep=self._sleep,
            reraise=True,
            retry_error_callback=_last,
        )
        answer: Element | Fault = retrying(self._once, make, repeatable)
        return answer

    def _tried_enough(self, state: RetryCallState) -> bool:
        most = _ATTEMPTS if self._answered else _FIRST_ATTEMPTS
        return state.attempt_number >= most

    def _once(self, make: Callable[[], Request], repeatable: bool) -> Element | Fault:
        if self._closed:
            message = "the session is closed"
            raise ValueError(message)
        request = make()
        answer = self._channel.send(request)
        self._answered = True
        try:
            body = body_of(request, answer)
        except HostReplyError as error:
            _lost_unless(repeatable, error)
        return read_fault(body) or body

    def _believe(self, answer: Element | Fault, what: str) -> Element:
        if isinstance(answer, Fault):
            raise error_of(answer, what)
        return answer


def _again(error: BaseException, repeatable: bool) -> bool:
    if isinstance(error, LostReplyError):
        return repeatable
    return isinstance(error, HostUnreachableError) and not isinstance(
        error, HostCertificateError
    )


def _last(state: RetryCallState) -> Element | Fault:
    """Give what the last attempt gave: its answer, or its error."""
    assert state.outcome is not None
    answer: Element | Fault = state.outcome.result()
    return answer


def _lost_unless(repeatable: bool, error: HostReplyError) -> NoReturn:
    """Of what changes something, an answer that makes no sense is as good as a lost one."""
    if repeatable:
        raise error
    message = f"{error}; it may have been done"
    raise LostReplyError(message) from error
