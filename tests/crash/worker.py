"""A process that forks a child for each command and tells how it ended.

Run as a script. A fork costs a fraction of a new interpreter, and here it is safe: this process has
loaded the native module but never used it, so it has no thread but its own.
"""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import hypercbt
from hypercbt import Extents, Repository

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it has no other

from machines import Part, back_up


def act(command: dict[str, Any]) -> None:
    """Do what a command says, in the child."""
    if command["abort_at"] is not None:
        os.environ["HYPERCBT_TEST_ABORT_AT_CALL"] = str(command["abort_at"])
    with Repository.open(command["repository"]) as repository:
        match command["action"]:
            case "backup":
                options = command["options"]
                if "changes" in options:
                    options["changes"] = [
                        tuple(change) for change in options["changes"]
                    ]
                hypercbt.backup_disk(command["disk"], repository=repository, **options)
            case "machine":
                back_up_machine(repository, command)
            case "delete":
                repository.delete(command["point"])
            case "verify":
                repository.verify()
            case action:
                raise ValueError(action)


def back_up_machine(repository: Repository, command: dict[str, Any]) -> None:
    """Make a point of a machine's disks and files, and a baseline."""
    parts = [
        Part(
            Path(part["file"]),
            part["location"],
            method=part["method"],
            changes=None
            if part["changes"] is None
            else Extents([tuple(change) for change in part["changes"]]),
            base=part["base"],
            sealed_in=Path(part["file"]).name,
        )
        for part in command["parts"]
    ]
    files = [Path(file) for file in command["files"]]
    back_up(repository, parts, files=files, baseline=True)


def fork(command: dict[str, Any]) -> dict[str, Any]:
    """Do what a command says in a child, and say how that ended and how long it took."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            act(command)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
    if command["kill_after"] is not None:
        time.sleep(command["kill_after"])
        os.kill(
            child, signal.SIGKILL
        )  # a child that has ended already waits for us: no other gets it
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "seconds": time.monotonic() - started}


def main() -> None:
    """Answer each line with a line."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(fork(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
