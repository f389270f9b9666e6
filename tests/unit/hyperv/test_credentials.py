import getpass
from dataclasses import asdict
from pathlib import Path

import keyring
import keyring.credentials
import keyring.errors
import pytest

from hypercbt.errors import HostAuthenticationError
from hypercbt.hyperv.credentials import Credentials, find_credentials


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HYPERCBT_USER", raising=False)
    monkeypatch.delenv("HYPERCBT_PASSWORD", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(keyring, "get_credential", lambda service, user: None)
    monkeypatch.setattr("builtins.input", lambda: pytest.fail("asked"))
    monkeypatch.setattr(getpass, "getpass", lambda _: pytest.fail("asked"))


def in_keyring(monkeypatch: pytest.MonkeyPatch, user: str, password: str) -> None:
    def get(service: str, _: str | None) -> keyring.credentials.Credential | None:
        if service != "hypercbt:hv01":
            return None
        return keyring.credentials.SimpleCredential(user, password)

    monkeypatch.setattr(keyring, "get_credential", get)


def in_netrc(tmp_path: Path, text: str) -> None:
    path = tmp_path / "netrc"
    path.write_text(text)
    path.chmod(0o600)


def test_a_password_is_never_shown() -> None:
    credentials = Credentials("lab", "secret")

    assert "secret" not in repr(credentials)
    assert "secret" not in str(credentials)
    assert "lab" in repr(credentials)
    assert asdict(credentials)["password"] == "secret"


def test_the_environment_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERCBT_USER", "env")
    monkeypatch.setenv("HYPERCBT_PASSWORD", "1")
    in_keyring(monkeypatch, "env", "2")
    in_netrc(tmp_path, "machine hv01 login env password 3")

    assert find_credentials("https://hv01", ask=False) == Credentials("env", "1")


def test_then_comes_the_keyring_by_the_name_of_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    in_keyring(monkeypatch, "ring", "2")
    in_netrc(tmp_path, "machine hv01 login ring password 3")

    assert find_credentials("HV01:5985", ask=False) == Credentials("ring", "2")
    assert find_credentials("hv02", ask=False) == Credentials()


def test_then_comes_the_netrc_file_and_only_the_hosts_own_entry(tmp_path: Path) -> None:
    in_netrc(
        tmp_path,
        "machine HV01 login a password 3\ndefault login everybody password 4\n",
    )

    assert find_credentials("hv01", ask=False) == Credentials("a", "3")
    assert find_credentials("hv02", ask=False) == Credentials()


def test_a_user_that_is_named_gets_no_one_elses_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERCBT_USER", "env")
    monkeypatch.setenv("HYPERCBT_PASSWORD", "1")
    in_keyring(monkeypatch, "ring", "2")
    in_netrc(tmp_path, "machine hv01 login net password 3")

    with pytest.raises(HostAuthenticationError, match="no password of other for hv01"):
        find_credentials("hv01", user="other", ask=False)
    assert find_credentials("hv01", user="ring", ask=False).password == "2"
    assert find_credentials("hv01", user="net", ask=False).password == "3"
    assert find_credentials("hv01", user="env", ask=False).password == "1"


def test_a_password_in_the_environment_serves_whoever_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HYPERCBT_PASSWORD", "1")

    assert find_credentials("hv01", user="lab", ask=False) == Credentials("lab", "1")


def test_at_last_somebody_is_asked_who_may_be_and_not_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builtins.input", lambda: " lab ")
    monkeypatch.setattr(getpass, "getpass", lambda _: "typed")

    assert find_credentials("hv01", ask=True) == Credentials("lab", "typed")

    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "User for hv01: ")


def test_with_nothing_known_it_is_kerberos(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_credentials("hv01", ask=False) == Credentials()
    monkeypatch.setattr("builtins.input", lambda: "")
    assert find_credentials("hv01", ask=True) == Credentials()


def test_a_password_in_the_environment_without_a_user_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERCBT_PASSWORD", "hunter2")

    with pytest.raises(HostAuthenticationError, match="HYPERCBT_USER") as caught:
        find_credentials("hv01", ask=False)
    assert "hunter2" not in str(caught.value)

    assert find_credentials("hv01", ask=False, ticket=True) == Credentials()
    in_netrc(tmp_path, "machine hv01 login net password 3")
    assert find_credentials("hv01", ask=False) == Credentials("net", "3")


@pytest.mark.parametrize("user", [None, "backup@EXAMPLE.NET"])
@pytest.mark.parametrize("ask", [True, False])
def test_where_a_ticket_will_do_nobody_is_asked_and_no_password_missed(
    user: str | None, ask: bool
) -> None:
    assert find_credentials("hv01", user=user, ask=ask, ticket=True) == Credentials(
        user
    )


def test_a_machine_without_a_keyring_has_one_place_less(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def get(service: str, user: str | None) -> None:
        raise keyring.errors.NoKeyringError

    monkeypatch.setattr(keyring, "get_credential", get)
    in_netrc(tmp_path, "machine hv01 login a password 3")

    assert find_credentials("hv01", ask=False) == Credentials("a", "3")


def test_a_netrc_file_that_is_none_is_said_without_quoting_it(tmp_path: Path) -> None:
    in_netrc(tmp_path, "machine hv01 login a pasword hunter2\n")

    with pytest.raises(HostAuthenticationError, match="is no netrc file") as caught:
        find_credentials("hv01", ask=False)

    assert "hunter2" not in str(caught.value)
    assert "pasword" not in str(caught.value)
    assert caught.value.__cause__ is None
