# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim run --exact`: the model executes every call on a kTLS socket.

This mode serves programs that depend on exact record boundaries, errors or poll bits, such
as the kernel's own tests. Each call runs in its own thread under the machine's lock, so it
can sleep as it would in the kernel. An epoll set stays in the kernel: the program's end of the
socket pair shows what the model's socket would show (`_ExactManaged.show`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import selectors
import signal
import socket
import struct
import termios
import threading
import time
from collections import deque
from typing import BinaryIO

from ktls import KtlsOSError, Pipe, uapi
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.machine import Machine
from ktls_cosim.run import sockaddr
from ktls_cosim.run.link import Link
from ktls_cosim.run.managed import Managed, hung_up, unread
from ktls_cosim.run.message import MMSGHDR_SIZE, Message, gather, read_iov, scatter
from ktls_cosim.run.process import Iov, Process
from ktls_cosim.run.seccomp import Call, Listener
from ktls_cosim.run.supervisor import MSG_WAITFORONE, Supervisor

_POLLFD = struct.Struct("=ihh")
_POLLNVAL = 0x20
# socket options that also apply to the TCP connection
_OF_TCP = (uapi.SO_SNDBUF, uapi.SO_RCVBUF, uapi.SO_LINGER)
# socket options that the model implements
_OF_MODEL = (*_OF_TCP, uapi.SO_RCVTIMEO, uapi.SO_SNDTIMEO, uapi.SO_RCVLOWAT)
# longest wait between two checks of a condition, in seconds
_POLL_INTERVAL = 0.05
_SENDFILE_MAX = 0x7FFF_F000
_FILL = bytes(1 << 16)
_SOCKADDR_MAX = 128
_PAGE = 4096


