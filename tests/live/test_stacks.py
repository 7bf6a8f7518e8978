# SPDX-License-Identifier: Apache-2.0
"""TLS stacks that are not in every distribution's base: clients of `serve`, servers under `run`.

`make peers` installs them; a test of a missing one is skipped.
"""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import peers
from ktls_cosim.https.server import running
from ktls_cosim.machine import Machine
from ktls_cosim.paths import build_root
from programs import Run, nginx

CLIENTS = Path(__file__).parent / "helpers" / "clients"
BODY = 300_000


def skip_without(program: str) -> pytest.MarkDecorator:
    """Skip a test if a program is missing, in CI too."""
    reason = f"{program} is not installed; install it with: make peers"
    return pytest.mark.skipif(peers.path_of(program) is None, reason=reason)


RUSTLS = pytest.mark.skipif(
    importlib.util.find_spec("pyreqwest") is None,
    reason="pyreqwest is not installed; install it with: make peers",
)
# Port, certificate and file name follow.
COMMANDS = {
    "node": ["node", str(CLIENTS / "client.js")],
    "java": ["java", str(CLIENTS / "Client.java")],
    "go": ["go", "run", str(CLIENTS / "client.go")],
    "rustls": [sys.executable, str(CLIENTS / "client_rustls.py")],
}


