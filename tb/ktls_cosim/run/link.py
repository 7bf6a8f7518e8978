# SPDX-License-Identifier: Apache-2.0
"""Connect a kTLS socket of the model to a real, non-blocking TCP connection."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable

from ktls import KtlsStack, Wire, connect_wire, uapi
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.capture.transcript import Transcript

_READ = 1 << 16
_LINGER_RESET = struct.pack("=ii", 1, 0)


class _BoundedWire(Wire):
    """A wire whose window is the free space outside the model."""

    def __init__(
        self, sink: Callable[[bytes], None], eof: Callable[[], None], reset: Callable[[], None],
        room: Callable[[], int],
    ) -> None:  # fmt: skip
        super().__init__(sink, eof, reset)
        self._room = room

    def window(self) -> int:
        return max(0, self._room())


class Link:
    """A kTLS socket of the model and the TCP connection that carries its bytes.

    Attributes:
        raw: The TCP socket, non-blocking.
        sock: The kTLS socket.
        out: Bytes that the model has sent and TCP has not accepted yet.
        ended: All bytes were sent or lost, so the connection is no longer needed.
        broken: The peer has reset the connection, or TCP has given up.

    Args:
        stack: Kernel of the kTLS socket.
        raw: A connected TCP socket; becomes non-blocking.
        limit: Maximum number of bytes in `out`; None: unlimited.
        capture: Receives the conversation.
    """

    def __init__(
        self,
        stack: KtlsStack,
        raw: socket.socket,
        limit: int | None = None,
        capture: Capture | None = None,
    ) -> None:
        raw.setblocking(False)
        self.raw = raw
        self.out = bytearray()
        self.ended = False
        self.broken = False
        self._fin = False
        self._in_over = False
        if limit is None:
            self._wire = Wire(self._sink, self._eof, self._reset)
        else:
            bound = limit
            self._wire = _BoundedWire(
                self._sink,
                self._eof,
                self._reset,
                lambda: min(bound, self.sock.tcp.sndbuf) - len(self.out),
            )
        self.sock = connect_wire(stack, self._wire)
        self._transcript: Transcript | None = None
        if capture is not None:
            self._transcript = Transcript(capture, raw.getsockname()[:2], raw.getpeername()[:2])

    def _sink(self, data: bytes) -> None:
        self.out += data
        if self._transcript is not None:
            self._transcript.sent(data)

    def _eof(self) -> None:
        self._fin = True

    def _reset(self) -> None:
        with contextlib.suppress(OSError):
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.out.clear()
        self.ended = True

    def keys_set(self, option: int, blob: bytes) -> None:
        """Show a direction in the capture from now on.

        Args:
            option: TLS_TX or TLS_RX.
            blob: The `struct tls12_crypto_info_*` that was set.
        """
        if self._transcript is not None:
            waiting = bytes(self.sock.tcp.rcvq) if option == uapi.TLS_RX else b""
            self._transcript.keys_set(option, blob, waiting)

    # ----------------------------------------------------------------------- TCP

    @property
    def wants_in(self) -> bool:
        """True if the model has room for bytes that TCP has received."""
        return not (self._in_over or self.ended) and self.sock.tcp.window() > 0

    @property
    def wants_out(self) -> bool:
        """True if bytes wait for TCP to accept them."""
        return bool(self.out) and not self.ended

    def pump_in(self) -> bool:
        """Feed the model with received bytes; return whether anything arrived."""
        arrived = False
        while self.wants_in:
            try:
                data = self.raw.recv(min(_READ, self.sock.tcp.window()))
            except BlockingIOError:
                break
            except OSError:
                self._break()
                return True
            arrived = True
            if not data:
                self._in_over = True
                self._wire.feed_eof()
                break
            if self._transcript is not None:
                self._transcript.received(data)
            self._wire.feed(data)
        return arrived

    def flush(self) -> bool:
        """Send waiting bytes; return whether TCP accepted any.

        It also detects a reset after the peer's FIN, which no read shows.
        """
        accepted = False
        while self.out and not self.ended:
            try:
                n = self.raw.send(self.out, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            except OSError:
                self._break()
                break
            del self.out[:n]
            accepted = True
        if self._in_over and not self.broken and polls(self.raw, select.POLLERR):
            self._break()
        if self._fin and not self.out:
            self._fin = False
            with contextlib.suppress(OSError):
                self.raw.shutdown(socket.SHUT_WR)
        if accepted:
            self.sock.tcp.acked()
        if self.sock.closed and not self.out:
            self.ended = True
        return accepted

    def _break(self) -> None:
        """Tell the model that TCP is broken."""
        self.out.clear()
        self._in_over = self.broken = True
        self._wire.feed_reset()

    def close(self) -> None:
        """Close both sockets."""
        self.ended = True
        if not self.sock.closed:
            self.sock.close()
        if self._transcript is not None:
            self._transcript.closed()
        self.raw.close()


def polls(file: socket.socket | int, bit: int) -> bool:
    """Return whether poll reports POLLERR or POLLHUP for a file.

    Args:
        file: The file.
        bit: The event.
    """
    poll = select.poll()
    poll.register(file, 0)
    return any(event & bit for _, event in poll.poll(0))
