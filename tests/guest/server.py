"""The server under test: `hypercbt lab disk` as a process of its own, told what to do line by line."""

import json
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypercbt import Extents

START = "import sys; from hypercbt.cli import main; sys.exit(main())"
ANSWER_SECONDS = 120.0


class ServerGoneError(Exception):
    """The server ended before it answered."""


class RefusedError(Exception):
    """The server answered that it could not do it."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """What may be backed up: it does not change until the thaw."""

    id: str
    file: Path


class DiskServer:
    """A running server. It is killed where the block is left, unless it was stopped before.

    Attributes:
        ready: The first line that it wrote: whether tracking goes on, and whether the disk is frozen.
    """

    def __init__(
        self, disk: Path, socket: Path, log: Path, *, create: str = ""
    ) -> None:
        words = ["lab", "disk", str(disk), "--nbd", str(socket)]
        # Written back often: then a kill finds files of tracking of all ages.
        words += ["--write-back", "1"]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, *words]
                + (["--create", create] if create else []),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.ready = self._next()
        if self.ready.get("event") != "ready":
            self._process.wait()
            raise RefusedError(f"the server does not start: {self.ready}")

    def __enter__(self) -> "DiskServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def freeze(self) -> Frozen:
        """Freeze the disk and return what may be backed up."""
        answer = self._ask("freeze")
        return Frozen(answer["id"], Path(answer["file"]))

    def thaw(self) -> None:
        """Let the frozen file take up what was written meanwhile."""
        self._ask("thaw")

    def changes_since(self, id: str) -> Extents:
        """Return what changed since the disk was frozen under that id."""
        answer = self._ask(f"changes {id}")
        changes = Extents([tuple(pair) for pair in answer["changes"]])
        if changes.total_bytes != answer["changed_bytes"]:
            raise RuntimeError(f"the server contradicts itself: {answer}")
        return changes

    def forget(self, id: str) -> None:
        """Let an id go."""
        self._ask(f"forget {id}")

    def kill(self) -> None:
        """Kill it with -9."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it cleanly."""
        self._ask("stop")
        if self._next() != {"event": "stopped"} or self._process.wait(60):
            raise RuntimeError("the server did not stop cleanly")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def _ask(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ServerGoneError(
                f"the server takes no {command!r}: {error}"
            ) from error
        answer = self._next()
        if answer.get("command") != command.split()[0] or not answer.get("ok"):
            raise RefusedError(f"the server answers {command!r} with {answer}")
        return answer

    def _next(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise RefusedError(
                f"the server says nothing for {ANSWER_SECONDS} s"
            ) from None
        if line is None:
            self._lines.put(None)
            raise ServerGoneError("the server is gone")
        document: dict[str, Any] = json.loads(line)
        return document

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self._lines.put(line)
        self._lines.put(None)
