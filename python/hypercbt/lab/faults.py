"""What goes wrong on purpose: at which request of a client, and how.

```python
plan = FaultPlan()
plan.add(Fault("CreateSnapshot", Drop(after=True)))                  # done, but the answer is lost
plan.add(Fault("Enumerate Msvm_ComputerSystem", TIMEOUT, nth=3))     # the third one from now
plan.add(Fault("*", Run(host.power_cut, after=True), nth=17))        # whatever the seventeenth request is
```

A request is named by its action (`Get`, `Enumerate`, `Pull`, `Release`, `Put`, `Identify`, `Invoke`), by action and class
(`Pull Msvm_ComputerSystem`; of a query, the class that it asks for), and a method by its own name
(`CreateSnapshot`). `*` is any. Each fault counts from where it was added.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

TIMED_OUT = 2150858793
"""The WS-Management code of an operation that took too long."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as a plan and the counts tell requests apart."""

    action: str
    class_name: str
    method: str | None = None
    user: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it goes by."""
        return tuple(
            name
            for name in (
                "*",
                self.action,
                f"{self.action} {self.class_name}" if self.class_name else None,
                self.method,
            )
            if name
        )

    def __str__(self) -> str:
        return self.names[-1]


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection breaks: before the request is looked at, or after it was done and before the answer."""

    after: bool = False
    halfway: bool = False
    """It was done, and the connection breaks in the middle of the answer."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The host answers with a fault, and does nothing."""

    subcode: str
    code: int
    message: str = "Auf Wunsch verweigert."
    provider_code: int | None = None


TIMEOUT = Refuse("w:TimedOut", TIMED_OUT)
"""The operation took longer than its `OperationTimeout`."""


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The host wants to be told again who asks: HTTP 401."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The answer comes later. The request is done at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """These bytes come back, sealed as an answer would be, and nothing is done."""

    body: bytes
    status: int = 200


@dataclass(frozen=True, slots=True)
class Run:
    """Something else happens on the host, right before the request is done or right after, before the answer."""

    callback: Callable[[], object]
    after: bool = False


@dataclass(frozen=True, slots=True)
class Return:
    """The method gives this `ReturnValue`, and does nothing. Strikes only where a method is called."""

    value: int


@dataclass(frozen=True, slots=True)
class FailJob:
    """The method starts a job that fails. Strikes only where a method is called; the host model does it."""

    code: int
    text: str


Effect: TypeAlias = (
    Drop | Refuse | Unauthorized | Delay | Answer | Run | Return | FailJob
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Args:
        call: The name of the requests that it is about.
        what: What happens.
        nth: With the how-manieth of them, counted from 1.
        times: With how many of them in a row; None: from then on always.
    """

    call: str
    what: Effect
    nth: int = 1
    times: int | None = 1

    def __post_init__(self) -> None:
        if self.nth < 1 or (self.times is not None and self.times < 1):
            raise ValueError("requests are counted from 1")

    def concerns(self, asked: Asked) -> bool:
        """Whether this request is counted for it."""
        if isinstance(self.what, Return | FailJob) and asked.method is None:
            return False
        return self.call in asked.names


@dataclass(slots=True)
class _Planned:
    fault: Fault
    seen: int = 0


@dataclass(slots=True)
class FaultPlan:
    """What goes wrong on one host. For several threads at once."""

    _planned: list[_Planned] = field(default_factory=list)
    _struck: list[tuple[Asked, Fault]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> Fault:
        """Plan a fault. It counts from the next request on."""
        with self._lock:
            self._planned.append(_Planned(fault))
        return fault

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._planned.clear()

    @property
    def struck(self) -> tuple[tuple[Asked, Fault], ...]:
        """What has gone wrong so far: a test that never meets its fault proves nothing."""
        with self._lock:
            return tuple(self._struck)

    def take(self, asked: Asked) -> Fault | None:
        """Count a request, and return what goes wrong with it. Of several faults, the one that was added first."""
        with self._lock:
            due = [
                planned.fault for planned in self._planned if _counts(planned, asked)
            ]
            if not due:
                return None
            self._struck.append((asked, due[0]))
            return due[0]


def _counts(planned: _Planned, asked: Asked) -> bool:
    """Count the request, and say whether the fault is due with it."""
    fault = planned.fault
    if not fault.concerns(asked):
        return False
    planned.seen += 1
    last = None if fault.times is None else fault.nth + fault.times - 1
    return planned.seen >= fault.nth and (last is None or planned.seen <= last)
