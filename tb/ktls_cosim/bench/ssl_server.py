# SPDX-License-Identifier: Apache-2.0
"""The baseline of `ktls-cosim bench live`: Python's HTTP server with Python's ssl.

    python -m ktls_cosim.bench.ssl_server FOLDER PEM

It prints its port and serves until it is killed.
"""

from __future__ import annotations

import http.server
import socket
import ssl
import sys
from functools import partial
from typing import Any


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, folder: str, pem: str) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=folder))
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(pem)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the thread of the connection, then serve it."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._tls.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that leave without close_notify."""


if __name__ == "__main__":
    server = _Server(sys.argv[1], sys.argv[2])
    print(server.server_address[1], flush=True)
    server.serve_forever()
