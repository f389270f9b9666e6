"""What a host does in its own time: calls a method, and follows the job that comes of it.

A method answers 0 (done), 4096 (a job was started) or a refusal. A job is polled by the class that its reference
names: the image service gives `Msvm_StorageJob`, everybody else `Msvm_ConcreteJob` (hyperv-rct 1.3). A finished job
is forgotten after five minutes, so one that is not there says nothing about what it did.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hypercbt.errors import (
    HostFaultError,
    HostJobError,
    HostReplyError,
    HostUnreachableError,
    HyperVError,
    JobRefusedError,
    JobUnfinishedError,
    JobVanishedError,
)
from hypercbt.hyperv.clock import SYSTEM_CLOCK, Clock, Pauses
from hypercbt.hyperv.reading import (
    number,
    optional_number,
    optional_text,
    reference,
    several,
)
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.values import Answer, Instance, Reference, Value

DONE = 0
STARTED = 4096
INVALID_STATE = 32775
"""The former job on the machine has not ended yet (hyperv-rct 1.2)."""

UNFINISHED_STATES = frozenset({2, 3, 4, 5, 6})
"""New, starting, running, suspended, shutting down."""
COMPLETED = 7
COMPLETED_WITH_WARNINGS = 32768
"""In no document; several clients have met it (hyperv-rct 1.3)."""

JOB_SECONDS = 900.0
"""A checkpoint of a guest that is busy may take minutes to freeze."""
READY_SECONDS = 60.0
"""For a host that says `INVALID_STATE`: the former job is nearly done, or somebody works on the machine."""
LOST_POLLS = 5
"""So many polls in a row may fail: a host under load drops one now and then."""

CODES = {
    1: "not supported",
    2: "failed",
    3: "timeout",
    4: "invalid parameter",
    5: "invalid state",
    6: "invalid type",
    32768: "failed",
    32769: "access denied",
    32770: "not supported",
    32771: "status unknown",
    32772: "timeout",
    32773: "invalid parameter",
    32774: "system in use",
    INVALID_STATE: "invalid state for this operation",
    32776: "incorrect data type",
    32777: "not available",
    32778: "out of memory",
    32779: "file not found",
}
"""Both families of return values (hyperv-rct 1.2)."""

VIRTUAL_DISK_CODES = {
    0xC03A000D: "VIRTDISK_PARENT_VHD_NOT_FOUND",
    0xC03A001A: "VIRTUAL_DISK_LIMITATION",
    0xC03A0020: "CTLOG_TRACKING_NOT_INITIALIZED",
    0xC03A0021: "CTLOG_LOGFILE_SIZE_EXCEEDED_MAXSIZE",
    0xC03A0022: "CTLOG_VHD_CHANGED_OFFLINE",
    0xC03A0023: "CTLOG_INVALID_TRACKING_STATE",
    0xC03A0024: "CTLOG_INCONSISTANT_TRACKING_FILE",
    0xC03A0029: "VHD_INVALID_CHANGE_TRACKING_ID",
    0xC03A002A: "VHD_CHANGE_TRACKING_DISABLED",
    0xC03A0030: "VHD_MISSING_CHANGE_TRACKING_INFORMATION",
    0x80070005: "access denied",
    0x80070020: "sharing violation",
}
"""What the storage stack says (hyperv-rct 2). Whether as a number or within a text is not known, so both are read."""

OnPoll = Callable[[int | None], None]
"""Called with the per cent done while a job runs; what it raises stops the waiting, not the job."""


@dataclass(frozen=True, slots=True)
class Job:
    """A method that has been done."""

    reference: Reference | None
    """The job that did it; None where none was needed."""
    out: Mapping[str, Value]
    """The method's out parameters."""
    warning: str | None = None
    """What the host said of it, where it was done with warnings."""


