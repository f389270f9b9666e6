"""What the demo puts on its disk, and how a guest would change it.

With e2fsprogs it is an ext4 file system. Without, it is a tar archive that fills the disk from its
first byte, as a tape drive would be written: no file system, but real content that can be checked.
"""

import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

ROOTS = ("/usr/share", "/usr/lib", str(Path(os.__file__).parent))
"""Where files are taken from, until there are enough."""
MOST_FILES = 8_000
SMALLEST_FILE = 16 << 10
"""Smaller ones are most of a machine's files and little of its bytes: they would only take time."""
LARGEST_FILE = 8 << 20
LARGEST_WRITE = 1_000_000
DATABASE = "database.bin"
DATABASE_BYTES = 16 << 20
DATABASE_PAGE = 4096
E2FSPROGS = ("mke2fs", "debugfs", "e2fsck")
SYSTEM_FOLDERS = (
    "/usr/sbin",
    "/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/opt/e2fsprogs/sbin",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Files of this machine, copied to a folder, that become the content of the disk."""

    folder: Path
    files: tuple[str, ...]
    """Relative to the folder."""
    total_bytes: int

    def without(self, deleted: Iterable[str]) -> "Sample":
        """Return what is left when the guest has deleted some."""
        gone = set(deleted)
        files = tuple(name for name in self.files if name not in gone)
        return replace(self, files=files)


@dataclass(slots=True)
class GuestWrites:
    """What the guest did between two backups."""

    added: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    pages: int = 0
    """Pages overwritten in place in the middle of one large file."""


class FileSystem(Protocol):
    """Something on a disk that can be made, changed and checked."""

    name: str
    note: str | None

    def make(self, image: Path, size: int, sample: Sample) -> None:
        """Put the sample on a new disk image."""

    def change(self, image: Path, sample: Sample, rng: random.Random) -> GuestWrites:
        """Write to it as a guest would."""

    def check(self, image: Path) -> str | None:
        """Return what is wrong with it, or None."""


def take_sample(folder: Path, most_bytes: int, rng: random.Random) -> Sample:
    """Copy files of this machine, and one large file that stands for a database."""
    files, total = [], 0
    for number, source in enumerate(_plain_files()):
        size = source.stat().st_size
        if total + size > most_bytes or number >= MOST_FILES:
            break
        name = f"files/{number % 64:02}/{number}-{source.name}"
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        files.append(name)
        total += size
    (folder / DATABASE).write_bytes(rng.randbytes(DATABASE_BYTES))
    return Sample(folder, tuple(files), total + DATABASE_BYTES)


def choose_file_system() -> FileSystem:
    """Return ext4 where e2fsprogs is installed, else the archive, which says so."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS])
    tools = {name: shutil.which(name, path=path) for name in E2FSPROGS}
    found = {name: place for name, place in tools.items() if place is not None}
    if len(found) == len(tools):
        return Ext4(found)
    missing = ", ".join(name for name in tools if name not in found)
    return Archive(
        f"e2fsprogs is not installed ({missing} missing), so the disk holds a tar archive "
        "instead of an ext4 file system"
    )


class Ext4:
    """An ext4 file system, made, changed and checked by e2fsprogs without mounting it."""

    name = "ext4"
    note: str | None = None

    def __init__(self, tools: dict[str, str]) -> None:
        self._tools = tools

    def make(self, image: Path, size: int, sample: Sample) -> None:
        """Put the sample on a new disk image."""
        self._run(
            "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096",
            "-d", str(sample.folder), str(image), f"{size >> 10}k",
        )  # fmt: skip

    def change(self, image: Path, sample: Sample, rng: random.Random) -> GuestWrites:
        """Add, rewrite and delete files with debugfs; overwrite pages of the database."""
        writes = _plan(sample, rng)
        for page in rng.sample(self._database_blocks(image), 64):
            _overwrite(image, page * DATABASE_PAGE, rng.randbytes(DATABASE_PAGE))
            writes.pages += 1
        commands = [f"rm /{name}" for name in writes.deleted + writes.rewritten]
        for number, name in enumerate(writes.added + writes.rewritten):
            source = image.with_name(f"written-{number}")
            source.write_bytes(rng.randbytes(rng.randrange(1_000, LARGEST_WRITE)))
            commands.append(f"write {source} /{name}")
        script = image.with_name("debugfs-commands")
        script.write_text("\n".join(commands) + "\n", encoding="utf-8")
        self._run("debugfs", "-w", "-f", str(script), str(image))
        for leftover in (script, *image.parent.glob("written-*")):
            leftover.unlink()
        return writes

    def check(self, image: Path) -> str | None:
        """Return what e2fsck has to say against it, or None."""
        result = subprocess.run(
            [self._tools["e2fsck"], "-fn", image],
            capture_output=True,
            text=True,
            check=False,
        )
        return None if result.returncode == 0 else result.stdout + result.stderr

    def _database_blocks(self, image: Path) -> list[int]:
        output = self._run("debugfs", "-R", f"blocks /{DATABASE}", str(image))
        return [int(block) for block in output.split()]

    def _run(self, tool: str, *arguments: str) -> str:
        return subprocess.run(
            [self._tools[tool], *arguments], capture_output=True, text=True, check=True
        ).stdout


class Archive:
    """A tar archive over the bytes of the disk, for machines without e2fsprogs."""

    name = "tar"

    def __init__(self, note: str) -> None:
        self.note: str | None = note

    def make(self, image: Path, size: int, sample: Sample) -> None:
        """Put the sample on a new disk image."""
        with tarfile.open(image, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name in (DATABASE, *sample.files):
                archive.add(sample.folder / name, arcname=name)
        if image.stat().st_size > size:
            raise ValueError("the sample does not fit on the disk")
        os.truncate(image, size)

    def change(self, image: Path, sample: Sample, rng: random.Random) -> GuestWrites:
        """Append members, overwrite others in place, and rename what is deleted."""
        size = image.stat().st_size
        writes = _plan(sample, rng)
        with tarfile.open(image, "r:") as archive:
            members = {member.name: member for member in archive}
        start = members[DATABASE].offset_data
        for page in rng.sample(range(DATABASE_BYTES // DATABASE_PAGE), 64):
            _overwrite(
                image, start + page * DATABASE_PAGE, rng.randbytes(DATABASE_PAGE)
            )
            writes.pages += 1
        for name in writes.rewritten:
            member = members[name]
            _overwrite(image, member.offset_data, rng.randbytes(member.size))
        for name in writes.deleted:
            member = members[name]
            member.name = f".deleted/{member.offset}"
            _overwrite(image, member.offset, member.tobuf(tarfile.USTAR_FORMAT))
        with tarfile.open(image, "a", format=tarfile.USTAR_FORMAT) as archive:
            for name in writes.added:
                data = rng.randbytes(rng.randrange(1_000, LARGEST_WRITE))
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        os.truncate(image, size)
        return writes

    def check(self, image: Path) -> str | None:
        """Return why the archive cannot be read to its end, or None."""
        try:
            with tarfile.open(image, "r:") as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is not None and len(file.read()) != member.size:
                        return f"{member.name} is cut off"
        except tarfile.TarError as error:
            return str(error)
        return None


def _plain_files() -> Iterator[Path]:
    """Yield readable files with names that every tool takes, in one order on one machine."""
    for root in ROOTS:
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                plain = name.replace(".", "").replace("-", "").replace("_", "")
                if not (plain.isascii() and plain.isalnum() and len(name) < 60):
                    continue
                if (
                    path.is_symlink()
                    or not path.is_file()
                    or not os.access(path, os.R_OK)
                ):
                    continue
                if SMALLEST_FILE <= path.stat().st_size <= LARGEST_FILE:
                    yield path


def _plan(sample: Sample, rng: random.Random) -> GuestWrites:
    """Choose which files are added, rewritten and deleted."""
    count = min(12, len(sample.files) // 4)
    chosen = rng.sample(sample.files, 2 * count)
    return GuestWrites(
        # A disk is changed more than once, and no file is added twice.
        added=[f"added-{rng.getrandbits(64):016x}.bin" for _ in range(min(4, count))],
        rewritten=chosen[:count],
        deleted=chosen[count:],
    )


def _overwrite(image: Path, offset: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(data)
