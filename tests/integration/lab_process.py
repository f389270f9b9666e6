"""`hypercbt lab up` and `hypercbt lab disk` as processes: a line is asked, a document is answered."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hypercbt.closing import Closing
from support import command


class LabProcess(Closing):
    """One of them; it is killed at the end, if it still runs."""

    def __init__(self, *words: str | Path) -> None:
        self.process = subprocess.Popen(
            command("lab", *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready = self.next()

    def ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.next()

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        document: dict[str, Any] = json.loads(line)
        return document

    def end(self) -> int:
        """Wait until it has ended, and return its exit code."""
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class DiskProcess(LabProcess):
    """A disk that is served over NBD."""

    def __init__(self, path: Path, *options: str) -> None:
        # Short: a socket's path has at most about a hundred characters.
        self._short = tempfile.TemporaryDirectory(prefix="h-")
        self.socket = Path(self._short.name, "s")
        try:
            super().__init__("disk", path, "--nbd", self.socket, *options)
        except BaseException:
            self._short.cleanup()
            raise

    def close(self) -> None:
        super().close()
        self._short.cleanup()

    def io(self, *commands: str) -> None:
        """Do something as a client of the NBD server."""
        words = [word for text in commands for word in ("-c", text)]
        done = subprocess.run(
            ["qemu-io", "-f", "raw", *words, self.ready["nbd"]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def lab_disk(path: Path, *options: str) -> DiskProcess:
    """Start a server, or skip where there is no Unix socket."""
    if os.name != "posix":
        pytest.skip("Unix sockets are needed")
    return DiskProcess(path, *options)


def lab_up(folder: Path, *options: str, write_every: str = "0") -> LabProcess:
    """Start a host."""
    return LabProcess("up", folder, "--write-every", write_every, *options)
