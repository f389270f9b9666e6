"""A host's outside: a real WS-Management server for a simulated host.

```python
with WireServer(provider, users={"lab": "lab"}) as server:
    print(server.url)                     # http://127.0.0.1:41235
    ...
    assert server.counts["CreateSnapshot"] == 1
```
"""

import threading
from collections import Counter
from collections.abc import Collection, Mapping

from hypercbt.lab.faults import FaultPlan
from hypercbt.lab.simulation import Simulation
from hypercbt.lab.wire.auth import Authority
from hypercbt.lab.wire.listener import Listener
from hypercbt.lab.wire.options import TlsFiles, WireOptions
from hypercbt.lab.wire.port import named
from hypercbt.lab.wire.provider import Provider
from hypercbt.lab.wire.service import Record, Service

__all__ = ["TlsFiles", "WireOptions", "WireServer"]

_CLOSING_SECONDS = 10.0


class WireServer(Simulation):
    """Serves a provider over WS-Management, from its making until it is closed.

    Args:
        provider: The simulated host.
        users: Passwords by name; no colon in either.
        address: Where it listens. Anything but loopback only where it is said.
        port: 0: any that is free.
        tls: HTTPS with this certificate; else HTTP.
        auth: `negotiate` (NTLM), `kerberos` (also by Negotiate; needs `KRB5_KTNAME` and a GSSAPI binding), `basic` (over
            TLS; over HTTP only where `options.allow_unencrypted`), `certificate`.
        options: How it behaves.
        faults: What goes wrong on purpose.
        spn_host: The host name in the Kerberos service principal, `HTTP/…`.

    Raises:
        AddressInUseError: Somebody listens at the port.
        OSError: The address is not of this machine, or a file of `tls` cannot be read.
        ValueError: A user cannot be written down, or an authentication is unknown.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        users: Mapping[str, str],
        address: str = "127.0.0.1",
        port: int = 0,
        tls: TlsFiles | None = None,
        auth: Collection[str] = ("negotiate", "basic"),
        options: WireOptions | None = None,
        faults: FaultPlan | None = None,
        spn_host: str = "localhost",
    ) -> None:
        self.options = options or WireOptions()
        self.faults = faults if faults is not None else FaultPlan()
        self._tls = tls is not None
        self._service = Service(provider, self.options, self.faults)
        self._authority = Authority(users, auth, self.options.host_name, spn_host)
        self._closed = False
        try:
            with named(address, port):
                self._listener = Listener(
                    (address, port), self._service, self._authority, self.options, tls
                )
        except BaseException:
            self._authority.close()
            raise
        self.address, self.port = self._listener.server_address[:2]
        self._thread = threading.Thread(
            # How long a close waits for the thread that accepts.
            target=lambda: self._listener.serve_forever(poll_interval=0.02),
            daemon=True,
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is, without the path."""
        host = str(self.address)
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """Where requests go."""
        return f"{self.url}/wsman"

    @property
    def counts(self) -> Counter[str]:
        """How often each was asked for: `*` (all), `Pull`, `Pull Msvm_ComputerSystem`, `CreateSnapshot`."""
        with self._service.book.lock:
            return Counter(self._service.book.counts)

    @property
    def requests(self) -> tuple[Record, ...]:
        """The last requests, oldest first."""
        with self._service.book.lock:
            return tuple(self._service.book.records)

    @property
    def errors(self) -> tuple[Exception, ...]:
        """What the provider or a callback raised and should not have."""
        return tuple(self._service.book.errors)

    def drop_connections(self) -> None:
        """Break every connection; new ones are taken."""
        self._listener.drop_connections()

    def close(self) -> None:
        """Stop listening, and break every connection."""
        if self._closed:
            return
        self._closed = True
        self._service.closing.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
        self._listener.join(_CLOSING_SECONDS)
        self._authority.close()
