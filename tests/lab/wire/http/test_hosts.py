"""Hosts that close, come back, speak TLS, or are many in one process."""

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from hypercbt.lab.wire.auth import Authority
from hypercbt.lab.wire.listener import Listener
from hypercbt.lab.wire.server import WireOptions, WireServer
from lab.wire.certificates import tls
from lab.wire.http.posting import BASIC, post, raw
from lab.wire.http.test_sealing import sealed_client
from lab.wire.test_other_clients import winrm_get
from lab.wire.tiny import Tiny


def test_who_speaks_no_tls_to_a_tls_host_is_nobody_s_mistake(tmp_path: Path) -> None:
    with WireServer(Tiny(), users={}, tls=tls(tmp_path)) as server:
        with contextlib.suppress(ConnectionResetError):
            raw(server, b"POST /wsman HTTP/1.1\r\n\r\n")
        server.close()
        assert server.errors == ()


def serving() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("hypercbt-lab")]


def test_a_client_that_never_begins_its_handshake_holds_up_nobody(
    tmp_path: Path,
) -> None:
    with (
        WireServer(Tiny(), users={"lab": "geheim"}, tls=tls(tmp_path)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60),
    ):
        trusted = str(tmp_path / "host.pem")
        assert b"JobState" in winrm_get(server, transport="ntlm", ca_trust_path=trusted)
        server.close()
        assert serving() == []


def test_a_connection_whose_thread_comes_late_does_not_outlive_its_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that was accepted right before the close, on a busy machine."""
    server = WireServer(Tiny(), users={})
    began, closes = threading.Event(), threading.Event()
    opened, drop = Listener.opened, Listener.drop_connections

    def late(listener: Listener, connection: socket.socket) -> None:
        began.set()
        closes.wait(60)
        opened(listener, connection)

    def closing(listener: Listener) -> None:
        drop(listener)
        closes.set()

    monkeypatch.setattr(Listener, "opened", late)
    monkeypatch.setattr(Listener, "drop_connections", closing)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60):
        assert began.wait(60)
        server.close()
        assert serving() == []


def test_handshakes_of_two_hosts_never_mix_their_users() -> None:
    seen: list[str] = []
    second_began = threading.Event()

    class First:
        def step(self, token: bytes) -> None:
            before = os.environ["NTLM_USER_FILE"]
            thread.start()
            # It must not begin. Where it did, this would see it long before.
            seen.append(f"mixed: {second_began.wait(0.1)}")
            assert os.environ["NTLM_USER_FILE"] == before

    class Second:
        def step(self, token: bytes) -> None:
            second_began.set()
            seen.append("second")

    with (
        Authority({"a": "b"}, ("negotiate",), "A", "a") as one,
        Authority({"a": "c"}, ("negotiate",), "B", "b") as other,
    ):
        thread = threading.Thread(target=lambda: other.step(cast(Any, Second()), b""))
        one.step(cast(Any, First()), b"")
        thread.join(60)
    assert seen == ["mixed: False", "second"]
    assert "NTLM_USER_FILE" not in os.environ


def test_two_hosts_in_one_process_have_each_their_own_users() -> None:
    with (
        WireServer(Tiny(), users={"lab": "geheim"}) as one,
        WireServer(Tiny(), users={"lab": "anders"}) as other,
    ):
        assert b"JobState" in winrm_get(one, transport="ntlm")
        assert b"JobState" in winrm_get(other, transport="ntlm", password="anders")
        errors = pytest.importorskip("winrm.exceptions")
        with pytest.raises(errors.InvalidCredentialsError):
            winrm_get(other, transport="ntlm")


def test_many_clients_at_once(server: WireServer) -> None:
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            client, message = sealed_client(server)
            for _ in range(5):
                client.send_message(message)  # type: ignore[attr-defined]
            client.transport.close_session()  # type: ignore[attr-defined]
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert server.counts["Get"] == 40


def test_a_provider_that_fails_is_not_forgotten() -> None:
    tiny = Tiny(raises=RuntimeError("the model"))
    options = WireOptions(allow_unencrypted=True)
    server = WireServer(tiny, users={"lab": "geheim"}, options=options)
    status, _, body = post(server, headers=BASIC)
    assert status == 500
    assert b"w:InternalError" in body
    with pytest.raises(RuntimeError, match="the model"), server:
        pass


def test_a_closed_host_is_gone_and_may_be_closed_again() -> None:
    server = WireServer(Tiny(), users={"lab": "geheim"})
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        post(server)


def test_a_host_comes_back_at_the_same_port() -> None:
    first = WireServer(Tiny(), users={"lab": "geheim"})
    client, message = sealed_client(first)
    client.send_message(message)  # type: ignore[attr-defined]
    first.close()
    with WireServer(Tiny(), users={"lab": "geheim"}, port=first.port) as second:
        assert b"JobState" in winrm_get(second, transport="ntlm")
    client.transport.close_session()  # type: ignore[attr-defined]


@pytest.mark.parametrize("users", [{"a:b": "c"}, {"a": "b:c"}, {"a": "b\n"}])
def test_a_user_that_cannot_be_written_down_is_refused(users: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="colon"):
        WireServer(Tiny(), users=users)


def test_an_unknown_authentication_is_refused() -> None:
    with pytest.raises(ValueError, match="digest"):
        WireServer(Tiny(), users={}, auth=("digest",))


def test_ipv6_is_listened_on_where_it_is_said() -> None:
    try:
        server = WireServer(Tiny(), users={}, address="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert server.url == f"http://[::1]:{server.port}"
