"""Disks on storage that is away for a while, as a mounted share is while its server restarts."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from hypercbt import Repository, backup_disk
from integration.fuse import shown

MIB = 1 << 20
CONTENT = random.Random(9).randbytes(8 * MIB)


def test_a_backup_goes_on_where_reads_have_failed_for_a_while(tmp_path: Path) -> None:
    disk, away = tmp_path / "web01.raw", tmp_path / "away"
    disk.write_bytes(CONTENT)
    Repository.create(tmp_path / "backups").close()
    failing = ["--filter=error", "file", str(disk), "error=EIO", "error-pread-rate=100%", f"error-file={away}"]  # fmt: skip

    def back_soon(said: IO[str]) -> bool:
        for line in said:
            if "injecting EIO" in line:
                away.unlink()
                return True
        return False

    with (
        ThreadPoolExecutor(1) as thread,
        shown(tmp_path / "share", *failing) as (path, said),
        Repository.open(tmp_path / "backups") as repository,
    ):
        away.touch()
        failed = thread.submit(back_soon, said)
        point = backup_disk(path, repository=repository, name="web01")
        assert failed.result()
        with point.open() as restored:
            assert restored.read() == CONTENT
