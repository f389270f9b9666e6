"""Restore points that are served over NBD, from Python and from the command line."""

import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hypercbt
from hypercbt import Repository, RestorePoint, backup_disk
from hypercbt.errors import AddressInUseError, ServeError
from nbd import Nbd
from support import command, write_disk
from support import hypercbt as hypercbt_command

MIB = 1 << 20
EIO = 5
ANY_PORT = "tcp:127.0.0.1:0"
posix = pytest.mark.skipif(
    os.name == "nt", reason="sockets and signals as POSIX has them"
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk of 8 MiB with noise in its first and last mebibyte and in the middle."""
    path = tmp_path_factory.mktemp("disk") / "web01.raw"
    write_disk(path)
    return path


@pytest.fixture
def repository(raw: Path, tmp_path: Path) -> Iterator[Repository]:
    with Repository.create(tmp_path / "backups") as repository:
        backup_disk(raw, repository=repository)
        yield repository


@pytest.fixture
def point(repository: Repository) -> RestorePoint:
    point = repository.latest("web01")
    assert point is not None
    return point


def damage_a_chunk(repository: Repository, raw: Path) -> None:
    """Harm the chunk that holds the middle of the disk: noise, so it stands in its pack as it is."""
    with raw.open("rb") as file:
        file.seek(4 * MIB)
        plain = file.read(64)
    for pack in Path(repository.path, "pack").rglob("*"):
        if pack.is_file() and (at := pack.read_bytes().find(plain)) >= 0:
            data = bytearray(pack.read_bytes())
            data[at] ^= 1
            pack.chmod(0o644)
            pack.write_bytes(data)
            return
    raise AssertionError("no pack holds the chunk as it is")


class Served:
    """The command `hypercbt serve` while it runs."""

    def __init__(self, repository: Repository, address: str | Path) -> None:
        arguments = ("web01@latest", "-r", repository.path, "--nbd", address, "--json")
        self._process = subprocess.Popen(
            command("serve", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        # It says so when it can be connected to.
        self.said = self._process.stderr.readline()
        assert "until Ctrl-C" in self.said, self.said + self._process.stderr.read()

    def end(self, number: signal.Signals) -> tuple[int, dict[str, Any]]:
        """Send the signal, and return the exit code and the document."""
        self._process.send_signal(number)
        output, _ = self._process.communicate(timeout=60)
        return self._process.returncode, json.loads(output)


def test_what_is_served_is_what_was_backed_up(point: RestorePoint, raw: Path) -> None:
    with point.serve(ANY_PORT) as server, Nbd(server.address) as client:
        assert server.address.startswith("tcp:127.0.0.1:")
        assert not server.address.endswith(":0")
        assert client.size == 8 * MIB
        assert client.flags & 0b10, "read-only"
        data = raw.read_bytes()
        assert client.read(0, 8 * MIB) == data
        for at in (0, 1, 256 * 1024 - 1, 4 * MIB + 77, 8 * MIB - 5):
            assert client.read(at, 5) == data[at : at + 5]
    report = server.stop()
    assert report.read_bytes == 8 * MIB + 25
    assert (report.connections, report.requests, report.failed_requests) == (1, 6, 0)


@posix
def test_several_clients_read_at_once_from_a_socket_that_is_only_ours(
    point: RestorePoint, raw: Path, short_path: Path
) -> None:
    path = short_path / "disk.sock"
    with point.serve(path) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Nbd(server.address) as one, Nbd(server.address) as two:
            assert one.read(0, 100) == two.read(0, 100) == raw.read_bytes()[:100]
    assert not path.exists()
    assert server.stop().connections == 2, "said once more"


def test_damage_is_an_io_error_where_it_is_and_nowhere_else(
    repository: Repository, point: RestorePoint, raw: Path
) -> None:
    damage_a_chunk(repository, raw)
    with point.serve(ANY_PORT) as server, Nbd(server.address) as client:
        data = raw.read_bytes()
        assert client.read(0, 4 * MIB) == data[: 4 * MIB]
        with pytest.raises(OSError, match="says no") as error:
            client.read(4 * MIB + 100, 10)
        assert error.value.errno == EIO
        after = 4 * MIB + repository.chunk_size
        assert client.read(after, 1000) == data[after : after + 1000]
    report = server.stop()
    (failure,) = report.failures
    assert (report.failed_requests, report.damaged_requests) == (1, 1)
    assert (failure.command, failure.offset, failure.length) == (
        "read",
        4 * MIB + 100,
        10,
    )
    assert failure.damaged
    assert "chunk" in failure.error


@posix
def test_what_stands_in_the_way_is_left_alone(
    point: RestorePoint, tmp_path: Path, short_path: Path
) -> None:
    file = tmp_path / "precious.txt"
    file.write_text("data", encoding="utf-8")
    with pytest.raises(AddressInUseError, match="no socket"):
        point.serve(file)
    assert file.read_text(encoding="utf-8") == "data"
    with (
        point.serve(short_path / "disk.sock") as server,
        pytest.raises(AddressInUseError, match="in use"),
    ):
        point.serve(server.address)


def test_an_address_that_cannot_be_is_misuse_and_a_missing_folder_is_not(
    point: RestorePoint, tmp_path: Path
) -> None:
    for address in ("tcp:0.0.0.0:0", "tcp:192.0.2.1:10809", "tcp:localhost", "tcp:"):
        with pytest.raises(ValueError, match=r"loopback|no address"):
            point.serve(address)
    if os.name != "nt":
        with pytest.raises(ServeError, match="missing"):
            point.serve(tmp_path / "missing" / "disk.sock")


@posix
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name
)
def test_the_command_serves_until_it_is_told_to_stop(
    repository: Repository,
    point: RestorePoint,
    raw: Path,
    short_path: Path,
    number: signal.Signals,
) -> None:
    path = short_path / "disk.sock"
    served = Served(repository, path)
    assert f"nbd+unix:///?socket={path}" in served.said
    with Nbd(str(path)) as client:
        assert client.read(100, 50) == raw.read_bytes()[100:150]
        exit_code, document = served.end(number)
    assert exit_code == 0
    assert document["format"] == 1
    assert document["restore_point"] == point.id
    assert document["address"] == str(path)
    assert (document["requests"], document["read_bytes"]) == (1, 50)
    assert not path.exists()


@posix
def test_the_command_says_that_a_client_met_damage(
    repository: Repository, raw: Path
) -> None:
    damage_a_chunk(repository, raw)
    served = Served(repository, ANY_PORT)
    address = "tcp:" + served.said.split("nbd://")[1].split(",")[0]
    with Nbd(address) as client, pytest.raises(OSError, match="says no"):
        client.read(4 * MIB, 1)
    exit_code, document = served.end(signal.SIGTERM)
    assert (exit_code, document["damaged_requests"]) == (3, 1)


def test_the_command_refuses_as_all_commands_do(
    repository: Repository, tmp_path: Path
) -> None:
    common = ("-r", repository.path, "--json", "--nbd")
    unknown = hypercbt_command("serve", "web02@latest", *common, tmp_path / "x.sock")
    assert (unknown.exit_code, unknown.document["error"]["type"]) == (
        1,
        "PointNotFoundError",
    )
    open_to_all = hypercbt_command("serve", "web01@latest", *common, "tcp:0.0.0.0:0")
    assert (open_to_all.exit_code, open_to_all.document["error"]["exit_code"]) == (2, 2)
    no_disk = hypercbt_command(
        "serve", "web01@latest", *common, ANY_PORT, "--disk", "7"
    )
    assert no_disk.exit_code == 2


@posix
def test_holes_are_reported_as_holes(point: RestorePoint, short_path: Path) -> None:
    if shutil.which("nbdinfo") is None:
        pytest.skip("nbdinfo is not installed")
    with point.serve(short_path / "disk.sock") as server:
        words = ["nbdinfo", "--map", "--json", server.uri]
        done = subprocess.run(words, capture_output=True, check=True, timeout=60)
    rows = [
        (row["offset"], row["length"], row["type"]) for row in json.loads(done.stdout)
    ]
    assert rows == [
        (0, MIB, 0),
        (MIB, 3 * MIB, 3),
        (4 * MIB, MIB, 0),
        (5 * MIB, 2 * MIB, 3),
        (7 * MIB, MIB, 0),
    ]


@posix
@pytest.mark.parametrize("chunk_size", [64 << 10, 4 << 20], ids=["small", "large"])
def test_requests_may_be_smaller_or_larger_than_chunks(
    raw: Path, tmp_path: Path, short_path: Path, chunk_size: int
) -> None:
    if shutil.which("nbdcopy") is None:
        pytest.skip("nbdcopy is not installed")
    with Repository.create(tmp_path / "backups", chunk_size=chunk_size) as repository:
        point = backup_disk(raw, repository=repository)
        with point.serve(short_path / "disk.sock") as server:
            copy = tmp_path / "copy.raw"
            words = ["nbdcopy", "--request-size=131072", server.uri, str(copy)]
            subprocess.run(words, check=True, timeout=60)
        assert copy.read_bytes() == raw.read_bytes()


def test_the_names_are_public() -> None:
    names = {"NbdServer", "ServeReport", "ServeFailure"}
    assert names <= set(hypercbt.__all__)
