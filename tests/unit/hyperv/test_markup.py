from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercbt.errors import HostReplyError
from hypercbt.hyperv.markup import escape, parse


@given(st.text())
def test_a_text_survives_in_an_element_and_in_an_attribute_or_is_refused(
    text: str,
) -> None:
    try:
        escaped = escape(text)
    except ValueError:
        assert any(
            c < " " or "\ud800" <= c <= "\udfff" or c in "\ufffe\uffff" for c in text
        )
        return

    root = ElementTree.fromstring(f'<x a="{escaped}">{escaped}</x>')
    assert (root.text or "") == text
    assert root.get("a") == text


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE x><x/>",
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        '<!DOCTYPE x SYSTEM "http://elsewhere/x.dtd"><x/>',
        "",
        "<x>",
        "<x/><y/>",
        "<x>&a;</x>",
        "<x>\x00</x>",
    ],
)
def test_a_document_type_and_what_is_not_well_formed_are_refused(text: str) -> None:
    with pytest.raises(HostReplyError):
        parse(text)


def test_a_document_type_cannot_hide_in_another_encoding() -> None:
    with pytest.raises(HostReplyError):
        parse(
            '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x><x/>'.encode("utf-16")
        )


def test_the_words_of_a_document_type_may_stand_in_a_text() -> None:
    assert parse("<x><![CDATA[<!DOCTYPE x>]]></x>").text == "<!DOCTYPE x>"
