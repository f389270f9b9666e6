"""A program that is told what to do line by line, and answers with one JSON document a line."""

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from hypercbt.cli.outcome import MISUSE, error_document
from hypercbt.errors import HypercbtError

LONGEST_LINE = 4096

Document: TypeAlias = dict[str, Any]


def say(document: Document) -> None:
    """Print one document."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def listen() -> "queue.Queue[str]":
    """The lines of standard input as they come; its end changes nothing."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    return lines


def answer(word: str, command: Callable[[], Document]) -> Document:
    """The document of a command: what it gives, or what went wrong; that ends nothing."""
    try:
        return {"ok": True, "command": word, **command()}
    except (HypercbtError, LookupError, ValueError) as error:
        code = error.exit_code if isinstance(error, HypercbtError) else MISUSE
        document = error_document(error, code)
        return {"ok": False, "command": word, "error": document["error"]}


def _read(lines: "queue.Queue[str]") -> None:
    """Hand on the lines.

    Read from the descriptor: a thread that waits in `sys.stdin` would keep the interpreter from ending.
    """
    waiting = b""
    with suppress(OSError):  # it may have been closed before we were started
        while read := os.read(0, LONGEST_LINE):
            *whole, waiting = (waiting + read).split(b"\n")
            for line in whole:
                lines.put(line.decode(errors="replace"))
            # No command is as long; without this a stream without lines would fill the memory.
            waiting = waiting[:LONGEST_LINE]
