"""Clients that we did not write, with authentication stacks that are not ours, against the lab's server.

pypsrp speaks Negotiate through pyspnego, as pywinrm's Kerberos does; awinrm has an NTLM and sealing stack of its own (asyauth);
python-wsmanclient is a client of another origin, with Basic only.
"""

import asyncio
import binascii
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hypercbt.lab.wire.provider import Ref
from hypercbt.lab.wire.server import WireOptions, WireServer
from lab.wire.asking import ENUMERATE, GET, V2, WQL, A, N, W, local
from lab.wire.certificates import tls
from lab.wire.tiny import HOST, IDS, Tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pypsrp"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:awinrm"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:asyauth"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:minikerberos"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:oscrypto"),
    pytest.mark.filterwarnings("ignore::SyntaxWarning"),
]

SERVICE = f"{V2}/Msvm_ImageManagementService"
USERS = {"lab": "geheim"}


def answering(tiny: Tiny) -> Tiny:
    tiny.answer = {
        "ChangedByteOffsets": (1048576, 4194304),
        "ChangedByteLengths": (65536, 32768),
        "ProcessedByteLength": 1 << 30,
        "Job": Ref("Msvm_StorageJob", {"InstanceID": "J1"}),
        "ReturnValue": 4096,
    }
    return tiny


@pytest.fixture
def tiny() -> Tiny:
    return answering(Tiny())


@pytest.fixture
def server(tiny: Tiny) -> Iterator[WireServer]:
    with WireServer(tiny, users=USERS) as server:
        yield server


def texts(root: Any, name: str) -> list[str | None]:
    """The texts of all elements of a local name; for lxml's trees too."""
    return [one.text for one in root.iter() if local(str(one.tag)) == name]


# pypsrp ---------------------------------------------------------------------------------------------------------


def pypsrp_client(server: WireServer, **options: Any) -> Any:
    wsman = pytest.importorskip("pypsrp.wsman")
    chosen = {
        "ssl": False,
        "auth": "negotiate",
        "encryption": "always",
        "username": "lab",
        "password": "geheim",
        "no_proxy": True,
        **options,
    }
    return wsman.WSMan("127.0.0.1", port=server.port, **chosen)


