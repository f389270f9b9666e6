"""Who holds a lease, and whether that process still lives.

The text is `HOSTNAME PID STARTED`. A process id alone says nothing: it is given out again. Nor does one of another
container, where it means another process or none: within a container the host's name has the container's mark behind it.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path

import psutil

from hypercbt.errors import VmBusyError

CLOCK_SECONDS = 2.0
"""How far the start of one process may seem to move: the system derives it from a clock that is set now and then."""

MACHINES_OWN = 0xEFFFFFFC
"""The number of the process ids of a machine outside of all containers (Linux, `PROC_PID_INIT_INO`)."""

_here: dict[tuple[str, str], object] = {}
"""Who is at which machine of which repository: each holder brings an object of its own."""


class Life(Enum):
    """What is known of the process that holds a lease."""

    GONE = "gone"
    HERE = "here"
    """It lives on this machine."""
    ELSEWHERE = "elsewhere"
    """It is on another machine, or said nothing that can be read: it may live."""


@cache
def place() -> str:
    """Return where process ids mean what they mean here: this machine, or this container of it."""
    name = socket.gethostname()
    try:
        space = Path("/proc/self/ns/pid").stat().st_ino
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
    except (OSError, ValueError):
        return name  # not Linux
    return name if space == MACHINES_OWN else f"{name}/{boot}-{space}"


def this_process() -> str:
    """Return the owner that a lease of this process names."""
    return f"{place()} {os.getpid()} {psutil.Process().create_time():.2f}"


def life_of(owner: str | None) -> Life:
    """Return what is known of an owner.

    This very process counts as gone: it holds `claim`, so no other run of the machine is under way in it.
    """
    parts = (owner or "").rsplit(" ", 2)
    if len(parts) != 3 or parts[0] != place():
        return Life.ELSEWHERE
    try:
        pid, started = int(parts[1]), float(parts[2])
        if pid == os.getpid():
            return Life.GONE
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) <= CLOCK_SECONDS
        alive = same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        alive = False
    except psutil.AccessDenied:
        alive = True
    except ValueError:  # no number, or none that a process has
        return Life.ELSEWHERE
    return Life.HERE if alive else Life.GONE


@contextmanager
def claim(repository: str, machine: str) -> Iterator[None]:
    """Keep other threads of this process away from a machine; other processes see the lease.

    Raises:
        VmBusyError: One is at it already.
    """
    key, holder = (repository, machine), object()
    # All within the try, and one step takes it: nothing that interrupts may leave it taken for as long as this process lives.
    try:
        if _here.setdefault(key, holder) is not holder:
            raise VmBusyError(f"this process is already backing up {machine}")
        yield
    finally:
        if _here.get(key) is holder:
            del _here[key]
