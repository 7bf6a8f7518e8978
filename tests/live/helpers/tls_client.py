# SPDX-License-Identifier: Apache-2.0
"""A TLS client for hostile and for ordinary connections."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct

RESET = struct.pack("=ii", 1, 0)


class Client:
    """A TLS client that can corrupt its records."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.raw = socket.create_connection(("127.0.0.1", port), 10)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)

    def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.raw.sendall(self._out.read())
                data = self.raw.recv(65536)
                assert data
                self._in.write(data)
        self.raw.sendall(self._out.read())

    def sealed(self, text: bytes) -> bytearray:
        self._tls.write(text)
        return bytearray(self._out.read())

    def answer(self) -> bytes:
        """Return the decrypted bytes that the server sends until it closes."""
        out = b""
        with contextlib.suppress(OSError):
            while data := self.raw.recv(65536):
                self._in.write(data)
        with contextlib.suppress(ssl.SSLError):
            while piece := self._tls.read(65536):
                out += piece
        return out

    def read_one(self) -> bytes:
        """Return application bytes; `ssl` raises if an alert arrives instead."""
        while True:
            data = self.raw.recv(65536)
            assert data, "the server closed without an alert"
            self._in.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                return self._tls.read(65536)

    def reset(self) -> None:
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.raw.close()
