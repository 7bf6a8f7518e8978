# SPDX-License-Identifier: Apache-2.0
"""Move the bytes of one connection between the program, the model and TCP."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import select
import socket
import struct
import termios
from collections import deque
from dataclasses import dataclass

from ktls import KtlsOSError, uapi
from ktls_cosim.run.link import Link, polls

_READ = 1 << 16
# maximum number of bytes that wait for TCP inside the model before the program has to wait
_LIMIT = 1 << 20
_INT = struct.Struct("=i")


@dataclass(slots=True)
class _Segment:
    """Bytes in the program's receive queue that belong together.

    Attributes:
        rtype: Record type; None for plain TCP bytes.
        left: Bytes that the program has not read yet.
    """

    rtype: int | None
    left: int = 0


class Managed:
    """A connection of the program.

    The program holds one end of a Unix socket pair, the supervisor the other. The socket
    pair carries the plaintext; `Link` carries the records.

    Attributes:
        link: The model's socket on the TCP connection.
        ours: The supervisor's end of the socket pair, non-blocking.
        inode: Inode of the program's end.
        hung_up: The program has closed its end.
        closed: The supervisor has closed its end.
        watched: The program's end is in an epoll set.

    Args:
        link: The connection, already taken over.
        ours: One end of a new socket pair; becomes non-blocking.
        inode: Inode of the other end.
    """

    def __init__(self, link: Link, ours: socket.socket, inode: int) -> None:
        ours.setblocking(False)
        self.link = link
        self.ours = ours
        self.inode = inode
        self.hung_up = False
        self.closed = False
        self.watched = False
        self._tx_over = False
        self._rx_over = False
        self._error = 0
        # the content of the program's queue, oldest first
        self._segments: deque[_Segment] = deque()
        # number of bytes put into the queue, and number of those that were read
        self._delivered = 0
        self._counted = 0
        # rest of a record, for which the queue has no room
        self._pending: memoryview | None = None

    @property
    def wants_tx(self) -> bool:
        """True if bytes written by the program should be read now."""
        return self._open_for_tx and len(self.link.out) < _LIMIT

    @property
    def _open_for_tx(self) -> bool:
        return not (self._tx_over or self.hung_up)

    @property
    def wants_in(self) -> bool:
        """True if received TCP bytes should be fed in now."""
        return self.link.wants_in and not self.wants_rx

    @property
    def wants_rx(self) -> bool:
        """True if the rest of a record waits for room in the program's queue."""
        return self._pending is not None and not self.hung_up

    # --------------------------------------------------------------------- transmit

    def drain(self, whole: bool = False) -> None:
        """Send the bytes that the program has written through the model.

        Args:
            whole: Send all of them, even if TCP has no room. A call that follows must not
                overtake them.
        """
        while self._open_for_tx if whole else self.wants_tx:
            try:
                data = self.ours.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._end_tx()
                return
            with contextlib.suppress(KtlsOSError):
                # if the connection is broken, the program notices at its own end
                self.link.sock.send(data, uapi.MSG_NOSIGNAL)

    def _end_tx(self) -> None:
        """Close or shut down the model's socket, as the program closed or shut down its end."""
        self._tx_over = True
        self.hung_up = hung_up(self.ours)
        with contextlib.suppress(KtlsOSError):
            if self.hung_up:
                self.link.sock.close()
            else:
                self.link.sock.shutdown(uapi.SHUT_WR)

    # ---------------------------------------------------------------------- receive

    def deliver(self) -> None:
        """Put opened records into the program's queue while it has room."""
        while not self._rx_over and not self.hung_up:
            if self._pending is None and not self._next():
                return
            assert self._pending is not None
            while self._pending:
                try:
                    n = self.ours.send(self._pending, socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    return
                except OSError:
                    self._rx_over = True
                    return
                self._pending = self._pending[n:]
                self._delivered += n
                self._segments[-1].left += n
            self._pending = None

    def _next(self) -> bool:
        """Read the next record from the model; return False if there is none now."""
        try:
            got = self.link.sock.recvmsg(_READ, 64, uapi.MSG_DONTWAIT)
            while not got.data and got.record_type == uapi.RECORD_TYPE_DATA:
                # an empty record does not end the stream
                got = self.link.sock.recvmsg(_READ, 64, uapi.MSG_DONTWAIT)
        except KtlsOSError as e:
            if e.errno != errno.EAGAIN:
                self._error = e.errno or errno.EIO
                self._end_rx()
            return False
        if not got.data and got.record_type is None:
            self._end_rx()
            return False
        # plain TCP bytes have no boundaries, so they join the previous plain segment
        plain = got.record_type is None
        if not (plain and self._segments and self._segments[-1].rtype is None):
            if _all_read(self.ours):
                self._segments.clear()
                self._counted = self._delivered
            self._segments.append(_Segment(got.record_type))
        self._pending = memoryview(got.data)
        return True

    def _end_rx(self) -> None:
        self._rx_over = True
        if not self.link.broken:  # else `break_end` follows
            with contextlib.suppress(OSError):
                self.ours.shutdown(socket.SHUT_WR)

    def take_back(self, theirs: socket.socket) -> None:
        """Return unread bytes of the program's queue to the TCP queue of the model.

        Args:
            theirs: The program's end of the socket pair.
        """
        rest = b""
        with contextlib.suppress(BlockingIOError):
            while piece := theirs.recv(_READ, socket.MSG_DONTWAIT):
                rest += piece
        rest += bytes(self._pending or b"")
        self._pending = None
        self._segments.clear()
        self._counted = self._delivered
        self.link.sock.tcp.rcvq[:0] = rest

    def receive(
        self, theirs: socket.socket, size: int, peek: bool
    ) -> tuple[bytes, int | None, bool] | None:
        """Read bytes of at most one record from the program's queue.

        Args:
            theirs: The program's end of the socket pair.
            size: Maximum number of bytes.
            peek: Leave the bytes in the queue.

        Returns:
            Bytes, record type and whether the record ends here; None if nothing has arrived.

        Raises:
            KtlsOSError: The receive direction has failed.
        """
        self.deliver()
        # account for reads that were not trapped
        self._count(self._delivered - unread(theirs) - self._counted)
        if not self._segments:
            if self._error:
                number, self._error = self._error, 0
                raise KtlsOSError(number, "receiving")
            return (b"", None, False) if self._rx_over else None
        head = self._segments[0]
        left = head.left
        if left == 0 and self._pending:
            return None
        flags = socket.MSG_DONTWAIT | (socket.MSG_PEEK if peek else 0)
        data = theirs.recv(min(size, left), flags) if left and size else b""
        ends = len(data) == left and not (len(self._segments) == 1 and self._pending)
        if not peek:
            self._count(len(data))
            if left == 0:
                self._segments.popleft()
        return data, head.rtype, ends

    def _count(self, count: int) -> None:
        """Note that the program has read `count` bytes."""
        self._counted += count
        while count and self._segments:
            head = self._segments[0]
            n = min(count, head.left)
            head.left -= n
            count -= n
            if head.left or (len(self._segments) == 1 and self._pending):
                return
            self._segments.popleft()

    def break_end(self, theirs: socket.socket | None) -> None:
        """Make the program's end fail, as that of a TCP connection that was reset.

        The program still reads what has arrived. Then it gets ECONNRESET once, and end of file;
        it sends with EPIPE, and poll shows POLLERR and POLLHUP. Linux does this to a socket whose
        other end is closed with unread bytes (`unix_release_sock`).

        Args:
            theirs: The program's end; None if it is unknown.
        """
        self._tx_over = self._rx_over = self.hung_up = True
        self._pending = None
        with contextlib.suppress(OSError):
            if theirs is not None:
                theirs.send(b"\0", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        self.ours.close()
        self.link.sock.close()
        self.link.ended = True

    def close(self) -> None:
        """Close the supervisor's end and the TCP connection."""
        self.closed = True
        self.ours.close()
        self.link.close()


def _all_read(sock: socket.socket) -> bool:
    """Return whether the other end of a socket pair has read everything (TIOCOUTQ)."""
    return not any(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))


def unread(file: socket.socket | int) -> int:
    """Return the number of bytes to read from a socket or a pipe (FIONREAD)."""
    count: int = _INT.unpack(fcntl.ioctl(file, termios.FIONREAD, bytes(4)))[0]
    return count


def hung_up(file: socket.socket | int) -> bool:
    """Return whether all descriptors of the other end of a socket pair or pipe are closed."""
    return polls(file, select.POLLHUP)
