# SPDX-License-Identifier: Apache-2.0
"""A kTLS socket of the model on top of a real TCP connection, without blocking."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

from ktls import KtlsStack, Wire, connect_wire, uapi
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.capture.transcript import Transcript

_READ = 1 << 16
_LINGER_RESET = struct.pack("=ii", 1, 0)


class _BoundedWire(Wire):
    """A wire that takes no more than the outside has room for."""

    def __init__(
        self, sink: Callable[[bytes], None], eof: Callable[[], None], reset: Callable[[], None],
        room: Callable[[], int],
    ) -> None:  # fmt: skip
        super().__init__(sink, eof, reset)
        self._room = room

    def window(self) -> int:
        return max(0, self._room())


class Link:
    """One TCP connection under the model.

    Attributes:
        raw: the TCP socket, non-blocking.
        sock: the kTLS socket of the program.
        out: bytes that the model has sent and TCP has not taken yet.
        ended: everything was sent, or nobody takes it: the connection can be forgotten.

    Args:
        stack: the kernel.
        raw: the connection.
        limit: how many bytes may wait in `out`; None: as many as come.
        capture: gets the conversation.
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
        """TLS_TX or TLS_RX was set: a capture can show that direction from now on."""
        if self._transcript is not None:
            waiting = bytes(self.sock.tcp.rcvq) if option == uapi.TLS_RX else b""
            self._transcript.keys_set(option, blob, waiting)

    # ------------------------------------------------------------------ the outside

    @property
    def wants_in(self) -> bool:
        """Is there room for what TCP has received?"""
        return not (self._in_over or self.ended) and self.sock.tcp.window() > 0

    @property
    def wants_out(self) -> bool:
        """Does something wait to be sent?"""
        return bool(self.out) and not self.ended

    def pump_in(self) -> bool:
        """Give the model what TCP has received; returns whether there was something."""
        came = False
        while self.wants_in:
            try:
                data = self.raw.recv(min(_READ, self.sock.tcp.window()))
            except BlockingIOError:
                break
            except OSError:
                self._in_over = True
                self._wire.feed_reset()
                return True
            came = True
            if not data:
                self._in_over = True
                self._wire.feed_eof()
                break
            if self._transcript is not None:
                self._transcript.received(data)
            self._wire.feed(data)
        return came

    def flush(self) -> bool:
        """Send what waits; returns whether something went."""
        went = False
        while self.out and not self.ended:
            try:
                n = self.raw.send(self.out, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            except OSError:
                self.out.clear()
                self._wire.feed_reset()
                break
            del self.out[:n]
            went = True
        if self._fin and not self.out:
            self._fin = False
            with contextlib.suppress(OSError):
                self.raw.shutdown(socket.SHUT_WR)
        if went:
            self.sock.tcp.acked()
        if self.sock.closed and not self.out:
            self.ended = True
        return went

    def close(self) -> None:
        """Close TCP."""
        self.ended = True
        if not self.sock.closed:
            self.sock.close()
        if self._transcript is not None:
            self._transcript.closed()
        self.raw.close()
