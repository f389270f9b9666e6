"""`hypercbt demo`."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hypercbt.cli.options import Json, parse_size
from hypercbt.cli.outcome import DAMAGED, DONE, Outcome
from hypercbt.cli.text import size, table
from hypercbt.models import asdict

if TYPE_CHECKING:
    from hypercbt.demo import DemoReport


def demo(*, sample: str = "256MiB", json: Json = False) -> Outcome:
    """Back up a machine of a simulated Hyper-V host, whatever happens to it, and restore every point.

    Args:
        sample: How much of this machine's files go on the disk.
    """
    from hypercbt.demo import run_demo

    console = Console(stderr=True, markup=False, highlight=False)
    report = run_demo(
        say=lambda line: console.print(f"{line} …", soft_wrap=True),
        sample_bytes=parse_size(sample),
    )
    return Outcome(
        asdict(report) | {"passed": report.passed},
        lambda out: _print(out, report),
        DONE if report.passed else DAMAGED,
    )


def _print(console: Console, report: "DemoReport") -> None:
    from hypercbt.demo.picture import CHANGED, CLAIMED, LEGEND, UNCHANGED

    colours = {CHANGED: "bold red", CLAIMED: "yellow", UNCHANGED: "green"}
    if report.note:
        console.print(f"note: {report.note}", soft_wrap=True)
    console.print(
        f"\na {size(report.disk_bytes)} VHDX with {report.file_system}: {report.files} files, "
        f"{size(report.files_bytes)}. Between the backups the guest added {report.added} files, "
        f"rewrote {report.rewritten}, deleted {report.deleted} and overwrote {report.pages} pages "
        f"of a database: {size(report.changed_bytes)} changed.\n",
        soft_wrap=True,
    )
    console.print(_steps(report))
    for step in report.steps:
        if step.fallback_reason:
            console.print(
                f"{step.what} everything was compared: {step.fallback_reason}",
                soft_wrap=True,
            )
    console.print("\nwhere the disk changed before the power cut:")
    for row in report.map:
        line = Text("  ")
        for cell in row:
            line.append(cell, colours.get(cell, "dim"))
        console.print(line)
    console.print(f"  {LEGEND}\n")
    for check in report.checks:
        verdict = (
            Text("ok    ", "green") if check.passed else Text("FAILED", "bold red")
        )
        console.print(Text.assemble(verdict, f" {check.what}"))
        if check.detail:
            console.print(f"       {check.detail}", soft_wrap=True)
    console.print(f"\n{report.elapsed_seconds:.0f} s in all")


def _steps(report: "DemoReport") -> Table:
    rows = table(
        "backup", "method", "changed", "reported", "read", "new", "stored", "seconds", "requests",
        numbers_from=2,
    )  # fmt: skip
    for step in report.steps:
        rows.add_row(
            step.what,
            step.method,
            size(step.changed_bytes),
            size(step.claimed_bytes),
            size(step.read_bytes),
            size(step.new_bytes),
            size(step.stored_bytes),
            f"{step.elapsed_seconds:.2f}",
            str(step.requests),
        )
    return rows
