# SPDX-License-Identifier: Apache-2.0
"""A real TLS handshake by Python's `ssl`, and the keys to go on with.

`ssl` sees the connection only up to the end of the handshake, one whole record at a
time, so that no byte of the application stays inside it. From there on the record
layer belongs to kTLS.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import Protocol

from ktls import CryptoInfo, uapi
from ktls.record import BadRecord, Protection
from ktls_cosim.capture.secrets import (
    KeyLog,
    Suite,
    TrafficSecret,
    key_block,
    log_lines,
    suite_of,
    tls12_info,
)
from ktls_cosim.check.golden import split_records
from ktls_cosim.errors import CosimError

_HEADER = uapi.TLS_HEADER_SIZE
_MAX_CIPHERTEXT = uapi.TLS_MAX_PAYLOAD_SIZE + 2048
_CHANGE_CIPHER_SPEC = 20
# as much as an unprivileged pipe holds
_LOG_SIZE = 1 << 20
_CLIENT_HELLO = 1
_SERVER_HELLO = 2


class HandshakeError(CosimError):
    """The handshake failed; the text says why and whose fault it was."""


@dataclass(frozen=True, slots=True)
class Established:
    """A handshake that is over.

    Attributes:
        version: `TLS_1_2_VERSION` or `TLS_1_3_VERSION`.
        suite_name: OpenSSL's name of the suite.
        tx, rx: keys and counters to go on with, per direction.
        tx_secret, rx_secret: TLS 1.3: where the next keys come from.
        secrets: lines of a key log.
    """

    version: int
    suite_name: str
    tx: CryptoInfo
    rx: CryptoInfo
    tx_secret: TrafficSecret | None
    rx_secret: TrafficSecret | None
    secrets: str = field(repr=False)


class Tap(Protocol):
    """Is shown the bytes of a connection."""

    def sent(self, data: bytes) -> None: ...

    def received(self, data: bytes) -> None: ...

    def closed(self) -> None: ...


class TlsContext:
    """An `ssl.SSLContext` whose secrets we learn, for one role.

    Args:
        server: the role.
        version: `1.2` or `1.3` only; None: what the peer wants of both.
        cert, key: PEM files of a server's certificate chain and private key.
        cafile: a client's PEM file of trusted certificates; None: the system's.
        verify: a client checks the server's certificate.
    """

    def __init__(
        self,
        *,
        server: bool,
        version: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        cafile: str | None = None,
        verify: bool = True,
    ) -> None:
        self.server = server
        kind = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(kind)
        low, high = {
            None: (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
            "1.2": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
            "1.3": (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
        }[version]
        context.minimum_version, context.maximum_version = low, high
        # of the suites of TLS 1.2 only what kTLS can go on with
        context.set_ciphers("ECDHE+AESGCM:RSA+AESGCM:!PSK:!aNULL")
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            if server:
                context.load_cert_chain(cert or "", key)
            elif verify:
                if cafile is None:
                    context.load_default_certs()
                else:
                    context.load_verify_locations(cafile)
            else:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        except (OSError, ssl.SSLError) as e:
            raise CosimError(f"certificate or key cannot be read: {e}") from e
        self.context = context
        self._lock = threading.Lock()
        self._log = KeyLog()
        self._text = b""
        # a pipe, not a file: what was read is gone, and nothing that comes meanwhile is lost
        self._read, self._write = os.pipe()
        fcntl.fcntl(self._read, fcntl.F_SETPIPE_SZ, _LOG_SIZE)
        os.set_blocking(self._read, False)
        context.keylog_filename = f"/proc/self/fd/{self._write}"

    def take_secrets(self, client_random: bytes) -> dict[str, bytes]:
        """What the key log says of one handshake, once."""
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                while text := os.read(self._read, _LOG_SIZE):
                    self._text += text
            # the last line may still be on its way, but not if it is ours
            whole, _, self._text = self._text.rpartition(b"\n")
            self._log.add(whole.decode())
            return self._log.take(client_random)

    def close(self) -> None:
        for fd in (self._read, self._write):
            os.close(fd)


class _Transcript:
    """Records that went one way during the handshake."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self._rest = bytearray()

    def add(self, data: bytes) -> None:
        self._rest += data
        self.records += split_records(self._rest)

    def random(self, message: int) -> bytes:
        """The random of the first ClientHello or ServerHello.

        A second ClientHello repeats it; later records are encrypted and can look like one.
        """
        for record in self.records:
            if record[0] == uapi.RECORD_TYPE_HANDSHAKE and record[_HEADER : _HEADER + 1] == bytes(
                (message,)
            ):
                return record[_HEADER + 6 : _HEADER + 38]
        return b""

    def explicit_nonce_of_finished(self) -> int:
        """Of the record behind ChangeCipherSpec."""
        for before, record in zip(self.records, self.records[1:], strict=False):
            if before[0] == _CHANGE_CIPHER_SPEC:
                return int.from_bytes(record[_HEADER : _HEADER + 8], "big")
        raise HandshakeError("no Finished behind ChangeCipherSpec was sent")