def element(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def enumerate_element(query: str | None = None) -> ElementTree.Element:
    chosen = f'<w:Filter Dialect="{WQL}">{query}</w:Filter>' if query else ""
    return element(
        f'<n:Enumerate xmlns:n="{N}" xmlns:w="{W}"><w:OptimizeEnumeration/>'
        f"<w:MaxElements>50</w:MaxElements>{chosen}</n:Enumerate>"
    )


def call_element(method: str, inside: str) -> ElementTree.Element:
    return element(f'<p:{method}_INPUT xmlns:p="{SERVICE}">{inside}</p:{method}_INPUT>')


def selectors(**chosen: str) -> Any:
    wsman = pytest.importorskip("pypsrp.wsman")
    result = wsman.SelectorSet()
    for name, value in chosen.items():
        result.add_option(name, value)
    return result


def test_pypsrp_enumerates_over_sealed_http(server: WireServer) -> None:
    with pypsrp_client(server) as client:
        found = client.enumerate(f"{V2}/Msvm_ComputerSystem", enumerate_element())
        assert sorted(map(str, texts(found, "Name"))) == sorted([HOST, *IDS])
        assert client.transport.wrap_required
    assert server.requests[0].asked.user == "lab"


def test_pypsrp_asks_by_wql(server: WireServer) -> None:
    with pypsrp_client(server) as client:
        query = "SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'web01'"
        found = client.enumerate(f"{V2}/*", enumerate_element(query))
    assert texts(found, "Name") == [IDS[0]]


def test_pypsrp_pulls_item_by_item(server: WireServer) -> None:
    names = []
    with pypsrp_client(server) as client:
        uri = f"{V2}/Msvm_ComputerSystem"
        found = client.enumerate(uri, element(f'<n:Enumerate xmlns:n="{N}"/>'))
        while context := next(iter(texts(found, "EnumerationContext")), None):
            pull = f'<n:Pull xmlns:n="{N}"><n:EnumerationContext>{context}</n:EnumerationContext></n:Pull>'
            found = client.pull(uri, element(pull))
            names += texts(found, "Name")
    assert sorted(map(str, names)) == sorted([HOST, *IDS])
    assert server.counts["Pull"] == 3


def test_pypsrp_calls_a_method(server: WireServer, tiny: Tiny) -> None:
    with pypsrp_client(server) as client:
        found = client.invoke(
            f"{SERVICE}/GetVirtualDiskChanges",
            SERVICE,
            call_element("GetVirtualDiskChanges", "<p:Path>C:\\VMs\\a.vhdx</p:Path>"),
            selector_set=selectors(CreationClassName="Msvm_ImageManagementService"),
        )
    assert texts(found, "ChangedByteOffsets") == ["1048576", "4194304"]
    assert texts(found, "ReturnValue") == ["4096"]
    assert tiny.calls[0].arguments == {"Path": "C:\\VMs\\a.vhdx"}


def test_pypsrp_gets_an_object_and_understands_a_fault(server: WireServer) -> None:
    exceptions = pytest.importorskip("pypsrp.exceptions")
    with pypsrp_client(server) as client:
        uri = f"{V2}/Msvm_StorageJob"
        found = client.get(uri, selector_set=selectors(InstanceID="J1"))
        assert texts(found, "Interval") == ["P0DT0H5M0S"]
        with pytest.raises(exceptions.WSManFaultError) as caught:
            client.get(uri, selector_set=selectors(InstanceID="J2"))
    assert caught.value.code == 2150858752
    assert caught.value.machine == "LAB1"


def test_pypsrp_with_a_wrong_password_is_refused(server: WireServer) -> None:
    exceptions = pytest.importorskip("pypsrp.exceptions")
    with (
        pypsrp_client(server, password="falsch") as client,
        pytest.raises(exceptions.AuthenticationError),
    ):
        client.enumerate(f"{V2}/Msvm_ComputerSystem", enumerate_element())
    assert server.counts["*"] == 0


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize(
    ("auth", "encryption"),
    [("negotiate", "auto"), ("negotiate", "always"), ("basic", "auto")],
)
def test_pypsrp_over_tls(
    tiny: Tiny, tmp_path: Path, auth: str, encryption: str
) -> None:
    files = tls(tmp_path)
    with (
        WireServer(tiny, users=USERS, tls=files) as server,
        pypsrp_client(
            server,
            ssl=True,
            auth=auth,
            encryption=encryption,
            cert_validation=str(files.certificate),
        ) as client,
    ):
        found = client.enumerate(f"{V2}/Msvm_ComputerSystem", enumerate_element())
        assert len(texts(found, "Name")) == 3


def test_over_tls_a_handshake_that_is_not_bound_to_the_certificate_is_refused(
    tiny: Tiny, tmp_path: Path
) -> None:
    exceptions = pytest.importorskip("pypsrp.exceptions")
    files = tls(tmp_path)
    options = {
        "ssl": True,
        "encryption": "auto",
        "cert_validation": str(files.certificate),
        "negotiate_send_cbt": False,
    }
    with (
        WireServer(tiny, users=USERS, tls=files) as server,
        pypsrp_client(server, **options) as client,
        pytest.raises(exceptions.AuthenticationError),
    ):
        client.enumerate(f"{V2}/Msvm_ComputerSystem", enumerate_element())
    relaxed = WireOptions(channel_bindings=False)
    with (
        WireServer(tiny, users=USERS, tls=files, options=relaxed) as server,
        pypsrp_client(server, **options) as client,
    ):
        assert (
            client.enumerate(f"{V2}/Msvm_ComputerSystem", enumerate_element())
            is not None
        )


# awinrm ---------------------------------------------------------------------------------------------------------


def awinrm_texts(
    server: WireServer, messages: list[bytes], password: str = "geheim"
) -> list[bytes]:
    """Send envelopes by awinrm's transport: its handshake and its sealing, our words."""
    transport = pytest.importorskip("awinrm.transport")
    ntlm = pytest.importorskip("asyauth.common.credentials.ntlm")
    constants = pytest.importorskip("asyauth.common.constants")

    async def send() -> list[bytes]:
        credential = ntlm.NTLMCredential(
            password, "lab", "LAB1", constants.asyauthSecret.PASSWORD
        )
        client = transport.Transport(server.endpoint, credential)
        try:
            return [await client.send_message(message) for message in messages]
        finally:
            await client.close_session()

    return asyncio.run(send())


def awinrm_envelope(
    action: str, uri: str, body: dict[str, Any], **chosen: str
) -> bytes:
    """An envelope whose header awinrm has built."""
    protocol = pytest.importorskip("awinrm.protocol")
    xmltodict = pytest.importorskip("xmltodict")
    header = protocol.Protocol._get_soap_header(
        _HeaderBuilder(), resource_uri=uri, action=action
    )
    if chosen:
        header["env:Header"]["w:SelectorSet"] = {
            "w:Selector": [
                {"@Name": key, "#text": text} for key, text in chosen.items()
            ]
        }
    text: str = xmltodict.unparse({"env:Envelope": {**header, "env:Body": body}})
    return text.encode()


class _HeaderBuilder:
    """What awinrm's private header builder looks at."""

    max_env_sz = 153_600
    locale = "en-US"
    operation_timeout_sec = 20


def test_awinrm_enumerates_queries_calls_and_gets_with_a_stack_of_its_own(
    server: WireServer, tiny: Tiny
) -> None:
    listing = {"n:Enumerate": {"w:OptimizeEnumeration": None, "w:MaxElements": "50"}}
    query = {
        "n:Enumerate": {
            **listing["n:Enumerate"],
            "w:Filter": {
                "@Dialect": WQL,
                "#text": "SELECT * FROM Msvm_ComputerSystem WHERE ElementName LIKE 'web%'",
            },
        }
    }
    call = {
        "p:GetVirtualDiskChanges_INPUT": {
            "@xmlns:p": SERVICE,
            "p:Path": "C:\\VMs\\a.vhdx",
            "p:ByteOffset": "0",
        }
    }
    listed, queried, called, got = awinrm_texts(
        server,
        [
            awinrm_envelope(ENUMERATE, f"{V2}/Msvm_ComputerSystem", listing),
            awinrm_envelope(ENUMERATE, f"{V2}/*", query),
            awinrm_envelope(
                f"{SERVICE}/GetVirtualDiskChanges",
                SERVICE,
                call,
                CreationClassName="Msvm_ImageManagementService",
            ),
            awinrm_envelope(GET, f"{V2}/Msvm_StorageJob", {}, InstanceID="J1"),
        ],
    )
    assert len(texts(ElementTree.fromstring(listed), "Name")) == 3
    assert len(texts(ElementTree.fromstring(queried), "Name")) == 2
    found = ElementTree.fromstring(called)
    assert texts(found, "ChangedByteLengths") == ["65536", "32768"]
    assert texts(ElementTree.fromstring(got), "JobState") == ["4"]
    assert tiny.calls[0].arguments == {"Path": "C:\\VMs\\a.vhdx", "ByteOffset": 0}
    assert tiny.calls[0].user == "lab"


def test_awinrm_unseals_a_fault(server: WireServer) -> None:
    exceptions = pytest.importorskip("awinrm.exceptions")
    message = awinrm_envelope(GET, f"{V2}/Msvm_StorageJob", {}, InstanceID="J2")
    with pytest.raises(exceptions.WinRMTransportError) as caught:
        awinrm_texts(server, [message])
    assert b"2150858752" in caught.value.response_text
    assert b"a:DestinationUnreachable" in caught.value.response_text


def test_awinrm_with_a_wrong_password_is_refused(server: WireServer) -> None:
    message = awinrm_envelope(GET, f"{V2}/Msvm_StorageJob", {}, InstanceID="J1")
    # It takes the name of the scheme, which is offered anew, for a token.
    with pytest.raises(binascii.Error, match="base64"):
        awinrm_texts(server, [message], "falsch")
    assert server.counts["*"] == 0


# python-wsmanclient ---------------------------------------------------------------------------------------------


@pytest.fixture
def in_clear(tiny: Tiny) -> Iterator[WireServer]:
    with WireServer(
        tiny, users=USERS, options=WireOptions(allow_unencrypted=True)
    ) as server:
        yield server


def wsmanclient(server: WireServer, password: str = "geheim") -> Any:
    client = pytest.importorskip("wsmanclient.client")
    return client.Client(
        "127.0.0.1", "lab", password, port=server.port, protocol="http"
    )


def test_wsmanclient_enumerates_and_asks_by_wql(in_clear: WireServer) -> None:
    client = wsmanclient(in_clear)
    listed = client.enumerate(f"{V2}/Msvm_ComputerSystem")
    assert len(texts(listed, "Name")) == 3
    found = client.enumerate(
        f"{V2}/*",
        filter_query="SELECT Name FROM Msvm_ComputerSystem WHERE ElementName = 'web01'",
        filter_dialect="wql",
    )
    assert texts(found, "Name") == [IDS[0]]


def test_wsmanclient_pulls_to_the_end(in_clear: WireServer) -> None:
    client = wsmanclient(in_clear)
    uri = f"{V2}/Msvm_ComputerSystem"
    found = client.enumerate(uri, optimization=False)
    assert len(texts(found, "Name")) == 3
    assert in_clear.counts["Pull"] == 3


def test_wsmanclient_calls_a_method(in_clear: WireServer, tiny: Tiny) -> None:
    found = wsmanclient(in_clear).invoke(
        SERVICE,
        "GetVirtualDiskChanges",
        {"CreationClassName": "Msvm_ImageManagementService"},
        {"Path": "a.vhdx", "ByteLength": "65536"},
    )
    assert texts(found, "ReturnValue") == ["4096"]
    assert tiny.calls[0].arguments == {"Path": "a.vhdx", "ByteLength": 65536}


def test_wsmanclient_is_told_of_a_fault_and_of_a_wrong_password(
    in_clear: WireServer,
) -> None:
    exceptions = pytest.importorskip("wsmanclient.exceptions")
    with pytest.raises(exceptions.InvalidResponse) as fault:
        wsmanclient(in_clear).invoke(SERVICE, "Nothing", {"Name": "x"}, {})
    assert "500" in str(fault.value)
    with pytest.raises(exceptions.InvalidResponse) as refused:
        wsmanclient(in_clear, "falsch").enumerate(f"{V2}/Msvm_ComputerSystem")
    assert "401" in str(refused.value)


def test_wsmanclient_is_refused_where_clear_text_is_not_allowed(
    server: WireServer,
) -> None:
    exceptions = pytest.importorskip("wsmanclient.exceptions")
    with pytest.raises(exceptions.InvalidResponse) as refused:
        wsmanclient(server).enumerate(f"{V2}/Msvm_ComputerSystem")
    assert "401" in str(refused.value)
    assert server.counts["*"] == 0


# pywinrm's own transport: what hypercbt's client stands on ------------------------------------------------------


def winrm_get(server: WireServer, **options: Any) -> bytes:
    protocol = pytest.importorskip("winrm.protocol")
    chosen = {
        "username": "lab",
        "password": "geheim",
        "proxy": None,
        "ca_trust_path": None,
        **options,
    }
    client = protocol.Protocol(server.endpoint, **chosen)
    message = awinrm_envelope(GET, f"{V2}/Msvm_StorageJob", {}, InstanceID="J1")
    try:
        answer: bytes = client.send_message(message.decode())
        return answer
    finally:
        client.transport.close_session()


def test_pywinrm_by_ntlm_over_sealed_http(server: WireServer) -> None:
    assert b"JobState" in winrm_get(server, transport="ntlm")


@pytest.mark.parametrize("user", ["lab", "LAB", "LAB1\\lab", ".\\lab"])
def test_pywinrm_s_user_may_name_the_host_as_domain(
    server: WireServer, user: str
) -> None:
    assert b"JobState" in winrm_get(server, transport="ntlm", username=user)


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
def test_pywinrm_over_tls(tiny: Tiny, tmp_path: Path, transport: str) -> None:
    files = tls(tmp_path)
    with WireServer(tiny, users=USERS, tls=files) as server:
        trusted = str(files.certificate)
        assert b"JobState" in winrm_get(
            server, transport=transport, ca_trust_path=trusted
        )


def test_pywinrm_by_a_certificate(
    tiny: Tiny, tmp_path: Path, mint: Callable[[str], tuple[Path, Path]]
) -> None:
    shown, secret = mint("lab")
    files = tls(tmp_path, shown)
    with WireServer(tiny, users=USERS, tls=files, auth=("certificate",)) as server:
        answer = winrm_get(
            server,
            transport="ssl",
            username=None,
            password=None,
            cert_pem=str(shown),
            cert_key_pem=str(secret),
            ca_trust_path=str(files.certificate),
        )
        assert b"JobState" in answer
        assert server.requests[0].asked.user == "lab"


@pytest.fixture
def mint(tmp_path: Path) -> Callable[[str], tuple[Path, Path]]:
    from lab.wire.certificates import certificate

    return lambda name: certificate(tmp_path, name)


def test_answers_name_what_they_answer(server: WireServer) -> None:
    assert A.encode() in winrm_get(server, transport="ntlm")
