"""What a host has done: which thing a job made, and what became of a request whose answer was lost.

What was made is told by `Msvm_AffectedJobElement`: rows of all jobs of the last minutes, and of ours the one with
effect 5, which is there only when the job is done (hyperv-rct 1.3). Where it tells nothing, what is there now and
was not before is ours if it is one; of two, neither is.

A request whose answer was lost is not sent again: we look. The host may be about to begin, so a quiet host is looked
at for some seconds before nothing is taken for an answer.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol, TypeVar

from hypercbt.errors import (
    CheckpointError,
    HostFaultError,
    HostJobError,
    HyperVError,
    JobUnfinishedError,
    JobVanishedError,
    LostReplyError,
)
from hypercbt.hyperv import jobs
from hypercbt.hyperv.clock import Clock, Pauses
from hypercbt.hyperv.reading import same, several
from hypercbt.hyperv.session import Session
from hypercbt.hyperv.values import Reference

CREATED = 5
"""Among `ElementEffects`. The same job has rows of other effects, such as 0 for the machine."""
QUIET_SECONDS = 10.0
"""So long nothing may be seen of a request before it counts as not arrived."""
ATTEMPTS = 3
"""How often something is deleted that provably still stands."""

NOBODY_KNOWS = (LostReplyError, JobVanishedError)
"""What says nothing of whether something was done."""


class Identified(Protocol):
    """Something that a host has, with its `InstanceID`."""

    @property
    def id(self) -> str:
        """Its `InstanceID`, as the host spells it."""
        ...


Thing = TypeVar("Thing", bound=Identified)
Found = TypeVar("Found")


def made_by(session: Session, job: Reference, class_name: str) -> frozenset[str]:
    """Return the ids, in lower case, of what a job that is done has created of one class."""
    return frozenset(_created(session, job, class_name))


def only_new(found: Sequence[Thing], named: Collection[str], what: str) -> Thing:
    """Return the one that is ours among those that are new.

    Args:
        found: What is there now and was not before.
        named: The ids, in lower case, that the host says it made; maybe none.
        what: What was made, for messages.

    Raises:
        CheckpointError: None is, or nobody can tell which.
    """
    ours = [one for one in found if one.id.lower() in named] if named else found
    if len(ours) == 1:
        return ours[0]
    if not ours:
        raise CheckpointError(
            f"the host says that it is done, and there is no {what} that was not there before"
        )
    ids = ", ".join(sorted(one.id for one in ours))
    raise CheckpointError(
        f"there are {len(ours)} of which each may be {what}, and ours cannot be told: {ids}"
    )


def look_for(
    look: Callable[[bool], Found | None],
    busy: Callable[[], bool],
    error: HyperVError,
    clock: Clock,
) -> Found:
    """Return what is seen, looking for as long as the host works on it, and some seconds more.

    Args:
        look: Told whether the host is at work; returns None where nothing is to be seen.
        busy: Whether the host is at work; asked before each look, so that what ends in between is not missed.
        error: Raised where nothing is seen in the end.
        clock: By whose clock.
    """
    pauses = Pauses(jobs.JOB_SECONDS, clock)
    quiet_since = clock.now()
    while True:
        at_work = busy()
        found = look(at_work)
        if found is not None:
            return found
        if at_work:
            quiet_since = clock.now()
        elif clock.now() - quiet_since >= QUIET_SECONDS:
            raise error
        if not pauses.pause():
            raise error


def delete(
    session: Session,
    thing: Reference,
    service: Reference,
    method: str,
    parameter: str,
    *,
    what: str,
    busy: Callable[[], bool],
    on_poll: jobs.OnPoll | None,
    clock: Clock,
) -> None:
    """Delete something and see that it is gone. What is gone already is no error.

    Where an answer is lost and the thing still stands after some quiet seconds, it is asked for again: a thing that
    has an id is not deleted twice.
    """
    error: HyperVError | None = None
    for _ in range(ATTEMPTS):
        if session.get(thing) is None:
            return
        error = HostJobError(f"the host says that it did {what}, and it is still there")
        try:
            jobs.run(
                session,
                service,
                method,
                {parameter: thing},
                what=what,
                on_poll=on_poll,
                clock=clock,
            )
        except NOBODY_KNOWS as lost:
            error = lost
        except JobUnfinishedError:
            raise
        except (HostJobError, HostFaultError):
            if session.get(thing) is None:  # somebody was faster
                return
            raise
        try:
            look_for(lambda _: session.get(thing) is None or None, busy, error, clock)
        except NOBODY_KNOWS:
            continue
        return
    assert error is not None
    raise error


def _created(session: Session, job: Reference, class_name: str) -> Iterator[str]:
    job_id = job.selectors.get("InstanceID", "")
    for row in session.enumerate("Msvm_AffectedJobElement"):
        doer = row.properties.get("AffectingElement")
        made = row.properties.get("AffectedElement")
        if not isinstance(doer, Reference) or not isinstance(made, Reference):
            continue  # of another job: half of it may be gone by now
        if not same(doer.selectors.get("InstanceID", ""), job_id):
            continue
        if CREATED not in several(row.properties, "ElementEffects"):
            continue
        if same(made.class_name, class_name) and "InstanceID" in made.selectors:
            yield made.selectors["InstanceID"].lower()
