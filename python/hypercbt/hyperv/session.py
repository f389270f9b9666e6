"""What the rest of this package asks of a host. `hypercbt.hyperv.wsman` answers it; tests have a scripted one."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from hypercbt.hyperv.values import VIRTUALIZATION, Answer, Instance, Reference, Value


class Session(Protocol):
    """One authenticated conversation with one host. Not for several threads at once.

    Every call may raise `HostUnreachableError`, `HostAuthenticationError`, `HostAccessDeniedError`, `HostFaultError`
    (what the host refuses as such) and `HostReplyError` (what cannot be understood). Requests that only ask are
    repeated where the connection broke; one that changes something never is: it raises `LostReplyError`.
    """

    @property
    def host(self) -> str:
        """The host as it was asked for."""
        ...

    def get(self, reference: Reference) -> Instance | None:
        """Return the instance, or None if there is none (any more)."""
        ...

    def enumerate(
        self, class_name: str, *, namespace: str = VIRTUALIZATION
    ) -> Iterator[Instance]:
        """Return all instances of a class, in no order. Sent and decoded page by page."""
        ...

    def query(
        self,
        class_name: str,
        *,
        where: Mapping[str, str | int | bool] | None = None,
        prefix: Mapping[str, str] | None = None,
        namespace: str = VIRTUALIZATION,
    ) -> Iterator[Instance]:
        """Return the instances whose properties equal `where`, and begin with `prefix` (case does not matter).

        By WQL; where the host refuses filters, by enumerating the class and matching here, which it remembers.
        """
        ...

    def invoke(
        self,
        target: Reference,
        method: str,
        arguments: Mapping[str, Value],
        *,
        repeatable: bool = False,
    ) -> Answer:
        """Call a method. Its parameters' types stand in `hypercbt.hyperv.classes`; None leaves one out.

        Args:
            target: The instance; a service by its class's `CreationClassName` alone.
            method: Its name.
            arguments: By name. An `Instance` goes as CIM-XML text, a `Reference` as an endpoint reference.
            repeatable: It only asks, so it may be sent again after a broken connection.

        Raises:
            LostReplyError: The connection broke, and the host may have done it.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...
