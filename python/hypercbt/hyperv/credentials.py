"""Who asks a host: found in the environment, the keyring, a netrc file, or by asking.

Never on a command line, where every process could read it, and never in a text of ours: what holds a password does
not show it.
"""

import getpass
import netrc
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import keyring
import keyring.errors

from hypercbt.errors import HostAuthenticationError
from hypercbt.hyperv.address import parse_address

USER_VARIABLE = "HYPERCBT_USER"
PASSWORD_VARIABLE = "HYPERCBT_PASSWORD"


@dataclass(frozen=True, slots=True)
class Credentials:
    r"""Who asks.

    With a user and a password: NTLM (`DOMAIN\user`, `user@domain`, or a local `user`), Basic, CredSSP. With neither:
    Kerberos, by the ticket that is there. With a certificate and its key: a client certificate.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    """A PEM file."""
    key: Path | None = None
    """A PEM file with the certificate's key."""


def find_credentials(
    host: str, *, user: str | None = None, ask: bool, ticket: bool = False
) -> Credentials:
    """Return the first credentials that there are for a host.

    In this order: the environment (`HYPERCBT_USER`, `HYPERCBT_PASSWORD`), the keyring (service `hypercbt:HOST`), the
    netrc file, a question on the terminal. Where there is no password anywhere and nobody may be asked, what is left
    is Kerberos with the ticket that is there.

    Args:
        host: As for `WsmanSession.open`; only its name counts, in lower case.
        user: Only this user's.
        ask: A question may be put to whoever sits there.
        ticket: It will be Kerberos: no password is needed, so nobody is asked for one and none is missed.

    Raises:
        HostAuthenticationError: A user is known, and no password; or the reverse.
        ValueError: `host` is no host.
    """
    name = parse_address(host).host.lower()
    user = user or os.environ.get(USER_VARIABLE) or None
    found = _from_environment(user) or _from_keyring(name, user)
    found = found or _from_netrc(name, user)
    if found:
        return found
    if ticket:
        return Credentials(user)
    if ask:
        user = user or _asked(f"User for {name}: ") or None
        if user:
            return Credentials(user, getpass.getpass(f"Password of {user} on {name}: "))
    if user:
        message = (
            f"no password of {user} for {name}: neither in {PASSWORD_VARIABLE}, nor in the keyring "
            f"(service hypercbt:{name}), nor in the netrc file"
        )
        raise HostAuthenticationError(message)
    if os.environ.get(PASSWORD_VARIABLE):
        message = f"there is a password in {PASSWORD_VARIABLE}, and nobody said whose: set {USER_VARIABLE} as well"
        raise HostAuthenticationError(message)
    return Credentials()


def _asked(question: str) -> str:
    """Return what somebody types. Standard output is for what a command says, maybe for programs: no question goes there."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return input().strip()


def _from_environment(user: str | None) -> Credentials | None:
    password = os.environ.get(PASSWORD_VARIABLE)
    if not password or user is None:
        return None
    # HYPERCBT_PASSWORD is HYPERCBT_USER's, and nobody else's.
    named = os.environ.get(USER_VARIABLE)
    return Credentials(user, password) if named in (None, "", user) else None


def _from_keyring(name: str, user: str | None) -> Credentials | None:
    try:
        found = keyring.get_credential(f"hypercbt:{name}", user)
    except keyring.errors.KeyringError:
        return None  # no keyring here, or a locked one: one place less to look
    if found is None or (user is not None and found.username != user):
        return None
    return Credentials(found.username, found.password)


def _from_netrc(name: str, user: str | None) -> Credentials | None:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        entries = netrc.netrc(path).hosts
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise HostAuthenticationError(message) from None
    except (netrc.NetrcParseError, UnicodeDecodeError) as error:
        # The error's text would quote the file, which is full of passwords.
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        message = f"{path}{where} is no netrc file"
        raise HostAuthenticationError(message) from None
    # `default` is for servers of files, not for the administrator of a host: only an entry of the host's own counts.
    for machine, (login, _, password) in entries.items():
        if machine.lower() == name and password and user in (None, login):
            return Credentials(login, password)
    return None
