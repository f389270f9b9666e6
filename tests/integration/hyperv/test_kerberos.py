"""The session by Kerberos, against a real MIT KDC: tickets, handshake and sealing are not ours on either side."""

import importlib.util
from collections.abc import Iterator

import pytest

from hypercbt.errors import HostAuthenticationError, LostReplyError
from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.values import Reference
from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab.faults import Drop, Fault
from hypercbt.lab.wire.server import WireServer
from lab.wire.certificates import tls
from lab.wire.test_kerberos import MISSING, Realm, realm
from lab.wire.tiny import Tiny

__all__ = ["realm"]

ABSENT = [*MISSING, *(n for n in ["kerberos"] if importlib.util.find_spec(n) is None)]

pytestmark = [
    pytest.mark.skipif(bool(ABSENT), reason=f"not here: {', '.join(ABSENT)}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SERVICE = Reference(
    "Msvm_ImageManagementService", {"CreationClassName": "Msvm_ImageManagementService"}
)


@pytest.fixture
def server(realm: Realm) -> Iterator[WireServer]:
    with WireServer(Tiny(), users={}, auth=("negotiate", "kerberos")) as server:
        yield server


def change(session: WsmanSession) -> int:
    arguments = {"Path": "x"}
    return session.invoke(SERVICE, "GetVirtualDiskChanges", arguments).return_value


def open_session(server: WireServer, scheme: str = "http") -> WsmanSession:
    return WsmanSession.open(
        f"{scheme}://localhost:{server.port}", credentials=Credentials()
    )


def test_whoever_has_a_ticket_needs_no_password(server: WireServer) -> None:
    with open_session(server) as session:
        assert len(list(session.enumerate("Msvm_ComputerSystem"))) == 3
        assert change(session) == 0
    assert {record.asked.user for record in server.requests} == {"lab"}


def test_dropped_connections_are_survived_under_its_seal(server: WireServer) -> None:
    with open_session(server) as session:
        assert change(session) == 0
        server.drop_connections()
        assert change(session) == 0
        server.faults.add(Fault("*", Drop(after=True)))
        with pytest.raises(LostReplyError):
            change(session)
        assert change(session) == 0


def test_over_tls_it_is_bound_to_the_certificate(realm: Realm) -> None:
    files = tls(realm.folder)
    with (
        WireServer(
            Tiny(), users={}, auth=("negotiate", "kerberos"), tls=files
        ) as server,
        WsmanSession.open(
            f"https://localhost:{server.port}",
            credentials=Credentials(),
            ca=files.certificate,
        ) as session,
    ):
        assert change(session) == 0


def test_without_a_ticket_it_is_said_that_there_is_none(
    server: WireServer, realm: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{realm.folder}/no-tickets")
    with (
        open_session(server) as session,
        pytest.raises(HostAuthenticationError, match="kerberos"),
    ):
        change(session)
    assert server.counts["*"] == 0
