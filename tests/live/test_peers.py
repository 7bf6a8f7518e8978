# SPDX-License-Identifier: Apache-2.0
"""Real TLS programs accept every record of the device, and the device opens theirs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import peers
from ktls_cosim.https.client import connect
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.server import running
from ktls_cosim.machine import Machine

_LINE = 4000


@pytest.mark.parametrize("key", peers.KEYS)
@pytest.mark.parametrize("suite", peers.SUITES)
@pytest.mark.parametrize("version", peers.VERSIONS)
@pytest.mark.parametrize("client", peers.CLIENTS)
def test_client(
    client: str, version: str, suite: str, key: str, machine: Machine, folder: Path,
    certs: dict[str, Path],
) -> None:  # fmt: skip
    with running(peers.as_server(machine, folder, certs[key], version)) as server:
        port = server.server_address[1]
        got = peers.fetch_with(client, version, suite, key, port, "model.bin", certs[key])
    assert got == (folder / "model.bin").read_bytes()


@pytest.mark.parametrize("suite", peers.SUITES)
@pytest.mark.parametrize("version", peers.VERSIONS)
@pytest.mark.parametrize("machine", ["sim"], indirect=True)
def test_client_of_the_rtl(
    version: str, suite: str, machine: Machine, folder: Path, certs: dict[str, Path]
) -> None:
    with running(peers.as_server(machine, folder, certs["ecdsa"], version)) as server:
        port = server.server_address[1]
        got = peers.fetch_with("curl", version, suite, "ecdsa", port, "sim.bin", certs["ecdsa"])
    assert got == (folder / "sim.bin").read_bytes()


def fetch(
    server: str, version: str, suite: str, key: str, machine: Machine, folder: Path, cert: Path,
    name: str,
) -> None:  # fmt: skip
    """Act as the client of another server: fetch a file from openssl, echo with gnutls-serv."""
    want = (folder / name).read_bytes()
    tls = HandshakeContext(server=False, version=version, cafile=str(cert))
    with peers.server_of(server, version, suite, key, folder, cert) as port:
        connection = connect(machine, tls, "localhost", port)
        try:
            if server == "openssl":
                connection.sendall(f"GET /{name} HTTP/1.0\r\n\r\n".encode())
                head, _, got = connection.makefile().read().partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.0 200"), head
                assert got == want
            else:
                reader = connection.makefile()
                # gnutls-serv echoes complete lines
                text = want.hex().encode()
                for at in range(0, len(text), _LINE):
                    line = text[at : at + _LINE] + b"\n"
                    connection.sendall(line)
                    assert reader.readline() == line
        finally:
            connection.close()
    assert machine.scoreboard.wire_records > 1


@pytest.mark.parametrize("key", peers.KEYS)
@pytest.mark.parametrize("suite", peers.SUITES)
@pytest.mark.parametrize("version", peers.VERSIONS)
@pytest.mark.parametrize("server", peers.SERVERS)
def test_server(
    server: str, version: str, suite: str, key: str, machine: Machine, folder: Path,
    certs: dict[str, Path],
) -> None:  # fmt: skip
    fetch(server, version, suite, key, machine, folder, certs[key], "model.bin")


@pytest.mark.parametrize("suite", peers.SUITES)
@pytest.mark.parametrize("version", peers.VERSIONS)
@pytest.mark.parametrize("machine", ["sim"], indirect=True)
def test_server_with_the_rtl(
    version: str, suite: str, machine: Machine, folder: Path, certs: dict[str, Path]
) -> None:
    fetch("openssl", version, suite, "rsa", machine, folder, certs["rsa"], "sim.bin")


def test_key_update_by_the_client(machine: Machine, folder: Path, certs: dict[str, Path]) -> None:
    """`K` on the input of s_client updates its keys and requests an update of ours."""
    peers.needs("openssl")
    with running(peers.as_server(machine, folder, certs["rsa"], "1.3")) as server:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.server_address[1]}"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as client:  # fmt: skip

            def rekeyed(count: int) -> bool:
                return machine.stack.tls_stat["TlsRxRekeyOk"] == count

            assert client.stdin is not None
            assert client.stdout is not None
            # s_client treats a line as a command only if one read returns just that line
            for updates, line in enumerate((b"K\n", b"k\n", b"GET /model.bin HTTP/1.0\r\n\r\n")):
                wait_until(partial(rekeyed, updates))
                wait_until(lambda: machine.stack.tls_stat["TlsCurrRxDevice"] == 1)
                client.stdin.write(line)
                client.stdin.flush()
            got = client.stdout.read()
    assert (folder / "model.bin").read_bytes() in got
    stat = machine.stack.tls_stat
    assert (stat["TlsRxRekeyOk"], stat["TlsTxRekeyOk"]) == (2, 1)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("request_theirs", [False, True])
def test_key_update_by_us(
    request_theirs: bool, machine: Machine, folder: Path, certs: dict[str, Path]
) -> None:
    tls = HandshakeContext(server=False, version="1.3", cafile=str(certs["rsa"]))
    with peers.server_of("gnutls-serv", "1.3", "AES256", "rsa", folder, certs["rsa"]) as port:
        connection = connect(machine, tls, "localhost", port)
        reader = connection.makefile()
        for _ in range(3):
            connection.update_keys(request_theirs)
            connection.sendall(b"a line\n")
            assert reader.readline() == b"a line\n"
        assert connection.key_updates == (3 if request_theirs else 0)
        connection.close()
    assert machine.stack.tls_stat["TlsTxRekeyOk"] == 3
