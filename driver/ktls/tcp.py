# SPDX-License-Identifier: Apache-2.0
"""TCP as far as a ULP sees it: a byte stream with buffers, ends, errors and poll bits.

Two `TcpSock`s connected to each other behave like a loopback connection on which
nothing is lost and nothing takes time; a `Wire` is an end of which somebody else takes
care (a real socket, a test). How much fits into full buffers depends in Linux on the
sizes of its packet structures and is only similar here.

Behaviour: net/ipv4/tcp.c (`tcp_sendmsg_locked`, `tcp_recvmsg_locked`, `tcp_poll`,
`__tcp_close`), tcp_input.c (`tcp_fin`, `tcp_reset`), net/core/stream.c
(`sk_stream_error`).
"""

from __future__ import annotations

import enum
import errno
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ktls import uapi
from ktls.errors import KtlsOSError

Buffer = bytes | bytearray | memoryview

RCV_SHUTDOWN = 1
SEND_SHUTDOWN = 2
SHUTDOWN_MASK = RCV_SHUTDOWN | SEND_SHUTDOWN

DEFAULT_BUFFER = 4 << 20
_SKB_DATA = 2048
_SKB_OVERHEAD = 832
_MIN_SNDBUF = 4608
_MIN_RCVBUF = 2304


class State(enum.IntEnum):
    """States of a connection that a ULP can tell apart (include/net/tcp_states.h)."""

    ESTABLISHED = 1
    FIN_WAIT = 5
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10


class Sealed:
    """Bytes of known length that a device still has to produce.

    Attributes:
        length: bytes.
        data: the bytes, None until they are there.
        ready: called when they are.
    """

    __slots__ = ("data", "length", "ready")

    def __init__(self, length: int) -> None:
        self.length = length
        self.data: bytes | None = None
        self.ready: Callable[[], None] | None = None

    def __len__(self) -> int:
        return self.length

    def fill(self, data: bytes) -> None:
        """The bytes are there.

        Raises:
            ValueError: not as many as promised.
        """
        if len(data) != self.length:
            raise ValueError(f"{len(data)} bytes instead of {self.length}")
        self.data = data
        if self.ready is not None:
            self.ready()


Chunk = Buffer | Sealed


class _Fin:
    """End of the stream, in line behind its bytes."""


class _Reset:
    """Reset of the connection, in line behind the bytes that were on their way."""


_Item = tuple[Chunk, int, int] | _Fin | _Reset


class Far(Protocol):
    """The other end of a connection, as the sender sees it."""

    def window(self) -> int:
        """How many bytes it takes now."""

    def put(self, item: _Item) -> None:
        """Something arrives."""


class _Line:
    """Hands over what arrives, in order; waits where bytes are still being sealed."""

    def __init__(
        self,
        data: Callable[[bytes], None],
        fin: Callable[[], None],
        reset: Callable[[], None],
    ) -> None:
        self._items: deque[_Item] = deque()
        self._data = data
        self._fin = fin
        self._reset = reset

    def put(self, item: _Item) -> None:
        self._items.append(item)
        if len(self._items) == 1:
            self.advance()

    def advance(self) -> None:
        while self._items:
            item = self._items[0]
            if isinstance(item, tuple):
                chunk, start, stop = item
                if isinstance(chunk, Sealed):
                    if chunk.data is None:
                        chunk.ready = self.advance
                        return
                    chunk = chunk.data
                self._items.popleft()
                self._data(bytes(chunk) if stop - start == len(chunk) else bytes(chunk[start:stop]))
            else:
                self._items.popleft()
                (self._fin if isinstance(item, _Fin) else self._reset)()

    @property
    def bytes_waiting(self) -> int:
        return sum(i[2] - i[1] for i in self._items if isinstance(i, tuple))


