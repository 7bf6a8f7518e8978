# SPDX-License-Identifier: Apache-2.0
"""A program for `ktls-cosim run`: system calls on kTLS sockets, one case per invocation.

It has no TLS library: both ends of a TCP connection get the same keys.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

SOL_TCP, TCP_ULP, SOL_TLS, TLS_TX, TLS_RX = 6, 31, 282, 1, 2
SET_TYPE, GET_TYPE = 1, 2
KEYS = struct.pack("=HH8s16s4s8s", 0x0303, 51, bytes(8), b"K" * 16, b"salt", bytes(8))
LIBC = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.POINTER(Iovec)),
        ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]  # fmt: skip


class Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", Msghdr), ("len", ctypes.c_uint)]


class Batch:
    """An array of messages with a control buffer each."""

    def __init__(self, texts: list[bytes], types: list[int | None]) -> None:
        self.buffers = [ctypes.create_string_buffer(t, max(1, len(t))) for t in texts]
        self.controls = [ctypes.create_string_buffer(24) for _ in texts]
        self.iovs = [
            Iovec(ctypes.addressof(b), len(t)) for b, t in zip(self.buffers, texts, strict=True)
        ]
        self.array = (Mmsghdr * len(texts))()
        for entry, iov, control, rtype in zip(
            self.array, self.iovs, self.controls, types, strict=True
        ):
            entry.hdr.iov, entry.hdr.iovlen = ctypes.pointer(iov), 1
            entry.hdr.control, entry.hdr.controllen = ctypes.addressof(control), 24
            if rtype is None:
                entry.hdr.controllen = 0
            elif rtype >= 0:
                control.raw = struct.pack("=QiiB7x", 17, SOL_TLS, SET_TYPE, rtype)

    def type_of(self, n: int) -> int:
        """The record type in a control buffer, -1 without one."""
        _size, level, kind, rtype = struct.unpack_from("=QiiB", self.controls[n].raw)
        return rtype if (level, kind) == (SOL_TLS, GET_TYPE) else -1


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        a = socket.create_connection(server.getsockname())
        b, _ = server.accept()
    return a, b


def tls(sock: socket.socket, direction: int) -> None:
    with contextlib.suppress(FileExistsError):
        sock.setsockopt(SOL_TCP, TCP_ULP, b"tls")
    sock.setsockopt(SOL_TLS, direction, KEYS)


def ends() -> tuple[socket.socket, socket.socket]:
    a, b = pair()
    tls(a, TLS_TX)
    tls(b, TLS_RX)
    return a, b


def receive(sock: socket.socket, size: int = 100) -> tuple[bytes, int]:
    data, control, _, _ = sock.recvmsg(size, 64)
    return data, control[0][2][0] if control else -1


def batches() -> None:
    """sendmmsg and recvmmsg carry record types; recvmmsg returns what is there.

    Linux gives all messages but the last MSG_BATCH, which kTLS does not know.
    """
    a, b = ends()
    out = Batch([b"data", b"\1\0"], [None, 21])
    assert LIBC.sendmmsg(a.fileno(), out.array, 2, 0) == -1
    assert ctypes.get_errno() == errno.EOPNOTSUPP
    for text, rtype in ((b"data", None), (b"\1\0", 21), (b"more", None)):
        out = Batch([text], [rtype])
        assert LIBC.sendmmsg(a.fileno(), out.array, 1, 0) == 1
        assert out.array[0].len == len(text)
    assert receive(b) == (b"data", 23)
    into = Batch([bytes(100)] * 4, [-1] * 4)
    assert LIBC.recvmmsg(b.fileno(), into.array, 4, 0x10000, None) >= 1  # MSG_WAITFORONE
    assert (into.array[0].len, into.buffers[0].raw[:2], into.type_of(0)) == (2, b"\1\0", 21)


def gone() -> None:
    """A send to a peer that has left fails, and poll shows it."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    a, b = ends()
    b.close()
    sent = 0
    for _ in range(2000):
        try:
            sent += a.send(bytes(16384))
        except (BrokenPipeError, ConnectionResetError):
            break
        time.sleep(0.001)
    else:
        raise AssertionError(f"{sent} bytes accepted, no error")
    poll = select.poll()
    poll.register(a, select.POLLOUT)
    ((_, bits),) = poll.poll(0)
    assert bits & (select.POLLHUP | select.POLLERR), bits


def errors() -> None:
    """Sends fail as on Linux 6.1: kTLS reports the error of a record once.

    The next call starts a new record, whose bytes count as accepted. Only `--exact` answers each
    call on its own.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def send(sock: socket.socket) -> int | str:
        time.sleep(0.1)
        try:
            return sock.send(b"x")
        except OSError as e:
            return errno.errorcode[e.errno or 0]

    a, b = ends()
    b.close()
    got = [send(a) for _ in range(5)]
    assert got == [1, "EPIPE", 1, 1, 1], got
    a, b = ends()
    a.shutdown(socket.SHUT_WR)
    assert b.recv(1) == b""
    got = [send(a) for _ in range(3)]
    assert got == [1, 1, 1], got


def reset() -> None:
    """A reset reads as ECONNRESET."""
    a, b = ends()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    a.close()
    try:
        raise AssertionError(f"recv returned {b.recv(10)!r}")
    except ConnectionResetError:
        pass


def options() -> None:
    """The socket looks like TCP."""
    a, _b = ends()
    get = a.getsockopt
    assert get(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET
    assert get(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
    assert get(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    assert a.getpeername()[0] == "127.0.0.1"
    a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("=qq", 0, 50_000))
    try:
        raise AssertionError(a.recv(1))
    except BlockingIOError:
        pass


def rings() -> None:
    """io_uring is refused with ENOSYS."""
    assert LIBC.syscall(425, 8, ctypes.create_string_buffer(120)) == -1
    assert ctypes.get_errno() == errno.ENOSYS
    a, b = ends()
    a.send(b"x")
    assert receive(b) == (b"x", 23)


def epoll() -> None:
    """Level- and edge-triggered sets, for bytes, room and the end of the stream."""
    count, size = 8, 400_000
    pairs = [ends() for _ in range(count)]
    level, edge = select.epoll(), select.epoll()
    left = {}
    for n, (_, b) in enumerate(pairs):
        b.setblocking(False)
        left[b.fileno()] = (b, bytearray())
        (edge if n % 2 else level).register(b, select.EPOLLIN | (select.EPOLLET if n % 2 else 0))

    def sender(sock: socket.socket) -> None:
        """Send with an edge-triggered set of its own, so that it waits for room."""
        sock.setblocking(False)
        room = select.epoll()
        room.register(sock, select.EPOLLOUT | select.EPOLLET)
        data = memoryview(bytes(range(250)) * (size // 250))
        while data:
            try:
                data = data[sock.send(data[:50_000]) :]
            except BlockingIOError:
                assert room.poll(20), "no room within 20 s"
        sock.close()

    threads = [threading.Thread(target=sender, args=(a,)) for a, _ in pairs]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    while left:
        assert time.monotonic() < end, f"{len(left)} of {count} receivers wait"
        for fd, _ in edge.poll(0.05) + level.poll(0.05):
            sock, got = left[fd]
            while True:
                try:
                    piece = sock.recv(65536)
                except BlockingIOError:
                    break
                got += piece
                if not piece:
                    assert bytes(got) == bytes(range(250)) * (size // 250), len(got)
                    del left[fd]
                    sock.close()
                    break
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    os.write(1, b"right\n")