def run(
    session: Session,
    target: Reference,
    method: str,
    arguments: Mapping[str, Value],
    *,
    what: str,
    timeout_seconds: float = JOB_SECONDS,
    ready_seconds: float = READY_SECONDS,
    repeatable: bool = False,
    on_poll: OnPoll | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Job:
    """Call a method and wait until it is done.

    A machine on which a former job has not ended is asked again, for `ready_seconds` at most.

    Raises:
        HostJobError: The job failed. As a `JobRefusedError` there is none; as a `JobVanishedError` or a
            `JobUnfinishedError` it says that nobody knows.
        LostReplyError: Nobody knows whether the host was asked.
    """
    pauses = Pauses(ready_seconds, clock)
    while True:
        answer = session.invoke(target, method, arguments, repeatable=repeatable)
        if answer.return_value != INVALID_STATE or not pauses.pause():
            break
    return finish(
        session,
        answer,
        what=what,
        timeout_seconds=timeout_seconds,
        on_poll=on_poll,
        clock=clock,
    )


def finish(
    session: Session,
    answer: Answer,
    *,
    what: str,
    timeout_seconds: float = JOB_SECONDS,
    on_poll: OnPoll | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Job:
    """Wait until what a method has begun is done.

    Args:
        session: Where it was asked for.
        answer: What the method answered.
        what: What was asked for, for messages: `create a checkpoint of web01`.
        timeout_seconds: The most to wait.
        on_poll: Called while it runs.
        clock: By whose clock.

    Raises:
        HostJobError: See `run`.
    """
    if answer.return_value == DONE:
        return Job(None, answer.out)
    if answer.return_value != STARTED:
        code = answer.return_value
        raise JobRefusedError(
            f"the host would not {what}: {code_text(code)}", code=code
        )
    job = reference(answer.out, "Job")
    if job is None:
        raise HostReplyError(
            f"the host was asked to {what}, and does not say by which job"
        )
    instance = _await(session, job, what, Pauses(timeout_seconds, clock), on_poll)
    state = number(instance, "JobState")
    if state == COMPLETED:
        return Job(job, answer.out)
    if state == COMPLETED_WITH_WARNINGS:
        return Job(
            job, answer.out, _said(session, job, instance) or "done with warnings"
        )
    said = _said(session, job, instance) or f"its job ended in state {state}"
    raise HostJobError(
        f"the host could not {what}: {said}",
        code=optional_number(instance, "ErrorCode") or None,
    )


def code_text(code: int) -> str:
    """Return what a return value or an error code means, and the code."""
    name = CODES.get(code) or VIRTUAL_DISK_CODES.get(code & 0xFFFF_FFFF)
    shown = f"{code & 0xFFFF_FFFF:#010x}" if code > 0xFFFF or code < 0 else str(code)
    return f"{name} ({shown})" if name else f"code {shown}"


def named_codes(said: str) -> str:
    """Return a host's text with the names of the codes in it: `… (0xC03A0030)` is understood by few."""
    codes = {int(found, 16) for found in re.findall(r"0[xX]([0-9A-Fa-f]{8})\b", said)}
    names = [
        VIRTUAL_DISK_CODES[code] for code in sorted(codes) if code in VIRTUAL_DISK_CODES
    ]
    missing = [name for name in names if name not in said]
    return f"{said} [{', '.join(missing)}]" if missing else said


def _await(
    session: Session, job: Reference, what: str, pauses: Pauses, on_poll: OnPoll | None
) -> Instance:
    """Return the job as it is when it has ended."""
    failed = 0
    while True:
        try:
            instance = session.get(job)
            failed = 0
        except (HostUnreachableError, HostFaultError):
            failed += 1
            if failed >= LOST_POLLS or not pauses.pause():
                raise
            continue
        if instance is None:
            raise JobVanishedError(
                f"the host was asked to {what}, and has forgotten the job before it was seen to end"
            )
        if number(instance, "JobState") not in UNFINISHED_STATES:
            return instance
        if on_poll:
            on_poll(optional_number(instance, "PercentComplete"))
        if not pauses.pause():
            raise JobUnfinishedError(
                f"the host was asked to {what}, and has not done it in time"
            )


def _said(session: Session, job: Reference, instance: Instance) -> str:
    """Return all that a host says of a job: the errors themselves are often plainer than their summary."""
    said: list[str] = []
    try:
        answer = session.invoke(job, "GetErrorEx", {}, repeatable=True)
        for error in several(answer.out, "Errors"):
            if isinstance(error, Instance):
                said.append(optional_text(error, "Message") or "")
            elif isinstance(error, str):
                said.append(error)
    except (
        HyperVError
    ):  # not every kind of job has it; what the job itself says is enough
        said.clear()
    for name in ("ErrorDescription", "ErrorSummaryDescription"):
        value = instance.properties.get(name)
        said.append(value if isinstance(value, str) else "")
    code = optional_number(instance, "ErrorCode")
    lines = dict.fromkeys(" ".join(line.split()) for line in said)
    text = "; ".join(line for line in lines if line)
    if code:
        text = f"{text} ({code_text(code)})" if text else code_text(code)
    return named_codes(text)
