# SPDX-License-Identifier: Apache-2.0
"""Answer the trapped system calls of a program and run its connections on the model.

A seccomp filter traps the program's socket options and control-message calls. When the
program sets TCP_ULP, its descriptor becomes one end of a Unix socket pair. The supervisor
holds the other end and the TCP connection, with a kTLS socket of the model between them.
So the real kernel still executes read, write, sendfile, splice, poll and close.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from ktls import KtlsOSError, cmsg, uapi
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.machine import Machine
from ktls_cosim.run import sockaddr
from ktls_cosim.run.link import Link
from ktls_cosim.run.managed import Managed
from ktls_cosim.run.message import MMSGHDR_SIZE, Message
from ktls_cosim.run.process import Process, thread_group
from ktls_cosim.run.seccomp import Call, Listener, arch

_IP, _IPV6 = 0, 41
LEVELS = (uapi.SOL_TCP, uapi.SOL_TLS, _IP, _IPV6)

_OPTION_MAX = 4096
# send and receive buffer of a socket pair, in bytes
_PAIR_BUFFER = 1 << 20
# time limit for sending the bytes of closed connections, in seconds
_LINGER = 10.0
# time between two checks of the loop's conditions, in seconds: with and without waiting calls
_BUSY, _IDLE = 0.2, 5.0
_INT = struct.Struct("=i")
MSG_WAITFORONE = 0x10000
# options of SOL_SOCKET that would reveal the socket pair
_OF_THE_CONNECTION = (socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_TYPE)


class Supervisor:
    """Answers the trapped calls of a program and moves the bytes of its connections.

    Attributes:
        trapped: Names of the system calls to trap.
        by_arg1: Names of system calls to trap for some values of their second argument.
        limit: Bytes that may wait for TCP inside the model; None: unlimited.
        machine: Kernel and NIC of the program.
        connections: Number of connections taken over.

    Args:
        machine: Kernel and NIC for the program.
        listener: Source of the trapped calls.
        capture: Receives the conversations of the program.
    """

    trapped: Sequence[str] = (
        "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "getsockname", "getpeername",
        "io_uring_setup",
    )  # fmt: skip
    by_arg1: Mapping[str, Sequence[int]] = {
        "setsockopt": (*LEVELS, uapi.SOL_SOCKET),
        "getsockopt": (*LEVELS, uapi.SOL_SOCKET),
    }
    limit: int | None = None

    def __init__(
        self, machine: Machine, listener: Listener, capture: Capture | None = None
    ) -> None:
        self.machine = machine
        self.connections = 0
        self._listener = listener
        self._capture = capture
        self._names = {number: name for name, number in arch().calls.items()}
        self._processes: dict[int, Process] = {}
        self._managed: dict[int, Managed] = {}
        self._closing: list[Managed] = []
        self._waiting: list[tuple[Call, Process, Managed]] = []
        self._received: dict[int, int] = {}  # messages so far of each waiting recvmmsg
        self._refused_rings: set[int] = set()  # processes that were told about io_uring
        self._child: tuple[int, int] | None = None
        self._status: int | None = None
        self._deadline: float | None = None
        # data of a key: the connection to pump, or the function to call
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener.fd, selectors.EVENT_READ, self._listen)

    # ------------------------------------------------------------------------- loop

    def loop(self, child: int) -> int:
        """Run until the last process of the program has ended.

        Args:
            child: Process id of the program's first process.

        Returns:
            Exit status of that process; 128 + N if signal N ended it.
        """
        pidfd = os.pidfd_open(child)
        self._child = child, pidfd
        self._selector.register(pidfd, selectors.EVENT_READ, self._child_ended)
        while self._deadline is None or (self._closing and time.monotonic() < self._deadline):
            busy = self._waiting or self._deadline is not None
            for key, _ in self._selector.select(_BUSY if busy else _IDLE):
                if isinstance(key.data, Managed):
                    self.pump(key.data)
                else:
                    key.data()
            self._retry()
        if self._status is None:
            # the listener hung up before the pidfd became readable
            self._child_ended()
        for managed in [*self._managed.values(), *self._closing]:
            managed.close()
        for process in self._processes.values():
            process.close()
        assert self._status is not None
        return self._status

    def _child_ended(self) -> None:
        """Keep the exit status of the first process."""
        assert self._child is not None
        child, pidfd = self._child
        self._status = _exit_status(os.waitpid(child, 0)[1])
        self._selector.unregister(pidfd)
        os.close(pidfd)

    def _listen(self) -> None:
        """Receive a call, or begin to wait for the last bytes after the last process."""
        poll = select.poll()
        poll.register(self._listener.fd, select.POLLIN)
        state = poll.poll(0)
        if any(event & select.POLLIN for _, event in state):
            self._receive_call()
        elif state:
            self._selector.unregister(self._listener.fd)
            self._deadline = time.monotonic() + _LINGER

    def pump(self, managed: Managed) -> None:
        """Move the bytes of a connection in both directions."""
        if managed.closed:
            return
        with self.machine.lock:
            managed.drain()
            link = managed.link
            self.machine.stack.sync_device()
            link.flush()
            if managed.wants_in:
                link.pump_in()
            managed.deliver()
            if link.broken and not (managed.hung_up or managed.wants_rx):
                self.broke(managed)
        if managed.hung_up and managed.inode in self._managed:
            del self._managed[managed.inode]
            self._closing.append(managed)
        if managed in self._closing and link.ended:
            self._forget(managed)
        else:
            self._watch(managed)

    def broke(self, managed: Managed) -> None:
        """Let the program notice that its connection is broken."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(managed.ours)
        if not self.with_end_of(managed, managed.break_end):
            managed.break_end(None)

    def with_end_of(self, managed: Managed, use: Callable[[socket.socket], None]) -> bool:
        """Call `use` with the program's end of a connection; return whether that was possible.

        Args:
            managed: The connection.
            use: Receives the end, of any process that has it.
        """
        for process in self._processes.values():
            for fd in process.fds_of(managed.inode) if process.alive else ():
                with contextlib.suppress(OSError), process.borrowed(fd) as theirs:
                    use(theirs)
                    return True
        return False

    def _forget(self, managed: Managed) -> None:
        self._closing.remove(managed)
        for file in (managed.ours, managed.link.raw):
            with contextlib.suppress(KeyError, ValueError):  # not registered, or closed
                self._selector.unregister(file)
        managed.close()

    def _watch(self, managed: Managed) -> None:
        """Wait for the events on which a connection can make progress."""
        link = managed.link
        for file, wants_read, wants_write in (
            (managed.ours, managed.wants_tx, managed.wants_rx),
            (link.raw, managed.wants_in, link.wants_out),
        ):
            if file.fileno() < 0:
                continue
            mask = wants_read * selectors.EVENT_READ | wants_write * selectors.EVENT_WRITE
            try:
                key = self._selector.get_key(file)
            except KeyError:
                if mask:
                    self._selector.register(file, mask, managed)
                continue
            if not mask:
                self._selector.unregister(file)
            elif key.events != mask:
                self._selector.modify(file, mask, managed)

    # ------------------------------------------------------------------------ calls

    def _process(self, tid: int) -> Process:
        pid = thread_group(tid)
        process = self._processes.get(pid)
        if process is not None and process.alive:
            return process
        for old in [p for p in self._processes.values() if not p.alive]:
            del self._processes[old.pid]
            old.close()
        self._processes[pid] = process = Process(pid)
        return process

    def _receive_call(self) -> None:
        call = self._listener.receive()
        if call is None:
            return
        try:
            process = self._process(call.tid)
        except OSError:
            self._listener.proceed(call)
            return
        inode = process.socket_inode(call.int_arg(0))
        managed = self._managed.get(inode) if inode is not None else None
        name = self._names[call.number]
        try:
            self.dispatch(name, call, process, managed)
        except OSError as e:
            # KtlsOSError is an OSError
            self._listener.answer(call, error=e.errno or errno.EIO)
        if managed is not None:
            self.pump(managed)

    def dispatch(self, name: str, call: Call, process: Process, managed: Managed | None) -> None:
        """Answer a call, let the kernel execute it, or keep it waiting.

        Args:
            name: Name of the system call.
            call: Its arguments.
            process: Process of the caller.
            managed: Connection that its first argument refers to, if any.

        Raises:
            OSError: The call fails with this errno.
        """
        if name == "io_uring_setup":
            self._refuse_ring(process)
        elif name == "setsockopt" and managed is None:
            self._maybe_take_over(call, process)
        elif managed is None or (name == "getsockopt" and _of_the_pair(call)):
            self._listener.proceed(call)
        elif name == "setsockopt" and call.int_arg(1) == uapi.SOL_SOCKET:
            # most options, such as time limits, are those of the program's end
            if call.int_arg(2) == uapi.SO_LINGER:
                self._linger(call, process, managed)
            self._listener.proceed(call)
        elif name in ("recvmsg", "recvmmsg"):
            if not self._answer_receive(call, process, managed):
                self._waiting.append((call, process, managed))
        else:
            value = getattr(self, f"_call_{name}")(call, process, managed)
            self._listener.answer(call, value)

    def _retry(self) -> None:
        """Try again to answer calls that wait for bytes."""
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            call, process, managed = entry
            try:
                if self._answer_receive(call, process, managed):
                    self.pump(managed)
                elif self._listener.waits(call):
                    self._waiting.append(entry)
            except OSError as e:
                self._listener.answer(call, error=e.errno or errno.EIO)

    # -------------------------------------------------------------------- take over

    def _maybe_take_over(self, call: Call, process: Process) -> None:
        """Take a TCP connection over if the call attaches the TLS ULP to it."""
        name = b""
        if (call.int_arg(1), call.int_arg(2)) == (uapi.SOL_TCP, uapi.TCP_ULP):
            name = process.read(call.args[3], min(call.args[4] & 0xFFFFFFFF, 16))
        if name.partition(b"\0")[0] != b"tls":
            self._listener.proceed(call)
            return
        fd = call.int_arg(0)
        raw = socket.socket(fileno=process.copy_fd(fd))
        if raw.type != socket.SOCK_STREAM or raw.proto != socket.IPPROTO_TCP:
            raw.close()
            self._listener.proceed(call)
            return
        try:
            raw.getpeername()
        except OSError:
            raw.close()
            raise
        self._take_over(call, process, raw)
        self._listener.answer(call)

    def _take_over(self, call: Call, process: Process, raw: socket.socket) -> None:
        """Put the model between the program and its TCP connection."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(os.get_blocking(raw.fileno()))
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PAIR_BUFFER)
        inode = os.fstat(theirs.fileno()).st_ino
        fds = process.fds_of(os.fstat(raw.fileno()).st_ino)
        for number in fds:
            self._listener.replace_fd(call, number, theirs.fileno(), process.cloexec(number))
        watched = process.move_in_epoll_sets(fds, raw, theirs)
        with self.machine.lock:
            link = Link(self.machine.stack, raw, self.limit, self._capture)
            link.sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        theirs.close()
        managed = self.manage(link, ours, inode)
        managed.watched = watched
        self._managed[inode] = managed
        self.connections += 1

    def manage(self, link: Link, ours: socket.socket, inode: int) -> Managed:
        """Return the supervisor's object for a new connection."""
        return Managed(link, ours, inode)

    # ---------------------------------------------------------------------- options

    def _call_setsockopt(self, call: Call, process: Process, managed: Managed) -> int:
        level, option, optlen = call.int_arg(1), call.int_arg(2), call.int_arg(4)
        size = max(0, min(optlen, _OPTION_MAX))
        value = process.read(call.args[3], size) if call.args[3] else None
        link = managed.link
        if level == uapi.SOL_TLS or (level, option) == (uapi.SOL_TCP, uapi.TCP_ULP):
            with self.machine.lock:
                self.before_option(call, process, managed, option)
                link.sock.setsockopt(level, option, value, optlen)
                if level == uapi.SOL_TLS and option in (uapi.TLS_TX, uapi.TLS_RX):
                    link.keys_set(option, value or b"")
        else:
            link.raw.setsockopt(level, option, value or b"")
        return 0

    def _linger(self, call: Call, process: Process, managed: Managed) -> None:
        """Close the connection as the program wants, perhaps with a reset."""
        value = process.read(call.args[3], max(0, min(call.int_arg(4), 8)))
        if len(value) == 8:
            with self.machine.lock:
                managed.link.sock.setsockopt(uapi.SOL_SOCKET, uapi.SO_LINGER, value, 8)
            managed.link.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)

    def before_option(self, call: Call, process: Process, managed: Managed, option: int) -> None:
        """Synchronise the streams before an option that may set keys.

        New keys take effect at the current position of their stream.

        Args:
            call: The setsockopt.
            process: Process of the caller.
            managed: Its connection.
            option: Option of SOL_TLS or SOL_TCP.
        """
        managed.drain(whole=True)
        if option == uapi.TLS_RX and managed.link.sock.why_rx_not_offloaded is None:
            with process.borrowed(call.int_arg(0)) as theirs:
                managed.take_back(theirs)

    def _call_getsockopt(self, call: Call, process: Process, managed: Managed) -> int:
        level, option = call.int_arg(1), call.int_arg(2)
        optlen = _INT.unpack(process.read_exactly(call.args[4], 4))[0]
        link = managed.link
        if level == uapi.SOL_TLS or (level, option) == (uapi.SOL_TCP, uapi.TCP_ULP):
            with self.machine.lock:
                data = link.sock.getsockopt(level, option, optlen)
        else:
            data = link.raw.getsockopt(level, option, max(0, min(optlen, 1024)))
        process.write(call.args[3], data)
        process.write(call.args[4], _INT.pack(len(data)))
        return 0

    def _call_getsockname(self, call: Call, process: Process, managed: Managed) -> int:
        return _give_address(call, process, managed.link.raw, "getsockname")

    def _call_getpeername(self, call: Call, process: Process, managed: Managed) -> int:
        return _give_address(call, process, managed.link.raw, "getpeername")

    # --------------------------------------------------------------------- messages

    def _call_sendmsg(self, call: Call, process: Process, managed: Managed) -> int:
        return self._send_messages(call, process, managed, [Message(process, call.args[1])])[0]

    def _call_sendmmsg(self, call: Call, process: Process, managed: Managed) -> int:
        at, count = call.args[1], min(call.args[2] & 0xFFFFFFFF, uapi.UIO_MAXIOV)
        messages = [Message(process, at + i * MMSGHDR_SIZE) for i in range(count)]
        sent = self._send_messages(call, process, managed, messages)
        for message, n in zip(messages, sent, strict=False):
            message.write_length(n)
        return len(sent)

    def _send_messages(
        self, call: Call, process: Process, managed: Managed, messages: Sequence[Message]
    ) -> list[int]:
        """Send messages; return the bytes sent of each up to the first that fails.

        Raises:
            OSError: The first message fails.
        """
        flags = call.int_arg(3 if self._names[call.number] == "sendmmsg" else 2)
        sock = managed.link.sock
        out: list[int] = []
        with self.machine.lock:
            managed.drain(whole=True)
            signals = sock.sigpipe
            try:
                for n, message in enumerate(messages, 1):
                    batch = uapi.MSG_BATCH if n < len(messages) else 0
                    out.append(message.send(sock, flags | batch))
            except OSError:
                if not out:
                    raise
            finally:
                if sock.sigpipe > signals:
                    process.signal(signal.SIGPIPE)
        return out

    def _answer_receive(self, call: Call, process: Process, managed: Managed) -> bool:
        """Answer recvmsg or recvmmsg; return False if the call has to wait for bytes."""
        if self._names[call.number] == "recvmsg":
            n = self._recvmsg(call, process, managed, call.args[1], call.int_arg(2))
            if n is not None:
                self._listener.answer(call, n)
            return n is not None
        done, want = self._received.pop(call.cookie, 0), call.args[2] & 0xFFFFFFFF
        flags = call.int_arg(3)
        try:
            while done < want:
                once = flags | (uapi.MSG_DONTWAIT if done and flags & MSG_WAITFORONE else 0)
                at = call.args[1] + done * MMSGHDR_SIZE
                n = self._recvmsg(call, process, managed, at, once)
                if n is None:
                    self._received[call.cookie] = done
                    return False
                Message(process, at).write_length(n)
                done += 1
        except OSError:
            if not done:
                raise
        self._listener.answer(call, done)
        return True

    def _recvmsg(
        self, call: Call, process: Process, managed: Managed, address: int, flags: int
    ) -> int | None:
        """Receive one message; return its bytes, or None if there is nothing yet."""
        message = Message(process, address)
        with self.machine.lock, process.borrowed(call.int_arg(0)) as theirs:
            managed.link.pump_in()
            got = managed.receive(theirs, message.size, bool(flags & uapi.MSG_PEEK))
            blocking = os.get_blocking(theirs.fileno())
        if got is None:
            if flags & uapi.MSG_DONTWAIT or not blocking:
                raise KtlsOSError(errno.EAGAIN, "nothing to read")
            return None
        data, rtype, ends = got
        control = cmsg.ControlBuffer(message.controllen)
        if rtype is not None:
            control.put(uapi.SOL_TLS, uapi.TLS_GET_RECORD_TYPE, bytes((rtype,)))
        message.scatter(data)
        out = uapi.MSG_EOR * ends | uapi.MSG_CTRUNC * control.truncated
        message.write_control(control.cmsgs, control.used, out)
        return len(data)

    def _refuse_ring(self, process: Process) -> None:
        """Refuse io_uring, whose operations no filter sees.

        Raises:
            OSError: ENOSYS, as in a kernel without io_uring.
        """
        if process.pid not in self._refused_rings:
            self._refused_rings.add(process.pid)
            print(
                f"ktls-cosim: process {process.pid} ({process.name}) asks for io_uring and gets "
                "ENOSYS: its operations would bypass the model of kTLS. Programs with another way, "
                "such as epoll, use that; for others there is no support.",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        raise OSError(errno.ENOSYS, "io_uring is not supported")


def _of_the_pair(call: Call) -> bool:
    """Return whether a getsockopt is for the socket pair: what the pair itself has."""
    return call.int_arg(1) == uapi.SOL_SOCKET and call.int_arg(2) not in _OF_THE_CONNECTION


def _give_address(call: Call, process: Process, raw: socket.socket, which: str) -> int:
    """Answer getsockname or getpeername with the address of the TCP connection."""
    host, port, *_ = getattr(raw, which)()
    packed = sockaddr.pack(raw.family, host, port)
    room = _INT.unpack(process.read_exactly(call.args[2], 4))[0]
    if room < 0:
        raise OSError(errno.EINVAL, "a negative length")
    process.write(call.args[1], packed[:room])
    process.write(call.args[2], _INT.pack(len(packed)))
    return 0


def _exit_status(status: int) -> int:
    """Return the exit status of a shell for a wait status."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
