# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim bench live`: requests and bytes per second of `serve`, beside other servers.

All servers answer the same clients in one run, one after the other. Only the ratios count: times
depend on the machine and its load.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from ktls_cosim.errors import CosimError
from ktls_cosim.https.certificate import self_signed
from ktls_cosim.report import console, progress, table, write_json

FILES = {"small": 3, "large": 1 << 20}
"""Name of a file to its bytes."""
CONNECTIONS = (1, 8, 64)
_START_S = 20
# runs a server on a folder of files, with a folder and a certificate of its own; yields its port
_Server = Callable[[Path, Path, Path], AbstractContextManager[int]]
_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; tcp_nodelay on; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {pem}; ssl_certificate_key {pem};
           root {files}; }}
}}
"""


def _port_in(process: subprocess.Popen[str], pattern: str) -> int:
    """Read the port that a server prints.

    Raises:
        CosimError: It ended, or printed none.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(pattern, line)
    if found is None:
        raise CosimError(f"{process.args!r} printed {line!r} instead of its port")
    return int(found[1])


@contextmanager
def _running(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the end of the block."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_START_S)


@contextmanager
def _serve(files: Path, _folder: Path, pem: Path) -> Iterator[int]:
    command = (sys.executable, "-m", "ktls_cosim", "serve", str(files), "--port", "model")
    with _running(*command, "--listen", "127.0.0.1:0", "--cert", str(pem)) as process:
        yield _port_in(process, r":(\d+)/")


@contextmanager
def _python(files: Path, _folder: Path, pem: Path) -> Iterator[int]:
    command = (sys.executable, "-m", "ktls_cosim.bench.ssl_server", str(files), str(pem))
    with _running(*command) as process:
        yield _port_in(process, r"(\d+)")


def _nginx_program() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@contextmanager
def _nginx(files: Path, folder: Path, pem: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, pem=pem, files=files))
    with _running(_nginx_program() or "nginx", "-c", str(config), "-p", str(folder)):
        yield port


def _servers() -> dict[str, _Server]:
    """Return the servers that this machine has, by name."""
    servers: dict[str, _Server] = {
        "ktls-cosim serve": _serve,
        "Python ssl": _python,
    }
    if _nginx_program():
        servers["nginx"] = _nginx
    return servers


def _load(port: int, name: str, size: int, connections: int, seconds: float) -> float:
    """Return the requests per second that a server answers.

    Args:
        port: TCP port of the server.
        name: File to request.
        size: Its bytes.
        connections: Number of connections, each with one request at a time.
        seconds: How long to ask; the last answers may take longer.

    Raises:
        CosimError: A connection failed, or an answer was wrong.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    ready = threading.Barrier(connections + 1)
    answered = [0] * connections
    errors: list[BaseException] = []
    stop = threading.Event()

    def ask(number: int) -> None:
        try:
            connection = HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
            for _ in range(1000):
                try:
                    connection.connect()
                    break
                except ConnectionRefusedError:
                    time.sleep(_START_S / 1000)
            ready.wait()
            while not stop.is_set():
                connection.request("GET", f"/{name}")
                body = connection.getresponse().read()
                if len(body) != size:
                    raise CosimError(f"an answer has {len(body)} bytes instead of {size}")
                answered[number] += 1
            connection.close()
        except BaseException as e:
            errors.append(e)
            ready.abort()

    threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(connections)]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
    except threading.BrokenBarrierError as e:
        raise CosimError(f"a client could not connect: {errors[:1]}") from e
    begin = time.monotonic()
    time.sleep(seconds)
    stop.set()
    # the last answers count, too: a slow server may have one per connection and window
    for thread in threads:
        thread.join(120)
    count, spent = sum(answered), time.monotonic() - begin
    if errors:
        raise CosimError(f"a client failed: {errors[0]!r}")
    return count / spent


def run_bench_live(json_out: Path | None, seconds: float = 3.0) -> int:
    """Measure all servers and print the table.

    Args:
        json_out: File for the figures.
        seconds: Length of each measurement.
    """
    pem = self_signed()
    servers = _servers()
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        files = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, size in FILES.items():
            (files / name).write_bytes(bytes(size))
        bar = stack.enter_context(progress("measurements"))
        task = bar.add_task("servers", total=len(servers) * len(FILES) * len(CONNECTIONS))
        for server, start in servers.items():
            with tempfile.TemporaryDirectory() as folder, start(files, Path(folder), pem) as port:
                for name, size in FILES.items():
                    for connections in CONNECTIONS:
                        rate = _load(port, name, size, connections, seconds)
                        rows.append(
                            {
                                "server": server,
                                "bytes": size,
                                "connections": connections,
                                "requests_per_second": rate,
                                "mb_per_second": rate * size / 1e6,
                            }
                        )
                        bar.advance(task)
    out = console(100)
    columns = ("bytes", "connections", "server", "requests/s", "MB/s", "of Python ssl")
    shown = table(columns, left=("server",), title="HTTPS with keep-alive, one machine, one run")
    for row in sorted(rows, key=lambda r: (r["bytes"], r["connections"])):
        (base,) = (
            r["requests_per_second"] for r in rows if r["server"] == "Python ssl"
            and (r["bytes"], r["connections"]) == (row["bytes"], row["connections"])
        )  # fmt: skip
        shown.add_row(
            str(row["bytes"]), str(row["connections"]), row["server"],
            f"{row['requests_per_second']:.0f}", f"{row['mb_per_second']:.1f}",
            f"{row['requests_per_second'] / base:.2f}",
        )  # fmt: skip
    out.print(shown)
    if "nginx" not in servers:
        out.print("left out: nginx, which is not installed (apt-get install nginx-light)")
    write_json(json_out, {"live": rows})
    return 0
