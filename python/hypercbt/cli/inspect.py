"""`hypercbt inspect`."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from hypercbt.cli.options import Json
from hypercbt.cli.outcome import Outcome
from hypercbt.cli.text import size
from hypercbt.models import Inspection, asdict
from hypercbt.virtual_disk import VirtualDisk


def inspect(disk: Path, /, *, json: Json = False) -> Outcome:
    """Show what a disk file is: format, sizes, chain, log, allocation.

    Args:
        disk: A VHDX or VHD file, or a raw disk.
    """
    with VirtualDisk.open(disk) as opened:
        inspection = opened.inspect()
    return Outcome(asdict(inspection), lambda console: _print(console, inspection))


def _print(console: Console, disk: Inspection) -> None:
    facts = Table(show_header=False, box=None)
    facts.add_row("file", disk.path)
    facts.add_row("format", disk.disk_format)
    facts.add_row("disk", f"{size(disk.disk_bytes)} ({disk.disk_bytes} bytes)")
    facts.add_row("disk id", disk.disk_id or "-")
    facts.add_row(
        "sectors",
        f"{disk.logical_sector_bytes} logical, {disk.physical_sector_bytes} physical",
    )
    facts.add_row("blocks", size(disk.block_bytes))
    facts.add_row(
        "allocated", f"{size(disk.allocated_bytes)} in {disk.allocated_extents} extents"
    )
    console.print(facts)
    for depth, layer in enumerate(disk.layers):
        console.print(f"{'file' if depth == 0 else f'parent {depth}'}:", style="bold")
        rows = Table(show_header=False, box=None, pad_edge=True)
        for key, value in layer.items():
            rows.add_row(key.replace("_", " "), str(value))
        console.print(rows)
