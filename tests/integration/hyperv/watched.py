"""A bench whose conversations are looked at: what was asked, and what came back, before anybody made sense of it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hypercbt
from hypercbt.hyperv.conversation import Channel, Conversation
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.envelope import Request
from hypercbt.lab import LabHost, LabVm, Pace, Quirks
from hypercbt.lab.faults import Effect, Fault
from hypercbt.lab.wire.options import WireOptions
from integration.hyperv.backups import MIB, Bench, bench_of, overwrite

PATIENCE_SECONDS = 120
"""Only what will never happen takes so long."""


@dataclass
class Wire:
    """All exchanges of a client, oldest first."""

    exchanges: list[tuple[Request, str]] = field(default_factory=list)

    def asked(self, what: str) -> list[str]:
        """The requests of a name, such as `CreateSnapshot` or `Get Msvm_ConcreteJob`."""
        return [request.text for request, _ in self.exchanges if what in request.what]

    def answers(self, what: str) -> list[str]:
        """What came back for them."""
        return [answer for request, answer in self.exchanges if what in request.what]


class Tap:
    """A channel that is listened to."""

    def __init__(self, channel: Channel, wire: Wire) -> None:
        self._channel = channel
        self._wire = wire

    @property
    def url(self) -> str:
        return self._channel.url

    def send(self, request: Request) -> bytes:
        answer = self._channel.send(request)
        self._wire.exchanges.append((request, answer.decode()))
        return answer

    def close(self) -> None:
        self._channel.close()


@dataclass
class Watched(Bench):
    """A bench whose wire is looked at."""

    wire: Wire = field(default_factory=Wire)
    ca: Path | None = None
    map: dict[str, Path] | None = None
    """Where the test says it, instead of the lab."""

    def open(self, lab: LabHost | None = None) -> hypercbt.Host:
        at = lab or self.lab
        host = hypercbt.Host(
            at.host,
            credentials=Credentials(*at.credentials),
            map=at.map if self.map is None else self.map,
            ca=self.ca,
        )
        conversation = cast(Conversation, host.session)
        conversation._channel = Tap(conversation._channel, self.wire)
        return host

    def web01(self, **more: Any) -> LabVm:
        """A machine with one small disk, if nothing else is said."""
        vm = self.lab.add_vm("web01", **{"disks": [4 * MIB], **more})
        overwrite(vm, 1000, writes=8)
        return vm

    def fail(
        self, call: str, what: Effect, *, nth: int = 1, times: int | None = 1
    ) -> None:
        self.lab.faults.add(Fault(call, what, nth=nth, times=times))

    def subcodes(self, call: str = "*") -> list[str | None]:
        """The faults that the host has answered with."""
        records = self.lab.server.requests
        return [one.subcode for one in records if call in one.asked.names]

    def story(
        self, vm: LabVm, *, times: int = 2, first: str = "full", then: str = "rct"
    ) -> None:
        """Back up, let the guest write, and back up again, so many times. Every byte is compared, nothing is left."""
        count = len(vm.disks)
        assert self.methods(self.backup(vm.id)) == [first] * count
        self.assert_clean(vm)
        for seed in range(times):
            overwrite(vm, seed)
            assert self.methods(self.backup(vm.id, audit="off")) == [then] * count
            self.assert_clean(vm)


@contextmanager
def watched(
    folder: Path,
    *,
    quirks: Quirks | None = None,
    pace: Pace | None = None,
    options: WireOptions | None = None,
    ca: Path | None = None,
    **more: Any,
) -> Iterator[Watched]:
    """Give a lab host whose time passes when the client waits."""
    with bench_of(
        Watched,
        folder,
        step_seconds=0.004,
        quirks=quirks,
        pace=pace,
        options=options,
        **more,
    ) as made:
        made.ca = ca
        yield made


def until(happened: Callable[[], bool]) -> None:
    """Wait for another thread, which needs no more than its turn."""
    turn = threading.Event()
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, f"it has not happened in {PATIENCE_SECONDS} s"
        turn.wait(0.001)
