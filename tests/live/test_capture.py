# SPDX-License-Identifier: Apache-2.0
"""tshark decrypts our captures and finds the bytes that were sent."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import peers
from ktls import CryptoInfo, uapi
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.capture.secrets import Suite, TrafficSecret, suite_of
from ktls_cosim.capture.transcript import Resealed, SyntheticHandshake
from ktls_cosim.check.golden import TrafficKeys, open_record, seal_record, split_records
from ktls_cosim.demo import real_file
from ktls_cosim.https.client import connect
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.server import running
from ktls_cosim.machine import Machine
from peers import curl, plaintext
from programs import nginx


@pytest.mark.parametrize("version", peers.VERSIONS)
@pytest.mark.parametrize("suite", peers.SUITES)
def test_serve(
    version: str, suite: str, tmp_path: Path, machine: Machine, folder: Path,
    certs: dict[str, Path],
) -> None:  # fmt: skip
    file = tmp_path / "serve.pcapng"
    cert = certs["ecdsa"]
    with Capture(file) as capture:
        server = peers.as_server(machine, folder, cert, version, capture)
        with running(server):
            port = server.server_address[1]
            for _ in range(2):
                peers.fetch_with("curl", version, suite, "ecdsa", port, "model.bin", cert)
    for stream in (0, 1):
        client, answer = plaintext(file, stream)
        assert client.startswith(b"GET /model.bin HTTP/1.1\r\n")
        assert answer.partition(b"\r\n\r\n")[2] == (folder / "model.bin").read_bytes()


@pytest.mark.parametrize("version", peers.VERSIONS)
def test_fetch_with_key_updates(
    version: str, tmp_path: Path, machine: Machine, folder: Path, certs: dict[str, Path]
) -> None:
    file = tmp_path / "fetch.pcapng"
    cert = certs["rsa"]
    tls = HandshakeContext(server=False, version=version, cafile=str(cert))
    with (
        Capture(file) as capture,
        peers.server_of("gnutls-serv", version, "AES128", "rsa", folder, cert) as port,
    ):
        connection = connect(machine, tls, "localhost", port, capture)
        reader = connection.makefile()
        for i in range(6):
            if version == "1.3":
                connection.update_keys(request=i == 1)
            connection.sendall(b"a line\n")
            assert reader.readline() == b"a line\n"
        connection.close()
    assert plaintext(file) == (b"a line\n" * 6, b"a line\n" * 6)


def test_nginx_without_an_observed_handshake(
    tmp_path: Path, folder: Path, certs: dict[str, Path]
) -> None:
    """TLS 1.2 shows both directions; in TLS 1.3, OpenSSL 3.0 receives without kTLS."""
    file = tmp_path / "run.pcapng"
    want = (folder / "model.bin").read_bytes()
    with nginx(tmp_path, folder, certs["ecdsa"], "--capture", str(file)) as run:
        for version in peers.VERSIONS:
            options = ("--http1.1", "--tls-max", version)
            assert curl(run.port, "model.bin", certs["ecdsa"], *options) == want
        run.end(signal.SIGTERM)
    client, answer = plaintext(file, 0)
    assert client.startswith(b"GET /model.bin HTTP/1.1\r\n")
    assert answer.partition(b"\r\n\r\n")[2] == want
    assert want in b"".join(plaintext(file, 1))


def test_demo(tmp_path: Path) -> None:
    file = tmp_path / "demo.pcapng"
    command = [sys.executable, "-m", "ktls_cosim", "demo", "--port", "model"]
    done = subprocess.run(
        [*command, "--capture", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "records verified: 10" in done.stdout
    sent = b"hello world" + b"three calls make one record" + real_file().read_bytes()
    assert b"".join(plaintext(file)) == sent


def test_a_capture_without_secrets_shows_nothing(
    tmp_path: Path, machine: Machine, folder: Path, certs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The other tests compare decrypted bytes, not bytes that the file holds in the clear."""
    file = tmp_path / "serve.pcapng"
    with Capture(file) as capture:
        write = capture.write
        monkeypatch.setattr(capture, "write", lambda _secrets, packets: write("", packets))
        with running(peers.as_server(machine, folder, certs["rsa"], "1.3", capture)) as server:
            curl(server.server_address[1], "model.bin", certs["rsa"])
    assert plaintext(file) == (b"", b"")


# ------------------------------------------------------------------ no other program needed


def test_keys_of_rfc_8448() -> None:
    """Server application traffic keys of the simple handshake, RFC 8448 section 3."""
    secret = bytes.fromhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
    info = TrafficSecret(Suite(uapi.TLS_CIPHER_AES_GCM_128), secret).info()
    assert info.key.hex() == "9f02283b6c9c07efc26bb9f2ac92e356"
    assert (info.salt + info.iv).hex() == "cf782b88dd83549aadf1e984"


@pytest.mark.parametrize(
    ("name", "cipher"),
    [
        ("TLS_AES_128_GCM_SHA256", 51),
        ("ECDHE-RSA-AES256-GCM-SHA384", 52),
        ("TLS_CHACHA20_POLY1305_SHA256", 54),
        ("ECDHE-RSA-AES256-SHA384", None),
    ],
)
def test_suites(name: str, cipher: int | None) -> None:
    suite = suite_of(name)
    assert (suite.cipher if suite else None) == cipher


def test_resealed_records_are_the_same_records() -> None:
    handshake = SyntheticHandshake(Suite(uapi.TLS_CIPHER_AES_GCM_128), b"seed")
    theirs = CryptoInfo(uapi.TLS_1_3_VERSION, 51, bytes(8), bytes(range(16)), b"SALT", bytes(8))
    keys = TrafficKeys.from_crypto_info(theirs.pack())
    wire = b"".join(seal_record(keys, i, 21 + i, bytes(i)).wire for i in range(3))
    resealed = Resealed(theirs.pack(), handshake.client)
    out = bytearray(b"".join(resealed.feed(wire[i : i + 7]) for i in range(0, len(wire), 7)))
    shown = TrafficKeys.from_crypto_info(handshake.client.pack())
    got = [open_record(shown, i, record) for i, record in enumerate(split_records(out))]
    assert got == [(21, b""), (22, b"\0"), (23, b"\0\0")]
    assert "key" not in repr(handshake.client)


def test_ports_of_other_protocols(
    tmp_path: Path, machine: Machine, folder: Path, certs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Regression: tshark took a client at port 34980 for EtherCAT and showed nothing."""
    file = tmp_path / "serve.pcapng"
    with Capture(file) as capture:
        begin = capture.conversation
        monkeypatch.setattr(
            capture, "conversation", lambda c, s: begin((c[0], 34980), (s[0], 8080))
        )
        with running(peers.as_server(machine, folder, certs["rsa"], "1.3", capture)) as server:
            curl(server.server_address[1], "sim.bin", certs["rsa"])
    client, answer = plaintext(file)
    assert client.startswith(b"GET /sim.bin HTTP/1.1\r\n")
    assert answer.endswith((folder / "sim.bin").read_bytes())