class Wire:
    """A far end outside the model; see `KtlsStack.connect`.

    Attributes:
        sink: gets what the near end sends.

    Args:
        sink: the same.
        eof: called when the near end has sent its FIN.
        reset: called when the near end resets the connection.
    """

    def __init__(
        self,
        sink: Callable[[bytes], None],
        eof: Callable[[], None] | None = None,
        reset: Callable[[], None] | None = None,
    ) -> None:
        def nothing() -> None:
            pass

        self.sink = sink
        self._line = _Line(lambda data: self.sink(data), eof or nothing, reset or nothing)
        self.near: TcpSock | None = None

    def watch(self, watcher: Callable[[bytes], None]) -> None:
        """Show the bytes to somebody else first."""
        sink = self.sink

        def both(data: bytes) -> None:
            watcher(data)
            sink(data)

        self.sink = both

    def window(self) -> int:
        return 1 << 30

    def put(self, item: _Item) -> None:
        self._line.put(item)

    def feed(self, data: Buffer) -> None:
        """Bytes arrive at the near end."""
        assert self.near is not None
        self.near.put((bytes(data), 0, len(data)))

    def feed_eof(self) -> None:
        """The outside has sent its FIN."""
        assert self.near is not None
        self.near.put(_Fin())

    def feed_reset(self) -> None:
        """The outside has reset the connection."""
        assert self.near is not None
        self.near.put(_Reset())


