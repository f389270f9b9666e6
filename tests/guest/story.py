"""What happens to the guest, its server and its disk: the steps that a run is made of."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from guest.backups import Backups, Taken
from guest.checks import BrokenPromiseError
from guest.kernel import Kernel
from guest.machine import Machine, MachineGoneError
from guest.server import DiskServer, ServerGoneError
from guest.workload import Workload

DISK_SIZE = "512MiB"
IN_FLIGHT = 4
"""So many orders are always on their way: the guest never waits, and a cut always hits some."""


class Story:
    """One run in one folder. All that is random comes from `rng`.

    Attributes:
        kills: How often the server was killed.
        recoveries: How often a server took over what a killed one had left, with tracking intact.
    """

    def __init__(self, rng: random.Random, folder: Path, kernel: Kernel) -> None:
        self._rng = rng
        self._folder = folder
        self._kernel = kernel
        self._disk = folder / "disk.vhdx"
        self._boots = 0
        self._killed = False
        self.workload = Workload(random.Random(rng.random()))
        self.backups = Backups(folder)
        self.kills = self.recoveries = 0

    def first_backup(self) -> Taken:
        """Make the disk, and back all of it up. Incrementals come after that."""
        with self._server(create=DISK_SIZE) as server, self._machine() as machine:
            self._write(machine, self._orders(40))
            taken = self._backup(machine, server)
            server.thaw()
            self._cut(machine, server)
        return taken

    def write_until_killed(self) -> None:
        """The guest writes, and the server is killed at some moment within four seconds.

        Sometimes the machine outlives it and sees its disk fail; what it then says is durable must be.
        """
        with self._server() as server, self._machine() as machine:
            together = self._rng.random() < 0.5
            with self._killed_soon(server, 4.0), suppress(MachineGoneError, ValueError):
                self._write(machine, lambda: not together or server.is_running)
            self._cut(machine, server)

    def lose_rct(self) -> None:
        """Delete the finer of the two files of tracking."""
        self._disk.with_name(f"{self._disk.name}.rct").unlink()

    def backup(self) -> Taken:
        """Take an incremental while the guest writes, and thaw."""
        with self._server() as server, self._machine() as machine:
            self._write(machine, self._orders(20))
            taken = self._backup(machine, server)
            server.thaw()
            self._write(machine, self._orders(10))
            self._cut(machine, server)
        return taken

    def backup_killed_freezing(self) -> Taken:
        """The server is killed while it freezes the disk: then another try is made."""
        with self._server() as server, self._machine() as machine:
            self._write(machine, self._orders(20))
            with self._killed_soon(server, 0.05), suppress(ServerGoneError):
                server.freeze()
            self._cut(machine, server)
        self._thaw_if_frozen()
        return self.backup()

    def backup_killed_frozen(self) -> Taken:
        """The server is killed while the disk is frozen; the next one still has it frozen."""
        with self._server() as server, self._machine() as machine:
            self._write(machine, self._orders(20))
            must_hold = self.workload.must_hold()
            frozen = server.freeze()
            self._write(machine, self._orders(20))
            self._cut(machine, server)
        with self._server() as server, self._machine() as machine:
            if (server.ready["frozen"] or {}).get("file") != str(frozen.file):
                raise BrokenPromiseError(
                    f"the disk is not frozen any more: {server.ready}"
                )
            self._write(machine, self._orders(20))
            taken = self.backups.take(server, frozen, must_hold)
            server.thaw()
            self._cut(machine, server)
        return taken

    def backup_killed_thawing(self) -> Taken:
        """The server is killed while it merges what the guest wrote meanwhile."""
        with self._server() as server, self._machine() as machine:
            self._write(machine, self._orders(20))
            taken = self._backup(machine, server)
            with self._killed_soon(server, 0.2), suppress(ServerGoneError):
                server.thaw()
            self._cut(machine, server)
        self._thaw_if_frozen()
        return taken

    def last_backup(self) -> Taken:
        """Everything is stopped cleanly, started again, and backed up: every file is known now."""
        with self._server() as server, self._machine() as machine:
            self._write(machine, self._orders(20))
            while self.workload.unanswered:
                self.workload.answered(machine.answer())
            machine.order("stop now")
            if (answer := machine.answer()) != "stopped now":
                raise BrokenPromiseError(
                    f"the guest does not let go of its disk: {answer!r}"
                )
            machine.wait()
            server.stop()
        with self._server() as server:
            taken = self.backups.take(
                server, server.freeze(), self.workload.must_hold()
            )
            server.thaw()
            server.stop()
        return taken

    def _backup(self, machine: Machine, server: DiskServer) -> Taken:
        """Freeze while orders are on their way, let the guest go on writing, and take the backup."""
        must_hold = self.workload.must_hold()
        frozen = server.freeze()
        self._write(machine, self._orders(20))
        return self.backups.take(server, frozen, must_hold)

    def _thaw_if_frozen(self) -> None:
        with self._server() as server:
            if server.ready["frozen"] is not None:
                server.thaw()
            server.stop()

    def _server(self, create: str = "") -> DiskServer:
        """Start the server. Whatever was done to the one before it, tracking must go on."""
        socket, log = self._folder / "nbd.sock", self._folder / "server.log"
        server = DiskServer(self._disk, socket, log, create=create)
        expected = "started" if create else "continued"
        if server.ready["tracking"] != expected:
            server.kill()
            raise BrokenPromiseError(f"tracking is not {expected}: {server.ready}")
        self.recoveries += self._killed
        self._killed = False
        return server

    def _machine(self) -> Machine:
        """Start the machine; the first one makes the file system."""
        self._boots += 1
        log = self._folder / f"console-{self._boots}.log"
        socket = self._folder / "nbd.sock"
        return Machine(self._kernel, socket, log, first=self._boots == 1)

    def _write(self, machine: Machine, goes_on: Callable[[], bool]) -> None:
        """Let the guest write as long as told; some orders stay on their way."""
        while goes_on():
            while self.workload.unanswered < IN_FLIGHT:
                machine.order(self.workload.next_order())
            self.workload.answered(machine.answer())

    def _orders(self, number: int) -> Callable[[], bool]:
        """Return what says whether some of so many orders are still to come."""
        end = self.workload.orders + number
        return lambda: self.workload.orders < end

    def _cut(self, machine: Machine, server: DiskServer) -> None:
        """Kill what still runs. What the guest had answered counts."""
        server.kill()
        machine.kill()
        with suppress(ValueError):
            for answer in machine.waiting_answers():
                self.workload.answered(answer)
        self.workload.power_cut()
        self.kills += 1
        self._killed = True

    @contextmanager
    def _killed_soon(self, server: DiskServer, seconds: float) -> Iterator[None]:
        """Kill the server at some moment within `seconds`, whatever it does then."""
        timer = threading.Timer(self._rng.uniform(0, seconds), server.kill)
        timer.start()
        try:
            yield
        finally:
            timer.join()
