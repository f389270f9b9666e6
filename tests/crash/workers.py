"""Processes that fork a child for each command: started here, and spoken to line by line."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from . import vm_worker, worker


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    seconds: float
    said: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"exit {self.code}: {self.said}"


class _Lines:
    """The other end of a script that takes commands and gives answers, a document in each line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def _command(self, command: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Worker(_Lines):
    """The other end of `worker.py`."""

    def run(
        self,
        action: str,
        repository: Path,
        *,
        abort_at: int | None = None,
        kill_after: float | None = None,
        **arguments: Any,
    ) -> Ended:
        """Run one command in a process of its own, and interrupt it if that is said."""
        interruption = {"abort_at": abort_at, "kill_after": kill_after}
        self._command(
            {"action": action, "repository": str(repository)} | interruption | arguments
        )
        return Ended(**self._answer())


class VmWorker(_Lines):
    """The other end of `vm_worker.py`: one client at a time."""

    pid = 0

    def start(self, command: Mapping[str, Any]) -> None:
        """Start a client; from now on `pid` is its process id."""
        self._command(command)
        self.pid = self._answer()["pid"]

    def wait(self) -> dict[str, Any]:
        """Return how the client ended."""
        return self._answer()


@contextmanager
def started_worker() -> Iterator[Worker]:
    """Start a worker, and stop it at the end."""
    with _started(worker) as process:
        yield Worker(process)


@contextmanager
def started_vm_worker() -> Iterator[VmWorker]:
    """Start a worker, and stop it at the end."""
    with _started(vm_worker) as process:
        yield VmWorker(process)


@contextmanager
def _started(script: ModuleType) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, str(script.__file__)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)