def answers(client: str, port: int, cert: Path, name: str, tmp_path: Path) -> list[str]:
    """Let a client send its requests; return its lines: status, method, SHA-256."""
    # some stacks read no key beside the certificate
    trusted = tmp_path / "trusted.pem"
    start = "-----BEGIN CERTIFICATE"
    trusted.write_text(start + cert.read_text().partition(start)[2])
    env = {**os.environ, "GOCACHE": str(tmp_path / "go"), "GO111MODULE": "off"}
    done = subprocess.run(
        [*COMMANDS[client], str(port), str(trusted), name], capture_output=True, text=True,
        timeout=120, check=False, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check_answers(lines: list[str], file: bytes) -> None:
    want = hashlib.sha256(file).hexdigest()
    bodies = {hashlib.sha256(c * BODY).hexdigest() for c in (b"p", b"\0")}
    assert len(lines) >= 4
    for line in lines:
        status, method, digest = line.split()
        assert status == "200"
        assert digest == want if method == "GET" else digest in bodies
    assert lines[-1].split()[1] == "POST"


# The skip is decided before `machine` exists, which demands records at the end of a test.
@pytest.mark.parametrize(
    "client",
    [
        pytest.param("node", marks=skip_without("node")),
        pytest.param("java", marks=skip_without("javac")),
        pytest.param("go", marks=skip_without("go")),
        pytest.param("rustls", marks=RUSTLS),
    ],
)
@pytest.mark.parametrize("version", peers.VERSIONS)
def test_client(
    client: str, version: str, machine: Machine, folder: Path, certs: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    with running(peers.as_server(machine, folder, certs["ecdsa"], version)) as server:
        port = server.server_address[1]
        lines = answers(client, port, certs["ecdsa"], "model.bin", tmp_path)
    check_answers(lines, (folder / "model.bin").read_bytes())


@skip_without("node")
@pytest.mark.parametrize("machine", ["sim"], indirect=True)
def test_client_of_the_rtl(
    machine: Machine, folder: Path, certs: dict[str, Path], tmp_path: Path
) -> None:
    with running(peers.as_server(machine, folder, certs["rsa"], "1.3")) as server:
        port = server.server_address[1]
        lines = answers("node", port, certs["rsa"], "sim.bin", tmp_path)
    check_answers(lines, (folder / "sim.bin").read_bytes())


# ------------------------------------------------------------------------------ browser


def png(rng: random.Random, size: int = 40) -> bytes:
    """A picture of one colour and its noise."""
    colour = rng.randbytes(3)
    rows = b"".join(
        b"\0" + b"".join(colour if (x + y) % 3 else rng.randbytes(3) for x in range(size))
        for y in range(size)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return len(data).to_bytes(4, "big") + kind + data + crc.to_bytes(4, "big")

    head = size.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )  # fmt: skip


PICTURES = 12
PAGE = """<!doctype html><title>ktls-cosim</title>
<h1>Each byte of this page was sealed by simulated silicon</h1>
{images}<p id=state>loading</p>
<script>
onload = () => {{
  const good = [...document.images].filter((i) => i.complete && i.naturalWidth === 40);
  document.getElementById("state").textContent = `loaded ${{good.length}} of {count}`;
}};
</script>
"""


@skip_without("chromium")
@pytest.mark.parametrize("machine", ["model", "sim"], indirect=True)
def test_a_browser_loads_a_page(
    machine: Machine, certs: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The screenshot stays in build/browser."""
    rng = random.Random(12)
    site = tmp_path / "site"
    site.mkdir()
    for n in range(PICTURES):
        (site / f"{n}.png").write_bytes(png(rng))
    images = "".join(f"<img src={n}.png>\n" for n in range(PICTURES))
    (site / "index.html").write_text(PAGE.format(images=images, count=PICTURES))
    port_kind = request.node.callspec.params["machine"]
    shot = build_root() / "browser" / f"{port_kind}.png"
    shot.parent.mkdir(parents=True, exist_ok=True)
    shot.unlink(missing_ok=True)
    with running(peers.as_server(machine, site, certs["ecdsa"], "1.3")) as server:
        url = f"https://localhost:{server.server_address[1]}/"
        done = subprocess.run(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--ignore-certificate-errors",
             f"--user-data-dir={tmp_path}/profile",
             "--window-size=640,360", "--timeout=60000", "--virtual-time-budget=60000",
             f"--screenshot={shot}", "--dump-dom", url],
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
    assert f"loaded {PICTURES} of {PICTURES}" in done.stdout, done.stdout + done.stderr[-2000:]
    assert shot.read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------ servers


class Echo(http.server.BaseHTTPRequestHandler):
    """Echoes the body of a POST."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def echo_server(cert: Path | None = None) -> Iterator[int]:
    """An HTTP or HTTPS server that echoes."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    if cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def post(port: int, path: str, body: bytes, cert: Path, tmp_path: Path, *options: str) -> bytes:
    """POST a body with curl; return the answer."""
    file = tmp_path / "body"
    file.write_bytes(body)
    data = ["--data-binary", f"@{file}", "-H", "Expect:"]
    return peers.curl(port, path, cert, *data, *options)


@pytest.mark.parametrize("http_version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("backend", ["http", "https"])
def test_nginx_as_a_proxy(
    backend: str, http_version: str, tmp_path: Path, folder: Path, certs: dict[str, Path]
) -> None:
    """A POST through nginx; with an HTTPS server behind it, kTLS serves both sides."""
    body = random.Random(3).randbytes(BODY)
    with echo_server(certs["rsa"] if backend == "https" else None) as behind:
        location = f"location /echo {{ proxy_pass {backend}://127.0.0.1:{behind}; }}"
        with nginx(tmp_path, folder, certs["ecdsa"], location=location) as run:
            for version in peers.VERSIONS:
                options = (http_version, "--tls-max", version)
                got = post(run.port, "echo", body, certs["ecdsa"], tmp_path, *options)
                assert got == body
            run.end(signal.SIGTERM)
    assert run.connections >= 2
    assert run.records > 2 * BODY / 16384


@skip_without("lighttpd")
def test_lighttpd(tmp_path: Path, folder: Path, certs: dict[str, Path]) -> None:
    program = str(peers.path_of("lighttpd"))
    port = peers.free_port()
    config = tmp_path / "lighttpd.conf"
    config.write_text(
        f"""server.modules = ("mod_openssl")
        server.port = {port}
        server.bind = "127.0.0.1"
        server.document-root = "{folder}"
        ssl.engine = "enable"
        ssl.pemfile = "{certs["ecdsa"]}"
        """
    )
    run = Run([program, "-D", "-f", str(config)], port)
    peers.wait_for(port, run.process)
    for version in peers.VERSIONS:
        for http_version in ("--http1.1", "--http2"):
            got = peers.curl(port, "model.bin", certs["ecdsa"], http_version, "--tls-max", version)
            assert got == (folder / "model.bin").read_bytes()
    run.end(signal.SIGTERM, any_status=True)
    assert run.connections == 4
    assert run.records > 4 * 64


@skip_without("stunnel")
def test_stunnel(tmp_path: Path, certs: dict[str, Path]) -> None:
    program = str(peers.path_of("stunnel"))
    port = peers.free_port()
    body = random.Random(4).randbytes(BODY)
    with echo_server() as behind:
        config = tmp_path / "stunnel.conf"
        config.write_text(
            f"foreground = yes\npid =\n"
            f"[https]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{behind}\n"
            f"cert = {certs['rsa']}\n"
        )
        run = Run([program, str(config)], port)
        peers.wait_for(port, run.process)
        for version in peers.VERSIONS:
            got = post(port, "echo", body, certs["rsa"], tmp_path, "--tls-max", version)
            assert got == body
        run.end(signal.SIGTERM, any_status=True)
    assert run.connections >= 2
