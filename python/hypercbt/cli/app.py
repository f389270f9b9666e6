"""The entry point: runs one command and turns whatever happens into an exit code.

cyclopts parses, because every way to misuse it is one public exception that it hands back (exit 2,
and a JSON document where one was asked for), and help comes from the docstrings.
"""

import io
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.text import Text

from hypercbt import __version__
from hypercbt.cli import (
    backup,
    changes,
    check,
    demo,
    inspect,
    lab,
    points,
    repository,
    restore,
    serve,
    vms,
)
from hypercbt.cli.outcome import (
    BROKEN_PIPE,
    FAILED,
    INTERRUPTED,
    MISUSE,
    Outcome,
    Terminated,
    error_document,
    message_of,
)
from hypercbt.errors import HypercbtError

app = App(
    name="hypercbt",
    help="Incremental backups of Hyper-V virtual disks that copy only what changed.",
    version=__version__,
    # A flag is said or not: no --no-json.
    default_parameter=Parameter(negative=()),
    help_format="plaintext",
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
    # Our own handling leaves nothing half-made and keeps the promise of --json.
    suppress_keyboard_interrupt=False,
)
for command, name in (
    (repository.init, "init"),
    (backup.backup, "backup"),
    (points.points, "points"),
    (points.show, "show"),
    (points.diff, "diff"),
    (restore.restore, "restore"),
    (serve.serve, "serve"),
    (repository.verify, "verify"),
    (points.delete, "delete"),
    (inspect.inspect, "inspect"),
    (vms.vms, "vms"),
    (changes.changes, "changes"),
    (check.check, "check"),
    (demo.demo, "demo"),
):
    app.command(command, name=name)
app.command(lab.app)


class _Output(Console):
    """Standard output. Whoever reads it may go away: that ends us, and is not an error."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def main() -> int:
    """Run the command line of this process and return its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    # A terminal that was closed; whoever wants to outlive it has ignored the signal already.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _terminate)
    if sys.stdout is None:  # whoever started us has closed it
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What is done is done, also where its name cannot be shown.
        sys.stdout.reconfigure(errors="replace")
    warnings.showwarning = _show_warning
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    wants_json = "--json" in arguments
    try:
        outcome = app(arguments)
        if not isinstance(outcome, Outcome):  # --help and --version print by themselves
            return 0
        _print(outcome, wants_json)
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except (Exception, KeyboardInterrupt, Terminated) as error:
        return _fail(error, wants_json)
    return outcome.exit_code


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of an exception: ours say it themselves."""
    if isinstance(error, HypercbtError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, Terminated):
        return 128 + error.number
    if isinstance(error, CycloptsError | ValueError | TypeError):
        return MISUSE
    return FAILED


def _fail(error: BaseException, wants_json: bool) -> int:
    """Say what went wrong, on both streams, and return the exit code."""
    exit_code = exit_code_of(error)
    expected = HypercbtError | CycloptsError | ValueError | OSError
    expected |= KeyboardInterrupt | Terminated
    if not isinstance(error, expected):
        traceback.print_exception(error)  # our bug: somebody will want to know where
    Console(stderr=True, markup=False).print(
        Text.assemble(("error: ", "bold red"), message_of(error)), soft_wrap=True
    )
    if wants_json:
        try:
            _print_json(error_document(error, exit_code))
        except OSError:  # it has gone, or is full: the exit code still says it
            _drop_stdout()
    return exit_code


def _print(outcome: Outcome, wants_json: bool) -> None:
    if wants_json:
        _print_json(outcome.document)
        return
    # Where nobody watches, a line is as long as it is: what reads us may be grep.
    width = None if sys.stdout.isatty() else 200
    outcome.render(_Output(highlight=False, markup=False, width=width))
    sys.stdout.flush()


def _print_json(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()


def _drop_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of failing once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as people read it: without the line of code that it came from."""
    text = Text.assemble(("warning: ", "bold yellow"), str(message))
    Console(stderr=True).print(text, soft_wrap=True)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Stop as Ctrl-C does: temporary files go, finished packs keep their index."""
    raise Terminated(number)
