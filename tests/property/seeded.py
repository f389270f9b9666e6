"""State machines that draw the same again where the seed is the same."""

from typing import Any

from hypothesis import seed
from hypothesis.stateful import RuleBasedStateMachine


def seeded(machine: type[RuleBasedStateMachine], number: int) -> Any:
    """Return the test case of a machine that draws from a seed.

    The machine bears the seed: Hypothesis passes over one that its test case bears, and says nothing.
    """
    return seed(number)(machine).TestCase
