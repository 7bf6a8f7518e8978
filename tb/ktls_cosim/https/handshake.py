# SPDX-License-Identifier: Apache-2.0
"""Perform a real TLS handshake with Python's `ssl`, and derive the keys for kTLS.

`ssl` gets the bytes of the connection only up to the end of the handshake, one complete
record at a time, so no byte of the application stays inside it. Afterwards kTLS owns the
record layer.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Protocol

from ktls import CryptoInfo, uapi
from ktls.record import BadRecord, Protection
from ktls_cosim.capture.secrets import (
    Suite,
    TrafficSecret,
    key_block,
    log_lines,
    suite_of,
    tls12_info,
)
from ktls_cosim.check.golden import split_records
from ktls_cosim.errors import CosimError
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.limits import Timeouts

_HEADER = uapi.TLS_HEADER_SIZE
# RFC 5246 section 6.2.3; TLS 1.3 has a lower limit
_MAX_CIPHERTEXT = uapi.TLS_MAX_PAYLOAD_SIZE + 2048
_CHANGE_CIPHER_SPEC = 20
_LOWEST_TYPE, _HIGHEST_TYPE = 20, 23
_UNEXPECTED_MESSAGE, _RECORD_OVERFLOW = 10, 22
_METHODS = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS", b"CONNECT")
_NOT_HTTPS = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks HTTPS.\n"
)
_CLIENT_HELLO = 1
_SERVER_HELLO = 2
# message header and legacy_version before the random of a hello
_RANDOM_AT = 6
_RANDOM = 32
_MASK64 = 2**64 - 1


class HandshakeError(CosimError):
    """The handshake failed; the message names the reason."""


@dataclass(frozen=True, slots=True)
class Established:
    """The result of a handshake.

    Attributes:
        version: `TLS_1_2_VERSION` or `TLS_1_3_VERSION`.
        suite_name: Name of the cipher suite in OpenSSL.
        tx, rx: Keys and counters of the next record in each direction.
        tx_secret, rx_secret: TLS 1.3: current traffic secrets; TLS 1.2: None.
        secrets: Lines of a key log (`SSLKEYLOGFILE`).
    """

    version: int
    suite_name: str
    tx: CryptoInfo
    rx: CryptoInfo
    tx_secret: TrafficSecret | None
    rx_secret: TrafficSecret | None
    secrets: str = field(repr=False)


class Tap(Protocol):
    """Observes the bytes of a connection."""

    def sent(self, data: bytes) -> None:
        """Observe bytes sent to the peer."""

    def received(self, data: bytes) -> None:
        """Observe bytes received from the peer."""

    def closed(self) -> None:
        """Observe the end of the connection."""


def handshake(
    sock: socket.socket,
    context: HandshakeContext,
    hostname: str | None = None,
    tap: Tap | None = None,
    seconds: float = Timeouts.handshake,
) -> Established:
    """Perform a handshake; it reads no byte beyond the last record of the handshake.

    Args:
        sock: Connected, blocking socket.
        context: Context for the role of this end.
        hostname: Name of the server that a client wants to reach.
        tap: Observes all bytes.
        seconds: Limit of the whole handshake.

    Raises:
        HandshakeError: The peer failed, or kTLS cannot continue the connection.
        OSError: The connection broke.
    """
    exchange = _Exchange(sock, context, hostname, tap, time.monotonic() + seconds)
    try:
        exchange.run()
    finally:
        # secrets of a failed handshake must not stay in the log
        secrets = context.take_secrets(exchange.client_random)
    return exchange.established(secrets)


class _Direction:
    """The records of one direction during the handshake."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self._rest = bytearray()

    def add(self, data: bytes) -> None:
        self._rest += data
        self.records += split_records(self._rest)

    def random(self, message: int) -> bytes:
        """Return the random of a ClientHello or ServerHello, empty if it is not complete.

        It is the first message of its direction, in one record or in several.
        """
        start = bytearray()
        for record in self.records:
            if record[0] == uapi.RECORD_TYPE_HANDSHAKE:
                start += record[_HEADER:]
            if len(start) >= _RANDOM_AT + _RANDOM:
                break
        if len(start) < _RANDOM_AT + _RANDOM or start[0] != message:
            return b""
        return bytes(start[_RANDOM_AT : _RANDOM_AT + _RANDOM])

    def explicit_nonce_of_finished(self) -> int:
        """Return the explicit nonce of the record that follows ChangeCipherSpec."""
        for before, record in zip(self.records, self.records[1:], strict=False):
            if before[0] == _CHANGE_CIPHER_SPEC:
                return int.from_bytes(record[_HEADER : _HEADER + 8], "big")
        raise HandshakeError("no Finished was sent after ChangeCipherSpec")

    def protected(self) -> int:
        """Return the number of records after ChangeCipherSpec: one, unless Finished was cut."""
        types = [record[0] for record in self.records]
        if _CHANGE_CIPHER_SPEC not in types:
            return 0
        return len(types) - types.index(_CHANGE_CIPHER_SPEC) - 1


