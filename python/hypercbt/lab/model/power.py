"""Virtual machines on and off, as a client asks for it: `Msvm_ComputerSystem.RequestStateChange`."""

from hypercbt.lab.model.jobs import MODIFY, Jobs
from hypercbt.lab.model.names import COMPUTER, machine_ref, meant
from hypercbt.lab.model.state import OFF, PAUSED, RUNNING, SAVED
from hypercbt.lab.model.world import (
    INVALID_PARAMETER,
    RefusedError,
    World,
    idle,
    no_object,
)
from hypercbt.lab.wire.provider import Call, Cim, Ref

_STATES = {2: RUNNING, 3: OFF, 6: SAVED, 9: PAUSED, 32768: PAUSED, 32769: SAVED}
"""What `RequestedState` leads to; both families of numbers are in use [V]."""


def request_state_change(world: World, jobs: Jobs, call: Call) -> dict[str, Cim]:
    """Start a job that changes the state."""
    name = meant(Ref(COMPUTER, call.selectors), COMPUTER, "Name")
    machine = world.store.machine(name) if name else None
    if machine is None:
        raise no_object(world)
    wanted = call.arguments.get("RequestedState")
    if not isinstance(wanted, int) or wanted not in _STATES:
        raise RefusedError(INVALID_PARAMETER)
    idle(world, machine)

    def work() -> list[Ref]:
        machine.enabled = _STATES[wanted]
        world.store.save(machine)
        return []

    return jobs.start(
        call, type=MODIFY, title="modify", targets=[machine_ref(machine)], work=work
    )
