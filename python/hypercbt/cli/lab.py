"""`hypercbt lab disk`: a tracked disk, served to a guest, told by its standard input what to do.

Standard input has one command a line, standard output one JSON document a line, standard error text for people:

```text
freeze        the file stops changing, the guest goes on in a child of it     id, file
thaw          the newest child is merged back
discard       the guest goes back to the newest checkpoint; every id is lost
seal          an id without a checkpoint                                      id
changes ID    what changed since                                              changes, changed_bytes
ids           those that are kept, oldest first                               ids
forget ID     drops one
write-back    writes the .rct file now
stop          ends as SIGTERM and Ctrl-C do: cleanly
```
"""

import queue
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cyclopts import App
from rich.console import Console

from hypercbt.cli.lab_up import up
from hypercbt.cli.lines import Document, answer, listen, say
from hypercbt.cli.options import parse_size
from hypercbt.cli.outcome import Terminated
from hypercbt.errors import HypercbtError
from hypercbt.lab import TrackedDisk
from hypercbt.serve import NbdServer

WRITE_BACK_SECONDS = 30.0
LOOK_SECONDS = 1.0
"""How often it is seen whether the server still runs, where nobody asks for anything."""

app = App(name="lab", help="A simulated host, or parts of one.")
app.command(up)


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

    It does what its standard input says, one command a line (freeze, thaw, discard, seal, changes ID, ids,
    forget ID, write-back, stop), and answers with one JSON document a line: docs/lab.md.

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
    say({"event": "stopped"})


class _Session:
    """One run of the server: what is asked of it, one thing after another."""

    def __init__(self, disk: TrackedDisk, server: NbdServer, write_back: float) -> None:
        self._disk = disk
        self._server = server
        self._write_back = write_back
        self._commands: dict[str, Callable[[str], Document]] = {
            "freeze": self._freeze,
            "thaw": self._thaw,
            "discard": self._discard,
            "seal": self._seal,
            "changes": self._changes,
            "ids": self._ids,
            "forget": self._forget,
            "write-back": self._write_rct,
        }

    def run(self) -> None:
        """Serve until somebody says stop, by a command or a signal, or the server ends by itself."""
        lines = listen()
        say(self._ready())
        with suppress(KeyboardInterrupt, Terminated):
            self._obey(lines)

    def _obey(self, lines: "queue.Queue[str]") -> None:
        written_back = time.monotonic()
        while not self._server.wait(0):
            try:
                line = lines.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                line = ""
            word, _, argument = line.strip().partition(" ")
            if word == "stop":
                say({"ok": True, "command": word})
                return
            if word:
                say(self._answer(word, argument.strip()))
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
        def do() -> Document:
            command = self._commands.get(word)
            if command is None:
                raise ValueError(
                    f"unknown command {word!r}; there are {', '.join(self._commands)}, stop"
                )
            if bool(argument) != (word in ("changes", "forget")):
                raise ValueError(f"{word} takes {'no' if argument else 'an'} id")
            return command(argument)

        return answer(word, do)

    def _ready(self) -> Document:
        tracking, checkpoints = self._disk.tracking, self._disk.checkpoints
        frozen = [{"id": found.id, "file": str(found.file)} for found in checkpoints]
        return {
            "format": 1,
            "event": "ready",
            "file": self._disk.path,
            "nbd": self._server.uri,
            "disk_bytes": self._disk.size,
            "tracking": tracking.state,
            "reason": tracking.reason,
            "ids": self._disk.ids,
            "frozen": frozen[-1] if frozen else None,
            "checkpoints": frozen,
        }

    def _freeze(self, _: str) -> Document:
        frozen = self._disk.freeze()
        return {"id": frozen.id, "file": str(frozen.file)}

    def _thaw(self, _: str) -> Document:
        self._disk.thaw()
        return {}

    def _discard(self, _: str) -> Document:
        self._disk.discard()
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
