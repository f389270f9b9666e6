"""The model of the guest's files is what a run believes, so it is tried without a guest."""

import random
from pathlib import Path

import pytest

from guest.checks import differences
from guest.workload import GONE, Workload

SUM = "0" * 64


def obedient(order: str) -> str:
    """Answer as the guest does when all goes well."""
    kind, name = order.split()[:2]
    return {
        "new": f"durable {name} {SUM}",
        "patch": f"durable {name} {SUM}",
        "delete": f"gone {name}",
        "loose": f"loose {name}",
        "trim": f"trimmed {name}",
    }[kind]


def test_the_same_seed_gives_the_same_orders() -> None:
    runs = []
    for _ in range(2):
        workload = Workload(random.Random(7))
        orders = []
        for _ in range(200):
            orders.append(workload.next_order())
            workload.answered(obedient(orders[-1]))
        runs.append(orders)
    assert runs[0] == runs[1]
    assert {order.split()[0] for order in runs[0]} == {
        "new",
        "patch",
        "delete",
        "loose",
        "trim",
    }


def test_a_file_is_unknown_from_its_order_until_its_answer() -> None:
    workload = Workload(random.Random(1), files=1)
    seen: set[str] = set()
    while seen < {"new", "patch", "delete"}:
        order = workload.next_order()
        if order.startswith(("new", "patch", "delete")):
            assert "f0" not in workload.must_hold()
        workload.answered(obedient(order))
        kind = order.split()[0]
        seen.add(kind)
        if kind in ("new", "patch"):
            assert workload.must_hold()["f0"] == SUM
        elif kind == "delete":
            assert workload.must_hold()["f0"] == GONE


def test_a_power_cut_leaves_what_was_answered_and_forgets_the_rest() -> None:
    workload = Workload(random.Random(3))
    for _ in range(50):
        workload.answered(obedient(workload.next_order()))
    before = workload.must_hold()
    names = {workload.next_order().split()[1] for _ in range(4)}
    workload.power_cut()
    assert workload.unanswered == 0
    assert workload.must_hold() == {
        name: held for name, held in before.items() if name not in names
    }


@pytest.mark.parametrize(
    "answer", ["failed new f0", "durable f1 " + SUM, "durable f0", "gone f0"]
)
def test_an_answer_to_another_order_is_refused_and_the_file_stays_unknown(
    answer: str,
) -> None:
    workload = Workload(random.Random(1), files=1)
    while not workload.next_order().startswith("new"):
        workload.power_cut()
    with pytest.raises(ValueError, match="was told 'new f0"):
        workload.answered(answer)
    assert "f0" not in workload.must_hold()
    assert workload.unanswered == 1


def test_two_disks_differ_in_the_blocks_that_hold_other_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.raw", tmp_path / "second.raw"
    first.write_bytes(bytes(3 << 20))
    changed = bytearray(3 << 20)
    changed[4095] = changed[4096] = changed[(2 << 20) + 1] = 1
    second.write_bytes(changed)
    assert list(differences(first, second)) == [(0, 8192), (2 << 20, 4096)]
    assert list(differences(second, second)) == []
