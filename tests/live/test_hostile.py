# SPDX-License-Identifier: Apache-2.0
"""Clients that break the protocol; the server goes on serving and keeps nothing of them."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import peers
from ktls_cosim.https.handshake import TlsContext
from ktls_cosim.https.server import HttpsServer, running
from ktls_cosim.machine import Machine, open_machine

CONNECTIONS = 1000
RESET = struct.pack("=ii", 1, 0)
SECRET = b"GET /model.bin HTTP/1.0\r\n\r\n"


class Client:
    """A TLS client that can spoil its records."""

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
        """Everything that the server sends until it closes, opened as far as it opens."""
        out = b""
        with contextlib.suppress(OSError):
            while data := self.raw.recv(65536):
                self._in.write(data)
        with contextlib.suppress(ssl.SSLError):
            while piece := self._tls.read(65536):
                out += piece
        return out

    def read_one(self) -> bytes:
        """Wait for application bytes, or for the alert that raises."""
        while True:
            data = self.raw.recv(65536)
            assert data, "the server closed without a word"
            self._in.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                return self._tls.read(65536)

    def reset(self) -> None:
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.raw.close()


def attack(kind: int, client: Client, rng: random.Random) -> bytes:
    """One hostile connection; returns the answer to a spoilt request."""
    if kind == 0:
        client.raw.sendall(rng.randbytes(rng.randrange(1, 3000)))
        client.raw.shutdown(socket.SHUT_WR)
        return b""
    if kind == 1:
        # a ClientHello that ends in the middle
        client.raw.sendall(b"\x16\x03\x01\x02\x00\x01" + rng.randbytes(rng.randrange(300)))
        client.reset()
        return b""
    client.handshake()
    record = client.sealed(SECRET)
    if kind == 2:
        # a bit of ciphertext or tag
        record[rng.randrange(5, len(record))] ^= 1 << rng.randrange(8)
        client.raw.sendall(record)
        return client.answer()
    if kind == 3:
        client.raw.sendall(record[: rng.randrange(1, len(record))])
        client.raw.shutdown(socket.SHUT_WR)
        return client.answer()
    if kind == 4:
        # longer than any record
        client.raw.sendall(b"\x17\x03\x03\x7f\xff" + rng.randbytes(5000))
        return client.answer()
    if kind == 5:
        client.raw.sendall(record)
        client.raw.recv(100)
        client.reset()
        return b""
    if kind == 6:
        # the same record twice
        client.raw.sendall(record + record)
        client.answer()
        return b""
    # a record of random bytes with a right header
    length = rng.randrange(25, 16384)
    client.raw.sendall(b"\x17\x03\x03" + length.to_bytes(2, "big") + rng.randbytes(length))
    return client.answer()


@pytest.mark.parametrize(
    ("spoil", "alert"),
    [
        (lambda r: bytes((*r[:-1], r[-1] ^ 1)), "BAD_RECORD_MAC"),
        (lambda _: b"\x17\x03\x03\x7f\xff" + bytes(100), "RECORD_OVERFLOW"),
    ],
)
def test_the_peer_is_told(
    spoil: Callable[[bytes], bytes], alert: str, folder: Path, certs: dict[str, Path]
) -> None:
    context = ssl.create_default_context(cafile=str(certs["ecdsa"]))
    context.check_hostname = False
    tls = TlsContext(server=True, cert=str(certs["ecdsa"]))
    with open_machine("model", "pytest tests/live", name="live") as machine:
        with running(HttpsServer(("127.0.0.1", 0), folder, machine, tls)) as server:
            client = Client(server.server_address[1], context)
            client.handshake()
            client.raw.sendall(spoil(bytes(client.sealed(SECRET))))
            with pytest.raises(ssl.SSLError, match=alert):
                client.read_one()
            client.raw.close()
        assert machine.finish() is None


def test_a_stopped_server_leaves_nothing_to_idle_clients(
    machine: Machine, folder: Path, certs: dict[str, Path]
) -> None:
    """A client that stays connected must not reach the device after the server has stopped.

    Its thread once closed the connection when the simulator had ended, with a traceback.
    """
    context = ssl.create_default_context(cafile=str(certs["ecdsa"]))
    context.check_hostname = False
    tls = TlsContext(server=True, cert=str(certs["ecdsa"]))
    nic = machine.stack.nic
    assert nic is not None
    with running(HttpsServer(("127.0.0.1", 0), folder, machine, tls)) as server:
        client = Client(server.server_address[1], context)
        client.handshake()
        client.raw.sendall(client.sealed(b"GET /sim.bin HTTP/1.1\r\n\r\n"))
        assert client.read_one()
        assert nic.contexts_in_use
    assert nic.contexts_in_use == 0
    assert server.refused == 0
    client.raw.close()


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("version", peers.VERSIONS)
def test_hostile_connections(
    version: str, machine: Machine, folder: Path, certs: dict[str, Path]
) -> None:
    seed = 11
    print(f"seed {seed}")
    rng = random.Random(seed)
    context = ssl.create_default_context(cafile=str(certs["ecdsa"]))
    context.check_hostname = False
    context.maximum_version = getattr(ssl.TLSVersion, f"TLSv{version.replace('.', '_')}")
    tls = TlsContext(server=True, version=version, cert=str(certs["ecdsa"]))
    want = (folder / "sim.bin").read_bytes()
    nic = machine.stack.nic
    assert nic is not None
    with running(HttpsServer(("127.0.0.1", 0), folder, machine, tls)) as server:
        port = server.server_address[1]
        before = descriptors()
        for i in range(CONNECTIONS // 2):
            client = Client(port, context)
            answer = b""
            # it may close while we are still sending nonsense
            with contextlib.suppress(OSError):
                answer = attack(i % 8, client, rng)
            client.raw.close()
            assert answer == b"", f"connection {i} of kind {i % 8} got an answer"
            if i % 100 == 99:
                good = Client(port, context)
                good.handshake()
                good.raw.sendall(good.sealed(b"GET /sim.bin HTTP/1.0\r\n\r\n"))
                assert good.answer().partition(b"\r\n\r\n")[2] == want
                good.raw.close()
        end = time.monotonic() + 20
        while nic.contexts_in_use and time.monotonic() < end:
            time.sleep(0.05)
        assert nic.contexts_in_use == 0
        assert descriptors() <= before
    assert machine.scoreboard.device_refused > CONNECTIONS // 10
    assert not machine.scoreboard._connections
