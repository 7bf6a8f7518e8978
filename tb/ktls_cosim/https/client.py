# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim fetch`: an HTTPS client whose records the device seals and opens."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.errors import CosimError
from ktls_cosim.https.connection import Connection, PeerError, establish
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.handshake import HandshakeError
from ktls_cosim.https.limits import DEFAULT, Timeouts
from ktls_cosim.machine import Machine, open_machine
from ktls_cosim.reproduce import this_command
from ktls_cosim.target import Target


def connect(
    machine: Machine,
    tls: HandshakeContext,
    host: str,
    port: int,
    capture: Capture | None = None,
    timeouts: Timeouts = DEFAULT,
) -> Connection:
    """Connect to a server, perform the handshake and continue with kTLS.

    Args:
        machine: Kernel and device.
        tls: Context of the client role.
        host: Name or address of the server.
        port: Port of the server.
        capture: Receives the conversation.
        timeouts: Time limits.

    Raises:
        HandshakeError: The handshake failed.
        OSError: The connection failed.
    """
    raw = socket.create_connection((host, port), timeouts.handshake)
    try:
        return establish(machine, raw, tls, host, capture, timeouts)
    except BaseException:
        raw.close()
        raise


def run_fetch(
    url: str,
    *,
    port: str,
    target: Target | None = None,
    tls: str | None,
    output: Path | None,
    cafile: Path | None,
    insecure: bool,
    capture: Path | None,
    trace: Path | None = None,
    timeouts: Timeouts = DEFAULT,
) -> int:
    """Fetch a URL and write the content.

    Args:
        url: An https:// URL.
        port: Device: `model` or `sim`.
        tls: `1.2` or `1.3` to accept one version.
        output: File for the content; None: standard output. It gets its name when it is complete.
        cafile: PEM file of trusted certificates; None: those of the system.
        insecure: Accept any certificate.
        capture: pcapng file to write.
        trace: File for the driver's accesses to the device.
        timeouts: Time limits.

    Returns:
        0 if the status was 200 and all records passed the checks, else 1.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise CosimError(f"{url!r} is not an https:// URL")
    context = HandshakeContext(
        server=False, version=tls, cafile=str(cafile) if cafile else None, verify=not insecure
    )
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(Capture(capture)) if capture else None
        machine = stack.enter_context(
            open_machine(port, this_command(), name="fetch", target=target, trace=trace)
        )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection = connect(
                machine, context, parts.hostname, parts.port or 443, file, timeouts
            )
            try:
                status = _get(connection, parts.netloc, path, output)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, HandshakeError) as e:
            print(f"ktls-cosim: {url}: {e}", file=sys.stderr)
            return 1
        failure = machine.finish()
        print(machine.summary(), file=sys.stderr)
    if failure:
        print(failure, file=sys.stderr)
    elif status != 200:
        print(f"ktls-cosim: {url}: status {status}", file=sys.stderr)
    return 1 if failure or status != 200 else 0


class _Kept:
    """A connection that stays open until the response has been read.

    `http.client` closes its socket as soon as it has the headers.
    """

    def __init__(self, connection: Connection) -> None:
        self.sendall = connection.sendall
        self.makefile = connection.makefile

    def close(self) -> None:
        """Do nothing; the caller closes the connection."""


def _get(connection: Connection, host: str, path: str, output: Path | None) -> int:
    client = http.client.HTTPConnection(host)
    wire: Any = _Kept(connection)
    client.sock = wire
    client.request("GET", path, headers={"Connection": "close"})
    response = client.getresponse()
    if output is None:
        _copy(response, sys.stdout.buffer)
    elif output.exists() and not output.is_file():
        with output.open("wb") as device:
            _copy(response, device)
    else:
        part = output.with_name(output.name + ".part")
        try:
            with part.open("wb") as whole:
                _copy(response, whole)
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
    return response.status


def _copy(response: http.client.HTTPResponse, target: BinaryIO) -> None:
    """Write the content.

    Raises:
        PeerError: The server ended the connection before the end of the content.
    """
    shutil.copyfileobj(response, target, 1 << 16)
    target.flush()
    if response.length:
        raise PeerError(f"the transfer ended {response.length} bytes early")
