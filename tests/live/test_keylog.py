# SPDX-License-Identifier: Apache-2.0
"""Concurrent handshakes share a key log without losing secrets."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import threading
from pathlib import Path

import pytest

from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.handshake import handshake
from tls_client import Client


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_many_handshakes_at_once(version: str, certs: dict[str, Path]) -> None:
    """Regression: secrets written at the same time were lost, and one encrypted Finished in 256
    was mistaken for a ClientHello."""
    tls = HandshakeContext(server=True, version=version, cert=str(certs["ecdsa"]))
    context = ssl.create_default_context(cafile=str(certs["ecdsa"]))
    context.check_hostname = False
    failures: list[BaseException] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listener.getsockname()[1]

    def serve() -> None:
        try:
            for _ in range(100):
                raw, _ = listener.accept()
                with raw:
                    raw.settimeout(10)
                    handshake(raw, tls)
        except BaseException as e:
            failures.append(e)

    def ask() -> None:
        for _ in range(100):
            client = Client(port, context)
            client.handshake()
            client.raw.close()

    threads = [threading.Thread(target=f) for f in (serve, ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    listener.close()
    tls.close()
    assert not failures


def test_a_context_takes_its_pipe_with_it() -> None:
    """Regression: an ordinary user may have only 64 pipes of this size, and all stayed open."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        HandshakeContext(server=False, verify=False)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
