# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim serve`: an HTTPS server whose records the device seals and opens."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import shutil
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.errors import CosimError
from ktls_cosim.https.certificate import self_signed
from ktls_cosim.https.connection import Connection, PeerError, establish
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.files import byte_range, inside, is_servable
from ktls_cosim.https.handshake import HandshakeError
from ktls_cosim.https.limits import DEFAULT, MAX_CONNECTIONS, Timeouts
from ktls_cosim.machine import Machine, open_machine
from ktls_cosim.reproduce import this_command
from ktls_cosim.target import Target


def address(text: str) -> tuple[str, int]:
    """Parse HOST:PORT, with an IPv6 host in brackets.

    Raises:
        CosimError: The text has another form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise CosimError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443")
    return host.strip("[]") or "0.0.0.0", int(port)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder with sendfile, and echoes the body of a POST."""

    protocol_version = "HTTP/1.1"
    server_version = "ktls-cosim"
    connection: Any
    server: Any
    _part: range | None = None  # the bytes of a file to send; None: all there are
    _file_follows = False  # the header joins the first record of the file

    def setup(self) -> None:
        """Follow the links of the folder, once per connection."""
        super().setup()
        self._root = os.path.realpath(self.directory)

    def handle_one_request(self) -> None:
        """Wait for a request, then answer it; an idle connection ends with close_notify."""
        if isinstance(self.connection, Connection):
            timeouts = self.server.timeouts
            self.connection.deadline = time.monotonic() + timeouts.idle
            self.connection.idle = True
            try:
                self.rfile.peek(1)  # type: ignore[attr-defined]
            except TimeoutError:
                self.close_connection = True
                return
            self.connection.idle = False
            self.connection.deadline = time.monotonic() + timeouts.header
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Parse the header; the rest of the request has no common time limit."""
        try:
            return super().parse_request()
        finally:
            if isinstance(self.connection, Connection):
                self.connection.deadline = None

    def send_head(self) -> Any:
        """Send the header of a response to GET or HEAD, and return the open file."""
        self._part = None
        path = self.translate_path(self.path)
        if not inside(self._root, path) or not is_servable(path):
            self.send_error(404, "File not found")
            return None
        if os.path.isdir(path):
            return super().send_head()
        if path.endswith("/"):
            self.send_error(404, "File not found")
            return None
        try:
            file = open(path, "rb")  # noqa: SIM115 - the caller closes it
        except OSError:
            self.send_error(404, "File not found")
            return None
        info = os.fstat(file.fileno())
        asked = byte_range(self.headers.get("Range"), info.st_size)
        if asked is not None and not asked:
            file.close()
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{info.st_size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        part = self._part = asked if asked is not None else range(info.st_size)
        self.send_response(200 if asked is None else 206)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(len(part)))
        if asked is not None:
            self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{info.st_size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Last-Modified", self.date_time_string(int(info.st_mtime)))
        self._file_follows = self.command == "GET" and len(part) > 0
        self.end_headers()
        return file

    def flush_headers(self) -> None:
        """Send the header, or leave it to the file that follows."""
        if self._file_follows and isinstance(self.connection, Connection):
            self._file_follows = False
            header = b"".join(self._headers_buffer)
            self._headers_buffer: list[bytes] = []
            self.connection.sendall(header, more=True)
        else:
            super().flush_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file with sendfile, and generated content with write."""
        if isinstance(self.connection, Connection) and hasattr(source, "fileno"):
            self.wfile.flush()
            part = self._part
            if part is None:
                self.connection.sendfile(source)
            else:
                self.connection.sendfile(source, part.start, len(part))
        else:
            shutil.copyfileobj(source, outputfile)

    def do_POST(self) -> None:
        """Send the body of the request back, to use the receive direction."""
        length = self.headers.get("Content-Length")
        if length is None:
            self.send_error(411)
            return
        if not re.fullmatch("[0-9]{1,18}", length.strip()):
            self.send_error(400, "Bad Content-Length")
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", length.strip())
        self.end_headers()
        left = int(length)
        while left:
            data = self.rfile.read(min(left, 1 << 16))
            if not data:
                raise PeerError(f"the body of a POST ended {left} bytes early")
            self.wfile.write(data)
            left -= len(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print a request to standard error."""
        print(f"{self.client_address[0]} {format % args}", file=sys.stderr, flush=True)


class HttpsServer(socketserver.ThreadingTCPServer):
    """Serves each connection in a thread; all threads share one machine, which outlives them.

    Attributes:
        connections: Number of accepted connections.
        refused: Number of connections that ended early: with an error, or with the server.
        timeouts: Time limits.

    Args:
        where: Host and port to listen on; port 0 selects a free one.
        folder: Folder to serve.
        machine: Kernel and device.
        tls: Context of the server role.
        capture: Receives all conversations.
        timeouts: Time limits.
    """

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        where: tuple[str, int],
        folder: Path,
        machine: Machine,
        tls: HandshakeContext,
        capture: Capture | None = None,
        timeouts: Timeouts = DEFAULT,
    ) -> None:
        self.timeouts = timeouts
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self._machine = machine
        self._tls = tls
        self._capture = capture
        self.connections = 0
        self.refused = 0
        self._open: set[socket.socket] = set()
        self._stopping = False
        super().__init__(where, partial(_Handler, directory=str(folder)))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread of a connection, unless there are too many."""
        if len(self._open) >= MAX_CONNECTIONS:
            self.refused += 1
            request.close()
            print(
                f"{client_address[0]} refused: {MAX_CONNECTIONS} connections are open",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            return
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the socket of a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, end the open connections and wait until their threads have ended."""
        self._stopping = True
        for request in list(self._open):
            # wakes a thread that waits for its peer
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, from the handshake to its end."""
        self.connections += 1
        connection = establish(
            self._machine, request, self._tls, capture=self._capture, timeouts=self.timeouts
        )
        try:
            super().finish_request(connection, client_address)  # type: ignore[arg-type]
            connection.close()
        except OSError:
            if not (self._stopping and connection.idle):
                raise
        finally:
            connection.abort()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Count an error, and print it in a line if the peer caused it."""
        error = sys.exc_info()[1]
        of_peer = isinstance(error, (HandshakeError, OSError))
        if self._stopping and isinstance(error, HandshakeError):
            return
        self.refused += 1
        if self._stopping and of_peer:
            return
        if not of_peer:
            # a fault of the device or of this program: print the traceback
            super().handle_error(request, client_address)
            return
        print(f"{client_address[0]} connection ended: {error}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def running(server: HttpsServer) -> Iterator[HttpsServer]:
    """Run a server in a thread until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_serve(
    folder: Path,
    *,
    port: str,
    target: Target | None = None,
    tls: str | None,
    listen: str,
    cert: Path | None,
    key: Path | None,
    capture: Path | None,
    trace: Path | None = None,
    timeouts: Timeouts = DEFAULT,
) -> int:
    """Serve a folder until SIGINT or SIGTERM.

    Args:
        folder: Folder to serve.
        port: Device: `model` or `sim`.
        tls: `1.2` or `1.3` to accept one version.
        listen: HOST:PORT.
        cert: PEM file of the certificate chain; None: self-signed for localhost.
        key: PEM file of the private key; None: `cert` contains it.
        capture: pcapng file to write.
        trace: File for the driver's accesses to the device.
        timeouts: Time limits.

    Returns:
        0 if records were checked and all passed, else 1; 128 plus the number of the signal if
        no client connected.

    Raises:
        CosimError: An argument cannot be used.
    """
    if not folder.is_dir():
        raise CosimError(f"{folder} is not a folder; name the folder to serve")
    where = address(listen)
    if cert is None:
        cert = self_signed()
    stop = threading.Event()
    signals: list[int] = []

    def end(number: int, _frame: object) -> None:
        signals.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    context = HandshakeContext(
        server=True, version=tls, cert=str(cert), key=str(key) if key else None
    )
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(Capture(capture)) if capture else None
        machine = stack.enter_context(
            open_machine(port, this_command(), name="serve", target=target, trace=trace)
        )
        try:
            server = HttpsServer(where, folder, machine, context, file, timeouts)
        except OSError as e:
            raise CosimError(f"cannot listen on {listen}: {e}; choose another --listen") from e
        host, at = server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        print(
            f"serving {folder} at https://{shown}:{at}/ (device: {port}, certificate: {cert})",
            flush=True,
        )
        with running(server):
            stop.wait()
        failure = machine.finish()
        print(f"connections: {server.connections}, ended early: {server.refused}")
        print(machine.summary())
    if not server.connections:
        print("ktls-cosim: no client connected, so nothing was checked", file=sys.stderr)
        return 128 + signals[0]
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0
