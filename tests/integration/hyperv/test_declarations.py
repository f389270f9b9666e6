"""The client's classes and the lab's, written by two hands after the same reference, must not contradict each other."""

import pytest

from hypercbt.hyperv.classes import CLASSES, Declared
from hypercbt.lab.model.classes import CLASSES as LAB
from hypercbt.lab.wire.provider import Declared as LabDeclared

SHARED = sorted(CLASSES.keys() & LAB.keys())


def differences(
    where: str, ours: dict[str, Declared], theirs: dict[str, LabDeclared]
) -> list[str]:
    return [
        f"{where}.{name}: {kind} and {theirs[name]}"
        for name, kind in ours.items()
        if name in theirs
        and (kind.type.name, kind.array, kind.embedded)
        != (theirs[name].type.name, theirs[name].array, theirs[name].embedded)
    ]


@pytest.mark.parametrize("name", SHARED)
def test_a_property_and_a_parameter_have_one_type(name: str) -> None:
    ours, theirs = CLASSES[name], LAB[name]
    found = differences(name, dict(ours.properties), dict(theirs.properties))
    for method, kinds in ours.methods.items():
        if method in theirs.methods:
            other = theirs.methods[method]
            found += differences(method, dict(kinds.inputs), dict(other.inputs))
            found += differences(method, dict(kinds.outputs), dict(other.outputs))
            assert kinds.inputs.keys() <= other.inputs.keys(), method

    assert found == []
    assert ours.namespace == theirs.namespace
    if ours.keys and theirs.keys:
        assert sorted(ours.keys) == sorted(theirs.keys)


def test_what_is_compared_is_most_of_what_there_is() -> None:
    assert len(SHARED) >= 15
