"""Whatever an authenticated client sends, it gets an answer or a fault, and the host is none the worse."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercbt.lab.wire import service
from lab.wire.asking import (
    ENUMERATE,
    GET,
    OPTIMIZED,
    PULL,
    V2,
    Asker,
    enumerate_body,
    envelope,
    filtered,
)
from lab.wire.test_methods import embedded, reference, uint8

SERVICE = f"{V2}/Msvm_ImageManagementService"
BODY = (
    f'<p:CreateSnapshot_INPUT xmlns:p="{SERVICE}"><p:AffectedSystem>{reference()}</p:AffectedSystem>'
    f'{embedded(uint8("1"))}<p:SnapshotType>32768</p:SnapshotType><p:Requested xsi:nil="true"/>'
    "</p:CreateSnapshot_INPUT>"
)
REQUESTS = (
    envelope(GET, f"{V2}/Msvm_StorageJob", selectors={"InstanceID": "J1"}),
    envelope(ENUMERATE, f"{V2}/Msvm_ComputerSystem", enumerate_body(OPTIMIZED)),
    envelope(
        ENUMERATE,
        f"{V2}/*",
        enumerate_body(
            OPTIMIZED
            + filtered(
                "SELECT Name FROM Msvm_ComputerSystem WHERE Name LIKE '[a-f]%' AND EnabledState = 2"
            )
        ),
    ),
    envelope(
        ENUMERATE,
        f"{V2}/*",
        enumerate_body(
            OPTIMIZED
            + filtered(
                "ASSOCIATORS OF {Msvm_ComputerSystem.Name='LAB1'} WHERE ResultClass=Msvm_StorageJob"
            )
        ),
    ),
    envelope(
        PULL,
        f"{V2}/*",
        "<n:Pull><n:EnumerationContext>x</n:EnumerationContext></n:Pull>",
    ),
    envelope(f"{SERVICE}/CreateSnapshot", SERVICE, BODY, selectors={"Name": "vhdsvc"}),
)
PIECES = (
    b"",
    b"<",
    b">",
    b"&",
    b'"',
    b"\x00",
    b"\xff",
    b"{",
    b"'",
    b"\\",
    b"9" * 30,
    b"<a/>",
    b"<!DOCTYPE a>",
    b"<![CDATA[",
    b"]]>",
    b"xsi:nil='true'",
    "\U0001f600".encode(),
)


@given(
    st.sampled_from(REQUESTS),
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 40),
            st.sampled_from(PIECES) | st.binary(max_size=4),
        ),
        max_size=3,
    ),
)
@settings(max_examples=256, deadline=None)
def test_a_request_with_pieces_cut_out_and_put_in_is_answered(
    request: bytes, edits: list[tuple[float, int, bytes]]
) -> None:
    for place, cut, piece in edits:
        at = int(place * len(request))
        request = request[:at] + piece + request[at + cut :]
    # `send` fails where the host itself did.
    assert Asker().send(request).status in (200, 500)


@given(st.binary(max_size=200))
@settings(max_examples=256, deadline=None)
def test_bytes_are_answered(data: bytes) -> None:
    assert Asker().send(data).status == 500


@pytest.mark.parametrize("size", [2048, 2049])
def test_an_address_is_not_as_long_as_one_likes(size: int) -> None:
    uri = f"{V2}/".ljust(size, "A")
    assert (
        Asker().send(envelope(GET, uri)).fault[0] == "a:DestinationUnreachable"
    ) is (size == 2048)
    assert (
        Asker().send(envelope(uri, SERVICE)).fault[0] == "a:ActionNotSupported"
    ) is (size == 2048)


def test_who_makes_up_names_does_not_make_the_counts_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "_KEPT_NAMES", 10)
    asker = Asker()
    for number in range(50):
        asker.get(f"Msvm_{number}")
    assert len(asker.service.book.counts) == 10
    assert asker.service.book.counts["*"] == 50
    assert asker.service.book.counts["Get"] == 50


def test_a_fault_does_not_repeat_all_that_was_sent() -> None:
    name = "A" * 100_000
    said = Asker().invoke("CreateSnapshot", f"<p:{name}/>")
    assert said.fault[0] == "w:SchemaValidationError"
    assert len(said.text) < 4096
