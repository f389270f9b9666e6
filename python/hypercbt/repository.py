"""A repository: where restore points and what they share are kept."""

import re
from collections.abc import Iterable
from datetime import datetime
from os import fspath
from typing import Any

from hypercbt import _native
from hypercbt.closing import Closing
from hypercbt.documents import now_microseconds, parse, parse_list, seconds
from hypercbt.errors import (
    AmbiguousPointError,
    IntegrityError,
    PointNotFoundError,
)
from hypercbt.models import (
    DamagedRecord,
    DiffReport,
    DiskDiff,
    Path,
    Progress,
    Suspect,
    VerifyReport,
)
from hypercbt.points import PointDisk, RestorePoint, point_from_document

DEFAULT_CHUNK_SIZE = 256 * 1024
LATEST = "latest"
WHOLE_ID = re.compile("[0-9a-fA-F]{32}")


class Repository(Closing):
    """An open repository.

    Any number of processes may use one at once: what stands in it never changes.

    Example:
        >>> with Repository.open("/srv/backups") as repository:  # doctest: +SKIP
        ...     repository.latest("web01").restore("web01.vhdx")
    """

    def __init__(self, native: _native.Repository) -> None:
        """Wrap an open native repository; callers use `open` or `create`."""
        self._open: _native.Repository | None = native

    @classmethod
    def create(
        cls, path: Path, *, chunk_size: int = DEFAULT_CHUNK_SIZE
    ) -> "Repository":
        """Make a repository in an empty or absent folder, and open it.

        Args:
            path: The folder.
            chunk_size: What a disk is cut into: a power of two from 64 KiB to 4 MiB.

        Raises:
            RepositoryExistsError: Something stands there already.
            RepositoryUnsuitableError: The storage cannot sync or create exclusively.
            ValueError: `chunk_size` is not allowed.
        """
        return cls(
            _native.Repository.create(
                fspath(path), chunk_bytes=chunk_size, created=now_microseconds()
            )
        )

    @classmethod
    def open(cls, path: Path) -> "Repository":
        """Open the repository in a folder.

        Raises:
            RepositoryNotFoundError: There is none.
            RepositoryFormatError: A newer version wrote it.
        """
        return cls(_native.Repository.open(fspath(path)))

    @property
    def id(self) -> str:
        """The repository's own id."""
        return self.native.id

    @property
    def path(self) -> str:
        """Where it is."""
        return self.native.path

    @property
    def chunk_size(self) -> int:
        """What disks are cut into, in bytes."""
        return self.native.chunk_bytes

    @property
    def native(self) -> _native.Repository:
        """The Rust side of it, for the other modules of this package."""
        if self._open is None:
            raise ValueError("the repository is closed")
        return self._open

    def close(self) -> None:
        """Let go of it. Points and files that came from it stay usable."""
        self._open = None

    def __repr__(self) -> str:
        return f"<Repository {self._open.path if self._open else 'closed'}>"

    def points(self, name: str | None = None) -> list[RestorePoint]:
        """Return the restore points, newest first, of all machines or of this name."""
        native = self.native
        points = (
            point_from_document(entry, native) for entry in parse_list(native.points())
        )
        return [p for p in points if name is None or name in (p.name, p.machine)]

    def latest(self, name: str) -> RestorePoint | None:
        """Return the newest restore point of this name, or None.

        Raises:
            AmbiguousPointError: Several machines have the name; say `file:NAME` or `vm:GUID`.
        """
        return newest(name, self.points(name))

    def point(self, id: str) -> RestorePoint:
        """Return the restore point that an id, a unique prefix of one, or `NAME@latest` means.

        Raises:
            PointNotFoundError: There is none.
            AmbiguousPointError: There are several.
            IntegrityError: There was one, and it can no longer be read.
        """
        try:
            return choose(id, self.points())
        except AmbiguousPointError:
            raise
        except PointNotFoundError:
            for damage in self.damaged_points():
                if id and damage.startswith(f"point/{id.lower()}"):
                    raise IntegrityError(damage) from None
            raise

    def damaged_points(self) -> list[str]:
        """Return what is known of restore points that can no longer be read, one line each."""
        return self.native.damaged_points()

    def suspects(self) -> list[Suspect]:
        """Return where older points may be wrong, because a change was missed back then."""
        return [_suspect(entry) for entry in parse_list(self.native.suspects())]

    def delete(self, point: RestorePoint | str) -> None:
        """Delete a restore point. What it shares with others stays.

        One that can no longer be read is deleted by its whole id, and by nothing less.
        """
        if isinstance(point, str) and WHOLE_ID.fullmatch(point):
            self.native.delete_point(point.lower())
        else:
            self.native.delete_point(self._id(point))

    def diff(self, first: RestorePoint | str, second: RestorePoint | str) -> DiffReport:
        """Return where two restore points differ; the cost follows the difference.

        Raises:
            ValueError: The disks of the two do not match one to one.
        """
        one, two = self._point(first), self._point(second)
        pairs = list(match_disks(one, two))
        return DiffReport(
            first=one.id,
            second=two.id,
            disks=tuple(
                DiskDiff(
                    disk=b.name,
                    index=b.index,
                    extents=self.native.diff(one.id, a.index, two.id, b.index),
                )
                for a, b in pairs
            ),
        )

    def chunk_index(self) -> _native.ChunkIndex:
        """Return the dedup index as it is now, for pipelines that hash on their own.

        `ChunkIndex.known(ids)` takes ids of 32 bytes, one after the other, as `hypercbt.chunk_ids`
        returns them, and returns one byte for each: 1 if the repository holds that chunk.
        """
        return self.native.chunk_index()

    def verify(
        self,
        *,
        since: RestorePoint | str | None = None,
        sample_percent: float | None = None,
        progress: Progress | None = None,
    ) -> VerifyReport:
        """Read back what is stored and check every byte against its id.

        What is found damaged is put on the repository's damage list, and the next backup that sees
        the same data stores it again.

        Args:
            since: Only what is new since this restore point.
            sample_percent: Only a random share of the chunks.
            progress: Called now and then; what it raises stops the work.

        Returns:
            What was read and found. Damage is not raised: look at `clean`.
        """
        if sample_percent is not None and not 0 < sample_percent <= 100:
            raise ValueError("a sample is more than 0 and at most 100 percent")
        base = None if since is None else self._id(since)
        document = parse(
            self.native.verify(
                created=now_microseconds(),
                since=base,
                sample_percent=sample_percent,
                progress=progress,
            )
        )
        return _verify_report(document)

    def void_baselines(self, machine: str, disks: Iterable[str] = ()) -> None:
        """Say, for good, that no point which stands now is the base of an RCT incremental any more.

        For whoever writes to the disks of a machine behind the back of its host's change tracking: the
        next backup then compares. Say it before the first such write.

        Args:
            machine: `vm:GUID`.
            disks: The ids of the disks; all of the machine if there are none.
        """
        self.native.add_void(
            machine=machine, disks=list(disks), created=now_microseconds()
        )

    def _point(self, point: RestorePoint | str) -> RestorePoint:
        return point if isinstance(point, RestorePoint) else self.point(point)

    def _id(self, point: RestorePoint | str) -> str:
        return self._point(point).id


