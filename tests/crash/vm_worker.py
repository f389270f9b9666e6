"""A process that forks a child for each command against a lab host and tells how it ended.

Run as a script, as `worker.py` is. A command is answered by two lines: the child's process id, at once, so that it can
be killed from elsewhere; and how it ended. What the child itself has to say stands in the file that the command names.

Nobody waits here: the clocks of the child run on whenever it would sleep.
"""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from hypercbt import Host, Repository
from hypercbt.cli import app
from hypercbt.errors import HypercbtError
from hypercbt.hyperv import clock
from hypercbt.hyperv.backup import backup_machine
from hypercbt.hyperv.check import check
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.order import Order
from hypercbt.hyperv.wsman import WsmanSession

LIMITS = Limits(busy_seconds=60.0, merge_seconds=60.0)


class Hurry:
    """Time that passes by waiting for it, and in no other way: a machine that is slow makes nothing late."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> float:
        return self._skipped

    def sleep(self, seconds: float) -> None:
        self._skipped += seconds


def hurry() -> Hurry:
    """Let nothing in this process wait for a host."""
    mine = Hurry()
    setattr(clock.SystemClock, "now", lambda self: mine.now())  # noqa: B010
    setattr(clock.SystemClock, "sleep", lambda self, seconds: mine.sleep(seconds))  # noqa: B010
    return mine


def act(command: dict[str, Any]) -> dict[str, Any]:
    """Do what a command says, in the child, and return what there is to say of it."""
    mine = hurry()
    if command["abort_at"] is not None:
        os.environ["HYPERCBT_TEST_ABORT_AT_CALL"] = str(command["abort_at"])
    user, password = command["credentials"]
    session = WsmanSession.open(
        command["host"], credentials=Credentials(user=user, password=password)
    )
    session._sleep = mine.sleep
    with (
        Host(command["host"], session=session, map=command["map"]) as host,
        Repository.open(command["repository"]) as repository,
    ):
        match command["action"]:
            case "backup":
                return _backup(host, repository, command["vm"])
            case "check":
                return _check(host, repository, command["vm"])
            case action:
                raise ValueError(action)


def _backup(host: Host, repository: Repository, vm: str) -> dict[str, Any]:
    order = Order(space_floor_bytes=0, limits=LIMITS)
    machine = HostedMachine(host, host.vm(vm).id)
    done = backup_machine(machine, repository, order)
    return {
        "point": done.point.id,
        "methods": [disk.method for disk in done.point.stats.disks],
        "reasons": [disk.fallback_reason for disk in done.point.stats.disks],
        "missed_chunks": done.point.stats.missed_chunks,
        "consistency": done.point.consistency,
        "findings": list(done.point.stats.findings),
        "warnings": list(done.warnings),
    }


def _check(host: Host, repository: Repository, vm: str) -> dict[str, Any]:
    report = check(
        host, vms=[vm], repository=repository, space_floor_bytes=0, limits=LIMITS
    )
    return {
        "blocking": [p.text for p in report.all_problems if p.blocking],
        "findings": [p.text for p in report.all_problems if not p.blocking],
        "warnings": list(report.vms[0].removed),
    }


def run(command: dict[str, Any]) -> int:
    """Do what a command says, as the command line would end."""
    signal.signal(signal.SIGTERM, app._terminate)
    try:
        said, code = act(command), 0
    except BaseException as error:
        code = app.exit_code_of(error)
        said = {
            "error": type(error).__name__,
            "message": str(error),
            "typed": isinstance(error, HypercbtError),
            "notes": list(getattr(error, "__notes__", ())),
        }
    Path(command["report"]).write_text(json.dumps(said), encoding="utf-8")
    return code


def fork(command: dict[str, Any]) -> int:
    """Start a child that does what a command says, and return its id."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = run(command)
        finally:
            os._exit(code)
    return child


def main() -> None:
    """Answer each line with two lines."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        started = time.monotonic()
        child = fork(json.loads(line))
        _say({"pid": child})
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        _say({"code": code, "seconds": time.monotonic() - started})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