class _Exchange:
    """One handshake in progress."""

    def __init__(
        self,
        sock: socket.socket,
        context: HandshakeContext,
        hostname: str | None,
        tap: Tap | None,
        deadline: float,
    ) -> None:
        self._sock = sock
        self._deadline = deadline
        self._server = context.server
        self._tap = tap
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.ssl.wrap_bio(
            self._incoming, self._outgoing, server_side=context.server, server_hostname=hostname
        )
        self._sent, self._received = _Direction(), _Direction()

    @property
    def client_random(self) -> bytes:
        """Random of the ClientHello; empty if there was none."""
        return (self._received if self._server else self._sent).random(_CLIENT_HELLO)

    def run(self) -> None:
        """Exchange records until `ssl` reports the end of the handshake."""
        while True:
            try:
                self._session.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._feed_record()
            except ssl.SSLError as e:
                # `ssl` has an alert for the peer
                with contextlib.suppress(OSError):
                    self._flush()
                raise HandshakeError(f"the handshake failed: {e.reason or e}") from e
        self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._sent.add(data)
            if self._tap is not None:
                self._tap.sent(data)
            self._sock.settimeout(max(0.001, self._deadline - time.monotonic()))
            self._sock.sendall(data)

    def _feed_record(self) -> None:
        record = read_record(self._sock, self._deadline)
        self._received.add(record)
        if self._tap is not None:
            self._tap.received(record)
        self._incoming.write(record)

    def established(self, secrets: dict[str, bytes]) -> Established:
        """Derive the keys of both directions from the secrets of the handshake."""
        if self._incoming.pending:
            raise HandshakeError("the TLS library left bytes of the handshake unread")
        name = (self._session.cipher() or ("none",))[0]
        suite = suite_of(name)
        if suite is None:
            raise HandshakeError(f"kTLS does not support the cipher suite {name}")
        if self._session.version() == "TLSv1.3":
            return self._tls13(name, suite, secrets)
        return self._tls12(name, suite, secrets)

    def _tls12(self, name: str, suite: Suite, secrets: dict[str, bytes]) -> Established:
        master = secrets.get("CLIENT_RANDOM")
        if master is None:
            raise HandshakeError("the key log has no master secret of this handshake")
        server_random = (self._sent if self._server else self._received).random(_SERVER_HELLO)
        keys = key_block(suite, master, self.client_random, server_random)
        mine, theirs = keys[::-1] if self._server else keys
        # Finished was record 0, or several records from 0 on; ours has used one explicit nonce
        explicit = (self._sent.explicit_nonce_of_finished() + 1) & _MASK64
        return Established(
            uapi.TLS_1_2_VERSION,
            name,
            tls12_info(suite, *mine, explicit.to_bytes(8, "big"), 1),
            tls12_info(suite, *theirs, bytes(8), self._received.protected()),
            None,
            None,
            log_lines(self.client_random, secrets),
        )

    def _tls13(self, name: str, suite: Suite, secrets: dict[str, bytes]) -> Established:
        try:
            ends = [secrets["CLIENT_TRAFFIC_SECRET_0"], secrets["SERVER_TRAFFIC_SECRET_0"]]
        except KeyError as e:
            raise HandshakeError(f"the key log has no {e.args[0]} of this handshake") from None
        client_end, server_end = (TrafficSecret(suite, secret) for secret in ends)
        mine, theirs = (server_end, client_end) if self._server else (client_end, server_end)
        tickets = _records_under(mine.info(), self._sent.records)
        return Established(
            uapi.TLS_1_3_VERSION,
            name,
            mine.info(tickets),
            theirs.info(),
            mine,
            theirs,
            log_lines(self.client_random, secrets),
        )


def _records_under(info: CryptoInfo, records: list[bytes]) -> int:
    """Count the records sealed with the application keys: session tickets."""
    protection = Protection(info)
    for record in records:
        if record[0] == uapi.RECORD_TYPE_DATA:
            try:
                protection.open(record)
            except BadRecord:
                continue
            protection.advance()
    return protection.seq


def read_record(sock: socket.socket, deadline: float) -> bytes:
    """Read exactly one record from a blocking socket.

    Args:
        sock: The socket.
        deadline: Time of `time.monotonic` by which the record must be there.

    Raises:
        HandshakeError: The peer sent something else, or ended the connection; it has got an alert.
        TimeoutError: The record did not come in time.
    """
    header = _read_exactly(sock, _HEADER, deadline)
    length = int.from_bytes(header[3:5], "big")
    if header[1] != 3 or not _LOWEST_TYPE <= header[0] <= _HIGHEST_TYPE:
        answer = _alert(_UNEXPECTED_MESSAGE)
        if any(header.startswith(method[:_HEADER]) for method in _METHODS):
            answer = _NOT_HTTPS
        _last_words(sock, answer)
        raise HandshakeError(f"the peer does not speak TLS: it sent {header.hex(' ')}")
    if length > _MAX_CIPHERTEXT:
        _last_words(sock, _alert(_RECORD_OVERFLOW))
        raise HandshakeError(f"the peer sent a record of {length} bytes; at most {_MAX_CIPHERTEXT}")
    return header + _read_exactly(sock, length, deadline)


def _alert(description: int) -> bytes:
    """Return a fatal alert as a record without protection."""
    return bytes((uapi.RECORD_TYPE_ALERT, 3, 3, 0, 2, 2, description))


def _last_words(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)


def _read_exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    out = bytearray()
    while len(out) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the handshake took too long")
        sock.settimeout(left)
        piece = sock.recv(count - len(out))
        if not piece:
            raise HandshakeError("the peer ended the connection during the handshake")
        out += piece
    return bytes(out)
