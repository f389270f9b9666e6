"""How the outside of a lab host behaves where real hosts differ, or where nobody has seen one do it.

What each rests on stands behind it: [V*] recorded of a real host, [V] written down by somebody who should know, [I]
inferred, [M] from memory. The letters Q are those of the project's list of quirks.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LEAST_ENVELOPE_BYTES = 8192
"""A client that asks for less is refused [V]."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What the host shows, and whom it believes. PEM files."""

    certificate: Path
    key: Path
    client_authority: Path | None = None
    """Whose client certificates are believed, for `certificate` authentication; its subject's common name is the user."""


@dataclass(frozen=True, slots=True)
class WireOptions:
    """Switches of the wire. The defaults are a host with the quirks that were recorded."""

    host_name: str = "LAB1"
    """The `Machine` of a fault, and the NTLM domain of its local users."""
    language: str = "de-DE"
    """What the host speaks; answers carry it as `xml:lang` [V*], and its texts are not English (Q9)."""
    product_vendor: str = "hypercbt lab host"
    product_version: str = "OS: 10.0.20348 SP: 0.0 Stack: 3.0"

    max_envelope_bytes: int = 512_000
    """The host's own limit; the smaller of it and the client's holds (Q28). 500 KiB on current systems [M]."""
    max_batch_items: int = 32_000
    """The most items a pull gives [V]."""
    enumeration_timeout_seconds: float = 60.0
    """How long an enumeration may rest before its context is gone (Q30): the default is [V], the fault [M]."""
    max_enumerations: int = 1500
    """`MaxConcurrentOperationsPerUser` [V]; more is `w:QuotaLimit` [V]."""
    max_connections: int = 300
    """[V]; one more is closed at once [I]."""
    connection_timeout_seconds: float = 120.0
    """A connection that says nothing for so long is dropped: WinRM does, and the client meets a broken seal [V]."""

    one_item_pulls: bool = True
    """A pull that names no `MaxElements` gets one item (Q7) [V*]. Off: as many as fit."""
    last_pull_empty: bool = False
    """The last item comes without `EndOfSequence`, and one more pull is empty (Q7): both exist [V*]/[V]."""
    refuse_filters: bool = False
    """Every WQL filter is `w:CannotProcessFilter` (Q8): one recorded host did [V*], production users' do not [V]."""
    projected_fragments: bool = True
    """A query that names properties gets `w:XmlFragment` items [V]; off: instances that have only these [I]."""
    empty_array_is_nil: bool = False
    """An array of nothing is one nil element; off: it is absent [I]."""
    namespace_selector: bool = False
    """References carry `__cimnamespace` [M]."""
    shuffle_seed: int | None = 0
    """Enumerations come in no order (Q15) [V*], by this seed. None: in the model's order."""
    wmi_error_alone: bool = False
    """The fault of a provider has only `MSFT_WmiError` in its detail, no `f:WSManFault`: both were seen [V]."""

    channel_bindings: bool = True
    """Over TLS, Negotiate must be bound to the certificate: `CbtHardeningLevel` Strict. Windows's default, Relaxed,
    would also take clients that send none [M]."""
    allow_unencrypted: bool = False
    """Requests in clear over HTTP, and Basic over it. A Windows host's default is false [V]."""
    denied_users: frozenset[str] = frozenset()
    """Users who are known, and get `w:AccessDenied` for everything but Identify [V]."""

    clock: Callable[[], float] = time.monotonic
    """What enumeration contexts expire by."""
