"""HTTP requests by hand, as no client would send them."""

import base64
import http.client
import socket

from hypercbt.lab.wire.server import WireServer
from lab.wire.asking import GET, V2, envelope

JOB = envelope(GET, f"{V2}/Msvm_StorageJob", selectors={"InstanceID": "J1"})
BASIC = {"Authorization": "Basic " + base64.b64encode(b"lab:geheim").decode()}


def post(
    server: WireServer,
    body: bytes = JOB,
    headers: dict[str, str] | None = None,
    path: str = "/wsman",
    method: str = "POST",
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


def raw(server: WireServer, data: bytes) -> bytes:
    """Send bytes and read until the other side closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer
