"""What a host does with an envelope of an authenticated user: count it, spoil it where the plan says so, answer it."""

import threading
from collections import Counter, deque
from dataclasses import dataclass, field, replace

from hypercbt.lab.faults import (
    Answer,
    Asked,
    Delay,
    Drop,
    Effect,
    FailJob,
    FaultPlan,
    Refuse,
    Return,
    Run,
    Unauthorized,
)
from hypercbt.lab.wire import soap
from hypercbt.lab.wire.dispatch import Dispatcher, Job, Planned
from hypercbt.lab.wire.options import WireOptions
from hypercbt.lab.wire.provider import Provider, ProviderError
from hypercbt.lab.wire.refusals import Refused

_KEPT_RECORDS = 100_000
_KEPT_NAMES = 10_000
"""Many more than a host has: who makes up new ones all the time makes the book no longer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back over HTTP. Without a body where the connection breaks instead."""

    status: int
    body: bytes | None
    forget: bool = False
    """The connection is no longer authenticated."""
    halfway: bool = False
    """The connection breaks in the middle of it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One request that was answered, or not."""

    number: int
    """From 1, in order of arrival."""
    asked: Asked
    status: int | None
    """Of HTTP; None: the connection was dropped."""
    request_bytes: int
    reply_bytes: int
    subcode: str | None = None
    """Of the fault that it was answered with."""


@dataclass(slots=True)
class Book:
    """What has been asked of a host. For several threads at once."""

    counts: Counter[str] = field(default_factory=Counter)
    """By each name of a request: `*`, `Pull`, `Pull Msvm_ComputerSystem`, `CreateSnapshot`."""
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=_KEPT_RECORDS))
    errors: list[Exception] = field(default_factory=list)
    """What the provider or a callback of the plan raised and should not have."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, asked: Asked) -> int:
        """Count a request, and return its number."""
        with self.lock:
            for name in asked.names:
                if name in self.counts or len(self.counts) < _KEPT_NAMES:
                    self.counts[name] += 1
            return self.counts["*"]


class Service:
    """Answers envelopes. For several threads at once.

    Args:
        provider: What the host is.
        options: How its outside behaves.
        faults: What goes wrong on purpose.
    """

    def __init__(
        self, provider: Provider, options: WireOptions, faults: FaultPlan
    ) -> None:
        self.book = Book()
        self.closing = threading.Event()
        """Set where the host goes away: a delayed answer waits no longer."""
        self._options = options
        self._faults = faults
        self._dispatcher = Dispatcher(provider, options)

    def answer(self, data: bytes, user: str) -> Reply:
        """Answer an envelope. Every fault is an answer, too."""
        relates_to, asked = "", Asked("Invalid", "", None, user)
        try:
            root = soap.read(data)
            relates_to = soap.message_id(root)
            request = soap.request(root)
        except ProviderError as error:
            number = self.book.count(asked)
            body = soap.fault(error, relates_to, self._options)
            reply = Reply(500, body)
            self._note(number, asked, data, reply, error.subcode)
            return reply
        if request.action == "Identify":
            asked = Asked("Identify", "", None, user)
            job = Job(asked, "", lambda _: "")
        else:
            job = self._dispatcher.job(request, user)
        number = self.book.count(job.asked)
        fault = self._faults.take(job.asked)
        reply, subcode = self._done(request, job, fault.what if fault else None, user)
        self._note(number, job.asked, data, reply, subcode)
        return reply

    def is_identify(self, data: bytes) -> bool:
        """Whether an envelope asks no more than who this is."""
        try:
            return soap.request(soap.read(data)).action == "Identify"
        except ProviderError:
            return False

    def _done(
        self, request: soap.Request, job: Job, effect: Effect | None, user: str
    ) -> tuple[Reply, str | None]:
        """Do what is asked, between what the plan wants before it and after it."""
        subcode = None
        try:
            early = self._before(effect)
            if early is not None:
                return early, None
            reply = Reply(200, self._body(request, job, effect, user))
        except ProviderError as error:
            subcode = error.subcode
            reply = Reply(500, soap.fault(error, request.message_id, self._options))
        except Exception as error:
            # The simulation is broken, not the client: it hears so, and the test that owns the host does.
            self.book.errors.append(error)
            subcode = "w:InternalError"
            said = Refused.INTERNAL.error(f"{type(error).__name__}: {error}")
            reply = Reply(500, soap.fault(said, request.message_id, self._options))
        return self._after(effect, reply), subcode

    def _before(self, effect: Effect | None) -> Reply | None:
        match effect:
            case Drop(after=False, halfway=False):
                return Reply(0, None)
            case Unauthorized():
                return Reply(401, b"", forget=True)
            case Answer(body=body, status=status):
                return Reply(status, body)
            case Refuse(subcode, code, message, provider_code):
                raise ProviderError(subcode, code, message, provider_code)
            case Run(callback=callback, after=False):
                callback()
        return None

    def _after(self, effect: Effect | None, reply: Reply) -> Reply:
        match effect:
            case Drop(halfway=True):
                return replace(reply, halfway=True)
            case Drop(after=True):
                return Reply(0, None)
            case Delay(seconds):
                self.closing.wait(seconds)
            case Run(callback=callback, after=True):
                try:
                    callback()
                except Exception as error:
                    self.book.errors.append(error)
        return reply

    def _body(
        self, request: soap.Request, job: Job, effect: Effect | None, user: str
    ) -> bytes:
        if request.action == "Identify":
            return soap.identity(self._options)
        if user in self._options.denied_users:
            raise Refused.ACCESS_DENIED.error()
        if isinstance(effect, Return):
            body = self._dispatcher.returned(request, effect.value)
        else:
            failing = effect if isinstance(effect, FailJob) else None
            planned = Planned((failing.code, failing.text) if failing else None)
            body = job.do(planned)
        data = soap.envelope(
            job.action, request.message_id, body, self._options.language
        )
        if len(data) > self._dispatcher.room_bytes(request):
            # Whatever it did is done (Q28) [I].
            raise Refused.ENVELOPE.error(f"{len(data)} bytes")
        return data

    def _note(
        self, number: int, asked: Asked, data: bytes, reply: Reply, subcode: str | None
    ) -> None:
        status = None if reply.body is None or reply.halfway else reply.status
        record = Record(
            number, asked, status, len(data), len(reply.body or b""), subcode
        )
        with self.book.lock:
            self.book.records.append(record)
