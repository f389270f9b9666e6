"""`hypercbt lab up`: a whole simulated host, told by its standard input what to do.

Standard input has one command a line, standard output one JSON document a line, standard error text for people:

```text
vms                           the virtual machines
write VM OFFSET LENGTH        the guest writes something to the first disk
start | stop-vm VM            switches it on or off
checkpoint VM                 a user makes a checkpoint                       id
delete-checkpoint VM          the newest goes away; it merges
revert VM                     back to the newest checkpoint
counts                        what was asked of the host so far               counts
power-cut                     the host loses its power, and comes back
stop                          ends as SIGTERM and Ctrl-C do: cleanly
```
"""

import queue
import secrets
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from hypercbt.cli.lines import Document, answer, listen, say
from hypercbt.cli.options import parse_size
from hypercbt.cli.outcome import Terminated
from hypercbt.errors import HypercbtError

if TYPE_CHECKING:
    from hypercbt.lab import LabHost, LabVm

WRITE_SECONDS = 1.0
LOOK_SECONDS = 1.0
MOST_BYTES = 64 << 20
"""What one `write` writes at most."""


def up(
    folder: Path,
    /,
    *,
    vm: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    name: str = "LAB1",
    port: int = 0,
    user: str = "lab",
    write_every: float = WRITE_SECONDS,
    basic: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Start a simulated Hyper-V host, for trying hypercbt and for tests of programs that embed it.

    Its virtual machines live in the folder, and are there again the next time. It does what its standard input says, one
    command a line (vms, write VM OFFSET LENGTH, start VM, stop-vm VM, checkpoint VM, delete-checkpoint VM, revert VM,
    counts, power-cut, stop), and answers with one JSON document a line: docs/lab.md.

    Args:
        folder: Where it keeps everything; made if it is not there.
        vm: Make a virtual machine with one disk, such as web01=4GiB, unless one of this name is there. May be repeated.
        name: What the host calls itself.
        port: Where it listens, on this machine alone; 0: anywhere.
        user: Who may log in. The password is in a file in the folder.
        write_every: Seconds between two writes of each guest; 0: they write only when they are told to.
        basic: Allow Basic authentication and plain HTTP, for clients that can do no better.
    """
    if not 0 <= write_every < float("inf"):
        raise ValueError(f"{write_every} is no number of seconds")
    wanted = [_new_vm(text) for text in vm]
    folder.mkdir(parents=True, exist_ok=True)
    with _host(folder, name, port, user, basic=basic) as host:
        for machine, size in wanted:
            if machine not in (found.name for found in host.vms):
                host.add_vm(machine, disks=[size])
        _Session(host, folder, write_every).run()
    say({"event": "stopped"})


class _Session:
    """One run of the host: what is asked of it on standard input, one thing after another."""

    def __init__(self, host: "LabHost", folder: Path, write_every: float) -> None:
        self._host = host
        self._folder = folder
        self._write_every = write_every
        self._guests = ExitStack()
        self._random = Random()
        self._commands: dict[str, Callable[[list[str]], Document]] = {
            "vms": lambda _: {"vms": self._vms()},
            "write": self._write,
            "start": self._on_vm(lambda vm: vm.start()),
            "stop-vm": self._on_vm(lambda vm: vm.stop()),
            "checkpoint": self._on_vm(lambda vm: {"id": vm.checkpoint()}),
            "delete-checkpoint": self._on_vm(lambda vm: vm.delete_checkpoint()),
            "revert": self._on_vm(lambda vm: vm.revert()),
            "counts": lambda _: {"counts": dict(self._host.counts)},
            "power-cut": self._power_cut,
        }

    def run(self) -> None:
        """Be a host until somebody says stop, by a command or a signal."""
        lines = listen()
        self._start_guests()
        try:
            say(self._ready())
            self._tell()
            with suppress(KeyboardInterrupt, Terminated):
                self._obey(lines)
        finally:
            self._guests.close()

    def _obey(self, lines: "queue.Queue[str]") -> None:
        while True:
            try:
                word, *arguments = lines.get(timeout=LOOK_SECONDS).split() or [""]
            except queue.Empty:
                continue
            if word == "stop":
                say({"ok": True, "command": word})
                return
            if word:
                say(answer(word, lambda: self._do(word, arguments)))  # noqa: B023 - called at once

    def _do(self, word: str, arguments: list[str]) -> Document:
        command = self._commands.get(word)
        if command is None:
            raise ValueError(
                f"unknown command {word!r}; there are {', '.join(self._commands)}, stop"
            )
        return command(arguments)

    def _on_vm(
        self, do: Callable[["LabVm"], Document | None]
    ) -> Callable[[list[str]], Document]:
        def command(arguments: list[str]) -> Document:
            if len(arguments) != 1:
                raise ValueError("say which virtual machine, and nothing else")
            return do(self._host.vm(arguments[0])) or {}

        return command

    def _write(self, arguments: list[str]) -> Document:
        if len(arguments) != 3:
            raise ValueError("write VM OFFSET LENGTH")
        vm, offset, length = (
            self._host.vm(arguments[0]),
            *map(parse_size, arguments[1:]),
        )
        if length > MOST_BYTES:
            raise ValueError(f"{length} bytes are more than {MOST_BYTES} at once")
        disk = vm.disks[0]
        disk.write(offset, self._random.randbytes(length))
        disk.flush()
        return {"location": disk.location, "offset": offset, "bytes": length}

    def _power_cut(self, arguments: list[str]) -> Document:
        if arguments:
            raise ValueError("power-cut takes nothing")
        self._host.power_cut()
        self._guests.close()
        self._host.restart()
        self._start_guests()
        return {}

    def _start_guests(self) -> None:
        if self._write_every:
            for number, vm in enumerate(self._host.vms):
                guest = vm.guest(number, pause_seconds=self._write_every)
                self._guests.enter_context(guest)

    def _vms(self) -> list[Document]:
        return [
            {
                "name": vm.name,
                "id": vm.id,
                "checkpoints": len(vm.checkpoints),
                "reference_points": len(vm.reference_points),
                "disks": [
                    {
                        "location": disk.location,
                        "disk_bytes": disk.size,
                        "file": str(disk.files[-1]),
                    }
                    for disk in vm.disks
                ],
            }
            for vm in self._host.vms
        ]

    def _ready(self) -> Document:
        return {
            "format": 1,
            "event": "ready",
            "host": self._host.host,
            "user": self._host.credentials[0],
            "password_file": str(_password_file(self._folder)),
            "map": {name: str(path) for name, path in self._host.map.items()},
            "vms": self._vms(),
        }

    def _tell(self) -> None:
        """Say on standard error what a person wants to know."""
        console = Console(
            file=sys.stderr, markup=False, highlight=False, soft_wrap=True
        )
        user, _ = self._host.credentials
        console.print(f"{self._host.name} listens at {self._host.host}")
        console.print("Log in from another terminal:")
        console.print(f"  export HYPERCBT_USER={user}")
        console.print(
            f'  export HYPERCBT_PASSWORD="$(cat {_password_file(self._folder)})"'
        )
        console.print(f"  hypercbt vms {self._host.host}")
        for name, path in self._host.map.items():
            console.print(f"Its {name} is {path}: --map '{name}={path}'")
        console.print("Commands: vms, write VM OFFSET LENGTH, checkpoint VM, …, stop")


def _host(folder: Path, name: str, port: int, user: str, *, basic: bool) -> "LabHost":
    try:
        from hypercbt.lab.host import LabHost
        from hypercbt.lab.wire.options import WireOptions
    except ModuleNotFoundError as missing:
        raise HypercbtError(
            f"{missing.name} is not installed; a lab host needs pip install 'hypercbt[lab]'"
        ) from None
    return LabHost(
        folder,
        name=name,
        users={user: _password(folder)},
        options=WireOptions(allow_unencrypted=basic),
        power_cuts=True,
        port=port,
    )


def _password_file(folder: Path) -> Path:
    return folder / "password"


def _password(folder: Path) -> str:
    """The password of the last time, or a new one, that only its owner can read."""
    file = _password_file(folder)
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(12), encoding="ascii")
    return file.read_text(encoding="ascii").strip()


def _new_vm(text: str) -> tuple[str, int]:
    name, equals, size = text.partition("=")
    if not (name and equals) or any(letter in name for letter in '\\/:*?"<>| '):
        raise ValueError(f"{text!r} is no virtual machine; write it like web01=4GiB")
    return name, parse_size(size)