class _ExactManaged(Managed):
    """A connection whose socket pair carries no data: its only event is the hang-up.

    Attributes:
        changed: Signals that the connection may have room or data; uses the machine's lock.
    """

    changed: threading.Condition
    _readable = False
    _full = False

    def show(self, theirs: socket.socket) -> None:
        """Make the program's end as readable and writable as the model's socket, for epoll.

        A byte in its receive queue makes it readable; bytes in its send buffer make it not
        writable. The program never sees them, because all its reads and writes are trapped.

        Args:
            theirs: The program's end.
        """
        bits = self.link.sock.poll(select.POLLIN | select.POLLOUT | select.POLLRDHUP)
        with contextlib.suppress(OSError):
            readable = bool(bits & (select.POLLIN | select.POLLERR | select.POLLHUP))
            if readable != self._readable:
                self._readable = readable
                if readable:
                    self.ours.send(b"\0")
                else:
                    theirs.recv(1, socket.MSG_DONTWAIT)
            full = not bits & (select.POLLOUT | select.POLLERR | select.POLLHUP)
            if full != self._full:
                self._full = full
                if full:
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            theirs.send(_FILL, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                else:
                    with contextlib.suppress(BlockingIOError):
                        while self.ours.recv(1 << 20):
                            pass
            if bits & select.POLLHUP or self.link.broken:
                self.ours.shutdown(socket.SHUT_RDWR)
            elif bits & select.POLLRDHUP:
                self.ours.shutdown(socket.SHUT_WR)

    def drain(self, whole: bool = False) -> None:  # noqa: ARG002
        """Close the model's socket once the program has closed its end."""
        if self.hung_up:
            return
        if self._full:
            if not hung_up(self.ours):
                return
        else:
            try:
                if self.ours.recv(1):
                    return
            except BlockingIOError:
                return
            except OSError:
                pass
        self.hung_up = True
        self.link.sock.close()

    def deliver(self) -> None:
        """Do nothing: the program reads from the model, not from the socket pair."""

    @property
    def wants_tx(self) -> bool:
        """True if the program's end is still open and its queue is not full on purpose."""
        return not (self.hung_up or self._full)


class ExactSupervisor(Supervisor):
    """Lets the model execute every call on a kTLS socket."""

    trapped = (
        *Supervisor.trapped, "read", "write", "readv", "writev", "sendto", "recvfrom", "sendfile",
        "splice", "shutdown", "poll", "ppoll", "bind", "listen", "connect", "epoll_ctl",
    )  # fmt: skip
    by_arg1 = {
        **Supervisor.by_arg1,
        "ioctl": (termios.FIONREAD,),
    }
    limit = 1 << 18

    def __init__(
        self, machine: Machine, listener: Listener, capture: Capture | None = None
    ) -> None:
        super().__init__(machine, listener, capture)
        machine.sleep = self._sleep
        # signals that any connection may have room or data
        self._changed = threading.Condition(machine.lock)
        # call and connection of the current thread
        self._here = threading.local()
        # connections and failure that the threads report to the loop, which the eventfd wakes
        self._reported: deque[Managed] = deque()
        self._failure: BaseException | None = None
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._serve_threads)

    def _serve_threads(self) -> None:
        """Raise the failure of a thread, or pump the connections that threads reported."""
        os.eventfd_read(self._wakeup)
        if self._failure is not None:
            raise self._failure
        while self._reported:
            self.pump(self._reported.popleft())

    def manage(self, link: Link, ours: socket.socket, inode: int) -> Managed:
        """Return the supervisor's object for a new connection."""
        managed = _ExactManaged(link, ours, inode)
        managed.changed = threading.Condition(self.machine.lock)
        return managed

    def _sleep(self, _what: str) -> bool:
        """Sleep in a call of the model; return False if a signal ended the call."""
        managed: _ExactManaged = self._here.managed
        self._pump_all()
        managed.changed.wait(_POLL_INTERVAL)
        return self._listener.waits(self._here.call)

    def pump(self, managed: Managed) -> None:
        """Move the bytes of a connection and wake the calls that wait for it."""
        with self.machine.lock:
            super().pump(managed)
            self._notify(managed)

    def _pump_all(self) -> None:
        """Move the bytes of all connections: a peer may also belong to the program."""
        self.machine.stack.sync_device()
        connections = [*self._managed.values(), *self._closing]
        moved = [m for m in connections if m.link.flush()]
        moved += [m for m in connections if m.link.pump_in()]
        for managed in moved:
            self._notify(managed)

    def _notify(self, managed: Managed) -> None:
        """Wake the calls that wait for this connection, two at a time."""
        assert isinstance(managed, _ExactManaged)
        managed.changed.notify(2)
        self._changed.notify_all()
        if managed.watched:
            self.with_end_of(managed, managed.show)

    def broke(self, managed: Managed) -> None:
        """Do nothing: the model reports the error to the call that meets it."""

    def _watch_epoll(self, call: Call, process: Process) -> None:
        """Note that a connection is in an epoll set, then let the kernel change the set."""
        managed = self._managed_of(process, call.int_arg(2))
        if isinstance(managed, _ExactManaged):
            with self.machine.lock:
                managed.watched = True
                self._pump_all()
                self.with_end_of(managed, managed.show)
        self._listener.proceed(call)

    def dispatch(self, name: str, call: Call, process: Process, managed: Managed | None) -> None:
        """Start a thread for a call on a kTLS socket; see `Supervisor.dispatch`."""
        if name == "io_uring_setup":
            super().dispatch(name, call, process, None)
        elif name == "epoll_ctl":
            self._watch_epoll(call, process)
        elif name in ("poll", "ppoll"):
            self._start(name, call, process, None)
        elif name == "splice" and managed is None:
            inode = process.socket_inode(call.int_arg(2))
            target = self._managed.get(inode) if inode is not None else None
            if target is None:
                self._listener.proceed(call)
            else:
                self._start("splice_in", call, process, target)
        elif managed is None:
            super().dispatch(name, call, process, managed)
        else:
            self._start(name, call, process, managed)

    def _start(self, name: str, call: Call, process: Process, managed: Managed | None) -> None:
        thread = threading.Thread(
            target=self._work, args=(name, call, process, managed), daemon=True
        )
        thread.start()

    def _work(self, name: str, call: Call, process: Process, managed: Managed | None) -> None:
        """Execute and answer one call, in a thread of its own."""
        self._here.call = call
        self._here.managed = managed
        error = signals = 0
        with self.machine.lock:
            try:
                self._pump_all()
                if managed is not None:
                    sock = managed.link.sock
                    signals = sock.sigpipe
                    with process.borrowed(call.int_arg(2 if name == "splice_in" else 0)) as theirs:
                        sock.nonblocking = not os.get_blocking(theirs.fileno())
                value = getattr(self, f"_call_{name}")(call, process, managed)
            except OSError as e:
                value, error = 0, e.errno or errno.EIO
            except BaseException as e:
                # the loop raises this; answer the call so that the program does not hang
                value, error = 0, errno.EIO
                self._failure = e
                os.eventfd_write(self._wakeup, 1)
            else:
                self._pump_all()
            if managed is not None:
                self._notify(managed)
                if managed.link.sock.sigpipe > signals:
                    process.signal(signal.SIGPIPE)
        if value is None:
            # a poll without any kTLS socket
            self._listener.proceed(call)
        else:
            self._listener.answer(call, value, error)
        if managed is not None:
            self._wake_loop(managed)

    def _wake_loop(self, managed: Managed) -> None:
        """Make the loop update the events that it waits for on a connection."""
        self._reported.append(managed)
        os.eventfd_write(self._wakeup, 1)

    # -------------------------------------------------------------------------- send

    def _send(self, process: Process, managed: Managed, iov: Iov, flags: int = 0) -> int:
        data, fault_at = gather(process, iov)
        # without a msghdr MSG_CMSG_COMPAT is no error
        flags &= ~uapi.MSG_CMSG_COMPAT
        return managed.link.sock.sendmsg([data], (), flags, fault_at=fault_at)

    def _call_write(self, call: Call, process: Process, managed: Managed) -> int:
        return self._send(process, managed, [(call.args[1], call.args[2])])

    def _call_sendto(self, call: Call, process: Process, managed: Managed) -> int:
        return self._send(process, managed, [(call.args[1], call.args[2])], call.int_arg(3))

    def _call_writev(self, call: Call, process: Process, managed: Managed) -> int:
        return self._send(process, managed, _iov(call, process))

    def _call_sendmsg(self, call: Call, process: Process, managed: Managed) -> int:
        return Message(process, call.args[1]).send(managed.link.sock, call.int_arg(2))

    def _call_sendmmsg(self, call: Call, process: Process, managed: Managed) -> int:
        at, count, flags = call.args[1], call.args[2] & 0xFFFFFFFF, call.int_arg(3)
        for i in range(count):
            batch = uapi.MSG_BATCH if i + 1 < count else 0
            message = Message(process, at + i * MMSGHDR_SIZE)
            try:
                n = message.send(managed.link.sock, flags | batch)
            except OSError:
                if i:
                    return i
                raise
            message.write_length(n)
        return count

    def _call_sendfile(self, call: Call, process: Process, managed: Managed) -> int:
        source = process.copy_fd(call.int_arg(1))
        with os.fdopen(source, "rb", buffering=0) as file:
            binary: BinaryIO = file
            where = call.args[2]
            count = min(call.args[3], _SENDFILE_MAX)
            if not where:
                start = os.lseek(source, 0, os.SEEK_CUR)
                sent = managed.link.sock.sendfile(binary, start, count)
                os.lseek(source, start + sent, os.SEEK_SET)
                return sent
            start = int.from_bytes(process.read_exactly(where, 8), "little", signed=True)
            sent = managed.link.sock.sendfile(binary, start, count)
            process.write(where, (start + sent).to_bytes(8, "little"))
            return sent

    # ----------------------------------------------------------------------- receive

    def _receive(self, process: Process, managed: Managed, iov: Iov, flags: int = 0) -> int:
        fault_at = process.fault_at(iov)
        size = sum(length for _, length in iov)
        # without a msghdr MSG_CMSG_COMPAT is no error
        flags &= ~uapi.MSG_CMSG_COMPAT
        got = managed.link.sock.recvmsg(size, 0, flags, fault_at=fault_at)
        scatter(process, iov, got.data)
        return len(got.data)

    def _call_read(self, call: Call, process: Process, managed: Managed) -> int:
        return self._read(process, managed, [(call.args[1], call.args[2])])

    def _read(self, process: Process, managed: Managed, iov: Iov) -> int:
        size = sum(length for _, length in iov)
        data = managed.link.sock.readv(size, fault_at=process.fault_at(iov))
        scatter(process, iov, data)
        return len(data)

    def _call_recvfrom(self, call: Call, process: Process, managed: Managed) -> int:
        if call.args[5]:
            process.write(call.args[5], bytes(4))
        return self._receive(process, managed, [(call.args[1], call.args[2])], call.int_arg(3))

    def _call_readv(self, call: Call, process: Process, managed: Managed) -> int:
        return self._read(process, managed, _iov(call, process))

    def _call_recvmsg(self, call: Call, process: Process, managed: Managed) -> int:
        return self._receive_message(process, managed, call.args[1], call.int_arg(2))

    def _receive_message(self, process: Process, managed: Managed, address: int, flags: int) -> int:
        message = Message(process, address)
        fault_at = process.fault_at(message.iov)
        try:
            got = managed.link.sock.recvmsg(
                message.size, message.controllen, flags, fault_at=fault_at
            )
        except KtlsOSError as e:
            message.write_cmsgs(e.cmsgs)
            raise
        message.scatter(got.data)
        message.write_control(got.cmsgs, got.controllen, got.msg_flags)
        return len(got.data)

    def _call_recvmmsg(self, call: Call, process: Process, managed: Managed) -> int:
        count, flags = call.args[2] & 0xFFFFFFFF, call.int_arg(3)
        for i in range(count):
            once = flags | (uapi.MSG_DONTWAIT if i and flags & MSG_WAITFORONE else 0)
            at = call.args[1] + i * MMSGHDR_SIZE
            try:
                n = self._receive_message(process, managed, at, once)
            except OSError:
                if i:
                    return i
                raise
            Message(process, at).write_length(n)
        return count

    # ------------------------------------------------------------------------ splice

    def _call_splice_in(self, call: Call, process: Process, managed: Managed) -> int:
        """Move bytes from a pipe of the program into the socket."""
        source = process.copy_fd(call.int_arg(0))
        try:
            nonblock = call.int_arg(5) & uapi.SPLICE_F_NONBLOCK or not os.get_blocking(source)
            while True:
                waiting = unread(source)
                if waiting:
                    break
                if hung_up(source):
                    return 0
                if nonblock:
                    raise OSError(errno.EAGAIN, "the pipe is empty")
                if not self._sleep("an empty pipe"):
                    raise OSError(errno.EINTR, "interrupted")
            data = os.read(source, min(call.args[4], waiting))
        finally:
            os.close(source)
        pipe = Pipe(slots=-(-len(data) // _PAGE))
        pipe.write(data)
        return managed.link.sock.splice_from(pipe, len(data), call.int_arg(5))

    def _call_splice(self, call: Call, process: Process, managed: Managed) -> int:
        """Move bytes from the socket into a pipe of the program."""
        target = process.copy_fd(call.int_arg(2))
        try:
            room = fcntl.fcntl(target, fcntl.F_GETPIPE_SZ) - unread(target)
            pipe = Pipe(slots=max(1, room // _PAGE))
            count = min(call.args[4], room)
            managed.link.sock.splice_to(pipe, count, call.int_arg(5))
            data = b"".join(pipe.pages)
            return os.write(target, data) if data else 0
        finally:
            os.close(target)

    # ------------------------------------------------------------------ other calls

    def _call_shutdown(self, call: Call, _process: Process, managed: Managed) -> int:
        managed.link.sock.shutdown(call.int_arg(1))
        return 0

    def _call_ioctl(self, call: Call, process: Process, managed: Managed) -> int:
        process.write(call.args[2], managed.link.sock.inq.to_bytes(4, "little"))
        return 0

    def _call_bind(self, call: Call, process: Process, managed: Managed) -> int:
        managed.link.raw.bind(_address(call, process))
        return 0

    def _call_listen(self, _call: Call, _process: Process, managed: Managed) -> int:
        managed.link.sock.listen()
        return 0

    def _call_connect(self, call: Call, process: Process, managed: Managed) -> int:
        family = int.from_bytes(process.read_exactly(call.args[1], 2), "little")
        if family == socket.AF_UNSPEC:
            managed.link.sock.disconnect()
        else:
            managed.link.raw.connect(_address(call, process))
        return 0

    def _call_setsockopt(self, call: Call, process: Process, managed: Managed) -> int:
        level, option, optlen = call.int_arg(1), call.int_arg(2), call.int_arg(4)
        if level == uapi.SOL_SOCKET and option in _OF_MODEL:
            value = process.read(call.args[3], max(0, min(optlen, 64)))
            managed.link.sock.setsockopt(level, option, value, optlen)
            if option not in _OF_TCP:
                return 0
        return super()._call_setsockopt(call, process, managed)

    def before_option(self, call: Call, process: Process, managed: Managed, option: int) -> None:
        """Do nothing: every read was trapped, so the streams are synchronous."""

    # -------------------------------------------------------------------------- poll

    def _call_poll(self, call: Call, process: Process, _managed: None) -> int | None:
        milliseconds = call.int_arg(2)
        return self._poll(call, process, None if milliseconds < 0 else milliseconds / 1000)

    def _call_ppoll(self, call: Call, process: Process, _managed: None) -> int | None:
        timeout = None
        if call.args[2]:
            seconds, nanos = struct.unpack("=qq", process.read_exactly(call.args[2], 16))
            timeout = seconds + nanos / 1e9
        return self._poll(call, process, timeout)

    def _poll(self, call: Call, process: Process, timeout: float | None) -> int | None:
        count = call.args[1] & 0xFFFFFFFF
        raw = process.read_exactly(call.args[0], _POLLFD.size * count)
        entries = list(_POLLFD.iter_unpack(raw))
        if not any(self._managed_of(process, fd) for fd, _, _ in entries):
            return None
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._pump_all()
            bits = [self._bits(process, fd, events) for fd, events, _ in entries]
            over = end is not None and time.monotonic() >= end
            if any(bits) or over:
                break
            left = _POLL_INTERVAL if end is None else max(0.0, end - time.monotonic())
            self._changed.wait(min(_POLL_INTERVAL, left))
            if not self._listener.waits(call):
                break
        packed = b"".join(
            _POLLFD.pack(fd, events, revents)
            for (fd, events, _), revents in zip(entries, bits, strict=True)
        )
        process.write(call.args[0], packed)
        return sum(1 for revents in bits if revents)

    def _managed_of(self, process: Process, fd: int) -> Managed | None:
        inode = process.socket_inode(fd) if fd >= 0 else None
        return self._managed.get(inode) if inode is not None else None

    def _bits(self, process: Process, fd: int, events: int) -> int:
        managed = self._managed_of(process, fd)
        if managed is not None:
            return managed.link.sock.poll(events)
        if fd < 0:
            return 0
        try:
            copy = process.copy_fd(fd)
        except OSError:
            return _POLLNVAL
        try:
            poll = select.poll()
            poll.register(copy, events & 0xFFFF)
            return sum(event for _, event in poll.poll(0))
        finally:
            os.close(copy)


def _iov(call: Call, process: Process) -> Iov:
    """Read the iovec argument of readv or writev."""
    count = call.args[2] & 0xFFFFFFFF
    if count > uapi.UIO_MAXIOV:
        raise KtlsOSError(errno.EINVAL, f"{count} iovecs")
    return read_iov(process, call.args[1], count)


def _address(call: Call, process: Process) -> tuple[str, int]:
    """Read the address argument of bind or connect."""
    size = min(call.args[2] & 0xFFFFFFFF, _SOCKADDR_MAX)
    return sockaddr.unpack(process.read_exactly(call.args[1], size))
