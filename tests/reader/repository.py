"""A repository folder: its points, and their disks as bytes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from . import objects, packs, segments, trees
from .binary import RefusedError, blake3_of, expect


class Way(Enum):
    """How the places of chunks and nodes are found."""

    SEGMENTS = "by the index"
    FOOTERS = "by the footers of the packs, without the index"
    RECORDS = "by the records of the packs, without index and footers"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk or a node stands."""

    pack: str
    offset: int
    stored_bytes: int


Key = tuple[int, bytes]
"""Kind and id: a chunk and a node are never the same, whatever their bytes."""


class ReferenceRepository:
    """A repository, read whole and checked whole when it is opened."""

    def __init__(self, folder: Path, way: Way = Way.SEGMENTS) -> None:
        self.folder = folder
        _, config = objects.read_object(
            (folder / "config").read_bytes(), objects.CONFIG
        )
        self.id: str = config["repository"]
        self.chunk_bytes: int = config["chunk_bytes"]
        self.packs = {
            path.name: path.read_bytes() for path in self._files("pack/??", 64)
        }
        for name, data in self.packs.items():
            expect(
                blake3_of(data).hex() == name, f"pack {name}: not named by its bytes"
            )
            expect(
                (folder / "pack" / name[:2] / name).is_file(),
                f"pack {name}: in a wrong folder",
            )
        self.segments = dict(self._segments())
        self.damaged_places = damaged_places(folder)
        self.places = self._places(way)

    # Names (§1).

    def _files(self, pattern: str, digits: int) -> list[Path]:
        found = self.folder.glob(f"{pattern}/*")
        return sorted(p for p in found if re.fullmatch(f"[0-9a-f]{{{digits}}}", p.name))

    def _objects(self, name: str, *kinds: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for path in self._files(name, 32):
            kind, payload = objects.read_object(path.read_bytes(), *kinds)
            own = payload.get(
                "id" if kind == objects.POINT else "run", payload.get("point")
            )
            if own is not None:
                expect(own == path.name, f"{name}/{path.name}: says that it is {own}")
            yield kind, payload

    def _segments(self) -> Iterator[tuple[str, segments.Segment]]:
        for path in self._files("index", 64):
            data = path.read_bytes()
            expect(
                blake3_of(data).hex() == path.name,
                f"{path.name}: not named by its bytes",
            )
            yield path.name, segments.read_segment(data)

    # Points and the small objects (§6).

    def points(self) -> list[dict[str, Any]]:
        """Return the payloads of all restore points, the oldest first."""
        every = self._objects("point", objects.POINT, objects.TOMBSTONE)
        found = [payload for kind, payload in every if kind == objects.POINT]
        return sorted(found, key=lambda p: (p["sequence"], p["created"], p["id"]))

    def leases(self) -> dict[str, dict[str, Any]]:
        """Return the payloads of all leases by run."""
        return {
            payload["run"]: payload
            for _, payload in self._objects("lease", objects.LEASE)
        }

    def closed(self) -> dict[str, str]:
        """Return how each run ended that has ended."""
        return {
            payload["run"]: payload["outcome"]
            for _, payload in self._objects("closed", objects.CLOSED)
        }

    def baselines(self) -> list[dict[str, Any]]:
        """Return the payloads of the baselines of restore points, newest first.

        Disks that a void covers are left out.
        """
        own = {
            payload["point"]: payload
            for _, payload in self._objects("baseline", objects.BASELINE)
        }
        found = []
        for point in reversed(self.points()):
            if point["id"] in own:
                baseline = own[point["id"]]
                disks = [d for d in baseline["disks"] if not self._is_void(d, point)]
                found.append({**baseline, "disks": disks})
        return found

    def _is_void(self, disk: dict[str, Any], point: dict[str, Any]) -> bool:
        for void in self.voids():
            named = [objects.lower(disk_id) for disk_id in void["disks"]]
            names = not named or objects.lower(disk["disk_id"]) in named
            same = objects.lower(void["machine"]) == objects.lower(disk["machine"])
            if same and names and point["sequence"] <= void["sequence"]:
                return True
        return False

    def voids(self) -> list[dict[str, Any]]:
        """Return the payloads of all voids."""
        return [payload for _, payload in self._objects("void", objects.VOID)]

    def suspects(self) -> list[dict[str, Any]]:
        """Return the payloads of all suspects."""
        return [payload for _, payload in self._objects("suspect", objects.SUSPECT)]

    # Places (§3 and §5).

    def _places(self, way: Way) -> dict[Key, list[Place]]:
        places: dict[Key, list[Place]] = {}
        told = self._indexed() if way is Way.SEGMENTS else self._in_packs(way)
        for key, place in told:
            places.setdefault(key, []).append(place)
        for found in places.values():  # what is known to be damaged is tried last (§6)
            found.sort(
                key=lambda place: (place.pack, place.offset) in self.damaged_places
            )
        return places

    def _indexed(self) -> Iterator[tuple[Key, Place]]:
        for segment in self.segments.values():
            for entry in segment.entries:
                name, length = segment.packs[entry.row]
                if len(self.packs.get(name.hex(), b"")) != length:
                    continue  # counts as not indexed
                kind = packs.NODE if entry.is_node else packs.CHUNK
                place = Place(name.hex(), entry.offset, entry.stored_bytes)
                yield (kind, entry.id), place

    def _in_packs(self, way: Way) -> Iterator[tuple[Key, Place]]:
        own = bytes.fromhex(self.id)
        for name, data in self.packs.items():
            find = packs.read_footer if way is Way.FOOTERS else packs.scan
            for record in find(data, own):
                place = Place(name, record.offset, record.stored_bytes)
                yield (record.kind, record.id), place

    # Chunks and disks (§4).

    def fetch(self, key: Key) -> bytes:
        """Return the plain bytes of a chunk or a node, from the first place that is whole."""
        damage = f"nowhere: {key[1].hex()}"
        for place in self.places.get(key, []):
            try:
                return self._read(key, place)
            except RefusedError as error:
                damage = str(error)
        raise RefusedError(damage)

    def _read(self, key: Key, place: Place) -> bytes:
        data = self.packs[place.pack]
        record = packs.read_record(data, place.offset)
        found = (record.kind, record.id, record.stored_bytes)
        expect(found == (*key, place.stored_bytes), "record: another one than told")
        return packs.read_plain(data, record)

    def _node(self, node: bytes) -> bytes:
        return self.fetch((packs.NODE, node))

    def chunk_ids(self, disk: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
        """Yield the number and id of each chunk of a disk or file that is not all zero."""
        if disk["root"] is None:
            return
        chunks = -(-disk["size"] // self.chunk_bytes)
        root = bytes.fromhex(disk["root"])
        yield from trees.walk(root, chunks, self._node)

    def pieces(self, disk: dict[str, Any]) -> Iterator[tuple[int, bytes]]:
        """Yield offset and bytes of each chunk of a disk or file that is not all zero; the rest is zero."""
        for number, chunk in self.chunk_ids(disk):
            data = self.fetch((packs.CHUNK, chunk))
            expect(
                len(data) == self.chunk_bytes, "chunk: not as long as the disk's chunks"
            )
            expect(any(data), "chunk: all zero, and stored")
            at = number * self.chunk_bytes
            inside = min(self.chunk_bytes, disk["size"] - at)
            expect(not any(data[inside:]), "chunk: not padded with zeros")
            yield at, data[:inside]

    def restore(self, disk: dict[str, Any]) -> bytes:
        """Return every byte of a disk or file."""
        content = bytearray(disk["size"])
        for at, data in self.pieces(disk):
            content[at : at + len(data)] = data
        return bytes(content)


def damaged_places(folder: Path) -> set[tuple[str, int]]:
    """Return pack and offset of each record on the damage list of a repository."""
    places: set[tuple[str, int]] = set()
    for path in _named(folder, "damage", 32):
        _, payload = objects.read_object(path.read_bytes(), objects.DAMAGE)
        places |= {(place["pack"], place["offset"]) for place in payload["places"]}
    return places


def _named(folder: Path, pattern: str, digits: int) -> list[Path]:
    """Return the files whose names are hashes or ids; others are none of ours (§1)."""
    found = folder.glob(f"{pattern}/*")
    return sorted(p for p in found if re.fullmatch(f"[0-9a-f]{{{digits}}}", p.name))
