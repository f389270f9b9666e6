"""No test sees what the caller's shell has set for hypercbt."""

import pytest


@pytest.fixture(autouse=True)
def no_repository_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYPERCBT_REPOSITORY", raising=False)
