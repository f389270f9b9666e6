"""What several tests need: native documents, small disks, and the command line as a process."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

POINT_ID = "0123456789abcdef0123456789abcdef"
CREATED = "2026-01-02T03:04:05.678901Z"


def stats_document(**changed: object) -> dict[str, Any]:
    """Return the statistics of one disk as the core writes them."""
    return {
        "disk_bytes": 1 << 30,
        "allocated_bytes": 1 << 29,
        "changed_bytes": None,
        "read_bytes": 1000,
        "audited_bytes": 100,
        "unmapped_bytes": 0,
        "chunks": 4,
        "new_chunks": 3,
        "new_bytes": 900,
        "stored_bytes": 400,
        "zero_bytes": 0,
        "metadata_bytes": 96,
        "missed_chunks": 0,
        **changed,
    }


def disk_document(index: int = 0, **changed: object) -> dict[str, Any]:
    """Return one disk of a restore point as the core writes it."""
    return {
        "index": index,
        "name": f"disk{index}",
        "disk_id": None,
        "size": 1 << 30,
        "format": "raw",
        "logical_sector_bytes": 512,
        "physical_sector_bytes": 512,
        "block_bytes": None,
        "location": None,
        "sealed_in": None,
        "layer_extents": [],
        "root": None,
        "method": "full",
        "fallback_reason": None,
        "base": None,
        "stats": stats_document(),
        "audit": {"cursor": 0, "owed_chunks": 0, "read": []},
        **changed,
    }


def point_document(id: str = POINT_ID, **changed: object) -> dict[str, Any]:
    """Return a restore point as the core writes it."""
    return {
        "id": id,
        "sequence": 1,
        "machine": "file:web01",
        "name": "web01",
        "created": CREATED,
        "elapsed_micros": 1_500_000,
        "consistency": None,
        "disks": [disk_document()],
        "files": [],
        **changed,
    }


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output; anything else there is an error."""
        return cast("dict[str, Any]", json.loads(self.stdout))


def hypercbt(
    *arguments: str | Path,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run the command line as a user would, in a process of its own."""
    result = subprocess.run(
        command(*arguments),
        input=stdin,
        capture_output=True,
        check=False,
        env={**os.environ, **(env or {})},
        timeout=120,
    )
    return Finished(result.returncode, result.stdout.decode(), result.stderr.decode())


def command(*arguments: str | Path) -> list[str]:
    """Return the words that start the command line with this interpreter."""
    start = "import sys; from hypercbt.cli import main; sys.exit(main())"
    return [sys.executable, "-W", "error", "-c", start, *map(str, arguments)]


def write_disk(path: Path, size: int = 8 << 20, seed: int = 1) -> bytes:
    """Write a raw disk: noise in its first and last mebibyte and in the middle, zeros between."""
    rng = random.Random(seed)
    data = bytearray(size)
    for at in (0, size // 2, size - (1 << 20)):
        data[at : at + (1 << 20)] = rng.randbytes(1 << 20)
    path.write_bytes(data)
    return bytes(data)


def overwrite(path: Path, *pieces: tuple[int, bytes]) -> bytes:
    """Write to a raw disk as its guest would, and return what it holds now."""
    with path.open("r+b") as file:
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return path.read_bytes()


def files_under(folder: Path) -> list[str]:
    """Return every file below a folder, to see that nothing half-made stays."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )
