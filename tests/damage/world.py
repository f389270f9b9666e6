"""A small repository to damage, and what an independent reader says must still be there."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import hypercbt
from hypercbt import Repository
from reader import packs
from reader.repository import Key, ReferenceRepository, Way
from support import overwrite

CHUNK = 64 << 10


@dataclass(frozen=True)
class World:
    """Two points of `web01`, the second a list on top of the first, and one of `db01`.

    Each run left one pack and one segment. `db01` shares nothing with `web01`.
    """

    folder: Path
    first: str
    second: str
    other: str
    states: dict[str, bytes]

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def disk(self) -> Path:
        """The disk of `web01`, as it is at its second point."""
        return self.folder / "web01.raw"

    def copy(self, folder: Path) -> "World":
        """Return a copy that may be damaged."""
        shutil.copytree(self.folder, folder)
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o644)
        return World(folder, self.first, self.second, self.other, dict(self.states))

    def pack_of(self, run: str) -> Path:
        """Return the pack that a run made."""
        for path in self.repository.glob("pack/*/*"):
            if path.read_bytes()[16:32].hex() == run:
                return path
        raise LookupError(f"run {run} made no pack")

    def segment_of(self, run: str) -> Path:
        """Return the index segment over the pack of a run."""
        name = bytes.fromhex(self.pack_of(run).name)
        for path in self.repository.glob("index/*"):
            if name in path.read_bytes():
                return path
        raise LookupError(f"run {run} made no segment")


def build(folder: Path) -> World:
    """Make the repository and the disks of a world."""
    rng = random.Random(1)
    web, db = folder / "web01.raw", folder / "db01.raw"
    web.write_bytes(rng.randbytes(4 * CHUNK))
    db.write_bytes(rng.randbytes(2 * CHUNK) + bytes(CHUNK))
    with Repository.create(folder / "repository", chunk_size=CHUNK) as repository:
        first = hypercbt.backup_disk(web, repository=repository)
        states = {first.id: web.read_bytes()}
        state = overwrite(web, (2 * CHUNK + 5, b"changed"))
        changes = [(2 * CHUNK + 5, 7)]
        second = hypercbt.backup_disk(
            web, repository=repository, changes=changes, since=first, audit="off"
        )
        other = hypercbt.backup_disk(db, repository=repository)
    states |= {second.id: state, other.id: db.read_bytes()}
    return World(folder, first.id, second.id, other.id, states)


def needs(repository: Path) -> dict[str, set[Key]]:
    """Return the chunks and nodes that each point of a whole repository needs."""
    reader = ReferenceRepository(repository, Way.FOOTERS)
    needed: dict[str, set[Key]] = {}
    for point in reader.points():
        disk = point["disks"][0]
        chunks = {(packs.CHUNK, chunk) for _, chunk in reader.chunk_ids(disk)}
        needed[point["id"]] = chunks | {(packs.NODE, bytes.fromhex(disk["root"]))}
    return needed


def lost(before: bytes, after: bytes, repository: str) -> set[Key]:
    """Return the records of a pack that are not whole any more: the rule is `their bytes changed`."""
    records = packs.read_footer(before, bytes.fromhex(repository))
    return {
        (record.kind, record.id)
        for record in records
        if after[record.offset : record.end] != before[record.offset : record.end]
    }
