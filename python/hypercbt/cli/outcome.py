"""What a command hands back, and how it reaches standard output."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from hypercbt.models import FORMAT

DONE = 0
FAILED = 1
MISUSE = 2
DAMAGED = 3
FINDING = 5
"""Done, but with something that somebody must read."""
INTERRUPTED = 130
"""128 and the number of SIGINT, as every shell says it."""
BROKEN_PIPE = 141
"""128 and the number of SIGPIPE: whoever read our output has gone."""

Render = Callable[[Console], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One command's result: the document for programs, the text for people."""

    document: dict[str, object]
    render: Render
    exit_code: int = DONE


class Terminated(BaseException):
    """A signal asked us to end. No `Exception`: nothing on the way may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


def message_of(error: BaseException) -> str:
    """Return what an exception says; some say nothing."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) or type(error).__name__


def error_document(error: BaseException, exit_code: int) -> dict[str, object]:
    """Return the one document that a failed command prints with `--json`."""
    return {
        "format": FORMAT,
        "error": {
            "type": type(error).__name__,
            "message": message_of(error),
            "exit_code": exit_code,
        },
    }
