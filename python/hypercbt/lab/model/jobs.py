"""Jobs: what takes time on the simulated host."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypercbt.errors import HypercbtError
from hypercbt.lab.model.clock import NEVER
from hypercbt.lab.model.names import machine_ref
from hypercbt.lab.model.state import Machine
from hypercbt.lab.model.world import JobFailedError, World, idle, no_object
from hypercbt.lab.wire.provider import Call, Cim, Ref, Thing

NEW, STARTING, RUNNING, DONE, FAILED, WARNED = 2, 3, 4, 7, 10, 32768
CONCRETE, STORAGE = "Msvm_ConcreteJob", "Msvm_StorageJob"
CREATED, UNKNOWN_EFFECT = 5, 0
"""Values of `ElementEffects`."""

SNAPSHOT, APPLY, DELETE, CONVERT, EXPORT, MODIFY, ASK = 70, 71, 72, 170, 62, 1, 0
IMPORT, VALIDATE, REALIZE = 61, 140, 141
"""`JobType` [V]. That of storage jobs is another enumeration [V*], so theirs means nothing here."""


@dataclass(slots=True)
class Job:
    """One of them."""

    id: str
    class_name: str
    type: int
    title: str
    owner: str
    started: datetime
    ends: datetime
    effects: list[tuple[Ref, int]] = field(default_factory=list)
    """What it did to what, in the order of the rows."""
    over: bool = False
    failure: JobFailedError | None = None

    @property
    def ref(self) -> Ref:
        """The reference to it."""
        return Ref(self.class_name, {"InstanceID": self.id})


class Jobs:
    """Those that run, and those that ended a short while ago."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: dict[str, Job] = {}

    def start(
        self,
        call: Call,
        *,
        type: int,
        title: str,
        targets: Sequence[Ref],
        work: Callable[[], Sequence[Ref]],
        lasting: Callable[[], None] = lambda: None,
        class_name: str = CONCRETE,
    ) -> dict[str, Cim]:
        """Start one.

        Args:
            call: Who asked for it, and whether it shall fail.
            type: Its `JobType`.
            title: Which of the words says what it does.
            targets: What it works on.
            work: Is done at its end; gives what it created.
            lasting: Is done when it is over, however it ended.
            class_name: One of the two classes.

        Returns:
            The out parameters: 4096 and the job.
        """
        world = self._world
        now = world.clock.now()
        job = Job(
            id=world.guid(),
            class_name=class_name,
            type=type,
            title=title,
            owner=call.user,
            started=now,
            ends=now + timedelta(seconds=world.pace.job_seconds),
            effects=[(target, UNKNOWN_EFFECT) for target in targets],
        )
        self._jobs[job.id] = job
        wanted = _wanted_failure(world, call)

        def end() -> None:
            try:
                if wanted is not None:
                    raise wanted
                job.effects += [(made, CREATED) for made in work()]
            except JobFailedError as failure:
                job.failure = failure
            except (HypercbtError, OSError, ValueError) as error:
                # Such as a ninth checkpoint, or a file that somebody took away: it is the job's, nobody else's.
                job.failure = JobFailedError(str(error))
            finally:
                job.over = True
                lasting()

        def vanish() -> None:
            self._jobs.pop(job.id, None)

        world.agenda.at(job.ends, end)
        world.agenda.at(
            job.ends + timedelta(seconds=world.pace.removal_seconds), vanish
        )
        return {"Job": job.ref, "ReturnValue": 4096}

    def hold(
        self,
        call: Call,
        machine: Machine,
        *,
        type: int,
        title: str,
        work: Callable[[], Sequence[Ref]],
        busy: int = 0,
        then: Callable[[], None] = lambda: None,
    ) -> dict[str, Cim]:
        """Start one that keeps others from a virtual machine, planned or standing, until it is over.

        They get 32775 (quirk Q27, [V*]; of planned ones [I]).

        Args:
            call: As for `start`.
            machine: Which one; nothing else may be done to it now.
            type: As for `start`.
            title: As for `start`.
            work: As for `start`.
            busy: The `OperationalStatus` of the machine meanwhile. Planned ones show none.
            then: Is done when others may have it again.
        """
        idle(self._world, machine)
        held = machine.work_key  # realizing changes it
        self._world.busy[held] = busy

        def over() -> None:
            self._world.busy.pop(held, None)
            then()

        return self.start(
            call,
            type=type,
            title=title,
            targets=[machine_ref(machine)],
            work=work,
            lasting=over,
        )

    def all(self, class_name: str) -> list[Job]:
        """The jobs of a class."""
        return [job for job in self._jobs.values() if job.class_name == class_name]

    def every(self) -> list[Job]:
        """The jobs of both classes."""
        return list(self._jobs.values())

    def find(self, id: str, class_name: str | None = None) -> Job | None:
        """One of them, or None where it never was or is gone by now (quirk Q4, [V*])."""
        job = self._jobs.get(id.upper())
        return job if job and class_name in (None, job.class_name) else None

    def thing(self, job: Job) -> Thing:
        """The instance."""
        world = self._world
        now = world.clock.now()
        state = self._state(job, now)
        quiet = world.quirks.bland_job_errors
        reason = "" if job.failure is None else str(job.failure)
        elapsed = (job.ends if job.over else now) - job.started
        values: dict[str, Cim] = {
            "InstanceID": job.id,
            "Caption": world.words[job.title],
            "Description": world.words[job.title],
            "ElementName": world.words[job.title],
            "Name": world.words[job.title],
            "InstallDate": job.started,
            "OperationalStatus": (2,) if job.failure is None else (6,),
            "StatusDescriptions": (world.words["fine"],),
            "Status": "OK",
            "HealthState": 5,
            "JobState": state,
            "JobStatus": world.words[_WORDS[state]],
            "JobType": job.type,
            "JobRunTimes": 1,
            "LocalOrUtcTime": 2,
            "Notify": None,
            "Owner": job.owner,
            "Priority": 0,
            "PercentComplete": 100 if job.over else min(99, _percent(job, now)),
            "DeleteOnCompletion": False,
            "ErrorCode": 0 if job.failure is None else job.failure.code,
            "ErrorDescription": world.words["bland"] if quiet and reason else reason,
            "ErrorSummaryDescription": world.words["failed"] if reason else "",
            "TimeSubmitted": job.started,
            "StartTime": job.started,
            "ScheduledStartTime": NEVER,
            "ElapsedTime": elapsed,
            "TimeOfLastStateChange": job.ends if job.over else job.started,
            "TimeBeforeRemoval": timedelta(seconds=world.pace.removal_seconds),
            "Cancellable": False,
        }
        if job.class_name == STORAGE:
            values |= {"JobCompletionStatusCode": 0, "Child": None, "Parent": None}
        return Thing(job.class_name, values)

    def errors(self, call: Call) -> dict[str, Cim]:
        """Answer `GetErrorEx`: the reason, also where the job itself says little."""
        job = self.find(call.selectors.get("InstanceID", ""), call.class_name)
        if job is None:
            raise no_object(self._world)
        if job.failure is None:
            return {"Errors": (), "ReturnValue": 0}
        code = str(job.failure.code)
        errors = tuple(
            Thing(
                "Msvm_Error",
                {
                    "ErrorType": 4,
                    "Message": reason,
                    "MessageID": code,
                    "PerceivedSeverity": 5,
                    "ErrorSource": job.id,
                    "CIMStatusCode": 1,
                },
            )
            for reason in job.failure.reasons
        )
        return {"Errors": errors, "ReturnValue": 0}

    def _state(self, job: Job, now: datetime) -> int:
        if job.over:
            if job.failure is not None:
                return FAILED
            return WARNED if self._world.quirks.jobs_end_with_warnings else DONE
        # New, starting, running: a job passes them all (quirk Q1, [V*]).
        return (NEW, STARTING, RUNNING, RUNNING)[min(3, _percent(job, now) // 25)]


_WORDS: Mapping[int, str] = {
    NEW: "new",
    STARTING: "new",
    RUNNING: "running",
    DONE: "done",
    FAILED: "failed",
    WARNED: "warned",
}


def _percent(job: Job, now: datetime) -> int:
    length = (job.ends - job.started).total_seconds()
    return int((now - job.started).total_seconds() * 100 / length) if length else 0


def _wanted_failure(world: World, call: Call) -> JobFailedError | None:
    if call.fail_job is not None:
        code, text = call.fail_job
        # `ErrorCode` has 16 bits; what Windows calls an error often has 32, and goes into the text.
        return JobFailedError(text, code if 0 < code <= 0xFFFF else 32768)
    misfits = call.misfits
    if (
        misfits
    ):  # a property of the wrong type: the job fails, the call does not (Q12, [V*])
        return JobFailedError(f"{world.words['misfit']}: {', '.join(misfits)}")
    return None
