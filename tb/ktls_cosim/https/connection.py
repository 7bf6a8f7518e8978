# SPDX-License-Identifier: Apache-2.0
"""A TLS connection after its handshake: a kTLS socket of the model over a real TCP socket.

`Connection` does the work of an application's TLS library on a kTLS socket: it sends and
reads, ends with close_notify, and handles the messages after the handshake (session
tickets, KeyUpdate). It blocks, so each connection needs a thread. It holds the machine's
lock during calls of the model, and never while it waits for the peer.
"""

from __future__ import annotations

import contextlib
import errno
import io
import socket
import time
from typing import BinaryIO, NoReturn

from ktls import KtlsOSError, KtlsSocket, Received, Wire, connect_wire, uapi
from ktls_cosim.capture.pcapng import Capture, EndTap
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.handshake import Established, Tap, handshake
from ktls_cosim.https.limits import DEFAULT, MAX_KEY_UPDATES, MAX_MESSAGE, Timeouts
from ktls_cosim.machine import Machine

_READ = 1 << 16
# bytes per call of the model; other connections can take the lock between two calls
_SENDFILE = 1 << 18
# time limit for the peer to read the rest after our close_notify, in seconds
_LINGER = 2.0
_CONTROL = uapi.CMSG_HEADER_SIZE + 8

_NEW_SESSION_TICKET = 4
_KEY_UPDATE_REQUESTED = 1

_CLIENT_HELLO = 1
_HELLO_REQUEST = 0
_MESSAGE_HEADER = 4

CLOSE_NOTIFY = 0
UNEXPECTED_MESSAGE = 10
BAD_RECORD_MAC = 20
RECORD_OVERFLOW = 22
ILLEGAL_PARAMETER = 47
DECODE_ERROR = 50
NO_RENEGOTIATION = 100
_FATAL = 2
_WARNING = 1
_ALERT_FOR = {
    errno.EBADMSG: BAD_RECORD_MAC,
    errno.EMSGSIZE: RECORD_OVERFLOW,
    errno.EKEYEXPIRED: UNEXPECTED_MESSAGE,  # something after the first part of a KeyUpdate
}


class PeerError(ConnectionError):
    """The peer broke the protocol, or sent a fatal alert."""


