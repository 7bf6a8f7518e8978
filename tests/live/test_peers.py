# SPDX-License-Identifier: Apache-2.0
"""Real TLS programs accept every record of the device, and it opens theirs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import peers
from ktls_cosim.live.certificate import self_signed
from ktls_cosim.live.client import connect
from ktls_cosim.live.handshake import TlsContext
from ktls_cosim.live.machine import Machine, open_machine
from ktls_cosim.live.server import HttpsServer, running

_LINE = 4000
SIZE = {"model": 1 << 20, "sim": 1 << 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("www")
    for port, size in SIZE.items():
        (folder / f"{port}.bin").write_bytes(random.Random(5).randbytes(size))
    return folder


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("certs")
    return {key: self_signed(key, folder) for key in peers.KEYS}


@pytest.fixture(params=["model"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with open_machine(request.param, "pytest tests/live", name="live") as machine:
        yield machine
        assert machine.finish() is None
        assert machine.scoreboard.device_records > 3


def as_server(machine: Machine, folder: Path, cert: Path, version: str) -> HttpsServer:
    tls = TlsContext(server=True, version=version, cert=str(cert))
    return HttpsServer(("127.0.0.1", 0), folder, machine, tls)


@pytest.mark.parametrize("key", peers.KEYS)
@pytest.mark.parametrize("suite", peers.SUITES)
@pytest.mark.parametrize("version", peers.VERSIONS)
@pytest.mark.parametrize("client", peers.CLIENTS)
def test_client(
    client: str, version: str, suite: str, key: str, machine: Machine, folder: Path,
    certs: dict[str, Path],
) -> None:  # fmt: skip
    with running(as_server(machine, folder, certs[key], version)) as server:
        port = server.server_address[1]
        got = peers.fetch_with(client, version, suite, key, port, "model.bin", certs[key])
    assert got == (folder / "model.bin").read_bytes()


@pytest.mark.parametrize("suite", peers.SUITES)
@pytest.mark.parametrize("version", peers.VERSIONS)
@pytest.mark.parametrize("machine", ["sim"], indirect=True)
def test_client_of_the_silicon(
    version: str, suite: str, machine: Machine, folder: Path, certs: dict[str, Path]
) -> None:
    with running(as_server(machine, folder, certs["ecdsa"], version)) as server:
        port = server.server_address[1]
        got = peers.fetch_with("curl", version, suite, "ecdsa", port, "sim.bin", certs["ecdsa"])
    assert got == (folder / "sim.bin").read_bytes()


def fetch(
    server: str, version: str, suite: str, key: str, machine: Machine, folder: Path, cert: Path,
    name: str,
) -> None:  # fmt: skip
    """As a client of a foreign server: a file of openssl, an echo of gnutls-serv."""
    want = (folder / name).read_bytes()
    tls = TlsContext(server=False, version=version, cafile=str(cert))
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
                # it sends back whole lines
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
def test_server_and_the_silicon(
    version: str, suite: str, machine: Machine, folder: Path, certs: dict[str, Path]
) -> None:
    fetch("openssl", version, suite, "rsa", machine, folder, certs["rsa"], "sim.bin")
