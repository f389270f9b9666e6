"""Kerberos against a real MIT KDC: tickets, handshake and sealing are theirs, on both sides of the wire."""

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hypercbt.lab.wire.server import WireServer
from lab.wire.asking import V2
from lab.wire.certificates import tls
from lab.wire.test_other_clients import (
    enumerate_element,
    pypsrp_client,
    texts,
    winrm_get,
)
from lab.wire.tiny import Tiny

PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
PLACES = "/usr/sbin:/usr/bin:/sbin:/bin"
MISSING = [name for name in PROGRAMS if not shutil.which(name, path=PLACES)] + [
    name for name in ("gssapi", "krb5") if importlib.util.find_spec(name) is None
]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@dataclass(frozen=True)
class Realm:
    environment: dict[str, str]
    folder: Path

    def run(self, name: str, *arguments: str, typed: str = "") -> None:
        program = shutil.which(name, path=PLACES)
        assert program
        subprocess.run(
            [program, *arguments],
            input=typed.encode(),
            env=self.environment,
            check=True,
            capture_output=True,
            timeout=30,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_kdc(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a KDC at a port that is free: it cannot be told to look for one itself, and others may be quicker."""
    program = shutil.which("krb5kdc", path=PLACES)
    assert program
    while True:
        port = free_port()
        for name in ("krb5.conf", "kdc.conf"):
            text = (folder / f"{name}.in").read_text()
            (folder / name).write_text(text.replace("PORT", str(port)))
        kdc = subprocess.Popen(
            [program, "-n", "-P", str(folder / "pid")],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert kdc.stderr is not None
        # It says on its log that it listens from now on; the log ends where it died.
        said = []
        for line in kdc.stderr:
            said.append(line)
            if b"commencing operation" in line:
                return kdc
        kdc.communicate()
        assert any(b"in use" in line for line in said), said


@pytest.fixture
def realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Realm]:
    """A KDC with the user `lab` and the service `HTTP/localhost`, and a ticket for the user."""
    (tmp_path / "krb5.conf.in").write_text(
        "[libdefaults]\n default_realm = TEST.LOCAL\n dns_canonicalize_hostname = false\n rdns = false\n"
        " dns_lookup_kdc = false\n dns_lookup_realm = false\n udp_preference_limit = 1\n"
        "[realms]\n TEST.LOCAL = {\n  kdc = 127.0.0.1:PORT\n }\n"
        "[domain_realm]\n localhost = TEST.LOCAL\n"
    )
    (tmp_path / "kdc.conf.in").write_text(
        "[kdcdefaults]\n kdc_listen = 127.0.0.1:PORT\n kdc_tcp_listen = 127.0.0.1:PORT\n"
        f"[realms]\n TEST.LOCAL = {{\n  database_name = {tmp_path}/principal\n"
        f"  key_stash_file = {tmp_path}/stash\n  acl_file = {tmp_path}/acl\n }}\n"
        "[logging]\n kdc = STDERR\n"
    )
    for name in ("krb5.conf", "kdc.conf"):
        (tmp_path / name).write_text((tmp_path / f"{name}.in").read_text())
    chosen = {
        "KRB5_CONFIG": str(tmp_path / "krb5.conf"),
        "KRB5_KDC_PROFILE": str(tmp_path / "kdc.conf"),
        "KRB5_KTNAME": str(tmp_path / "http.keytab"),
        "KRB5CCNAME": f"FILE:{tmp_path}/tickets",
        "KRB5RCACHENAME": f"dfl:{tmp_path}",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    made = Realm({**chosen, "PATH": PLACES}, tmp_path)
    made.run("kdb5_util", "create", "-s", "-r", "TEST.LOCAL", "-P", "master")
    for command in (
        "addprinc -pw geheim lab",
        "addprinc -randkey HTTP/localhost",
        f"ktadd -k {tmp_path}/http.keytab HTTP/localhost",
    ):
        made.run("kadmin.local", "-q", command)
    kdc = start_kdc(tmp_path, made.environment)
    try:
        made.run("kinit", "lab", typed="geheim\n")
        yield made
    finally:
        kdc.terminate()
        kdc.communicate(timeout=30)


def test_pypsrp_by_kerberos_over_sealed_http(realm: Realm) -> None:
    with (
        WireServer(Tiny(), users={}, auth=("kerberos",)) as server,
        pypsrp_client(
            server,
            auth="kerberos",
            username=None,
            password=None,
            negotiate_hostname_override="localhost",
            negotiate_service="HTTP",
        ) as client,
    ):
        found = client.enumerate(f"{V2}/Msvm_ComputerSystem", enumerate_element())
        assert len(texts(found, "Name")) == 3
        assert server.requests[0].asked.user == "lab"


def test_pywinrm_by_kerberos_over_sealed_http(realm: Realm) -> None:
    pytest.importorskip("kerberos")
    auth = ("negotiate", "kerberos")
    with WireServer(Tiny(), users={}, auth=auth) as server:
        answer = winrm_get(
            server,
            transport="kerberos",
            username=None,
            password=None,
            kerberos_hostname_override="localhost",
        )
        assert b"JobState" in answer
        assert server.requests[0].asked.user == "lab"


def test_pypsrp_by_kerberos_over_tls_is_bound_to_the_certificate(realm: Realm) -> None:
    files = tls(realm.folder)
    with (
        WireServer(
            Tiny(), users={}, auth=("negotiate", "kerberos"), tls=files
        ) as server,
        pypsrp_client(
            server,
            ssl=True,
            auth="kerberos",
            username=None,
            password=None,
            encryption="auto",
            cert_validation=str(files.certificate),
            negotiate_hostname_override="localhost",
            negotiate_service="HTTP",
        ) as client,
    ):
        found = client.enumerate(f"{V2}/Msvm_ComputerSystem", enumerate_element())
        assert len(texts(found, "Name")) == 3


def test_where_both_are_offered_ntlm_still_works(realm: Realm) -> None:
    auth = ("negotiate", "kerberos")
    with WireServer(Tiny(), users={"lab": "geheim"}, auth=auth) as server:
        assert b"JobState" in winrm_get(server, transport="ntlm")
