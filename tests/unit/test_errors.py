"""What exceptions promise their callers."""

import inspect

import pytest

from hypercbt import errors


def exceptions() -> list[type[errors.HypercbtError]]:
    members = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    return [c for c in members if issubclass(c, errors.HypercbtError)]


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_has_an_exit_code_of_the_design_and_keeps_its_message(
    kind: type[errors.HypercbtError],
) -> None:
    assert kind.exit_code in {1, 3, 4}
    assert isinstance(kind.retryable, bool)
    assert str(kind("what happened")) == "what happened"


@pytest.mark.parametrize(
    ("kind", "exit_code", "retryable"),
    [
        (errors.SourceError, 1, False),
        (errors.VhdxCorruptError, 3, False),
        (errors.SourceChangedError, 1, True),
        (errors.IntegrityError, 3, False),
        (errors.RepositoryUnavailableError, 4, True),
        (errors.RepositoryFullError, 4, True),
        (errors.RepositoryNotFoundError, 4, False),
        (errors.PointNotFoundError, 1, False),
        (errors.HostUnreachableError, 4, True),
        (errors.TargetExistsError, 1, False),
    ],
)
def test_a_caller_can_tell_try_again_from_your_data_is_bad(
    kind: type[errors.HypercbtError], exit_code: int, retryable: bool
) -> None:
    assert (kind.exit_code, kind.retryable) == (exit_code, retryable)


def test_a_missing_point_is_a_lookup_error_too() -> None:
    assert issubclass(errors.PointNotFoundError, LookupError)
    assert issubclass(errors.AmbiguousPointError, errors.PointNotFoundError)


def test_an_unfinished_run_is_a_warning_and_no_error() -> None:
    assert issubclass(errors.UnfinishedWarning, UserWarning)
