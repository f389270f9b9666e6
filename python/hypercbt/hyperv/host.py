"""A Hyper-V host as callers hold it: who it is, how it is reached, and where its folders are from here."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hypercbt.closing import Closing
from hypercbt.hyperv.files import HostFiles
from hypercbt.hyperv.machines import VirtualMachine, find_vm, list_vms
from hypercbt.hyperv.session import Session

if TYPE_CHECKING:
    from hypercbt.hyperv.credentials import Credentials
    from hypercbt.hyperv.machine_changes import ChangesReport
    from hypercbt.points import RestorePoint
    from hypercbt.repository import Repository

Transport = Literal[
    "auto", "ntlm", "kerberos", "certificate", "basic", "credssp", "negotiate"
]


class Host(Closing):
    r"""A Hyper-V host. Nothing is sent to it before the first question. Not for several threads at once.

    Args:
        host: `hv01`, `hv01:5985`, `http://hv01:5985`, `https://hv01` or `[::1]:5986`; https unless it says otherwise.
        credentials: Who asks. Where not given: the environment, the keyring, netrc, a Kerberos ticket.
        user: Whose credentials are looked for.
        map: Where the host's folders are from here: `{r"C:\VMs": "/mnt/hv01/VMs"}`.
        transport: How the host is told who asks.
        port: Instead of the usual one.
        tls: True for https, False for http.
        ca: A PEM file with the certificates that are trusted.
        verify: Whether the host's certificate is checked.
        timeout_seconds: How long the host may take for one request.
        record: A file that a transcript is written to, with names and secrets removed.
        ask: A missing password may be asked for on the terminal.
        session: An open session instead of all of these; closed with this.

    Example:
        >>> with hypercbt.Host("hv01", map={r"C:\VMs": "/mnt/hv01/VMs"}) as host:  # doctest: +SKIP
        ...     for vm in host.vms():
        ...         print(vm.name, vm.state)
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: "Credentials | None" = None,
        user: str | None = None,
        map: Mapping[str, str | PathLike[str]] | None = None,
        transport: Transport = "auto",
        port: int | None = None,
        tls: bool | None = None,
        ca: str | PathLike[str] | None = None,
        verify: bool = True,
        timeout_seconds: float = 60,
        record: str | PathLike[str] | None = None,
        ask: bool = False,
        session: Session | None = None,
    ) -> None:
        self.name = host
        self.files = HostFiles(map)
        self._credentials = credentials
        self._user = user
        self._transport = transport
        self._port = port
        self._tls = tls
        self._ca = ca
        self._verify = verify
        self._timeout_seconds = timeout_seconds
        self._record = record
        self._ask = ask
        self._session = session
        self._closed = False

    @property
    def session(self) -> Session:
        """The conversation with the host, begun where there is none yet.

        Raises:
            HostAuthenticationError: There are no credentials.
            ValueError: It is closed, or what was said of the host contradicts itself.
        """
        if self._closed:
            raise ValueError(f"the conversation with {self.name} is closed")
        if self._session is None:
            self._session = self._open()
        return self._session

    def vms(self) -> tuple[VirtualMachine, ...]:
        """Return all machines, sorted by name."""
        return list_vms(self.session)

    def vm(self, name_or_id: str) -> VirtualMachine:
        """Return one machine by its name or GUID.

        Raises:
            VmNotFoundError: There is none; as `AmbiguousVmError`, several have this name.
        """
        return find_vm(self.session, name_or_id)

    def changes(
        self,
        vm: VirtualMachine | str,
        *,
        since: "RestorePoint | str | None" = None,
        repository: "Repository | str | PathLike[str] | None" = None,
    ) -> "ChangesReport":
        """Ask what changed on the disks of a machine, without touching it.

        No checkpoint is made, so of a machine that runs this is a look at a moving thing: what the guest writes
        meanwhile may be in it or not. It is no basis for a backup; `hypercbt.backup` makes its own.

        Args:
            vm: The machine, or its name or id.
            since: A restore point of the repository, or an RCT id as the host gave it. Where not given, of each disk
                the newest restore point that its changes can be told from.
            repository: Where the restore points are.

        Raises:
            ValueError: Neither a repository nor an RCT id was given.
        """
        from hypercbt.hyperv.machine_changes import machine_changes

        found = vm if isinstance(vm, VirtualMachine) else self.vm(vm)
        return machine_changes(self.session, found, since=since, repository=repository)

    def close(self) -> None:
        """End the conversation."""
        self._closed = True
        if self._session is not None:
            self._session.close()

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def _open(self) -> Session:
        # `import hypercbt` is for everybody; what speaks to hosts is loaded by those who do.
        from hypercbt.hyperv.credentials import find_credentials
        from hypercbt.hyperv.wsman import WsmanSession

        return WsmanSession.open(
            self.name,
            credentials=self._credentials
            or find_credentials(
                self.name,
                user=self._user,
                ask=self._ask,
                ticket=self._transport == "kerberos",
            ),
            transport=self._transport,
            port=self._port,
            tls=self._tls,
            ca=None if self._ca is None else Path(self._ca),
            verify=self._verify,
            timeout_seconds=self._timeout_seconds,
            record=None if self._record is None else Path(self._record),
        )