class Connection:
    """An established connection, for use from one thread.

    Attributes:
        sock: The kTLS socket of the model.
        key_updates: Number of KeyUpdate messages received.
        deadline: Time of `time.monotonic` after which `recv` raises TimeoutError, or None.
        idle: The user waits for the next request; the end of the connection cuts nothing.

    Args:
        machine: Kernel and device.
        raw: TCP socket, blocking, with a time-out.
        established: Result of the handshake.
        tap: Observes the bytes of the TCP socket.
        server: This end has the server role.
    """

    def __init__(
        self,
        machine: Machine,
        raw: socket.socket,
        established: Established,
        tap: Tap | None = None,
        server: bool = False,
    ) -> None:
        self.key_updates = 0
        self.deadline: float | None = None
        self.idle = False
        self._server = server
        self._updates = 0  # KeyUpdates since the last application data
        self._timeout = raw.gettimeout()
        self._machine = machine
        self._raw = raw
        self._tap = tap
        self._out = bytearray()
        self._tx_secret = established.tx_secret
        self._rx_secret = established.rx_secret
        self._eof = False
        self._closed = False
        with machine.lock:
            self._wire = Wire(self._out.extend)
            self.sock: KtlsSocket = connect_wire(machine.stack, self._wire)
            try:
                self.sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
                self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, established.tx.pack())
                self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, established.rx.pack())
            except BaseException:
                self.sock.close()
                raise

    def settimeout(self, seconds: float | None) -> None:
        """Set the limit of each wait for the peer in seconds; None: unlimited."""
        self._timeout = seconds
        self._raw.settimeout(seconds)

    # ------------------------------------------------------------------------- send

    def _push(self) -> None:
        """Send the bytes that the model has sent over the TCP socket."""
        with self._machine.lock:
            self.sock.flush()
            data = bytes(self._out)
            self._out.clear()
        if data:
            if self._tap is not None:
                self._tap.sent(data)
            self._raw.sendall(data)

    def sendall(self, data: bytes | bytearray | memoryview, *, more: bool = False) -> None:
        """Send bytes as data records.

        Args:
            data: The bytes.
            more: More data follows at once (MSG_MORE); it joins the last record.
        """
        view = memoryview(data)
        while len(view):
            with self._machine.lock:
                n = self.sock.send(view[:_SENDFILE], uapi.MSG_MORE if more else 0)
            if not more:
                self._push()
            view = view[n:]

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> int:
        """Send bytes of a file with sendfile(2).

        Args:
            file: File with a descriptor.
            offset: First byte to send.
            count: Bytes to send; None: up to the end of the file.

        Returns:
            Number of bytes sent.
        """
        sent = 0
        while count is None or sent < count:
            piece = _SENDFILE if count is None else min(_SENDFILE, count - sent)
            with self._machine.lock:
                n = self.sock.sendfile(file, offset + sent, piece)
            self._push()
            if n == 0:
                break
            sent += n
        return sent

    def _send_control(self, rtype: int, data: bytes) -> None:
        kind = (uapi.SOL_TLS, uapi.TLS_SET_RECORD_TYPE, bytes((rtype,)))
        with self._machine.lock:
            self.sock.sendmsg([data], [kind])
        self._push()

    def alert(self, description: int) -> None:
        """Send an alert (RFC 8446 section 6), as a warning if it does not end the connection."""
        level = _WARNING if description in (CLOSE_NOTIFY, NO_RENEGOTIATION) else _FATAL
        self._send_control(uapi.RECORD_TYPE_ALERT, bytes((level, description)))

    # ---------------------------------------------------------------------- receive

    def recv(self, size: int) -> bytes:
        """Read application bytes.

        Args:
            size: Maximum number of bytes.

        Returns:
            At least one byte; empty after the peer's close_notify.

        Raises:
            PeerError: The peer sent a fatal alert or broke the protocol. In the latter case
                this end has sent an alert.
            OSError: The connection broke.
        """
        while not self._eof:
            got = self._read(size)
            if got.record_type == uapi.RECORD_TYPE_DATA:
                if got.data:
                    self._updates = 0
                    return got.data
                continue
            self._control(got)
        return b""

    def _read(self, size: int) -> Received:
        """Wait for bytes of a record of any type and read them."""
        while True:
            try:
                with self._machine.lock:
                    bad = self._machine.stack.tls_stat["TlsDecryptError"]
                    try:
                        got = self.sock.recvmsg(size, _CONTROL, uapi.MSG_DONTWAIT)
                    finally:
                        bad = self._machine.stack.tls_stat["TlsDecryptError"] - bad
            except KtlsOSError as e:
                if e.errno == errno.EAGAIN:
                    self._pull()
                    continue
                description = _ALERT_FOR.get(e.errno or 0, DECODE_ERROR)
                if description == BAD_RECORD_MAC and not bad and self._rx_secret is not None:
                    # an authentic record without a type, or ChangeCipherSpec
                    description = UNEXPECTED_MESSAGE
                with contextlib.suppress(OSError):
                    with self._machine.lock:
                        # clear the pending error: with it, the socket sends nothing
                        self.sock.getsockopt(uapi.SOL_SOCKET, uapi.SO_ERROR, 4)
                    self.alert(description)
                raise PeerError(f"a record of the peer was rejected: {e}") from e
            if got.record_type is None:
                raise PeerError("the peer ended the connection without close_notify")
            return got

    def _pull(self) -> None:
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the request did not come in time")
            self._raw.settimeout(left)
        try:
            data = self._raw.recv(_READ)
        finally:
            self._raw.settimeout(self._timeout)
        if self._tap is not None and data:
            self._tap.received(data)
        with self._machine.lock:
            if data:
                self._wire.feed(data)
            else:
                self._wire.feed_eof()

    def _control(self, got: Received) -> None:
        if got.record_type == uapi.RECORD_TYPE_ALERT and len(got.data) == 2:
            if got.data[1] == CLOSE_NOTIFY:
                self._eof = True
                return
            raise PeerError(f"the peer sent alert {got.data[1]}")
        if got.record_type == uapi.RECORD_TYPE_HANDSHAKE and self._rx_secret is not None:
            self._post_handshake(got)
            return
        hello = _CLIENT_HELLO if self._server else _HELLO_REQUEST
        if got.record_type == uapi.RECORD_TYPE_HANDSHAKE and got.data[:1] == bytes((hello,)):
            # RFC 5246 section 7.2.2: the peer decides whether it continues
            self.alert(NO_RENEGOTIATION)
            return
        self._reject(f"a record of type {got.record_type}")

    def _reject(self, what: str, description: int = UNEXPECTED_MESSAGE) -> NoReturn:
        with contextlib.suppress(OSError):
            self.alert(description)
        raise PeerError(f"the peer sent {what}, which is not allowed here")

    # ------------------------------------------------- handshake messages of TLS 1.3

    def _post_handshake(self, got: Received) -> None:
        """Handle messages after the handshake (RFC 8446 sections 4.6.1 and 4.6.3)."""
        data = bytearray(got.data)
        if not data:
            self._reject("an empty handshake record")
        while data:
            # a message may span records
            while len(data) < _MESSAGE_HEADER or len(data) < self._message_size(data):
                if data[0] == uapi.HANDSHAKE_KEY_UPDATE:
                    self._keep_rx_key()
                more = self._read(_READ)
                if more.record_type != uapi.RECORD_TYPE_HANDSHAKE:
                    self._reject("half a handshake message")
                data += more.data
            size = self._message_size(data)
            kind, body = data[0], bytes(data[_MESSAGE_HEADER:size])
            del data[:size]
            if kind == uapi.HANDSHAKE_KEY_UPDATE:
                if data:
                    self._reject("a message behind KeyUpdate in its record")
                self._peer_updated(body[0])

    def _keep_rx_key(self) -> None:
        """Read on with the present key.

        kTLS stops reading after a record that begins with a KeyUpdate, although the rest of the
        message may be in the next record. It continues when a key is set, even the same one
        (`tls_set_sw_offload` clears `key_update_pending`).
        """
        assert self._rx_secret is not None
        with self._machine.lock:
            size = len(self._rx_secret.info().pack())
            info = self.sock.getsockopt(uapi.SOL_TLS, uapi.TLS_RX, size)
            self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, info)

    def _message_size(self, data: bytearray) -> int:
        """Return the bytes of the message that begins here, after a look at its header."""
        kind, size = data[0], int.from_bytes(data[1:_MESSAGE_HEADER], "big")
        if kind == uapi.HANDSHAKE_KEY_UPDATE:
            if size != 1:
                self._reject(f"a KeyUpdate of {size} bytes", DECODE_ERROR)
        elif kind != _NEW_SESSION_TICKET or self._server:
            self._reject(f"handshake message {kind}")
        elif size > MAX_MESSAGE:
            self._reject(f"a session ticket of {size} bytes", DECODE_ERROR)
        return _MESSAGE_HEADER + size

    def _peer_updated(self, request: int) -> None:
        assert self._rx_secret is not None
        if request not in (0, 1):
            self._reject(f"a KeyUpdate with request_update {request}", ILLEGAL_PARAMETER)
        self.key_updates += 1
        self._updates += 1
        if self._updates > MAX_KEY_UPDATES:
            self._reject(f"more than {MAX_KEY_UPDATES} KeyUpdates in a row")
        self._rx_secret = self._rx_secret.next()
        with self._machine.lock:
            self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, self._rx_secret.info().pack())
        if request == _KEY_UPDATE_REQUESTED:
            self.update_keys()

    def update_keys(self, request: bool = False) -> None:
        """Send a KeyUpdate and continue with new transmit keys.

        Args:
            request: Ask the peer to update its keys as well.

        Raises:
            ValueError: The connection is not TLS 1.3.
        """
        if self._tx_secret is None:
            raise ValueError("KeyUpdate exists in TLS 1.3 only")
        message = bytes((uapi.HANDSHAKE_KEY_UPDATE, 0, 0, 1, int(request)))
        self._send_control(uapi.RECORD_TYPE_HANDSHAKE, message)
        self._tx_secret = self._tx_secret.next()
        with self._machine.lock:
            self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, self._tx_secret.info().pack())

    # ------------------------------------------------------------------------ close

    def close(self) -> None:
        """Send close_notify and close both sockets, which deletes the keys."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self.alert(CLOSE_NOTIFY)
        self._end(linger=True)

    def abort(self) -> None:
        """Close both sockets without close_notify."""
        if not self._closed:
            self._closed = True
            self._end()

    def _end(self, linger: bool = False) -> None:
        with self._machine.lock:
            self.sock.close()
            data = bytes(self._out)
        with contextlib.suppress(OSError):
            self._raw.sendall(data)
        if self._tap is not None:
            self._tap.closed()
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_WR)
            if linger:
                # closing with unread bytes would send a reset, which can overtake our data
                end = time.monotonic() + _LINGER
                while (left := end - time.monotonic()) > 0:
                    self._raw.settimeout(left)
                    if not self._raw.recv(_READ):
                        break
        self._raw.close()

    # ---------------------------------------------------------- as a file, for http

    def makefile(self, mode: str = "rb", buffering: int = -1) -> io.BufferedReader:
        """Return the receive direction as a file, for `http.client` and `socketserver`."""
        assert mode == "rb", mode
        return io.BufferedReader(_Reader(self), buffering if buffering > 0 else _READ)


def establish(
    machine: Machine,
    raw: socket.socket,
    tls: HandshakeContext,
    hostname: str | None = None,
    capture: Capture | None = None,
    timeouts: Timeouts = DEFAULT,
) -> Connection:
    """Perform the handshake on a TCP connection and continue with kTLS.

    Args:
        machine: Kernel and device.
        raw: Connected, blocking socket; it gets a time-out.
        tls: Context for the role of this end.
        hostname: Name of the server that a client wants to reach.
        capture: Receives the conversation.
        timeouts: Limits of the handshake and of each wait afterwards.

    Raises:
        HandshakeError: The handshake failed; `raw` stays open.
        OSError: The connection broke; `raw` stays open.
    """
    seconds = timeouts.handshake
    # a response is a header and a body; TCP would delay the body until the header is acknowledged
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if capture is None:
        established = handshake(raw, tls, hostname, seconds=seconds)
        raw.settimeout(timeouts.progress)
        return Connection(machine, raw, established, server=tls.server)
    here, there = raw.getsockname()[:2], raw.getpeername()[:2]
    conversation = capture.conversation(*((there, here) if tls.server else (here, there)))
    tap = EndTap(conversation, tls.server)
    try:
        established = handshake(raw, tls, hostname, tap, seconds)
        raw.settimeout(timeouts.progress)
        conversation.secrets(established.secrets)
        return Connection(machine, raw, established, tap, tls.server)
    except BaseException:
        tap.closed()
        raise


class _Reader(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._connection.recv(len(view))
        view[: len(data)] = data
        return len(data)
