"""Who asks, and what: one question that changes nothing, one request that does."""

from hypercbt.hyperv.credentials import Credentials
from hypercbt.hyperv.values import Reference
from hypercbt.hyperv.wsman import WsmanSession
from hypercbt.lab.faults import (
    Drop,
)

LAB = Credentials("lab", "lab")
SERVICE = Reference(
    "Msvm_ImageManagementService", {"CreationClassName": "Msvm_ImageManagementService"}
)


DROPS = [Drop(), Drop(halfway=True), Drop(after=True)]


def change(session: WsmanSession) -> int:
    """Call a method that is not to be called twice."""
    return session.invoke(SERVICE, "GetVirtualDiskChanges", {"Path": "x"}).return_value


def ask(session: WsmanSession) -> int:
    return session.invoke(
        SERVICE, "GetVirtualDiskChanges", {"Path": "x"}, repeatable=True
    ).return_value
