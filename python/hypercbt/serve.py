"""Disks that are served over NBD, for programs that read (or write) a disk without restoring it."""

from dataclasses import dataclass
from os import fspath
from typing import Protocol

from hypercbt import _native
from hypercbt.closing import Closing
from hypercbt.documents import Document, parse
from hypercbt.models import Path


@dataclass(frozen=True, slots=True)
class ServeFailure:
    """A request of a client that the disk could not do."""

    command: str
    """`read`, `write`, `flush`, `trim`, `write_zeroes` or `block_status`."""
    offset: int | None
    """Where on the disk; None for a flush."""
    length: int | None
    damaged: bool
    """Whether the repository no longer holds what was asked for; the client was told of an I/O error."""
    error: str


@dataclass(frozen=True, slots=True)
class ServeReport:
    """What a server did."""

    address: str
    """Where it listened: a path, or `tcp:ADDRESS:PORT`."""
    uri: str
    """The same as NBD clients take it."""
    connections: int
    refused: int
    """Connections that were one too many."""
    requests: int
    read_bytes: int
    """Read from the disk; holes that were only told of do not count."""
    written_bytes: int
    failed_requests: int
    damaged_requests: int
    """Those of them that met damage."""
    failures: tuple[ServeFailure, ...]
    """The first of them."""
    violations: int
    """Connections that were ended because the client broke a rule of the protocol."""
    first_violations: tuple[str, ...]


class NbdServer(Closing):
    """A disk that is served on threads of its own, from now until it is stopped.

    Example:
        >>> with point.disks[0].serve("/run/user/1000/disk.sock") as server:  # doctest: +SKIP
        ...     subprocess.run(["nbdinfo", server.uri], check=True)
    """

    def __init__(self, native: _native.NbdServer) -> None:
        """Wrap a native server; callers use `serve` of a disk."""
        self._native = native
        self._report: ServeReport | None = None

    @property
    def address(self) -> str:
        """Where it listens: a path, or `tcp:ADDRESS:PORT` with the port that it was given."""
        return self._native.address

    @property
    def uri(self) -> str:
        """The same as NBD clients take it."""
        return self._native.uri

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended by itself, at most so long, and return whether it has."""
        return self._native.wait(int(seconds * 1000))

    def stop(self) -> ServeReport:
        """Answer what is being asked, hang up, and return what was done. May be called again.

        Raises:
            ServeError: What was written could not be made durable, or the server had failed.
        """
        document = self._native.stop()
        if document is not None:
            self._report = _report(parse(document), self)
        if self._report is None:
            raise ValueError("the server has failed, and said so before")
        return self._report

    def close(self) -> None:
        """Stop it, unless it was stopped before."""
        if self._report is None:
            self.stop()

    def __repr__(self) -> str:
        return f"<NbdServer {self.address}>"


class Servable(Protocol):
    """A native disk that can be served."""

    def serve(self, address: str) -> _native.NbdServer:
        """Serve it at a path, or at `tcp:ADDRESS:PORT`."""
        ...


def serve(disk: Servable, address: Path) -> NbdServer:
    """Serve a native disk: see `PointDisk.serve`, which is what callers use."""
    return NbdServer(disk.serve(fspath(address)))


def _report(document: Document, server: NbdServer) -> ServeReport:
    return ServeReport(
        address=server.address,
        uri=server.uri,
        connections=document["connections"],
        refused=document["refused"],
        requests=document["requests"],
        read_bytes=document["read_bytes"],
        written_bytes=document["written_bytes"],
        failed_requests=document["failed_requests"],
        damaged_requests=document["damaged_requests"],
        failures=tuple(ServeFailure(**failure) for failure in document["failures"]),
        violations=document["violations"],
        first_violations=tuple(document["first_violations"]),
    )
