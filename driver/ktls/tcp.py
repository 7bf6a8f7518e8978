# SPDX-License-Identifier: Apache-2.0
"""TCP as a ULP sees it: a byte stream with buffers, ends, errors and poll bits.

Two connected `TcpSock`s behave like a loopback connection without loss and delay. A
`ktls.wire.Wire` is an end that the caller serves (a real socket, a test). In Linux the
capacity of full buffers depends on the sizes of packet structures; here it is only similar.

Follows net/ipv4/tcp.c (`tcp_sendmsg_locked`, `tcp_recvmsg_locked`, `tcp_poll`,
`__tcp_close`), tcp_input.c (`tcp_fin`, `tcp_reset`) and net/core/stream.c
(`sk_stream_error`, `sk_stream_wait_memory`).
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable, Sequence

from ktls import cmsg, uapi
from ktls.errors import KtlsOSError
from ktls.record import Buffer
from ktls.tcp_output import DEFAULT_BUFFER, SendQueue
from ktls.wire import Chunk, Far, Item, Line, Reset, Wire

RCV_SHUTDOWN = 1
SEND_SHUTDOWN = 2
SHUTDOWN_MASK = RCV_SHUTDOWN | SEND_SHUTDOWN

_MIN_RCVBUF = 2304
_MIN_MSS = 536  # bytes; a window below a segment cannot bring what SO_RCVLOWAT waits for


class State(enum.IntEnum):
    """Connection states that a ULP can distinguish (include/net/tcp_states.h)."""

    ESTABLISHED = 1
    FIN_WAIT = 5
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10


class TcpSock:
    """One end of a connection (`struct sock`).

    Args:
        sleep: called with a description when a call has to wait. True: check again.
            False: a signal interrupts the call.

    Attributes:
        state: state of the connection.
        sk_err: pending socket error, 0 if there is none.
        shutdown: RCV_SHUTDOWN and SEND_SHUTDOWN bits.
        done: a FIN has arrived (SOCK_DONE).
        orphan: the socket is closed.
        rcvq: unread bytes.
        rcvbuf: limit of the receive buffer, in bytes.
        rcvlowat: SO_RCVLOWAT, in bytes.
        peek_off: SO_PEEK_OFF, where MSG_PEEK starts to read; -1: always at the first byte.
        rcvtimeo: SO_RCVTIMEO in seconds, None without a limit.
        sndtimeo: SO_SNDTIMEO in seconds, None without a limit.
        linger_reset: SO_LINGER with time 0: close resets the connection.
        on_data: called when at least SO_RCVLOWAT bytes or a FIN have arrived (`sk_data_ready`).
        on_space: called when room in the send buffer becomes free (`sk_write_space`).
        sigpipe: number of SIGPIPEs raised.
        watcher: receives a copy of the bytes that arrive.
        far: the other end.
        owned: a call is using the socket.
        pending: `release` has work to do.
        backlog: items that arrived while a call used the socket.
    """

    def __init__(self, sleep: Callable[[str], bool]) -> None:
        self.state = State.CLOSE
        self._sleep = sleep
        self.sk_err = 0
        self.shutdown = 0
        self.done = False
        self.orphan = False
        self.rcvq = bytearray()
        self.rcvbuf = DEFAULT_BUFFER
        self.rcvlowat = 1
        self.peek_off = -1
        self.rcvtimeo: float | None = None
        self.sndtimeo: float | None = None
        self.linger_reset = False
        self.on_data: Callable[[], None] | None = None
        self.on_space: Callable[[], None] | None = None
        self.sigpipe = 0
        self._signal = False
        self._space = False
        self.watcher: Callable[[bytes], None] | None = None
        self.far: Far | None = None
        self.owned = False
        self.pending = False
        self.backlog: list[Item] = []
        self._output = SendQueue()
        self._line = Line(self._arrived, self._fin_arrived, self._reset_arrived)

    # ------------------------------------------------------------------ errors

    def take_error(self) -> int:
        """Return the pending error and clear it (`sock_error`)."""
        err, self.sk_err = self.sk_err, 0
        return err

    def stream_error(self, number: int, flags: int) -> int:
        """Return the errno that a send call reports, and raise its SIGPIPE (`sk_stream_error`).

        Args:
            number: the error.
            flags: MSG_* bits of the call; MSG_NOSIGNAL suppresses the signal.
        """
        if number == errno.EPIPE:
            number = self.take_error() or errno.EPIPE
            if number == errno.EPIPE and not flags & uapi.MSG_NOSIGNAL:
                self._signal = self.pending = True
        return number

    # ----------------------------------------------------------------- buffers

    @property
    def sndbuf(self) -> int:
        """Limit of the send buffer, in bytes."""
        return self._output.limit

    def set_sndbuf(self, size: int) -> None:
        """Set SO_SNDBUF; Linux doubles the number."""
        self._output.set_limit(size)

    def set_rcvbuf(self, size: int) -> None:
        """Set SO_RCVBUF; Linux doubles the number."""
        self.rcvbuf = max(2 * size, _MIN_RCVBUF)

    # -------------------------------------------------------------------- send

    @property
    def memory_free(self) -> bool:
        """Whether the send buffer has room for another packet (`sk_stream_memory_free`)."""
        return self._output.memory_free

    @property
    def writable(self) -> bool:
        """Whether poll reports POLLOUT (`sk_stream_is_writeable`)."""
        return self._output.writable

    def push(self, chunk: Chunk, start: int, flags: int) -> int:
        """Queue bytes, as many as the send buffer takes (`tcp_sendmsg_locked`).

        Args:
            chunk: the bytes.
            start: first byte of `chunk` to send.
            flags: MSG_* bits of the call; only MSG_NOSIGNAL matters.

        Returns:
            Number of queued bytes; 0 if the buffer is full.

        Raises:
            KtlsOSError: the pending error, or EPIPE with its signal.
        """
        far = self._check_sendable(flags)
        if type(far) is Wire:
            far.put((chunk, start, len(chunk)))
            return len(chunk) - start
        queued = self._output.add(chunk, start, far)
        self._transmit()
        return queued

    def _check_sendable(self, flags: int) -> Far:
        """Return the far end if bytes can be sent to it.

        Raises:
            KtlsOSError: the pending error, or EPIPE with its signal.
        """
        if self.sk_err or self.shutdown & SEND_SHUTDOWN or self.far is None:
            raise KtlsOSError(self.stream_error(errno.EPIPE, flags), "sending on this connection")
        return self.far

    def _transmit(self) -> None:
        if self.far is None:
            return
        if self._output.transmit(self.far) and self.state == State.LAST_ACK:
            # both directions are closed and acknowledged
            self._drop()

    def sendmsg(
        self,
        data: Buffer,
        flags: int,
        fault_at: int | None = None,
        control: bytes = b"",
        more_cmsgs: Sequence[int] = (),
    ) -> int:
        """sendmsg(2) without keys (`tcp_sendmsg_locked`).

        Args:
            data: all iovecs, concatenated.
            flags: MSG_* bits.
            fault_at: offset of the first byte at a bad address.
            control: the control buffer; nothing in it has an effect, but it is checked.
            more_cmsgs: types of SOL_SOCKET that only some kernels accept.

        Returns:
            Number of accepted bytes.

        Raises:
            KtlsOSError: as Linux; no byte was accepted.
        """
        if self.state in (State.ESTABLISHED, State.CLOSE_WAIT):
            cmsg.check_socket_messages(control, more_cmsgs)
        self._check_sendable(flags)
        good = bytes(data if fault_at is None else data[:fault_at])
        if fault_at is not None and not good and len(data):
            raise KtlsOSError(errno.EFAULT, "byte 0 cannot be read")
        at = 0
        while at < len(good):
            try:
                n = self.push(good, at, flags)
            except KtlsOSError:
                if at:
                    break
                raise
            at += n
            if n == 0 and at < len(good):
                err = self.wait_space(flags)
                if err and at:
                    break
                if err:
                    raise KtlsOSError(err, "the send buffer is full")
        return at

    def acked(self) -> None:
        """Send more, because the far end has made room (`tcp_check_space`)."""
        if self._output.empty:
            return
        self._transmit()
        self._space = self.pending = True
        if not self.owned:
            self.release()

    # -------------------------------------------------------------------- wait

    def wait_space(self, flags: int) -> int:
        """Wait for room in the send buffer (`sk_stream_wait_memory`).

        Returns:
            0 to check again, or the errno that ends the wait.
        """
        if flags & uapi.MSG_DONTWAIT:
            return errno.EAGAIN
        self.release()
        if self.sndtimeo is not None:
            return errno.EAGAIN
        # a sleeping call does not own the socket (`sk_wait_event`)
        self.owned = False
        try:
            return 0 if self._sleep("sending into a full buffer") else errno.EINTR
        finally:
            self.owned = True

    def wait_data(self, flags: int) -> int:
        """Wait for data to read (`sk_wait_data`).

        Returns:
            0 to check again, or the errno that ends the wait.
        """
        if flags & uapi.MSG_DONTWAIT or self.rcvtimeo is not None:
            return errno.EAGAIN
        return 0 if self._sleep("reading from an empty queue") else errno.EINTR

    # ------------------------------------------------------------------ arrive

    def window(self) -> int:
        """Return how many bytes this end accepts now."""
        return max(0, self.rcvbuf // 4 - len(self.rcvq) - self._line.bytes_waiting)

    def put(self, item: Item) -> None:
        """Deliver an item from the far end."""
        if self.owned:
            # a call is running: items wait until it returns or sleeps
            self.backlog.append(item)
            self.pending = True
        else:
            self._line.put(item)

    def release(self) -> None:
        """Process the items that arrived during a call (`release_sock`)."""
        self.pending = False
        if self._signal:
            # a signal raised twice before the call returns is delivered once
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
            # the bytes can no longer be read: inform the sender by a reset
            self._send_reset()
            self._drop()
            return
        if self.state == State.FIN_WAIT and self.shutdown & RCV_SHUTDOWN:
            # this end shut down both directions, but the peer still sends (TCPAbortOnData)
            self._send_reset()
            self._reset_arrived()
            return
        if self.watcher is not None:
            self.watcher(data)
        self.rcvq += data
        self._data_ready()

    def _data_ready(self) -> None:
        """Tell the ULP of data, unless SO_RCVLOWAT asks for more (`tcp_data_ready`)."""
        if self.on_data is not None and (self._enough_to_read() or self.done):
            self.on_data()

    def _enough_to_read(self) -> bool:
        """Return whether the unread bytes satisfy SO_RCVLOWAT (`tcp_epollin_ready`)."""
        have = len(self.rcvq)
        return have >= self.rcvlowat or (have > 0 and self.window() <= _MIN_MSS)

    def set_rcvlowat(self, size: int) -> None:
        """Set SO_RCVLOWAT: at most half of the buffer (`tcp_set_rcvlowat`)."""
        self.rcvlowat = min(0x7FFF_FFFF if size < 0 else size or 1, self.rcvbuf // 2)
        self._data_ready()

    def _fin_arrived(self) -> None:
        if self.state == State.CLOSE:
            return
        self.shutdown |= RCV_SHUTDOWN
        self.done = True
        if self.state == State.ESTABLISHED:
            self.state = State.CLOSE_WAIT
        else:
            self._drop()
        self._data_ready()

    def _reset_arrived(self) -> None:
        if self.state == State.CLOSE:
            return
        self.sk_err = errno.EPIPE if self.state == State.CLOSE_WAIT else errno.ECONNRESET
        self._drop()

    def _send_reset(self) -> None:
        if self.far is not None:
            self.far.put(Reset())

    def _drop(self) -> None:
        """End the connection (`tcp_done`)."""
        self._output.clear()
        self.state = State.CLOSE
        self.shutdown = SHUTDOWN_MASK

    # -------------------------------------------------------------------- read

    def recvmsg(self, size: int, flags: int, fault_at: int | None = None) -> bytes:
        """recvmsg(2) without keys (`tcp_recvmsg_locked`).

        Args:
            size: bytes that the iovecs hold.
            flags: MSG_* bits.
            fault_at: offset of the first byte at a bad address.

        Raises:
            KtlsOSError: as Linux; no byte was received.
        """
        if flags & uapi.MSG_ERRQUEUE:
            raise KtlsOSError(errno.EAGAIN, "the error queue is empty")
        if flags & uapi.MSG_OOB:
            raise KtlsOSError(errno.EINVAL, "there is no urgent data")
        target = size if flags & uapi.MSG_WAITALL else min(self.rcvlowat, size) or 1
        peek = bool(flags & uapi.MSG_PEEK)
        out = b""
        skip = max(self.peek_off, 0) if peek else 0
        while True:
            n = min(size - len(out), len(self.rcvq) - (skip + len(out) if peek else 0))
            if n > 0:
                if fault_at is not None and len(out) + n > fault_at:
                    if not out:
                        raise KtlsOSError(errno.EFAULT, f"byte {fault_at} cannot be written")
                    return out
                at = skip + len(out)
                out += bytes(self.rcvq[at : at + n]) if peek else self.consume(n)
            enough = (size or self.rcvq) and len(out) >= min(size, target)
            if enough or self._ends_read(bool(out)):
                break
            err = self.wait_data(flags)
            # a read of 0 bytes waits once, and whatever ends the wait, it returns 0
            if err and (out or (not size and not flags & uapi.MSG_DONTWAIT)):
                break
            if err:
                raise KtlsOSError(err, "no data to read")
        if self.peek_off >= 0:
            # `sk_peek_offset_fwd`, `sk_peek_offset_bwd`
            moved = len(out) if peek else -len(out)
            self.peek_off = max(self.peek_off + moved, 0)
        # MSG_TRUNC counts TCP's bytes instead of copying them, also with MSG_PEEK
        return bytes(len(out)) if flags & uapi.MSG_TRUNC else out

    def _ends_read(self, copied: bool) -> bool:
        """Return whether a read without enough data ends here, at the end of the stream.

        Args:
            copied: the call has bytes to return.

        Raises:
            KtlsOSError: the pending error, or ENOTCONN.
        """
        if copied:
            ended = self.state == State.CLOSE or self.shutdown & RCV_SHUTDOWN
            return bool(self.sk_err or ended)
        if self.done:
            return True
        if self.sk_err:
            raise KtlsOSError(self.take_error(), "pending socket error")
        if self.shutdown & RCV_SHUTDOWN:
            return True
        if self.state in (State.CLOSE, State.LISTEN):
            raise KtlsOSError(errno.ENOTCONN, "the socket is not connected")
        return False

    def consume(self, count: int) -> bytes:
        """Remove and return up to `count` bytes of the receive queue."""
        data = bytes(self.rcvq[:count])
        del self.rcvq[:count]
        if isinstance(self.far, TcpSock):
            self.far.acked()
        return data

    @property
    def inq(self) -> int:
        """Number of unread bytes (FIONREAD)."""
        return len(self.rcvq)

    def poll(self, readable: bool) -> int:
        """Return the poll bits (`tcp_poll`).

        Args:
            readable: the ULP has data to read.
        """
        mask = 0
        if self.shutdown == SHUTDOWN_MASK or self.state == State.CLOSE:
            mask |= uapi.POLLHUP
        if self.shutdown & RCV_SHUTDOWN:
            mask |= uapi.POLLIN | uapi.POLLRDNORM | uapi.POLLRDHUP
        if self._enough_to_read() or readable:
            mask |= uapi.POLLIN | uapi.POLLRDNORM
        if self.shutdown & SEND_SHUTDOWN or self.writable:
            mask |= uapi.POLLOUT | uapi.POLLWRNORM
        if self.sk_err:
            mask |= uapi.POLLERR
        return mask

    # ------------------------------------------------------------------- close

    def shut(self, how: int) -> None:
        """shutdown(2).

        Args:
            how: `uapi.SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`.

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

    def _send_fin(self) -> None:
        self.state = State.FIN_WAIT if self.state == State.ESTABLISHED else State.LAST_ACK
        self._output.add_fin()
        self._transmit()

    def abort(self) -> None:
        """Reset the connection and discard all bytes."""
        self._output.clear()
        self._send_reset()
        self._drop()
        self.rcvq.clear()

    def close(self) -> None:
        """close(2): send a FIN, or a reset if unread bytes remain or SO_LINGER is 0."""
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
    """Connect two ends to each other."""
    a.far, b.far = b, a
    a.state = b.state = State.ESTABLISHED
