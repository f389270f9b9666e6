"""The smallest NBD client, for tests on machines without one."""

import socket
import struct
from types import TracebackType

READ = 0
FLUSH = 3


class Nbd:
    """A connection that reads by simple replies."""

    def __init__(self, address: str) -> None:
        """Connect to a path, or to `tcp:ADDRESS:PORT`."""
        if address.startswith("tcp:"):
            host, _, port = address.removeprefix("tcp:").rpartition(":")
            self._socket = socket.create_connection((host, int(port)), timeout=60)
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(60)
            self._socket.connect(address)
        assert self._receive(16) == b"NBDMAGICIHAVEOPT"
        self._receive(2)
        # Fixed newstyle, without padding; the option that names the disk, which has no name.
        self._socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        self.size, self.flags = struct.unpack(">QH", self._receive(10))

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the disk.

        Raises:
            OSError: The server says no; `errno` is what it says.
        """
        self._socket.sendall(
            struct.pack(">IHHQQI", 0x25609513, 0, READ, 7, offset, length)
        )
        magic, error, cookie = struct.unpack(">IIQ", self._receive(16))
        assert (magic, cookie) == (0x67446698, 7)
        if error:
            raise OSError(error, "the server says no")
        return self._receive(length)

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                raise ConnectionError("the server has hung up")
            data += part
        return data

    def __enter__(self) -> "Nbd":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()
