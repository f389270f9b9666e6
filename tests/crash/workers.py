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

from hypercbt.lab import LabHost

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

    def start(
        self,
        action: str,
        lab: LabHost,
        vm: str,
        repository: Path,
        *,
        report: Path,
        abort_at: int | None = None,
    ) -> None:
        """Start a client, which says in the file `report` how it went; from now on `pid` is its process id."""
        report.unlink(missing_ok=True)
        self._report = report
        self._command(
            {
                "action": action,
                "repository": str(repository),
                "host": lab.host,
                "credentials": lab.credentials,
                "map": {there: str(here) for there, here in lab.map.items()},
                "vm": vm,
                "abort_at": abort_at,
                "report": str(report),
            }
        )
        self.pid = self._answer()["pid"]

    def wait(self) -> Ended:
        """Return how the client ended. One that was killed says nothing."""
        answer, report = self._answer(), self._report
        said = json.loads(report.read_text("utf-8")) if report.exists() else {}
        return Ended(**answer, said=said)


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
