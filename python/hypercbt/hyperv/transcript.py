"""What was said with a host, in a file: recorded with names and secrets removed, and played back in a test.

A transcript is JSON, one object a line. The first says what it is; each other one is an exchange: what was asked (for
people), the request, and the answer or the error in its place. Credentials are no part of an envelope, and so of no
transcript; `hypercbt.hyperv.pseudonyms` says what becomes of names.

So whoever has a Windows host can turn what it does into a fixture: record, read the file through, and let a test play
it back.
"""

import json
import os
import re
from collections import deque
from pathlib import Path
from typing import Any

from hypercbt.errors import HostReplyError, HyperVError, LostReplyError
from hypercbt.hyperv.conversation import Channel
from hypercbt.hyperv.envelope import Request
from hypercbt.hyperv.pseudonyms import Pseudonyms

_FORMAT = "hypercbt transcript"
_VERSION = 1
_RELATES_TO = re.compile(r"(<(?:\w+:)?RelatesTo[^>]*>)[^<]*")
# What a request says of our own side, and may differ between recording and playing.
_OURS = re.compile(
    r"<(?P<name>(?:\w+:)?(?:MessageID|To|OperationTimeout|MaxEnvelopeSize|Locale|DataLocale))\b[^>]*?"
    r"(?:/>|>[^<]*</(?P=name)>)"
)


class Recorder:
    """A channel that writes down what goes through it.

    Args:
        channel: What carries the envelopes. Closed with this.
        path: A new file, readable by its owner alone: even without names it tells of a host.

    Raises:
        FileExistsError: The file is there already.
    """

    def __init__(self, channel: Channel, path: Path) -> None:
        self._channel = channel
        self._pseudonyms = Pseudonyms()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")
        self._write({"format": _FORMAT, "version": _VERSION})

    @property
    def url(self) -> str:
        """The endpoint."""
        return self._channel.url

    def send(self, request: Request) -> bytes:
        """Carry a request, and write it down with what came of it."""
        entry = {
            "what": request.what,
            "request": self._pseudonyms.envelope(request.text),
        }
        try:
            answer = self._channel.send(request)
        except HyperVError as error:
            # The text may name the host, and the way to it.
            self._write({**entry, "error": type(error).__name__})
            raise
        text = self._pseudonyms.envelope(answer.decode("utf-8", "replace"))
        self._write({**entry, "answer": text})
        return answer

    def close(self) -> None:
        """Let go of the connection and the file."""
        try:
            self._file.close()
        finally:
            self._channel.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()  # what led to a crash is what one wants to read


class Replay:
    """A channel that answers from a transcript.

    A request gets the answer of the same request in the transcript, the first that was not given out yet: so a job
    that was polled three times is seen in three states. Message ids, time-outs and the endpoint do not count.

    Args:
        path: The transcript.

    Raises:
        HostReplyError: It is none.
    """

    def __init__(self, path: Path) -> None:
        self._answers: dict[str, deque[dict[str, str]]] = {}
        try:
            title, *lines = path.read_text("utf-8").splitlines()
            header = json.loads(title)
            if header["format"] != _FORMAT or header["version"] != _VERSION:
                raise ValueError
            for line in lines:
                entry = json.loads(line)
                key = _comparable(entry["request"])
                self._answers.setdefault(key, deque()).append(entry)
        except (ValueError, KeyError, TypeError) as error:
            message = f"{path} is no transcript"
            raise HostReplyError(message) from error

    @property
    def url(self) -> str:
        """The endpoint, which is none."""
        return "http://transcript.invalid:5985/wsman"

    @property
    def unasked(self) -> tuple[str, ...]:
        """What was asked in the transcript, and not (yet) asked of it."""
        return tuple(
            entry["what"] for entries in self._answers.values() for entry in entries
        )

    def send(self, request: Request) -> bytes:
        """Return what the host said when it was asked this."""
        answers = self._answers.get(_comparable(request.text))
        if not answers:
            message = f"the transcript has no (further) answer to this {request.what}"
            raise HostReplyError(message)
        entry = answers.popleft()
        if "answer" not in entry:
            message = f"in the transcript, {request.what} ended with {entry['error']}"
            raise LostReplyError(message)
        return _RELATES_TO.sub(
            lambda found: found[1] + request.message_id, entry["answer"]
        ).encode()

    def close(self) -> None:
        """Nothing to let go of."""


def _comparable(text: str) -> str:
    """Return of a request what tells it from others."""
    return re.sub(r">\s+<", "><", _OURS.sub("", text))
