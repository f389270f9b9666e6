"""Who asks: passwords, and what is refused before anything is sent."""

from pathlib import Path

import pytest

from hypercbt.errors import (
    HostAccessDeniedError,
    HostAuthenticationError,
)
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab.wire.server import WireOptions, WireServer
from integration.hyperv.wsman.asking import LAB
from integration.hyperv.wsman.test_asking import WEB01
from lab.wire.tiny import Tiny


def test_a_user_without_rights_is_told_so(tiny: Tiny) -> None:
    options = WireOptions(denied_users=frozenset(["lab"]))
    with (
        WireServer(tiny, users={"lab": "lab"}, options=options) as server,
        WsmanSession.open(server.url, credentials=LAB) as session,
        pytest.raises(HostAccessDeniedError),
    ):
        session.get(WEB01)


@pytest.mark.parametrize("user", ["lab", "nobody"])
def test_a_wrong_password_is_refused_once_and_not_tried_again(
    tiny: Tiny, server: WireServer, user: str
) -> None:
    secret = "pass phrase 7"
    with WsmanSession.open(
        server.url, credentials=Credentials(user, secret)
    ) as session:
        for _ in range(2):
            with pytest.raises(HostAuthenticationError, match=user) as caught:
                session.get(WEB01)
            assert secret not in str(caught.value)
    assert server.counts["*"] == 0


def test_basic_over_http_is_refused_before_anything_is_sent(server: WireServer) -> None:
    with pytest.raises(ValueError, match="in the clear"):
        WsmanSession.open(server.url, credentials=LAB, transport="basic")


def test_what_cannot_be_done_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    for credentials, transport, message in (
        (Credentials("lab"), "ntlm", "a user and a password"),
        (Credentials("lab", ""), "basic", "a user and a password"),
        (Credentials(certificate=tmp_path), "certificate", "file and that of its key"),
    ):
        with pytest.raises(HostAuthenticationError, match=message):
            WsmanSession.open(
                "https://hv01",
                credentials=credentials,
                transport=transport,  # type: ignore[arg-type]
            )
    with pytest.raises(ValueError, match="none of"):
        WsmanSession.open("hv01", credentials=LAB, transport="telnet")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seconds"):
        WsmanSession.open("hv01", credentials=LAB, timeout_seconds=0)


@pytest.mark.parametrize("url", ["https://hv01", "http://hv01"])
def test_a_file_that_is_not_there_is_said_before_anything_is_sent(
    tmp_path: Path, url: str
) -> None:
    there, missing = tmp_path / "there.pem", tmp_path / "missing.pem"
    there.touch()
    with pytest.raises(ValueError, match=r"missing\.pem"):
        WsmanSession.open(url, credentials=LAB, ca=missing)
    for certificate, key in ((missing, there), (there, missing)):
        proof = Credentials(certificate=certificate, key=key)
        with pytest.raises(ValueError, match=r"missing\.pem"):
            WsmanSession.open("https://hv01", credentials=proof)


@pytest.mark.parametrize(
    ("credentials", "transport", "extra"),
    [
        (Credentials(), "auto", "hypercbt\\[kerberos\\]"),
        (Credentials(), "kerberos", "hypercbt\\[kerberos\\]"),
        (LAB, "credssp", "pywinrm\\[credssp\\]"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
    credentials: Credentials,
    transport: str,
    extra: str,
) -> None:
    monkeypatch.setattr("hypercbt.hyperv.wsman.HAVE_KERBEROS", False)
    monkeypatch.setattr("hypercbt.hyperv.wsman.HAVE_CREDSSP", False)

    with pytest.raises(HostAuthenticationError, match=extra):
        WsmanSession.open("hv01", credentials=credentials, transport=transport)  # type: ignore[arg-type]
