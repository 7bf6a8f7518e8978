# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim run`: unmodified programs on the model's kTLS."""

from __future__ import annotations

import contextlib
import platform
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

import peers
from ktls_cosim.paths import ROOT
from ktls_cosim.run import seccomp
from peers import curl
from programs import Run, nginx

Got = TypeVar("Got")
GNUTLS_SERVER = [sys.executable, str(Path(__file__).parent / "helpers" / "gnutls_server.py")]


def test_nginx(tmp_path: Path, folder: Path, certs: dict[str, Path]) -> None:
    want = (folder / "model.bin").read_bytes()
    with nginx(tmp_path, folder, certs["ecdsa"]) as run:
        for i in range(50):
            http = ("--http1.1", "--http2")[i % 2]
            version = ("--tls-max", ("1.2", "1.3")[i // 2 % 2])
            assert curl(run.port, "model.bin", certs["ecdsa"], http, *version) == want, i
        run.end(signal.SIGTERM)
    assert run.connections == 50
    assert run.records >= 50 * 64


def test_nginx_keeps_connections(tmp_path: Path, folder: Path, certs: dict[str, Path]) -> None:
    """One connection serves several requests, one after another and in parallel."""
    want = (folder / "sim.bin").read_bytes()
    with nginx(tmp_path, folder, certs["rsa"]) as run:
        # regression: a race lost the second request of a connection in a fifth of the runs
        for _ in range(25):
            twice = [f"https://localhost:{run.port}/"] * 2
            peers.run(["curl", "-sS", "--http1.1", "--cacert", str(certs["rsa"]), *twice])
        urls = [f"https://localhost:{run.port}/sim.bin"] * 9
        command = ["curl", "-sS", "--cacert", str(certs["rsa"])]
        assert peers.run([*command, *urls]) == want * 9
        many = ["-o", "/dev/null"] * 10
        out = peers.run(
            [*command, "-Z", "--http1.1", "-w", "%{size_download} ", *many, *urls, urls[0]]
        )
        assert out.split() == [str(len(want)).encode()] * 10
        run.end(signal.SIGTERM)
    assert run.connections >= 2


def test_nginx_on_the_rtl(tmp_path: Path, folder: Path, certs: dict[str, Path]) -> None:
    with nginx(tmp_path, folder, certs["ecdsa"], "--port", "sim") as run:
        got = curl(run.port, "sim.bin", certs["ecdsa"])
        run.end(signal.SIGTERM)
    assert got == (folder / "sim.bin").read_bytes()
    assert run.records > 4


PYTHON_SERVER = """
import ssl, sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.handle_request()
"""


@pytest.mark.parametrize("version", peers.VERSIONS)
def test_python_ssl(version: str, folder: Path, certs: dict[str, Path]) -> None:
    """Blocking sockets; in TLS 1.2 both directions are kTLS."""
    port = peers.free_port()
    run = Run([sys.executable, "-c", PYTHON_SERVER, str(port), str(certs["rsa"])], port, cwd=folder)
    got = retry(lambda: curl(port, "model.bin", certs["rsa"], "--tls-max", version))
    assert got == (folder / "model.bin").read_bytes()
    run.end()
    assert run.records > 64


def retry(fetch: Callable[[], Got]) -> Got:
    """Repeat a fetch until it succeeds, for servers that accept only one connection."""
    for _ in range(100):
        with contextlib.suppress(AssertionError, OSError):
            return fetch()
        time.sleep(0.1)
    raise AssertionError("the server never answered")


def sendfile_server(port: int, version: str, cert: Path) -> list[str]:
    """Return the command of OpenSSL's server with sendfile, for one client."""
    command = [peers.needs("openssl"), "s_server", "-WWW", "-sendfile", "-accept", str(port)]
    return [*command, "-naccept", "1", "-cert", str(cert), f"-tls{version.replace('.', '_')}"]


@pytest.mark.parametrize("port_kind", ["model", "sim"])
@pytest.mark.parametrize("version", peers.VERSIONS)
def test_openssl_sendfile(
    version: str, port_kind: str, folder: Path, certs: dict[str, Path]
) -> None:
    port = peers.free_port()
    command = sendfile_server(port, version, certs["rsa"])
    run = Run(command, port, "--port", port_kind, cwd=folder)
    got = retry(lambda: curl(port, f"{port_kind}.bin", certs["rsa"], "--http0.9"))
    assert got.endswith((folder / f"{port_kind}.bin").read_bytes())
    out = run.end()
    assert f"KTLS SENDFILE '{port_kind}.bin' OK" in out


@pytest.mark.parametrize("version", peers.VERSIONS)
def test_slow_client_receives_everything(
    version: str, tmp_path: Path, certs: dict[str, Path]
) -> None:
    """Regression: the final alert overtook bytes that TCP had no room for."""
    want = random.Random(6).randbytes(12 << 20)
    (tmp_path / "large.bin").write_bytes(want)
    port = peers.free_port()
    command = sendfile_server(port, version, certs["rsa"])
    run = Run(command, port, cwd=tmp_path)
    tcp = retry(lambda: socket.create_connection(("localhost", port)))
    context = ssl.create_default_context(cafile=str(certs["rsa"]))
    got = bytearray()
    with context.wrap_socket(tcp, server_hostname="localhost") as tls:
        tls.sendall(b"GET /large.bin HTTP/1.0\r\n\r\n")
        while data := tls.recv(1 << 16):
            got += data
            time.sleep(0.0005)
    assert got.endswith(want)
    run.end()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("version", peers.VERSIONS)
def test_gnutls_as_in_the_kernels_example(
    version: str, exact: bool, folder: Path, certs: dict[str, Path]
) -> None:
    peers.needs("gnutls-cli")
    port = peers.free_port()
    command = [*GNUTLS_SERVER, str(port), str(certs["ecdsa"]), str(folder / "model.bin")]
    run = Run(command, port, *(["--exact"] if exact else []))
    got = retry(lambda: curl(port, "", certs["ecdsa"], "--tls-max", version))
    assert got == (folder / "model.bin").read_bytes()
    run.end()
    assert run.records == 66


def cosim(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ktls_cosim", *args], capture_output=True, text=True, timeout=100,
        check=False, cwd=ROOT,
    )  # fmt: skip


def test_exit_status_of_the_program_is_returned() -> None:
    assert cosim("run", "--", "sh", "-c", "exit 7").returncode == 7


def test_missing_program() -> None:
    done = cosim("run", "--", "/no/such/program")
    assert done.returncode == 127
    assert "No such file" in done.stderr


def test_no_record_is_a_failure() -> None:
    done = cosim("run", "--", "true")
    assert done.returncode == 1
    assert "does its TLS library use kTLS" in done.stderr


def test_nested_run_is_refused() -> None:
    """`run` inside `run` fails, because Linux allows a process only one seccomp listener."""
    inner = [sys.executable, "-m", "ktls_cosim", "run", "--", "true"]
    done = cosim("run", "--", "sh", "-c", '"$@"; echo status $?', "sh", *inner)
    assert "status 2" in done.stdout
    assert "seccomp user notification is not possible here" in done.stderr


@pytest.mark.parametrize("options", [(), ("--exact",)])
def test_a_device_that_breaks_its_contract_ends_the_run(
    options: tuple[str, ...], tmp_path: Path, certs: dict[str, Path]
) -> None:
    """Neither the program nor `run` waits forever."""
    peers.needs("gnutls-cli")
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import sys; from ktls import DeviceError; from ktls.nic import KtlsNic\n"
        "async def xmit(*_): raise DeviceError('out of order')\n"
        "KtlsNic.xmit = xmit\n"
        "from ktls_cosim.cli import main; sys.exit(main())\n"
    )
    port = peers.free_port()
    inner = [*GNUTLS_SERVER, str(port), str(certs["rsa"]), str(broken)]
    command = [sys.executable, str(broken), "run", *options, "--", *inner]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        peers.needs("curl")
        for _ in range(100):
            subprocess.run(
                ["curl", "-sk", f"https://localhost:{port}/"], capture_output=True, check=False
            )
            if run.poll() is not None:
                break
            time.sleep(0.1)
        out = run.communicate(timeout=30)[0].decode()
    assert run.returncode == 1, out
    assert "the device failed: out of order" in out


def test_unknown_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(Exception, match="not vax"):
        seccomp.arch()


CALLS = str(Path(__file__).parent / "helpers" / "ktls_calls.py")


def calls(case: str, *options: str) -> str:
    """Run a case of `helpers/ktls_calls.py`, which describes it; return the messages of `run`."""
    done = cosim("run", *options, "--", sys.executable, CALLS, case)
    assert "right" in done.stdout, done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize("exact", [[], ["--exact"]], ids=["plain", "exact"])
@pytest.mark.parametrize("case", ["batches", "gone", "reset", "options", "rings", "epoll"])
def test_system_calls(case: str, exact: list[str]) -> None:
    messages = calls(case, *exact)
    if case == "rings":
        assert "asks for io_uring" in messages


def test_errors_of_single_sends() -> None:
    calls("errors", "--exact")
