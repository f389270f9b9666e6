"""Incremental backups of the frozen disk, and what each must show."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from guest.checks import BrokenPromiseError, check_files, differences, sha256
from guest.server import DiskServer, Frozen
from guest.tools import run
from hypercbt import Repository, RestorePoint, backup_disk


@dataclass(frozen=True, slots=True)
class Taken:
    """One backup that was restored and compared, in bytes."""

    files: int
    reported: int
    changed: int
    stored: int


class Backups:
    """The chain of restore points, and what the disk held at the newest.

    Attributes:
        id: The name of the moment that the next incremental starts from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repository = Repository.create(folder / "repository")
        self._point: RestorePoint | None = None
        self._previous = folder / "previous.raw"
        self.id: str | None = None

    def take(
        self, server: DiskServer, frozen: Frozen, must_hold: dict[str, str]
    ) -> Taken:
        """Back up the frozen file, restore that, and compare.

        Raises:
            BrokenPromiseError: A change was not reported, a byte or a file is not what it must be, or the
                frozen file changed.
        """
        before = sha256(frozen.file)
        changes = None if self.id is None else server.changes_since(self.id)
        # No audit: it would find and mend what change tracking missed.
        point = backup_disk(
            frozen.file,
            repository=self._repository,
            name="guest",
            changes=changes,
            since=self._point,
            audit="off",
        )
        # A reader that is not ours says what the disk holds.
        image, restored = self._folder / "disk.raw", self._folder / "restored.raw"
        run("qemu-img", "convert", "-f", "vhdx", "-O", "raw", frozen.file, image)
        if changes is not None:
            changed = differences(self._previous, image)
            if missed := changed.subtract(changes):
                raise BrokenPromiseError(
                    f"{missed.total_bytes} changed bytes were not reported"
                )
            reported, really = changes.total_bytes, changed.total_bytes
        else:
            reported = really = 0
        point.restore(restored, overwrite=True)
        if wrong := differences(image, restored):
            raise BrokenPromiseError(
                f"restored bytes differ from the disk at {wrong[0]}"
            )
        files = check_files(restored, must_hold, self._folder)
        if sha256(frozen.file) != before:
            raise BrokenPromiseError("the frozen file has changed")
        if self.id is not None:
            server.forget(self.id)
        self.id, self._point = frozen.id, point
        shutil.move(image, self._previous)
        return Taken(files, reported, really, point.stats.stored_bytes)