class TcpSock:
    """One end of a connection (`struct sock`).

    Attributes:
        sk_err: pending socket error.
        shutdown: RCV_SHUTDOWN and SEND_SHUTDOWN bits.
        done: a FIN has come (SOCK_DONE).
        rcvq: bytes that wait to be read.
        wmem_queued: send buffer in use.
        on_data: called when something arrives (`sk_data_ready`).
        on_space: called when the send buffer got room (`sk_write_space`).
        sigpipe: SIGPIPEs raised.
        watcher: shown what arrives.
        owned: a call is at work on the socket.
        backlog: what has arrived meanwhile.
        pending: `release` has something to do.
    """

    def __init__(self, state: State = State.CLOSE) -> None:
        self.state = state
        self.sk_err = 0
        self.shutdown = 0
        self.done = False
        self.orphan = False
        self.rcvq = bytearray()
        self.sndbuf = DEFAULT_BUFFER
        self.rcvbuf = DEFAULT_BUFFER
        self.rcvlowat = 1
        self.rcvtimeo: float | None = None
        self.sndtimeo: float | None = None
        self.linger_reset = False
        self.wmem_queued = 0
        self.on_data: Callable[[], None] | None = None
        self.on_space: Callable[[], None] | None = None
        self.sigpipe = 0
        self._signal = False
        self._space = False
        self.watcher: Callable[[bytes], None] | None = None
        self.far: Far | None = None
        self.owned = False
        self.pending = False
        self.backlog: list[_Item] = []
        self._sndq: deque[tuple[Chunk, int, int, int]] = deque()
        self._tail_room = 0
        self._fin_queued = False
        self._line = _Line(self._arrived, self._fin_arrived, self._reset_arrived)

    # ------------------------------------------------------------------ errors

    def take_error(self) -> int:
        """The pending error, which is cleared (`sock_error`)."""
        err, self.sk_err = self.sk_err, 0
        return err

    def stream_error(self, number: int, flags: int) -> int:
        """What a send call reports for an error, with its SIGPIPE (`sk_stream_error`)."""
        if number == errno.EPIPE:
            number = self.take_error() or errno.EPIPE
            if number == errno.EPIPE and not flags & uapi.MSG_NOSIGNAL:
                self._signal = self.pending = True
        return number

    # ----------------------------------------------------------------- buffers

    def set_sndbuf(self, size: int) -> None:
        """SO_SNDBUF: Linux doubles the number."""
        self.sndbuf = max(2 * size, _MIN_SNDBUF)

    def set_rcvbuf(self, size: int) -> None:
        """SO_RCVBUF: Linux doubles the number."""
        self.rcvbuf = max(2 * size, _MIN_RCVBUF)

    # -------------------------------------------------------------------- send

    @property
    def memory_free(self) -> bool:
        """Is there room for one more packet (`sk_stream_memory_free`)?"""
        return self.wmem_queued < self.sndbuf

    @property
    def writable(self) -> bool:
        """Would poll say POLLOUT (`sk_stream_is_writeable`)?"""
        return self.sndbuf - self.wmem_queued >= self.wmem_queued >> 1

    def push(self, chunk: Chunk, start: int, flags: int) -> int:
        """Queue bytes, as many as the send buffer takes (`tcp_sendmsg_locked`).

        Args:
            chunk: the bytes.
            start: first byte of `chunk` to send.
            flags: MSG_NOSIGNAL counts.

        Returns:
            How many bytes were taken; 0 if the buffer is full.

        Raises:
            KtlsOSError: the pending error, or EPIPE with its signal.
        """
        if self.sk_err or self.shutdown & SEND_SHUTDOWN or self.far is None:
            raise KtlsOSError(self.stream_error(errno.EPIPE, flags), "sending on this connection")
        total = len(chunk)
        if type(self.far) is Wire:
            self.far.put((chunk, start, total))
            return total - start
        at = start
        while at < total:
            if self._tail_room == 0:
                if not self.memory_free:
                    break
                self._tail_room = _SKB_DATA
                self.wmem_queued += _SKB_OVERHEAD
                overhead = _SKB_OVERHEAD
            else:
                overhead = 0
            n = min(total - at, self._tail_room)
            self._tail_room -= n
            self.wmem_queued += n
            self._sndq.append((chunk, at, at + n, overhead))
            at += n
            if len(self._sndq) == 1:
                self._transmit()
        self._transmit()
        return at - start

    def _transmit(self) -> None:
        """Move what the far end has room for."""
        far = self.far
        if far is None:
            return
        while self._sndq:
            chunk, start, stop, overhead = self._sndq[0]
            n = min(stop - start, far.window())
            if n == 0:
                break
            self.wmem_queued -= n
            if n == stop - start:
                self._sndq.popleft()
                self.wmem_queued -= overhead
            else:
                self._sndq[0] = (chunk, start + n, stop, overhead)
            far.put((chunk, start, start + n))
            if not self._sndq:
                self.wmem_queued = 0
                self._tail_room = 0
        if self._fin_queued and not self._sndq:
            self._fin_queued = False
            far.put(_Fin())
            if self.state == State.LAST_ACK:
                # both directions are closed and acknowledged
                self._drop()

    def acked(self) -> None:
        """The far end has made room (`tcp_check_space`)."""
        if not self._sndq:
            return
        self._transmit()
        self._space = self.pending = True
        if not self.owned:
            self.release()

    def _purge(self) -> None:
        self._sndq.clear()
        self.wmem_queued = 0
        self._tail_room = 0
        self._fin_queued = False

    # ------------------------------------------------------------------ arrive

    def window(self) -> int:
        return max(0, self.rcvbuf // 4 - len(self.rcvq) - self._line.bytes_waiting)

    def put(self, item: _Item) -> None:
        if self.owned:
            # a call is running: packets wait until it is over or sleeps
            self.backlog.append(item)
            self.pending = True
        else:
            self._line.put(item)

    def release(self) -> None:
        """Look at what has arrived during a call (`release_sock`)."""
        self.pending = False
        if self._signal:
            # raised twice before the call returns, delivered once
            self._signal = False
            self.sigpipe += 1
        while self.backlog:
            self._line.put(self.backlog.pop(0))
        if self._space:
            self._space = False
            if self.on_space is not None:
                self.on_space()

    def _arrived(self, data: bytes) -> None:
        if self.state == State.CLOSE or self.orphan:
            # nobody can read this any more: the sender learns it by a reset
            self._send_reset()
            self._drop()
            return
        if self.state == State.FIN_WAIT and self.shutdown & RCV_SHUTDOWN:
            # both directions were shut here, and the peer does not know (TCPAbortOnData)
            self._send_reset()
            self._reset_arrived()
            return
        if self.watcher is not None:
            self.watcher(data)
        self.rcvq += data
        if self.on_data is not None:
            self.on_data()

    def _fin_arrived(self) -> None:
        if self.state == State.CLOSE:
            return
        self.shutdown |= RCV_SHUTDOWN
        self.done = True
        if self.state == State.ESTABLISHED:
            self.state = State.CLOSE_WAIT
        else:
            self._drop()
        if self.on_data is not None:
            self.on_data()

    def _reset_arrived(self) -> None:
        if self.state == State.CLOSE:
            return
        self.sk_err = errno.EPIPE if self.state == State.CLOSE_WAIT else errno.ECONNRESET
        self._drop()
        if self.on_data is not None:
            self.on_data()

    def _send_reset(self) -> None:
        if self.far is not None:
            self.far.put(_Reset())

    def _drop(self) -> None:
        """The connection is over (`tcp_done`)."""
        self._purge()
        self.state = State.CLOSE
        self.shutdown = SHUTDOWN_MASK

    # -------------------------------------------------------------------- read

    def consume(self, count: int) -> bytes:
        """Take bytes off the receive queue."""
        data = bytes(self.rcvq[:count])
        del self.rcvq[:count]
        if isinstance(self.far, TcpSock):
            self.far.acked()
        return data

    @property
    def inq(self) -> int:
        """FIONREAD."""
        return len(self.rcvq)

    def poll(self, readable: bool) -> int:
        """Poll bits (`tcp_poll`).

        Args:
            readable: the ULP has something to read.
        """
        mask = 0
        if self.shutdown == SHUTDOWN_MASK or self.state == State.CLOSE:
            mask |= uapi.POLLHUP
        if self.shutdown & RCV_SHUTDOWN:
            mask |= uapi.POLLIN | uapi.POLLRDNORM | uapi.POLLRDHUP
        if len(self.rcvq) >= self.rcvlowat or readable:
            mask |= uapi.POLLIN | uapi.POLLRDNORM
        if self.shutdown & SEND_SHUTDOWN or self.writable:
            mask |= uapi.POLLOUT | uapi.POLLWRNORM
        if self.sk_err:
            mask |= uapi.POLLERR
        return mask

    # ------------------------------------------------------------------- close

    def shut(self, how: int) -> None:
        """shutdown(2).

        Raises:
            KtlsOSError: ENOTCONN.
        """
        if self.state not in (State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT, State.LAST_ACK):
            raise KtlsOSError(errno.ENOTCONN, "the socket is not connected")
        mask = (RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK)[how]
        fresh = mask & SEND_SHUTDOWN and not self.shutdown & SEND_SHUTDOWN
        self.shutdown |= mask
        if fresh:
            self._send_fin()
        if self.on_data is not None and mask & RCV_SHUTDOWN:
            self.on_data()

    def _send_fin(self) -> None:
        self.state = State.FIN_WAIT if self.state == State.ESTABLISHED else State.LAST_ACK
        self._fin_queued = True
        self._transmit()

    def abort(self) -> None:
        """Reset the connection and forget it."""
        self._purge()
        self._send_reset()
        self._drop()
        self.rcvq.clear()

    def close(self) -> None:
        """close(2): a FIN, or a reset if bytes were left unread or lingering is off."""
        self.on_data = self.on_space = None
        self.orphan = True
        if self.state in (State.CLOSE, State.LISTEN):
            self._drop()
            return
        if self.rcvq or self.linger_reset:
            self.abort()
            return
        self.shutdown = SHUTDOWN_MASK
        if self.state in (State.ESTABLISHED, State.CLOSE_WAIT):
            self._send_fin()


def connect(a: TcpSock, b: TcpSock) -> None:
    """Make two ends a connection."""
    a.far, b.far = b, a
    a.state = b.state = State.ESTABLISHED
