# SPDX-License-Identifier: Apache-2.0
"""sendfile and splice into a socket (fs/splice.c).

Both move pages through a pipe. Linux 6.5 and later passes up to 16 pages to the socket in
one message (`splice_to_socket`); older kernels pass them one by one (`pipe_to_sendpage`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ktls import uapi
from ktls.errors import KtlsOSError
from ktls.pipe import PAGE, PIPE_BUFFERS, FileSource, Pipe
from ktls.record import Buffer
from ktls.stack import KtlsStack
from ktls.tcp import TcpSock
from ktls.tls_tx import TlsTx

# records per read of a file
_FILE_PIECES = 16


class Sender(Protocol):
    """The socket that receives the pages."""

    stack: KtlsStack
    tcp: TcpSock
    nonblocking: bool

    @property
    def tx(self) -> TlsTx | None:
        """The transmit direction of its ULP, None until it has keys."""


def splice_file(sock: Sender, file: FileSource, start: int, count: int) -> int:
    """Send bytes of a file: fill a pipe and empty it (`splice_direct_to_actor`).

    Args:
        sock: the socket.
        file: the file.
        start: offset of the first byte.
        count: maximal number of bytes.

    Returns:
        Number of accepted bytes.

    Raises:
        KtlsOSError: as Linux; no byte was accepted.
    """
    flags = uapi.MSG_DONTWAIT if sock.nonblocking else 0
    tx = sock.tx
    size = tx.limit if tx is not None else uapi.TLS_MAX_PAYLOAD_SIZE
    by_message = sock.stack.kernel.pages_by_sendmsg
    sent = 0
    while sent < count:
        at = start + sent
        want = min(count - sent, _FILE_PIECES * size)
        if not by_message:
            want = min(want, PIPE_BUFFERS * PAGE - at % PAGE)
        data = file.read(at, want)
        if not data:
            # the file ends before `count` bytes
            if sent and by_message and tx is not None:
                tx.splice_eof()
            break
        more = uapi.MSG_MORE if by_message and sent + len(data) < count else 0
        try:
            n = _splice_data(sock, tx, memoryview(data), at, flags | more)
        except KtlsOSError:
            if sent:
                break
            raise
        sent += n
        if n < len(data):
            break
    return sent


def _splice_data(sock: Sender, tx: TlsTx | None, data: memoryview, at: int, flags: int) -> int:
    """Send bytes of a file, which start at offset `at`."""
    if tx is None:
        return sock.tcp.sendmsg(data, flags)
    done = tx.send_file(data)
    if done == len(data):
        return done
    rest = data[done:]
    pages = _pages(rest, at + done)
    try:
        return done + _splice_pages(sock, tx, pages, len(rest), len(pages), flags)
    except KtlsOSError:
        if done:
            return done
        raise


def _splice_pages(
    sock: Sender, tx: TlsTx, pages: Sequence[Buffer], count: int, occupancy: int, flags: int
) -> int:
    """Pass the buffers at the front of a pipe to the ULP; returns the accepted bytes.

    Args:
        pages: the bytes in the buffers.
        count: bytes that splice was asked to move; the pipe may hold fewer.
        occupancy: number of buffers in the pipe.
    """
    if sock.stack.kernel.pages_by_sendmsg:
        return tx.sendpages(pages, flags)
    done = 0
    for i, page in enumerate(pages):
        last = done + len(page) >= count or occupancy - i <= 1
        try:
            n = tx.sendpages((page,), flags if last else flags | uapi.MSG_MORE)
        except KtlsOSError:
            if done:
                break
            raise
        done += n
        if n < len(page):
            break
    return done


def splice_pipe(sock: Sender, pipe: Pipe, count: int, flags: int) -> int:
    """Send bytes of a pipe (`splice_to_socket`; older kernels: `splice_from_pipe`).

    Args:
        sock: the socket.
        pipe: the pipe.
        count: maximal number of bytes.
        flags: SPLICE_F_* bits.

    Returns:
        Number of accepted bytes.

    Raises:
        KtlsOSError: as Linux; no byte was accepted.
    """
    moved = 0
    while moved < count and pipe.occupancy:
        pages: list[bytes] = []
        left = count - moved
        for page in pipe.pages[:PIPE_BUFFERS]:
            pages.append(page[:left])
            left -= len(pages[-1])
            if not left:
                break
        msg_flags = uapi.MSG_DONTWAIT if sock.nonblocking else 0
        if sock.stack.kernel.pages_by_sendmsg:
            # Linux assumes more data to come if the message fills its page vector
            following = pipe.occupancy - len(pages) + (1 if len(pages) == PIPE_BUFFERS else 0)
            if flags & uapi.SPLICE_F_MORE or (left and following):
                msg_flags |= uapi.MSG_MORE
        try:
            tx = sock.tx
            if tx is None:
                n = sock.tcp.sendmsg(b"".join(pages), msg_flags)
            else:
                n = _splice_pages(sock, tx, pages, count - moved, pipe.occupancy, msg_flags)
        except KtlsOSError:
            if moved:
                break
            raise
        pipe.drop(n)
        moved += n
        if n < sum(map(len, pages)):
            break
    return moved


def _pages(view: memoryview, at: int) -> list[memoryview]:
    """Split consecutive bytes of a file at its page boundaries."""
    out = []
    start = 0
    while start < len(view):
        stop = min(len(view), start + PAGE - (at + start) % PAGE)
        out.append(view[start:stop])
        start = stop
    return out
