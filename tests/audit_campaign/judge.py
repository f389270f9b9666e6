"""What must be true of every life, whatever was missed in it."""

from audit_campaign.life import Life
from hypercbt.cli.stats import exit_code


def judge(life: Life) -> None:
    """See that the promises of the audit were kept.

    Raises:
        AssertionError: One was not.
    """
    _in_time(life)
    _told(life)
    assert life.unnamed() == []


def _in_time(life: Life) -> None:
    """Whatever stands is found within a period, the run that missed it included."""
    assert life.overdue() == []
    for location, chronicle in life.chronicles.items():
        late = [
            entry for entry in chronicle.found if entry[2] - entry[1] >= life.period
        ]
        assert not late, f"{location}: {late}"


def _told(life: Life) -> None:
    """A run that found something says so, and no other does."""
    for run, done in enumerate(life.done):
        found = sum(
            until == run
            for chronicle in life.chronicles.values()
            for _, _, until in chronicle.found
        )
        stats = done.point.stats
        assert stats.missed_chunks == found
        assert exit_code(stats) == (5 if found else 0), stats.findings
