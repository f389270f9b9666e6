import errno
import json
import stat
import sys
from pathlib import Path

import pytest

from hypercbt.errors import HostReplyError, LostReplyError
from hypercbt.hyperv.conversation import Conversation
from hypercbt.hyperv.transcript import Recorder, Replay
from hypercbt.hyperv.values import Reference
from unit.hyperv.channel import (
    Said,
    ScriptedChannel,
    fault,
    instance,
    machine,
    output,
    page,
)

SNAPSHOTS = Reference(
    "Msvm_VirtualSystemSnapshotService",
    {"CreationClassName": "Msvm_VirtualSystemSnapshotService"},
)


def recording(path: Path, *answers: Said) -> Conversation:
    channel = Recorder(ScriptedChannel(list(answers)), path)
    return Conversation("hv01", channel, sleep=lambda _: None)


def replaying(path: Path) -> Conversation:
    return Conversation("anywhere", Replay(path), sleep=lambda _: None)


class FullDisk:
    def close(self) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")


def test_a_transcript_that_cannot_be_ended_holds_no_connection(tmp_path: Path) -> None:
    channel = ScriptedChannel([])
    recorder = Recorder(channel, tmp_path / "transcript")
    recorder._file.close()
    recorder._file = FullDisk()  # type: ignore[assignment]
    with pytest.raises(OSError, match="no space left"):
        recorder.close()
    assert channel.closed


def story(session: Conversation, name: str) -> list[object]:
    """What a program asks that takes each next step from what it was told."""
    told: list[object] = []
    for found in session.query("Msvm_ComputerSystem", where={"ElementName": name}):
        told.append(found.properties["EnabledState"])
        vm = Reference("Msvm_ComputerSystem", {"Name": str(found.properties["Name"])})
        told.append(session.get(vm) is not None)
        told.append(session.get(vm) is not None)
        answer = session.invoke(SNAPSHOTS, "CreateSnapshot", {"AffectedSystem": vm})
        told.append(answer.return_value)
    return told


STORY: list[Said] = [
    page(
        instance(
            "Msvm_ComputerSystem",
            "<p:ElementName>Web01</p:ElementName><p:EnabledState>2</p:EnabledState>"
            "<p:Name>4FE342F3-0A6E-4C8E-9C0B-6B2C7E5D8F10</p:Name>",
        ),
        kind="Enumerate",
    ),
    machine("4FE342F3-0A6E-4C8E-9C0B-6B2C7E5D8F10"),
    fault("a:DestinationUnreachable", 2150858752),
    output("CreateSnapshot", value=32775),
]


def test_what_was_recorded_can_be_played_back_under_other_names(tmp_path: Path) -> None:
    path = tmp_path / "transcript"
    with recording(path, *STORY) as session:
        told = story(session, "Web01")

    with replaying(path) as session:
        # The machine's name was the first word to be replaced after those of the endpoint.
        name = next(
            n for n in (f"word{i}" for i in range(1, 9)) if f"'{n}'" in path.read_text()
        )
        assert story(session, name) == told == [2, True, False, 32775]


def test_no_name_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "transcript"
    with recording(path, *STORY) as session:
        story(session, "Web01")

    text = path.read_text().lower()
    for gone in ("web01", "hv01", "4fe342f3", "geht"):
        assert gone not in text


@pytest.mark.skipif(sys.platform == "win32", reason="no such modes on Windows")
def test_the_file_is_its_owners_alone_and_nothing_is_overwritten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "transcript"
    recording(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        recording(path)


def test_a_broken_connection_is_recorded_and_breaks_again(tmp_path: Path) -> None:
    path = tmp_path / "transcript"
    lost = LostReplyError("to hv01 at 10.0.0.1")
    with recording(path, lost) as session, pytest.raises(LostReplyError):
        session.invoke(SNAPSHOTS, "DestroySnapshot", {})

    assert "10.0.0.1" not in path.read_text()
    with replaying(path) as session, pytest.raises(LostReplyError):
        session.invoke(SNAPSHOTS, "DestroySnapshot", {})


def test_each_exchange_is_in_the_file_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "transcript"
    session = recording(path, *STORY)

    list(session.enumerate("Msvm_ComputerSystem"))

    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {"format": "hypercbt transcript", "version": 1}
    assert second["what"] == "Enumerate Msvm_ComputerSystem"
    session.close()


def test_the_same_question_gets_the_answers_in_their_order_and_no_more(
    tmp_path: Path,
) -> None:
    path = tmp_path / "transcript"
    vm = Reference("Msvm_ComputerSystem", {"Name": "A"})
    with recording(path, machine("A"), fault("a:DestinationUnreachable", 1)) as session:
        session.get(vm)
        session.get(vm)

    replay = Replay(path)
    with Conversation("x", replay, sleep=lambda _: None) as session:
        renamed = Reference("Msvm_ComputerSystem", {"Name": "word2"})
        assert list(replay.unasked) == ["Get Msvm_ComputerSystem"] * 2
        assert session.get(renamed) is not None
        assert session.get(renamed) is None
        with pytest.raises(HostReplyError, match="no \\(further\\) answer"):
            session.get(renamed)
        with pytest.raises(HostReplyError, match="no \\(further\\) answer"):
            session.get(vm)
    assert not replay.unasked


@pytest.mark.parametrize(
    "text", ["", "{}", "x", '{"format": "other", "version": 1}', "[]"]
)
def test_what_is_no_transcript_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "transcript"
    path.write_text(text)

    with pytest.raises(HostReplyError, match="no transcript"):
        Replay(path)
