"""The options of every command that talks to a Hyper-V host. There is none for a password, and none will come."""

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hypercbt.hyperv.host import Host, Transport

if TYPE_CHECKING:
    from hypercbt.hyperv.credentials import Credentials


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class HostOptions:
    """How a host is reached, and where its folders are from here."""

    user: Annotated[
        str | None,
        Parameter(
            help="Who asks. The password comes from HYPERCBT_PASSWORD, the keyring, netrc or a prompt."
        ),
    ] = None
    transport: Annotated[
        Transport, Parameter(help="How the host is told who asks.")
    ] = "auto"
    certificate: Annotated[
        Path | None, Parameter(help="A client certificate (PEM) instead of a user.")
    ] = None
    key: Annotated[Path | None, Parameter(help="Its key (PEM).")] = None
    port: Annotated[
        int | None, Parameter(help="The port, where it is not the usual one.")
    ] = None
    ca: Annotated[
        Path | None,
        Parameter(help="Certificates that the host's is checked against (PEM)."),
    ] = None
    insecure: Annotated[
        bool,
        Parameter(
            help="Do not check the host's certificate: anybody can play the host."
        ),
    ] = False
    map: Annotated[
        tuple[str, ...],
        Parameter(
            help=r"Where a folder of the host is from here: 'C:\VMs=/mnt/hv01/VMs'. May be said again.",
            show_default=False,
        ),
    ] = ()
    record: Annotated[
        Path | None,
        Parameter(
            help="Write what is said to this file, without secrets and names, to be replayed."
        ),
    ] = None


def open_host(host: str, options: HostOptions | None) -> Host:
    """Return the host that a command line means. Nothing is sent yet.

    Raises:
        ValueError: A mapping is none.
    """
    said = options or HostOptions()
    maps = parse_maps(said.map)
    return Host(
        host,
        credentials=_credentials(host, said),
        transport=said.transport,
        port=said.port,
        ca=said.ca,
        verify=not said.insecure,
        map=maps,
        record=said.record,
    )


def _credentials(host: str, said: HostOptions) -> "Credentials":
    # Loading a keyring takes a tenth of a second, which no other command has to spare.
    from hypercbt.hyperv.credentials import Credentials

    if (said.certificate is None) != (said.key is None):
        raise ValueError(
            "a certificate needs its key: say both --certificate and --key"
        )
    if said.certificate is not None:
        return Credentials(certificate=said.certificate, key=said.key)
    return _asked_once(host, said.user, said.transport == "kerberos")


@lru_cache
def _asked_once(host: str, user: str | None, ticket: bool) -> "Credentials":
    """Return who asks a host. Several conversations with one host ask people for a password once."""
    from hypercbt.hyperv.credentials import find_credentials

    ask = sys.stdin is not None and sys.stdin.isatty()
    return find_credentials(host, user=user, ask=ask, ticket=ticket)


def parse_maps(texts: tuple[str, ...]) -> dict[str, Path]:
    r"""Return the mapping of `C:\VMs=/mnt/hv01/VMs`, folder by folder.

    Raises:
        ValueError: One is not of this form, or a folder is mapped twice.
    """
    maps: dict[str, Path] = {}
    for text in texts:
        folder, equals, local = text.partition("=")
        if not equals or not folder.strip() or not local.strip():
            raise ValueError(
                rf"{text!r} maps nothing; write it like 'C:\VMs=/mnt/hv01/VMs'"
            )
        if folder in maps:
            raise ValueError(f"{folder} is mapped twice")
        maps[folder] = Path(local)
    return maps
