"""The machine: qemu with the tracked disk over NBD, and the orders that its guest gets."""

import contextlib
import queue
import signal
import socket
import subprocess
import threading
from pathlib import Path

from guest.kernel import Kernel

BOOT_SECONDS = 180.0
ANSWER_SECONDS = 120.0
"""How long is waited before a run is called broken. Emulation on a busy machine is slow."""


class MachineGoneError(Exception):
    """The machine is not there any more, or does not answer."""


class Machine:
    """A running machine. It is killed where the block is left, unless it was stopped before.

    The disk's cache is write-back with the host's own left out (`cache.direct`, which over NBD means
    that qemu holds nothing back): what the guest flushes is flushed at the server.
    """

    def __init__(self, kernel: Kernel, disk: Path, log: Path, *, first: bool) -> None:
        words = "console=ttyS0 panic=1 loglevel=4"
        drive = (
            f"if=none,id=disk,format=raw,cache=none,discard=unmap,detect-zeroes=unmap,"
            f"rerror=report,werror=report,file=nbd+unix:///?socket={disk}"
        )
        ours, theirs = socket.socketpair()
        self._line = ours
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(
                        "qemu-system-x86_64",
                        "-accel",
                        "tcg",
                        "-m",
                        "256",
                        "-nodefaults",
                    ),
                    *("-display", "none", "-no-reboot", "-kernel", str(kernel.image)),
                    *("-initrd", str(kernel.initial_files)),
                    *("-append", f"{words} make-file-system" if first else words),
                    *("-drive", drive, "-device", "virtio-blk-pci,drive=disk"),
                    *("-chardev", f"socket,id=orders,fd={theirs.fileno()}"),
                    *("-serial", f"file:{log}", "-serial", "chardev:orders"),
                ],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                stdout=log.with_suffix(".qemu").open("wb"),
                pass_fds=[theirs.fileno()],
            )
        self._answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._log = log
        try:
            ready = self.answer(BOOT_SECONDS)
        except MachineGoneError:
            self.kill()
            raise
        if not ready.startswith("ready "):
            self.kill()
            raise RuntimeError(f"the guest says {ready!r}; its console is in {log}")

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def order(self, order: str) -> None:
        """Tell the guest what to do next; it does one thing after the other."""
        try:
            self._line.sendall(f"{order}\n".encode())
        except OSError as error:
            raise MachineGoneError(f"the machine takes no orders: {error}") from error

    def answer(self, timeout: float = ANSWER_SECONDS) -> str:
        """Return the next answer.

        Raises:
            MachineGoneError: There is none, because the machine is gone or too slow.
        """
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise MachineGoneError(
                f"no answer for {timeout} s; see {self._log}"
            ) from None
        if answer is None:
            self._answers.put(None)
            raise MachineGoneError(f"the machine is gone; see {self._log}")
        return answer

    def waiting_answers(self) -> list[str]:
        """Return the answers that are there already."""
        answers = []
        with contextlib.suppress(queue.Empty):
            while (answer := self._answers.get_nowait()) is not None:
                answers.append(answer)
            self._answers.put(None)
        return answers

    def kill(self) -> None:
        """Kill it as a power cut would. What it had said is still to be heard."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self) -> None:
        """Wait until it has switched itself off."""
        self._process.wait(timeout=ANSWER_SECONDS)

    def _listen(self) -> None:
        lines = self._line.makefile("r", encoding="ascii", errors="replace")
        with contextlib.suppress(OSError), lines:
            for line in lines:
                # Half a line is no answer: the guest was cut off while it spoke.
                if line.endswith("\n"):
                    self._answers.put(line.strip())
        self._answers.put(None)