def handshake(
    sock: socket.socket,
    tls: TlsContext,
    hostname: str | None = None,
    tap: Tap | None = None,
) -> Established:
    """Do a handshake on a connected socket; afterwards no byte behind it has been read.

    Args:
        sock: connected and blocking, with a time-out.
        tls: context of this end's role.
        hostname: whom a client wants to talk to.
        tap: shown all bytes.

    Raises:
        HandshakeError: the peer failed, or what was agreed cannot go on with kTLS.
        OSError: the connection broke.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = tls.context.wrap_bio(
        incoming, outgoing, server_side=tls.server, server_hostname=hostname
    )
    sent, received = _Transcript(), _Transcript()

    def flush() -> None:
        data = outgoing.read()
        if data:
            sent.add(data)
            if tap is not None:
                tap.sent(data)
            sock.sendall(data)

    try:
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                flush()
                record = read_record(sock)
                received.add(record)
                if tap is not None:
                    tap.received(record)
                incoming.write(record)
            except ssl.SSLError as e:
                with contextlib.suppress(OSError):
                    flush()
                raise HandshakeError(f"the handshake failed: {e.reason or e}") from e
        flush()
    finally:
        client = received if tls.server else sent
        client_random = client.random(_CLIENT_HELLO)
        secrets = tls.take_secrets(client_random)
    if incoming.pending:
        raise HandshakeError("the TLS library left bytes of the handshake unread")
    name = (session.cipher() or ("none",))[0]
    suite = suite_of(name)
    if suite is None:
        raise HandshakeError(f"kTLS has no cipher for the suite {name}")
    lines = log_lines(client_random, secrets)
    if session.version() == "TLSv1.3":
        return _tls13(tls.server, name, suite, secrets, lines, sent)
    server = sent if tls.server else received
    server_random = server.random(_SERVER_HELLO)
    master = secrets.get("CLIENT_RANDOM")
    if master is None:
        raise HandshakeError("the key log has no master secret of this handshake")
    keys = key_block(suite, master, client_random, server_random)
    mine, theirs = keys[::-1] if tls.server else keys
    # the Finished messages were record 0; ours used an explicit nonce already
    explicit = (sent.explicit_nonce_of_finished() + 1) & (2**64 - 1)
    return Established(
        uapi.TLS_1_2_VERSION,
        name,
        tls12_info(suite, *mine, explicit.to_bytes(8, "big"), 1),
        tls12_info(suite, *theirs, bytes(8), 1),
        None,
        None,
        lines,
    )


def _tls13(
    server: bool,
    name: str,
    suite: Suite,
    secrets: dict[str, bytes],
    lines: str,
    sent: _Transcript,
) -> Established:
    try:
        ends = [secrets["CLIENT_TRAFFIC_SECRET_0"], secrets["SERVER_TRAFFIC_SECRET_0"]]
    except KeyError as e:
        raise HandshakeError(f"the key log has no {e.args[0]} of this handshake") from None
    client_end, server_end = (TrafficSecret(suite, secret) for secret in ends)
    mine, theirs = (server_end, client_end) if server else (client_end, server_end)
    tickets = _records_under(mine.info(), sent.records)
    return Established(
        uapi.TLS_1_3_VERSION, name, mine.info(tickets), theirs.info(), mine, theirs, lines
    )


def _records_under(info: CryptoInfo, records: list[bytes]) -> int:
    """How many of our records were sealed with the application's keys: session tickets."""
    protection = Protection(info)
    for record in records:
        if record[0] == uapi.RECORD_TYPE_DATA:
            try:
                protection.open(record)
            except BadRecord:
                continue
            protection.advance()
    return protection.seq


def read_record(sock: socket.socket) -> bytes:
    """Read one record and not a byte more.

    Raises:
        HandshakeError: the peer sent something else, or ended the connection.
    """
    header = _read_exactly(sock, _HEADER)
    length = int.from_bytes(header[3:5], "big")
    if not 20 <= header[0] <= 23 or header[1] != 3 or length > _MAX_CIPHERTEXT:
        raise HandshakeError(f"the peer does not speak TLS: it sent {header.hex(' ')}")
    return header + _read_exactly(sock, length)


def _read_exactly(sock: socket.socket, count: int) -> bytes:
    out = b""
    while len(out) < count:
        piece = sock.recv(count - len(out))
        if not piece:
            raise HandshakeError("the peer ended the connection during the handshake")
        out += piece
    return out