def choose(text: str, points: list[RestorePoint]) -> RestorePoint:
    """Return the one point that `text` means: an id, a unique prefix, or `NAME@latest`."""
    name, at, word = text.rpartition("@")
    if at and word == LATEST:
        point = newest(name, [p for p in points if name in (p.name, p.machine)])
        if point is None:
            raise PointNotFoundError(f"{name!r} has no restore point")
        return point
    fitting = [p for p in points if text and p.id.startswith(text.lower())]
    if not fitting:
        raise PointNotFoundError(f"there is no restore point {text!r}")
    if len(fitting) > 1:
        ids = ", ".join(p.id for p in fitting)
        raise AmbiguousPointError(f"{text!r} fits {len(fitting)} restore points: {ids}")
    return fitting[0]


def newest(name: str, points: list[RestorePoint]) -> RestorePoint | None:
    """Return the first of points that are sorted newest first, if all are of one machine."""
    machines = sorted({p.machine for p in points})
    if len(machines) > 1:
        raise AmbiguousPointError(
            f"{name!r} fits several machines: {', '.join(machines)}; say which"
        )
    return points[0] if points else None


def match_disks(
    first: RestorePoint, second: RestorePoint
) -> Iterable[tuple[PointDisk, PointDisk]]:
    """Return the disks of two points in pairs, by their number; their sizes may differ.

    Only points of the same disks have a difference that means something.
    """
    ones = {disk.index: disk for disk in first.disks}
    twos = {disk.index: disk for disk in second.disks}
    if ones.keys() != twos.keys():
        raise ValueError(
            f"restore points {first.id} and {second.id} do not have the same disks"
        )
    return [(ones[index], twos[index]) for index in sorted(ones)]


def _suspect(document: dict[str, Any]) -> Suspect:
    return Suspect(
        machine=document["machine"],
        disk=document["disk"],
        extents=tuple((offset, length) for offset, length in document["extents"]),
        first=document["first"],
        last=document["last"],
        found_by=document["found_by"],
        found_at=datetime.fromisoformat(document["found_at"]),
    )


def _verify_report(document: dict[str, Any]) -> VerifyReport:
    return VerifyReport(
        scope=document["scope"],
        points=document["points"],
        packs=document["packs"],
        chunks=document["chunks"],
        nodes=document["nodes"],
        read_bytes=document["read_bytes"],
        damaged=tuple(
            DamagedRecord(
                kind=record["kind"],
                id=record["id"],
                reason=record["reason"],
                lost=record["lost"],
                healed=record["healed"],
                points=tuple(record["points"]),
            )
            for record in document["damaged"]
        ),
        damaged_objects=tuple(document["damaged_objects"]),
        unlisted=document["unlisted"],
        elapsed_seconds=seconds(document["elapsed_micros"]),
    )
