"""What all parts of the simulated host share."""

import random
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hypercbt.lab.model.clock import Agenda, Clock
from hypercbt.lab.model.paths import Folders
from hypercbt.lab.model.quirks import Pace, Quirks
from hypercbt.lab.model.state import Machine
from hypercbt.lab.model.store import Store
from hypercbt.lab.wire.provider import ProviderError

CREATING, APPLYING, DELETING, MERGING, EXPORTING = 32768, 32769, 32770, 32772, 32773
"""Second values of `OperationalStatus`."""


@dataclass(slots=True)
class World:
    """The host: its name, its time, its virtual machines, and who is at work on them.

    Everything that changes it holds `lock`. What guests write does not.
    """

    name: str
    quirks: Quirks
    pace: Pace
    clock: Clock
    folders: Folders
    store: Store
    words: Mapping[str, str]
    random: random.Random
    agenda: Agenda = field(default_factory=Agenda)
    lock: threading.RLock = field(default_factory=threading.RLock)
    busy: dict[str, int] = field(default_factory=dict)
    """What is being done to a virtual machine, by its `work_key`."""
    planned: dict[str, Machine] = field(default_factory=dict)
    """What was imported and does not stand yet, by GUID. Nobody has written down that it outlives a restart, so here it does
    not [?]."""
    dead: bool = False
    """It was stopped, or the power was cut: nothing happens any more."""

    def machines(self) -> Iterator[Machine]:
        """All of them, standing and planned."""
        yield from self.store
        yield from list(self.planned.values())

    def machines_of(self, guid: str) -> Iterator[Machine]:
        """Those of a GUID: one that stands, one that is planned, or both."""
        for found in (self.store.machine(guid), self.planned.get(guid.upper())):
            if found is not None:
                yield found

    def guid(self) -> str:
        """A new GUID, in capitals."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4)).upper()

    def spelled(self, guid: str) -> str:
        """A GUID in a place where some hosts spell it in another case."""
        return guid.lower() if self.quirks.guid_case_varies else guid


class JobFailedError(Exception):
    """What ends a job in state 10.

    Args:
        message: The reason, in the host's language.
        code: The job's `ErrorCode`.
        reasons: Each of several, for `GetErrorEx`.
    """

    def __init__(
        self, message: str, code: int = 32768, reasons: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reasons = tuple(reasons) or (message,)


class RefusedError(Exception):
    """What makes a method return something else than 0 or 4096.

    Args:
        code: The return value.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"return value {code}")
        self.code = code


NOT_SUPPORTED = 32770
INVALID_PARAMETER = 32773
INVALID_STATE = 32775
FILE_NOT_FOUND = 32779
FILE_IN_USE = 32779
"""The same number means this where something is imported [V]."""
SNAPSHOT_INVALID_PARAMETER = 4
"""In the family of codes that the snapshot service uses."""


def no_object(world: World) -> ProviderError:
    """The fault where a reference leads nowhere."""
    return ProviderError(
        "a:DestinationUnreachable", 2150858752, world.words["no_object"], 2147749890
    )


def idle(world: World, machine: Machine) -> None:
    """Refuse where something else is being done to the virtual machine (quirk Q27, [V*])."""
    if machine.work_key in world.busy:
        raise RefusedError(INVALID_STATE)
