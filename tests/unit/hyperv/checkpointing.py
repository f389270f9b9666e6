"""A scripted host with one machine, and what the tests of its checkpoints ask of it."""

from collections.abc import Callable, Mapping

from hypercbt.errors import (
    LostReplyError,
)
from hypercbt.hyperv.checkpoints import (
    Checkpoint,
    Level,
    create_checkpoint,
    list_checkpoints,
)
from hypercbt.hyperv.machines import find_vm
from hypercbt.hyperv.values import Answer, Instance, Value
from unit.hyperv.scripted import (
    SNAPSHOT,
    WEB01,
    ManualClock,
    ScriptedSession,
    host_system,
    vm,
)

OTHER = "5AA95407-0000-4000-8000-00000000000B"
POINT = "4E4E4E4E-0000-4000-8000-000000000001"
LOST = LostReplyError("the connection broke")
STANDING = f"Microsoft:{OTHER}"


def a_host() -> ScriptedSession:
    return ScriptedSession(host_system(), *vm(WEB01, "web01"))


def then(
    session: ScriptedSession, answer: Answer | Exception, *made: Instance
) -> Callable[[Mapping[str, Value]], Answer]:
    """A method that makes something, and answers (or breaks the connection)."""

    def step(_: Mapping[str, Value]) -> Answer:
        session.add(*made)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return step


def create(
    session: ScriptedSession,
    before: tuple[str, ...] = (),
    level: Level = "application",
    clock: ManualClock | None = None,
) -> Checkpoint:
    machine = find_vm(session, "web01")
    return create_checkpoint(
        session, machine, level=level, before=before, clock=clock or ManualClock()
    )


def the_checkpoint(session: ScriptedSession, id: str = SNAPSHOT) -> Checkpoint:
    (found,) = [
        one
        for one in list_checkpoints(session, WEB01.lower())
        if one.id == f"Microsoft:{id}"
    ]
    return found
