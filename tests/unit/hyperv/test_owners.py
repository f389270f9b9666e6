"""Whether the process that holds a lease still lives."""

import os
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from hypercbt.errors import VmBusyError
from hypercbt.hyperv import owners
from hypercbt.hyperv.owners import Life, claim, life_of, this_process

HERE = owners.place()


def test_a_process_of_this_machine_lives_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as child:
        started = psutil.Process(child.pid).create_time()
        owner = f"{HERE} {child.pid} {started:.2f}"
        assert life_of(owner) is Life.HERE
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert life_of(owner) is Life.GONE, "not waited for yet, and dead all the same"
        child.wait()
        assert life_of(owner) is Life.GONE


def test_another_process_with_the_same_number_is_another() -> None:
    parent = os.getppid()
    started = psutil.Process(parent).create_time()
    assert life_of(f"{HERE} {parent} {started:.2f}") is Life.HERE
    assert life_of(f"{HERE} {parent} {started - 60:.2f}") is Life.GONE


def test_this_process_is_gone_because_it_would_hold_the_claim() -> None:
    assert life_of(this_process()) is Life.GONE


@pytest.mark.parametrize(
    "owner",
    [
        None,
        "",
        "elsewhere 1 2.0",
        f"{HERE} x y",
        f"{HERE} 1",
        f"{HERE} -1 2.0",
        "backup.exe",
    ],
)
def test_who_cannot_be_judged_from_here_may_live(owner: str | None) -> None:
    assert life_of(owner) is Life.ELSEWHERE


def test_a_process_of_another_container_of_the_same_name_may_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = this_process(), f"{HERE}/ca7f2f31-4026532201 1 2.00"
    assert life_of(theirs) is Life.ELSEWHERE
    monkeypatch.setattr(owners, "place", lambda: f"{HERE}/ca7f2f31-4026532202")
    assert life_of(theirs) is Life.ELSEWHERE
    assert life_of(ours) is Life.ELSEWHERE
    monkeypatch.setattr(owners, "place", lambda: f"{HERE}/ca7f2f31-4026532201")
    assert life_of(theirs) is Life.GONE, "no such process in this container"


def test_a_container_is_told_by_its_process_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = Path("/proc/self/ns/pid")
    if not space.exists():
        pytest.skip("no containers of Linux here")
    try:
        monkeypatch.setattr(owners, "MACHINES_OWN", space.stat().st_ino)
        owners.place.cache_clear()
        assert owners.place() == HERE
        monkeypatch.setattr(owners, "MACHINES_OWN", 0)
        owners.place.cache_clear()
        assert owners.place().startswith(f"{HERE}/")
        assert owners.place().endswith(f"-{space.stat().st_ino}")
    finally:
        owners.place.cache_clear()


def test_a_machine_is_claimed_once_in_a_repository() -> None:
    with claim("r1", "vm:a"), claim("r1", "vm:b"), claim("r2", "vm:a"):
        _refused()
    with claim("r1", "vm:a"):
        pass


def _refused() -> None:
    with pytest.raises(VmBusyError), claim("r1", "vm:a"):
        pass


def test_an_interruption_at_any_line_of_claiming_leaves_no_claim() -> None:
    interrupted = 0
    while not claimed_in_spite_of_an_interruption(interrupted + 1):
        interrupted += 1
        with claim("r1", "vm:a"):
            pass
    assert interrupted > 1


def claimed_in_spite_of_an_interruption(at_line: int) -> bool:
    """Interrupt claiming at its so manieth line; return whether it was done before."""
    code = claim.__wrapped__.__code__  # type: ignore[attr-defined]
    lines = 0

    def interrupt(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code is not code:
            return None
        lines += event == "line"
        if lines == at_line:
            raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with claim("r1", "vm:a"):
            sys.settrace(before)
            return True
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(before)


def test_a_claim_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), claim("r1", "vm:a"):
        raise ZeroDivisionError
    with claim("r1", "vm:a"):
        pass
