# SPDX-License-Identifier: Apache-2.0
"""Clients break the protocol; the server continues and keeps no state from them."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import peers
from ktls_cosim.https.server import running
from ktls_cosim.machine import Machine, open_machine
from tls_client import Client

CONNECTIONS = 1000
SECRET = b"GET /model.bin HTTP/1.0\r\n\r\n"


def attack(kind: int, client: Client, rng: random.Random) -> bytes:
    """Make one hostile connection; return the response to its corrupt request."""
    if kind == 0:
        client.raw.sendall(rng.randbytes(rng.randrange(1, 3000)))
        client.raw.shutdown(socket.SHUT_WR)
        return b""
    if kind == 1:
        # a truncated ClientHello
        client.raw.sendall(b"\x16\x03\x01\x02\x00\x01" + rng.randbytes(rng.randrange(300)))
        client.reset()
        return b""
    client.handshake()
    record = client.sealed(SECRET)
    if kind == 2:
        # a flipped bit of ciphertext or tag
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
    # a record of random bytes with a valid header
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
def test_the_peer_gets_an_alert(
    spoil: Callable[[bytes], bytes], alert: str, folder: Path, certs: dict[str, Path]
) -> None:
    context = ssl.create_default_context(cafile=str(certs["ecdsa"]))
    context.check_hostname = False
    with open_machine("model", "pytest tests/live", name="live") as machine:
        with running(peers.as_server(machine, folder, certs["ecdsa"])) as server:
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
    nic = machine.stack.nic
    assert nic is not None
    with running(peers.as_server(machine, folder, certs["ecdsa"])) as server:
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
    want = (folder / "sim.bin").read_bytes()
    nic = machine.stack.nic
    assert nic is not None
    with running(peers.as_server(machine, folder, certs["ecdsa"], version)) as server:
        port = server.server_address[1]
        before = descriptors()
        for i in range(CONNECTIONS // 2):
            client = Client(port, context)
            answer = b""
            # the server may close while the client is still sending
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
    assert machine.scoreboard.open_connections == 0
