# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim serve` and `ktls-cosim fetch` as a user runs them."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import peers
from peers import plaintext

COSIM = [sys.executable, "-m", "ktls_cosim"]
VERIFIED = re.compile(r"records verified: (\d+) of the device, (\d+) on the wire, mismatches: 0")


class Server:
    """A `ktls-cosim serve` process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.banner = process.stdout.readline()
        found = re.search(r"at (https://\S+)/ \(device: (\w+), certificate: (\S+)\)", self.banner)
        assert found, self.banner
        self.url = found[1].replace("127.0.0.1", "localhost")

    def stop(self) -> tuple[int, str]:
        """Send SIGINT; return exit status and output."""
        self._process.send_signal(signal.SIGINT)
        out, _ = self._process.communicate(timeout=30)
        return self._process.returncode, out


@contextlib.contextmanager
def serve(folder: Path, *options: str) -> Iterator[Server]:
    command = [*COSIM, "serve", str(folder), "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def fetch(*args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COSIM, "fetch", *args], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("port", ["model", "sim"])
@pytest.mark.parametrize("version", peers.VERSIONS)
def test_serve_and_fetch(
    version: str, port: str, tmp_path: Path, folder: Path, certs: dict[str, Path]
) -> None:
    """Each end has its own device, writes a capture and counts records."""
    file, cert, name = tmp_path / "file", str(certs["rsa"]), f"{port}.bin"
    captures = [tmp_path / "serve.pcapng", tmp_path / "fetch.pcapng"]
    common = ["--port", port, "--tls", version]
    with serve(folder, "--cert", cert, *common, "--capture", str(captures[0])) as server:
        done = fetch(
            f"{server.url}/{name}", "-o", str(file), "--cafile", cert, *common,
            "--capture", str(captures[1]),
        )  # fmt: skip
        status, out = server.stop()
    want = (folder / name).read_bytes()
    assert done.returncode == 0, done.stderr
    assert file.read_bytes() == want
    assert status == 0, out
    assert "connections: 1, ended early: 0" in out
    for text in (done.stderr.decode(), out):
        found = VERIFIED.search(text)
        assert found, text
        assert int(found[1]) >= len(want) // 16384
    for capture in captures:
        client, answer = plaintext(capture)
        assert client.startswith(f"GET /{name} HTTP/1.1\r\n".encode())
        assert answer.partition(b"\r\n\r\n")[2] == want


def test_errors_of_fetch(folder: Path, certs: dict[str, Path]) -> None:
    cert = str(certs["ecdsa"])
    with serve(folder, "--cert", cert) as server:
        trusting = ("--cafile", cert)
        missing = fetch(f"{server.url}/nothing", *trusting)
        assert missing.returncode == 1
        assert b"status 404" in missing.stderr
        untrusting = fetch(f"{server.url}/sim.bin")
        assert untrusting.returncode == 1
        assert b"CERTIFICATE_VERIFY_FAILED" in untrusting.stderr
        other_name = fetch(f"{server.url.replace('localhost', '127.0.0.1')}/sim.bin", *trusting)
        assert other_name.returncode == 0
        insecure = fetch(f"{server.url}/sim.bin", "--insecure")
        assert insecure.stdout == (folder / "sim.bin").read_bytes()
        status, out = server.stop()
    assert status == 0, out
    assert "ended early: 1" in out
    unreachable = fetch("https://localhost:1/", *trusting)
    assert unreachable.returncode == 1
    assert b"Traceback" not in unreachable.stderr


def test_a_server_without_requests_has_checked_nothing(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        status, out = server.stop()
    assert status == 130, "128 + SIGINT"
    assert "connections: 0" in out


def test_an_address_in_use(folder: Path) -> None:
    with serve(folder) as server:
        where = server.url.removeprefix("https://").replace("localhost", "127.0.0.1")
        done = subprocess.run(
            [*COSIM, "serve", str(folder), "--listen", where], capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert "choose another --listen" in done.stderr
