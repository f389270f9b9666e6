"""`hypercbt lab disk`: a tracked disk, served to a guest, told by its standard input what to do.

Standard input has one command a line, standard output one JSON document a line, standard error text for people:

```text
freeze        the file stops changing, the guest goes on in a child of it     id, file
thaw          the child is merged back
seal          an id without a checkpoint                                      id
changes ID    what changed since                                              changes, changed_bytes
ids           those that are kept, oldest first                               ids
forget ID     drops one
write-back    writes the .rct file now
stop          ends as SIGTERM and Ctrl-C do: cleanly
```
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from cyclopts import App
from rich.console import Console

from hypercbt.cli.options import parse_size
from hypercbt.cli.outcome import MISUSE, Terminated, error_document
from hypercbt.errors import HypercbtError
from hypercbt.lab import TrackedDisk
from hypercbt.serve import NbdServer

LONGEST_LINE = 4096
WRITE_BACK_SECONDS = 30.0
LOOK_SECONDS = 1.0
"""How often it is seen whether the server still runs, where nobody asks for anything."""

app = App(name="lab", help="Parts of a simulated host.")

Document = dict[str, Any]


@app.command
def disk(
    file: Path,
    /,
    *,
    nbd: str,
    create: str | None = None,
    kind: Literal["dynamic", "fixed"] = "dynamic",
    write_back: float = WRITE_BACK_SECONDS,
) -> None:
    """Serve a VHDX file to a guest, writable, and keep track of what changes.

    It does what its standard input says, one command a line (freeze, thaw, seal, changes ID, ids, forget ID,
    write-back, stop), and answers with one JSON document a line: docs/lab.md.

    Args:
        file: The base file of the disk. Its tracker's files, and that of a checkpoint, lie beside it.
        nbd: Where clients connect: the path of a socket, or tcp:127.0.0.1:PORT.
        create: Make the file first, with a disk of this size.
        kind: What is made: a file that grows, or one with every block in it.
        write_back: Seconds between two write-backs of the tracker's map; 0: only on a clean stop.
    """
    if create is not None and file.exists():
        raise ValueError(f"{file} is there already; say --create for a new file only")
    if not 0 <= write_back < float("inf"):
        raise ValueError(f"{write_back} is no number of seconds")
    opened = (
        TrackedDisk.open(file)
        if create is None
        else TrackedDisk.create(file, parse_size(create), fixed=kind == "fixed")
    )
    with opened, opened.serve(nbd) as server:
        _Session(opened, server, write_back or float("inf")).run()
    _say({"event": "stopped"})


class _Session:
    """One run of the server: what is asked of it, one thing after another."""

    def __init__(self, disk: TrackedDisk, server: NbdServer, write_back: float) -> None:
        self._disk = disk
        self._server = server
        self._write_back = write_back
        self._lines: queue.Queue[str] = queue.Queue()
        self._commands: dict[str, Callable[[str], Document]] = {
            "freeze": self._freeze,
            "thaw": self._thaw,
            "seal": self._seal,
            "changes": self._changes,
            "ids": self._ids,
            "forget": self._forget,
            "write-back": self._write_rct,
        }

    def run(self) -> None:
        """Serve until somebody says stop, by a command or a signal, or the server ends by itself."""
        threading.Thread(target=self._listen, daemon=True).start()
        _say(self._ready())
        with suppress(KeyboardInterrupt, Terminated):
            self._obey()

    def _obey(self) -> None:
        written_back = time.monotonic()
        while not self._server.wait(0):
            try:
                line = self._lines.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                line = ""
            word, _, argument = line.strip().partition(" ")
            if word == "stop":
                _say({"ok": True, "command": word})
                return
            if word:
                _say(self._answer(word, argument.strip()))
            if time.monotonic() - written_back >= self._write_back:
                self._write_back_now()
                written_back = time.monotonic()

    def _write_back_now(self) -> None:
        """Write the map back. If that fails, the older one still serves, and the next time may be better."""
        try:
            self._disk.flush_tracking()
        except HypercbtError as error:
            console = Console(stderr=True, markup=False, highlight=False)
            console.print(f"warning: {error}", soft_wrap=True)

    def _answer(self, word: str, argument: str) -> Document:
        try:
            command = self._commands.get(word)
            if command is None:
                raise ValueError(
                    f"unknown command {word!r}; there are {', '.join(self._commands)}, stop"
                )
            if bool(argument) != (word in ("changes", "forget")):
                raise ValueError(f"{word} takes {'no' if argument else 'an'} id")
            return {"ok": True, "command": word, **command(argument)}
        except (HypercbtError, ValueError) as error:
            code = error.exit_code if isinstance(error, HypercbtError) else MISUSE
            return {
                "ok": False,
                "command": word,
                "error": error_document(error, code)["error"],
            }

    def _ready(self) -> Document:
        tracking, checkpoint = self._disk.tracking, self._disk.frozen
        return {
            "format": 1,
            "event": "ready",
            "file": self._disk.path,
            "nbd": self._server.uri,
            "disk_bytes": self._disk.size,
            "tracking": tracking.state,
            "reason": tracking.reason,
            "ids": self._disk.ids,
            "frozen": checkpoint
            and {"id": checkpoint.id, "file": str(checkpoint.file)},
        }

    def _freeze(self, _: str) -> Document:
        frozen = self._disk.freeze()
        return {"id": frozen.id, "file": str(frozen.file)}

    def _thaw(self, _: str) -> Document:
        self._disk.thaw()
        return {}

    def _seal(self, _: str) -> Document:
        return {"id": self._disk.seal()}

    def _changes(self, id: str) -> Document:
        changes = self._disk.changes_since(id)
        return {
            "id": id,
            "changed_bytes": changes.total_bytes,
            "changes": [list(pair) for pair in changes],
        }

    def _ids(self, _: str) -> Document:
        return {"ids": self._disk.ids}

    def _forget(self, id: str) -> Document:
        self._disk.forget(id)
        return {"id": id}

    def _write_rct(self, _: str) -> Document:
        self._disk.flush_tracking()
        return {}

    def _listen(self) -> None:
        """Hand on the lines of standard input; its end changes nothing.

        Read from the descriptor: a thread that waits in `sys.stdin` would keep the interpreter from ending.
        """
        waiting = b""
        with suppress(OSError):  # it may have been closed before we were started
            while read := os.read(0, LONGEST_LINE):
                *lines, waiting = (waiting + read).split(b"\n")
                for line in lines:
                    self._lines.put(line.decode(errors="replace"))
                # No command is as long; without this a stream without lines would fill the memory.
                waiting = waiting[:LONGEST_LINE]


def _say(document: Document) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
