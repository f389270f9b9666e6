"""A life that was drawn once can be drawn again by its number."""

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from property.seeded import seeded


def life(number: int) -> list[int]:
    drawn: list[int] = []

    class Machine(RuleBasedStateMachine):
        @rule(value=st.integers())
        def draw(self, value: int) -> None:
            drawn.append(value)

    case = seeded(Machine, number)
    case.settings = settings(
        max_examples=5,
        stateful_step_count=5,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
    )
    case("runTest").runTest()
    return drawn


def test_one_seed_draws_one_life_and_another_seed_another() -> None:
    assert life(5) == life(5)
    assert life(5) != life(6)
