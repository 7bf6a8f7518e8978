# SPDX-License-Identifier: Apache-2.0
"""Access to another process: memory, descriptors and epoll sets."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import re
import select
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from ktls_cosim.run.seccomp import pidfd_getfd

_LIBC = ctypes.CDLL(None, use_errno=True)
_PAGE = 4096
_IOV_MAX = 1024
_EPOLL_CTL_ADD, _EPOLL_CTL_DEL = 1, 2
_EPOLL_ENTRY = re.compile(r"tfd:\s*(\d+)\s+events:\s*([0-9a-f]+)\s+data:\s*([0-9a-f]+)")

Iov = Sequence[tuple[int, int]]
"""Buffers of another process: address and length of each."""


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _EpollEvent(ctypes.Structure):
    # x86-64 packs the structure so that 32-bit programs see the same layout
    _pack_ = 1 if platform.machine() == "x86_64" else 8
    _fields_ = [("events", ctypes.c_uint32), ("data", ctypes.c_uint64)]


def _pages(address: int, count: int) -> list[_Iovec]:
    """Split a range at page boundaries, so that a transfer stops at the first bad page."""
    out = []
    end = address + count
    while address < end:
        stop = min(end, (address // _PAGE + 1) * _PAGE)
        out.append(_Iovec(address, stop - address))
        address = stop
    return out


class Process:
    """A process under supervision.

    Attributes:
        pid: Thread group id.

    Args:
        pid: Thread group id of a running process.

    Raises:
        OSError: ESRCH, the process has ended.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def close(self) -> None:
        """Release the reference to the process."""
        os.close(self._pidfd)

    @property
    def alive(self) -> bool:
        """True if the process still runs; its id may already belong to another process."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    # ----------------------------------------------------------------------- memory

    def read(self, address: int, count: int) -> bytes:
        """Read `count` bytes of its memory, or fewer up to the first bad address."""
        buffer = ctypes.create_string_buffer(count)
        done = self._transfer(_LIBC.process_vm_readv, address, buffer, count)
        return buffer.raw[:done]

    def read_exactly(self, address: int, count: int) -> bytes:
        """Read `count` bytes of its memory.

        Raises:
            OSError: EFAULT.
        """
        data = self.read(address, count)
        if len(data) < count:
            raise OSError(errno.EFAULT, "a bad address")
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write `data` to its memory.

        Raises:
            OSError: EFAULT.
        """
        buffer = ctypes.create_string_buffer(data, len(data))
        if self._transfer(_LIBC.process_vm_writev, address, buffer, len(data)) < len(data):
            raise OSError(errno.EFAULT, "a bad address")

    def fault_at(self, iov: Iov) -> int | None:
        """Return the offset of the first byte of the buffers that is not writable, or None."""
        spans = []
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            span, flags = line.split()[:2]
            if flags[1] == "w":
                first, _, last = span.partition("-")
                spans.append((int(first, 16), int(last, 16)))
        done = 0
        for address, length in iov:
            at, end = address, address + length
            for low, high in spans:
                if low <= at < high:
                    at = min(high, end)
            done += at - address
            if at < end:
                return done
        return None

    def _transfer(self, call: object, address: int, buffer: object, count: int) -> int:
        done = 0
        while done < count:
            remote = _pages(address + done, count - done)[:_IOV_MAX]
            size = sum(v.len for v in remote)
            local = _Iovec(ctypes.addressof(buffer) + done, size)  # type: ignore[arg-type]
            array = (_Iovec * len(remote))(*remote)
            n: int = call(self.pid, ctypes.byref(local), 1, array, len(remote), 0)  # type: ignore[operator]
            if n <= 0:
                break
            done += n
            if n < size:
                break
        return done

    # ------------------------------------------------------------------ descriptors

    def copy_fd(self, fd: int) -> int:
        """Return a copy of one of its descriptors in this process.

        Raises:
            OSError: EBADF.
        """
        return pidfd_getfd(self._pidfd, fd)

    @contextlib.contextmanager
    def borrowed(self, fd: int) -> Iterator[socket.socket]:
        """Provide a copy of one of its sockets, closed at the end of the block."""
        copy = socket.socket(fileno=self.copy_fd(fd))
        try:
            yield copy
        finally:
            copy.close()

    def socket_inode(self, fd: int) -> int | None:
        """Return the inode of the socket of a descriptor; None if it is not a socket."""
        try:
            name = os.readlink(f"/proc/{self.pid}/fd/{fd}")
        except OSError:
            return None
        return int(name[8:-1]) if name.startswith("socket:[") else None

    @property
    def name(self) -> str:
        """Name of its program, for messages."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/comm").read_text().strip()
        return "?"

    def fds_of(self, inode: int) -> list[int]:
        """Return all descriptors of a socket."""
        return [fd for fd in self._fds() if self.socket_inode(fd) == inode]

    def _fds(self) -> list[int]:
        return [int(name) for name in os.listdir(f"/proc/{self.pid}/fd")]

    def cloexec(self, fd: int) -> bool:
        """Return whether FD_CLOEXEC is set on a descriptor."""
        info = Path(f"/proc/{self.pid}/fdinfo/{fd}").read_text()
        found = re.search(r"^flags:\s*([0-7]+)", info, re.MULTILINE)
        return bool(found and int(found[1], 8) & os.O_CLOEXEC)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; do nothing if it has ended."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, number)

    def move_in_epoll_sets(self, fds: list[int], old: socket.socket, new: socket.socket) -> bool:
        """Make the process's epoll sets watch a new socket instead of an old one.

        An epoll set refers to the open file, not to the descriptor. So it does not notice
        that the descriptor now refers to another file.

        Args:
            fds: Descriptors of the process that referred to `old` and now refer to `new`.
            old: Socket that the sets watch.
            new: Socket that they are to watch.

        Returns:
            Whether a set watched the old socket.
        """
        moved = False
        for number in self._fds():
            try:
                if os.readlink(f"/proc/{self.pid}/fd/{number}") != "anon_inode:[eventpoll]":
                    continue
                info = Path(f"/proc/{self.pid}/fdinfo/{number}").read_text()
                entries = [
                    (int(fd), int(events, 16), int(data, 16))
                    for fd, events, data in _EPOLL_ENTRY.findall(info)
                    if int(fd) in fds
                ]
                if not entries:
                    continue
                epoll = self.copy_fd(number)
            except OSError:
                continue
            moved = True
            try:
                _in_child(epoll, entries, old.fileno(), new.fileno())
            finally:
                os.close(epoll)
        return moved


def _in_child(epoll: int, entries: list[tuple[int, int, int]], old: int, new: int) -> None:
    """Replace entries of an epoll set.

    The key of an entry contains the descriptor number. The numbers are in use in this
    process, so a child with its own descriptor table makes the change.
    """
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        top = max(fd for fd, _, _ in entries) + 1
        # move our three descriptors above the numbers of the entries
        safe = []
        for fd in (epoll, old, new):
            while fd < top:
                fd = os.dup(fd)
            safe.append(fd)
        epoll, old, new = safe
        for fd, events, data in entries:
            event = _EpollEvent(events, data)
            os.dup2(old, fd)
            _LIBC.epoll_ctl(epoll, _EPOLL_CTL_DEL, fd, ctypes.byref(event))
            os.dup2(new, fd)
            _LIBC.epoll_ctl(epoll, _EPOLL_CTL_ADD, fd, ctypes.byref(event))
    finally:
        os._exit(0)


def thread_group(tid: int) -> int:
    """Return the process id of a thread.

    Raises:
        OSError: The thread has ended.
    """
    for line in Path(f"/proc/{tid}/status").read_text().splitlines():
        if line.startswith("Tgid:"):
            return int(line.split()[1])
    raise OSError(errno.ESRCH, "no such thread")
