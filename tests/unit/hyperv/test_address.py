import pytest

from hypercbt.hyperv.address import parse_address


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("hv01", "https://hv01:5986/wsman"),
        ("hv01.corp.example", "https://hv01.corp.example:5986/wsman"),
        ("HV_01", "https://hv_01:5986/wsman"),
        ("hv01:5985", "http://hv01:5985/wsman"),
        ("hv01:5986", "https://hv01:5986/wsman"),
        ("hv01:443", "https://hv01:443/wsman"),
        ("http://hv01", "http://hv01:5985/wsman"),
        ("http://hv01:8080", "http://hv01:8080/wsman"),
        ("https://hv01", "https://hv01:5986/wsman"),
        ("HTTPS://hv01/", "https://hv01:5986/wsman"),
        ("https://hv01/wsman", "https://hv01:5986/wsman"),
        ("192.0.2.7", "https://192.0.2.7:5986/wsman"),
        ("[::1]:5985", "http://[::1]:5985/wsman"),
        ("[2001:db8::1]", "https://[2001:db8::1]:5986/wsman"),
        ("http://[::1]", "http://[::1]:5985/wsman"),
    ],
)
def test_a_host_is_asked_over_tls_unless_it_says_something_else(
    text: str, url: str
) -> None:
    assert parse_address(text).url == url


def test_port_and_tls_may_be_said_apart() -> None:
    assert parse_address("hv01", tls=False).url == "http://hv01:5985/wsman"
    assert parse_address("hv01", port=5985).url == "http://hv01:5985/wsman"
    assert parse_address("hv01", port=5985, tls=True).url == "https://hv01:5985/wsman"
    assert parse_address("hv01:5985", port=5985).port == 5985


@pytest.mark.parametrize(
    ("text", "port", "tls"),
    [
        ("hv01:5985", 5986, None),
        ("http://hv01", None, True),
        ("https://hv01", None, False),
        ("hv01", 0, None),
        ("hv01:99999", None, None),
        ("hv01:x", None, None),
        ("", None, None),
        ("ftp://hv01", None, None),
        ("hv01/other", None, None),
        ("hv01?x", None, None),
        ("hv 01", None, None),
        ("hv01#x", None, None),
        ("::1", None, None),
        ("[::1", None, None),
        ("-", None, None),
    ],
)
def test_what_is_no_host_or_contradicts_itself_is_refused(
    text: str, port: int | None, tls: bool | None
) -> None:
    with pytest.raises(ValueError, match=r"host|port"):
        parse_address(text, port=port, tls=tls)


def test_a_password_in_a_host_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="credentials") as caught:
        parse_address("http://admin:secret@hv01")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("hv01", "http://hv01"),
        ("https://hv01:5986", "http://hv01"),
        ("hv01:8443", "http://hv01:8443"),
        ("[::1]", "http://[::1]"),
    ],
)
def test_the_same_host_over_plain_http_has_a_text_of_its_own(
    text: str, plain: str
) -> None:
    assert parse_address(text).plain_text == plain
    assert not parse_address(plain).tls
