# SPDX-License-Identifier: Apache-2.0
"""Third-party TLS programs as peers of `serve` and `fetch`, and the server that they talk to."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.server import HttpsServer
from ktls_cosim.machine import Machine
from support import missing

PACKAGES = {
    "curl": "curl",
    "openssl": "openssl",
    "gnutls-cli": "gnutls-bin",
    "gnutls-serv": "gnutls-bin",
    "wget": "wget",
    "tstclnt": "libnss3-tools",
    "nginx": "nginx-light",
    "tshark": "tshark",
}
VERSIONS = ("1.2", "1.3")
SUITES = ("AES128", "AES256")
KEYS = ("ecdsa", "rsa")
CLIENTS = ("curl", "openssl", "gnutls-cli", "wget", "tstclnt")
SERVERS = ("openssl", "gnutls-serv")

_OPENSSL_12 = {"AES128": "AES128-GCM-SHA256", "AES256": "AES256-GCM-SHA384"}
_OPENSSL_13 = {"AES128": "TLS_AES_128_GCM_SHA256", "AES256": "TLS_AES_256_GCM_SHA384"}
_GNUTLS = {"AES128": "AES-128-GCM", "AES256": "AES-256-GCM"}
_NSS: dict[tuple[str, ...], str] = {
    ("1.2", "AES128", "ecdsa"): "c02b",
    ("1.2", "AES256", "ecdsa"): "c02c",
    ("1.2", "AES128", "rsa"): "c02f",
    ("1.2", "AES256", "rsa"): "c030",
    ("1.3", "AES128"): "1301",
    ("1.3", "AES256"): "1302",
}


def path_of(program: str) -> str | None:
    """Return the path of a program, None if it is missing."""
    # Debian installs servers in /usr/sbin, which is not in the path of users
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def needs(program: str) -> str:
    """Return the path of a program; skip the test if it is missing, or fail it in CI."""
    path = path_of(program)
    if path is None:
        missing(program, f"apt-get install {PACKAGES[program]}")
    return path


def as_server(
    machine: Machine, folder: Path, cert: Path, version: str | None = None,
    capture: Capture | None = None,
) -> HttpsServer:  # fmt: skip
    """Return our server of a folder on a free port; without a version it accepts both."""
    tls = HandshakeContext(server=True, version=version, cert=str(cert))
    return HttpsServer(("127.0.0.1", 0), folder, machine, tls, capture)


def openssl_suite(version: str, suite: str, key: str) -> str:
    """Return the OpenSSL name of a cipher suite."""
    if version == "1.3":
        return _OPENSSL_13[suite]
    return f"ECDHE-{key.upper()}-{_OPENSSL_12[suite]}"


def gnutls_priority(version: str, suite: str) -> str:
    """Return the GnuTLS priority string of a cipher suite."""
    return f"NORMAL:-VERS-ALL:+VERS-TLS{version}:-CIPHER-ALL:+{_GNUTLS[suite]}"


def fetch_with(
    client: str, version: str, suite: str, key: str, port: int, name: str, cert: Path
) -> bytes:
    """Let a client fetch a file from our server; return the content."""
    needs(client)
    url = f"https://localhost:{port}/{name}"
    request = f"GET /{name} HTTP/1.0\r\n\r\n".encode()
    openssl = openssl_suite(version, suite, key)
    if client == "curl":
        option = "--tls13-ciphers" if version == "1.3" else "--ciphers"
        command = ["curl", "-sS", f"--tlsv{version}", "--tls-max", version, option, openssl]
        return run([*command, "--cacert", str(cert), url])
    if client == "wget":
        priority = gnutls_priority(version, suite)
        command = ["wget", "-q", "-O", "-", f"--ciphers={priority}", f"--ca-certificate={cert}"]
        return run([*command, url])
    if client == "openssl":
        option = "-ciphersuites" if version == "1.3" else "-cipher"
        command = ["openssl", "s_client", "-quiet", "-connect", f"localhost:{port}"]
        command += [f"-tls{version.replace('.', '_')}", option, openssl, "-CAfile", str(cert)]
        command += ["-verify_return_error", "-verify_hostname", "localhost"]
    elif client == "gnutls-cli":
        command = ["gnutls-cli", "--logfile=/dev/null", f"--x509cafile={cert}", "-p", str(port)]
        command += ["--priority", gnutls_priority(version, suite), "localhost"]
    else:
        number = _NSS.get((version, suite, key)) or _NSS[version, suite]
        command = ["tstclnt", "-D", "-o", "-O", "-h", "127.0.0.1", "-a", "localhost"]
        command += ["-p", str(port), "-V", f"tls{version}:tls{version}", "-c", f":{number}"]
        # with the request on its standard input it would wait for more input after the response
        with tempfile.NamedTemporaryFile() as file:
            file.write(request)
            file.flush()
            return run([*command, "-A", file.name]).partition(b"\r\n\r\n")[2]
    return run(command, request).partition(b"\r\n\r\n")[2]


def run(command: list[str], stdin: bytes = b"") -> bytes:
    """Run a program that must succeed; return its standard output."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, (command, done.returncode, done.stderr[-1000:])
    return done.stdout


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until a server listens on a port of this machine."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"no server listens on port {port}")


@contextlib.contextmanager
def server_of(
    server: str, version: str, suite: str, key: str, folder: Path, cert: Path
) -> Iterator[int]:
    """Run another server in a folder; provide its port."""
    needs(server)
    port = free_port()
    if server == "openssl":
        option = "-ciphersuites" if version == "1.3" else "-cipher"
        command = ["openssl", "s_server", "-WWW", "-accept", str(port), "-cert", str(cert)]
        command += [f"-tls{version.replace('.', '_')}", option, openssl_suite(version, suite, key)]
    else:
        command = ["gnutls-serv", "--echo", "-p", str(port), "--x509certfile", str(cert)]
        command += ["--x509keyfile", str(cert), "--priority", gnutls_priority(version, suite)]
    with listening(command, port, folder):
        yield port


@contextlib.contextmanager
def listening(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """Run a server in a folder until the end of the block, from when it listens on a port."""
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_for(port, process)
            yield
        finally:
            process.kill()


def curl(port: int, name: str, cert: Path, *options: str) -> bytes:
    """Fetch a file with curl and return it."""
    needs("curl")
    url = f"https://localhost:{port}/{name}"
    return run(["curl", "-sS", "--fail", "--cacert", str(cert), *options, url])


def plaintext(capture: Path, stream: int = 0) -> tuple[bytes, bytes]:
    """Return the decrypted bytes of both ends; those of an HTTP server are last."""
    tshark = needs("tshark")
    done = subprocess.run(
        [tshark, "-r", str(capture), "-q", "-z", f"follow,tls,raw,{stream}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = [b"", b""]
    for line in done.stdout.splitlines():
        digits = line.strip()
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            continue
        ends[line.startswith("\t")] += data
    first, last = sorted(ends, key=lambda end: end.startswith(b"HTTP/"))
    return first, last
