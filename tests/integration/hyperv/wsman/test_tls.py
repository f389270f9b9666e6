"""WS-Management over TLS: which certificates are believed, and what of the environment is not."""

from pathlib import Path

import pytest

from hypercbt.errors import (
    HostAuthenticationError,
    HostCertificateError,
    HostUnreachableError,
    LostReplyError,
)
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab.wire.server import TlsFiles, WireServer
from integration.hyperv.certificates import Authority
from integration.hyperv.wsman.asking import LAB, change
from integration.hyperv.wsman.test_asking import WEB01
from lab.wire.tiny import Tiny


class Tls:
    """A server over TLS, and the ways to it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.other = Authority(folder, "other")
        signed = self.authority.sign("server", "127.0.0.1")
        self.files = TlsFiles(signed.certificate, signed.key, self.authority.file)

    def serve(self, tiny: Tiny, auth: str = "negotiate") -> WireServer:
        return WireServer(tiny, users={"lab": "lab"}, tls=self.files, auth=(auth,))


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


@pytest.mark.parametrize(
    ("auth", "transport"),
    [("negotiate", "auto"), ("negotiate", "negotiate"), ("basic", "basic")],
)
def test_over_tls_with_an_authority_of_ones_own(
    tiny: Tiny, tls: Tls, auth: str, transport: str
) -> None:
    with (
        tls.serve(tiny, auth) as server,
        WsmanSession.open(
            server.url,
            credentials=LAB,
            transport=transport,  # type: ignore[arg-type]
            ca=tls.authority.file,
        ) as session,
    ):
        assert change(session) == 0
        server.drop_connections()
        assert session.get(WEB01) is not None
        wrong = WsmanSession.open(
            server.url,
            credentials=Credentials("lab", "wrong"),
            transport=transport,  # type: ignore[arg-type]
            ca=tls.authority.file,
        )
        with wrong, pytest.raises(HostAuthenticationError):
            change(wrong)


def test_a_client_certificate_proves_who_asks(tiny: Tiny, tls: Tls) -> None:
    signed = tls.authority.sign("lab")
    credentials = Credentials(certificate=signed.certificate, key=signed.key)
    with (
        tls.serve(tiny, "certificate") as server,
        WsmanSession.open(
            server.url, credentials=credentials, ca=tls.authority.file
        ) as session,
    ):
        assert change(session) == 0
        assert tiny.calls[0].user == "lab"


def test_another_authority_and_none_are_not_believed_and_nothing_is_sent(
    tiny: Tiny, tls: Tls
) -> None:
    with tls.serve(tiny, "basic") as server:
        for ca in (tls.other.file, None):
            with (
                WsmanSession.open(
                    server.url, credentials=LAB, transport="basic", ca=ca
                ) as session,
                pytest.raises(HostCertificateError),
            ):
                change(session)
        assert server.counts["*"] == 0


def test_a_certificate_for_another_name_is_not_believed(
    tiny: Tiny, tls: Tls, tmp_path: Path
) -> None:
    signed = tls.authority.sign("elsewhere", "hv99.example")
    tls.files = TlsFiles(signed.certificate, signed.key)
    with (
        tls.serve(tiny, "basic") as server,
        WsmanSession.open(
            server.url, credentials=LAB, transport="basic", ca=tls.authority.file
        ) as session,
    ):
        with pytest.raises(HostCertificateError):
            change(session)
        assert server.counts["*"] == 0


def test_whoever_says_so_is_not_checked(tiny: Tiny, tls: Tls) -> None:
    with (
        tls.serve(tiny) as server,
        WsmanSession.open(server.url, credentials=LAB, verify=False) as session,
    ):
        assert change(session) == 0


def test_http_where_tls_is_spoken_and_the_reverse_are_unreachable(
    tiny: Tiny, tls: Tls, server: WireServer
) -> None:
    with tls.serve(tiny) as secure:
        for url in (
            secure.url.replace("https", "http"),
            server.url.replace("http", "https"),
        ):
            with (
                WsmanSession.open(url, credentials=LAB) as session,
                pytest.raises(HostUnreachableError) as caught,
            ):
                change(session)
            assert not isinstance(caught.value, LostReplyError)
            # Hosts speak plain HTTP from the start, and we ask over TLS unless told otherwise.
            plain = f"write http://127.0.0.1:{server.port}" in str(caught.value)
            assert plain == url.startswith("https")


def test_proxies_certificates_and_netrc_of_the_environment_do_not_leak_in(
    tiny: Tiny,
    tls: Tls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    signed = tls.authority.sign("lab")
    certificate = Credentials(certificate=signed.certificate, key=signed.key)
    with tls.serve(tiny, "certificate") as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.other.file))
        monkeypatch.setenv("CURL_CA_BUNDLE", str(tls.other.file))
        with WsmanSession.open(
            server.url, credentials=certificate, ca=tls.authority.file
        ) as session:
            assert change(session) == 0
        # The authority of the environment is the right one now, and nobody has said that it is to be believed.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.authority.file))
        with (
            WsmanSession.open(server.url, credentials=certificate) as session,
            pytest.raises(HostCertificateError),
        ):
            change(session)
    with (
        WireServer(tiny, users={"lab": "lab"}) as plain,
        WsmanSession.open(plain.url, credentials=LAB) as session,
    ):
        assert change(session) == 0
