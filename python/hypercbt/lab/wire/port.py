"""A port that stays a host's own while it is down: nobody else may answer its clients meanwhile."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hypercbt.closing import Closing
from hypercbt.errors import AddressInUseError


class HeldPort(Closing):
    """A port at which a server of this process may listen, again and again, and no other process.

    A socket that is bound and does not listen: on Linux a listening one may stand beside it (socket(7), `SO_REUSEADDR`). On other
    systems nothing is held, since the server could not.

    Args:
        address: An IPv4 address of this machine.
        port: 0: any that is free.

    Raises:
        AddressInUseError: Somebody listens there.
    """

    def __init__(self, address: str, port: int) -> None:
        self.port = port
        self._socket = socket.socket()
        if sys.platform != "linux":
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            with named(address, port):
                self._socket.bind((address, port))
        except BaseException:
            self._socket.close()
            raise
        self.port = self._socket.getsockname()[1]

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()


@contextmanager
def named(address: str, port: int) -> Iterator[None]:
    """Say which port it is that somebody else has.

    Raises:
        AddressInUseError: Somebody listens there.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(f"{address}:{port} is in use") from error
        raise
