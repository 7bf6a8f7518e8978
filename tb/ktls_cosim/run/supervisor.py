# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim run`: an unmodified program on the model's kTLS.

The program's socket options and control-message calls are trapped. When it sets
TCP_ULP, its descriptor becomes one end of a Unix socket pair; the supervisor holds
the other end and the TCP connection, with a kTLS socket of the model in between. So
read, write, sendfile, splice, poll and close stay the kernel's own business.
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
import sys
import termios
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from ktls import KERNELS, KtlsOSError, cmsg, uapi
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.machine import Machine, open_machine
from ktls_cosim.paths import build_root
from ktls_cosim.run.link import Link
from ktls_cosim.run.message import Message
from ktls_cosim.run.process import Process, thread_group
from ktls_cosim.run.seccomp import Call, Listener, arch, filter_program, spawn

_IP, _IPV6 = 0, 41
LEVELS = (uapi.SOL_TCP, uapi.SOL_TLS, _IP, _IPV6)

_READ = 1 << 16
_LIMIT = 1 << 20
_OPTION_MAX = 4096
# how long bytes of closed connections may take to leave, in seconds
_LINGER = 10.0
_INT = struct.Struct("=i")


class Managed:
    """A connection of the program.

    Attributes:
        link: the model's socket on the real connection.
        ours: our end of the socket pair, non-blocking.
        inode: of the program's end.
        hung_up: the program has closed its end.
        closed: so have we.
    """

    def __init__(self, link: Link, ours: socket.socket, inode: int) -> None:
        ours.setblocking(False)
        self.link = link
        self.ours = ours
        self.inode = inode
        self.hung_up = False
        self.closed = False
        self._tx_over = False
        self._rx_over = False
        self._error = 0
        # what stands in the program's queue: type (None: plain TCP) and bytes of each record
        self._segments: deque[list[int | None]] = deque()
        self._delivered = 0
        self._counted = 0
        self._pending: memoryview | None = None

    @property
    def wants_tx(self) -> bool:
        return self._open_for_tx and len(self.link.out) < _LIMIT

    @property
    def _open_for_tx(self) -> bool:
        return not (self._tx_over or self.hung_up)

    @property
    def wants_in(self) -> bool:
        """Shall we take what TCP has received?"""
        return self.link.wants_in and not self.wants_rx

    @property
    def wants_rx(self) -> bool:
        return self._pending is not None and not self.hung_up

    # --------------------------------------------------------------------- transmit

    def drain(self, whole: bool = False) -> None:
        """What the program has written goes through the model.

        Args:
            whole: all of it, even if TCP is behind: what comes next must not overtake it.
        """
        while self._open_for_tx if whole else self.wants_tx:
            try:
                data = self.ours.recv(_READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._tx_over = True
                self.hung_up = hung_up(self.ours)
                with contextlib.suppress(KtlsOSError):
                    if self.hung_up:
                        self.link.sock.close()
                    else:
                        self.link.sock.shutdown(uapi.SHUT_WR)
                return
            with contextlib.suppress(KtlsOSError):
                # a broken connection: the program learns it from its own end
                self.link.sock.send(data, uapi.MSG_NOSIGNAL)

    # ---------------------------------------------------------------------- receive

    def deliver(self) -> None:
        """Opened records go into the program's queue, as far as there is room."""
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
                self._segments[-1][1] += n  # type: ignore[operator]
            self._pending = None

    def _next(self) -> bool:
        """The next record; False if there is none now."""
        try:
            got = self.link.sock.recvmsg(_READ, 64, uapi.MSG_DONTWAIT)
            while not got.data and got.record_type == uapi.RECORD_TYPE_DATA:
                # an empty record is no end of the stream
                got = self.link.sock.recvmsg(_READ, 64, uapi.MSG_DONTWAIT)
        except KtlsOSError as e:
            if e.errno != errno.EAGAIN:
                self._error = e.errno or errno.EIO
                self._over()
            return False
        if not got.data and got.record_type is None:
            self._over()
            return False
        # plain bytes of TCP have no ends
        plain = got.record_type is None
        if not (plain and self._segments and self._segments[-1][0] is None):
            if _all_read(self.ours):
                self._segments.clear()
                self._counted = self._delivered
            self._segments.append([got.record_type, 0])
        self._pending = memoryview(got.data)
        return True

    def _over(self) -> None:
        self._rx_over = True
        with contextlib.suppress(OSError):
            self.ours.shutdown(socket.SHUT_WR)

    def take_back(self, theirs: socket.socket) -> None:
        """Bytes that the program has not read become unread bytes of TCP again."""
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
        """At most one record's bytes out of the program's queue.

        Returns:
            Bytes, type and whether the record ends; None if there is nothing yet.

        Raises:
            KtlsOSError: why nothing comes any more.
        """
        self.deliver()
        # what was read without us
        self._count(self._delivered - unread(theirs) - self._counted)
        if not self._segments:
            if self._error:
                number, self._error = self._error, 0
                raise KtlsOSError(number, "receiving")
            return (b"", None, False) if self._rx_over else None
        rtype, left = self._segments[0]
        assert left is not None
        if left == 0 and self._pending:
            return None
        flags = socket.MSG_DONTWAIT | (socket.MSG_PEEK if peek else 0)
        data = theirs.recv(min(size, left), flags) if left and size else b""
        ends = len(data) == left and not (len(self._segments) == 1 and self._pending)
        if not peek:
            self._count(len(data))
            if left == 0:
                self._segments.popleft()
        return data, rtype, ends

    def _count(self, count: int) -> None:
        self._counted += count
        while count and self._segments:
            head = self._segments[0]
            n = min(count, head[1] or 0)
            head[1] = (head[1] or 0) - n
            count -= n
            if head[1] or (len(self._segments) == 1 and self._pending):
                return
            self._segments.popleft()

    def close(self) -> None:
        self.closed = True
        self.ours.close()
        self.link.close()


def _all_read(sock: socket.socket) -> bool:
    """Has the other end of a socket pair read everything?"""
    return not any(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))


def unread(file: socket.socket | int) -> int:
    """Bytes that wait to be read from a socket or a pipe (FIONREAD)."""
    count: int = _INT.unpack(fcntl.ioctl(file, termios.FIONREAD, bytes(4)))[0]
    return count


def hung_up(file: socket.socket | int) -> bool:
    """Has everybody closed the other end of a socket pair or a pipe?"""
    poll = select.poll()
    poll.register(file, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


class Supervisor:
    """Answers the trapped calls of a program and moves the bytes of its connections.

    Args:
        machine: the kernel and NIC that the program gets.
        listener: where its calls arrive.
        capture: gets its conversations.
    """

    trapped: Sequence[str] = ("sendmsg", "recvmsg", "getsockname", "getpeername")
    by_arg1: Mapping[str, Sequence[int]] = {"setsockopt": LEVELS, "getsockopt": LEVELS}
    # bytes that may wait for TCP inside the model; None: no end
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
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener.fd, selectors.EVENT_READ)

    # ------------------------------------------------------------------------- loop

    def loop(self, child: int) -> int:
        """Run until no process of the program is left.

        Args:
            child: the program's first process.

        Returns:
            Its exit status as a shell would tell it.
        """
        pidfd = os.pidfd_open(child)
        self._selector.register(pidfd, selectors.EVENT_READ)
        status: int | None = None
        poll = select.poll()
        poll.register(self._listener.fd, select.POLLIN)
        alive = True
        deadline = float("inf")
        while alive or (self._closing and time.monotonic() < deadline):
            events = self._selector.select(0.2 if self._waiting or not alive else 5.0)
            for key, _ in events:
                if key.fd == pidfd:
                    status = _exit_status(os.waitpid(child, 0)[1])
                    self._selector.unregister(pidfd)
                    os.close(pidfd)
                elif key.fd == self._listener.fd:
                    state = poll.poll(0)
                    if any(event & select.POLLIN for _, event in state):
                        self._receive_call()
                    elif state:
                        alive = False
                        self._selector.unregister(self._listener.fd)
                        deadline = time.monotonic() + _LINGER
                elif isinstance(key.data, Managed):
                    self.pump(key.data)
                elif key.data is not None:
                    key.data()
            self._retry()
        if status is None:
            # the last process ended, and the listener was faster to tell
            status = _exit_status(os.waitpid(child, 0)[1])
            os.close(pidfd)
        for managed in [*self._managed.values(), *self._closing]:
            managed.close()
        for process in self._processes.values():
            process.close()
        return status

    def pump(self, managed: Managed) -> None:
        """Move bytes in both directions."""
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
        if managed.hung_up and managed.inode in self._managed:
            del self._managed[managed.inode]
            self._closing.append(managed)
        if managed in self._closing and link.ended:
            self._forget(managed)
        else:
            self._watch(managed)

    def _forget(self, managed: Managed) -> None:
        self._closing.remove(managed)
        for file in (managed.ours, managed.link.raw):
            with contextlib.suppress(KeyError):
                self._selector.unregister(file)
        managed.close()

    def _watch(self, managed: Managed) -> None:
        link = managed.link
        for file, wants_read, wants_write in (
            (managed.ours, managed.wants_tx, managed.wants_rx),
            (link.raw, managed.wants_in, link.wants_out),
        ):
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
            # KtlsOSError included
            self._listener.answer(call, error=e.errno or errno.EIO)
        if managed is not None:
            self.pump(managed)

    def dispatch(self, name: str, call: Call, process: Process, managed: Managed | None) -> None:
        """Answer a call.

        Raises:
            OSError: it fails with this errno.
        """
        if name == "setsockopt" and managed is None:
            self._maybe_take_over(call, process)
        elif managed is None:
            self._listener.proceed(call)
        elif name == "recvmsg":
            if not self._recvmsg(call, process, managed):
                self._waiting.append((call, process, managed))
        else:
            value = getattr(self, f"_call_{name}")(call, process, managed)
            self._listener.answer(call, value)

    def _retry(self) -> None:
        """Calls that wait for bytes."""
        waiting, self._waiting = self._waiting, []
        for entry in waiting:
            call, process, managed = entry
            try:
                if self._recvmsg(call, process, managed):
                    self.pump(managed)
                elif self._listener.waits(call):
                    self._waiting.append(entry)
            except OSError as e:
                self._listener.answer(call, error=e.errno or errno.EIO)

    # -------------------------------------------------------------------- take over

    def _maybe_take_over(self, call: Call, process: Process) -> None:
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
        """Put the model between a program and its TCP connection."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(os.get_blocking(raw.fileno()))
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LIMIT)
        inode = os.fstat(theirs.fileno()).st_ino
        fds = process.fds_of(os.fstat(raw.fileno()).st_ino)
        for number in fds:
            self._listener.replace_fd(call, number, theirs.fileno(), process.cloexec(number))
        process.move_in_epoll_sets(fds, raw, theirs)
        with self.machine.lock:
            link = Link(self.machine.stack, raw, self.limit, self._capture)
            link.sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        theirs.close()
        managed = self.manage(link, ours, inode)
        self._managed[inode] = managed
        self.connections += 1

    def manage(self, link: Link, ours: socket.socket, inode: int) -> Managed:
        """What stands for a connection here."""
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

    def before_option(self, call: Call, process: Process, managed: Managed, option: int) -> None:
        """Keys count from this place in the streams on."""
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
        message = Message(process, call.args[1])
        sock = managed.link.sock
        with self.machine.lock:
            managed.drain(whole=True)
            signals = sock.sigpipe
            try:
                return message.send(sock, call.int_arg(2))
            finally:
                if sock.sigpipe > signals:
                    process.signal(signal.SIGPIPE)

    def _recvmsg(self, call: Call, process: Process, managed: Managed) -> bool:
        """Answer recvmsg if something is there.

        Returns:
            False if the call has to wait.
        """
        message = Message(process, call.args[1])
        flags = call.int_arg(2)
        with self.machine.lock, process.borrowed(call.int_arg(0)) as theirs:
            managed.link.pump_in()
            got = managed.receive(theirs, message.size, bool(flags & uapi.MSG_PEEK))
            blocking = os.get_blocking(theirs.fileno())
        if got is None:
            if flags & uapi.MSG_DONTWAIT or not blocking:
                raise KtlsOSError(errno.EAGAIN, "nothing to read")
            return False
        data, rtype, ends = got
        control = cmsg.ControlBuffer(message.controllen)
        if rtype is not None:
            control.put(uapi.SOL_TLS, uapi.TLS_GET_RECORD_TYPE, bytes((rtype,)))
        message.scatter(data)
        out = uapi.MSG_EOR * ends | uapi.MSG_CTRUNC * control.truncated
        message.write_control(control.cmsgs, control.used, out)
        self._listener.answer(call, len(data))
        return True


def _give_address(call: Call, process: Process, raw: socket.socket, which: str) -> int:
    """getsockname and getpeername of the TCP connection."""
    host, port, *_ = getattr(raw, which)()
    room = _INT.unpack(process.read_exactly(call.args[2], 4))[0]
    if room < 0:
        raise OSError(errno.EINVAL, "a negative length")
    packed = struct.pack("=H", raw.family) + struct.pack(">H", port)
    if raw.family == socket.AF_INET:
        packed += socket.inet_pton(socket.AF_INET, host) + bytes(8)
    else:
        packed += bytes(4) + socket.inet_pton(socket.AF_INET6, host) + bytes(4)
    process.write(call.args[1], packed[:room])
    process.write(call.args[2], _INT.pack(len(packed)))
    return 0


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


_OPENSSL_CONF = """\
# made by `ktls-cosim run`: OpenSSL uses kTLS only where it is asked to
openssl_conf = openssl_init
[openssl_init]
ssl_conf = ssl_module
[ssl_module]
system_default = tls_system_default
[tls_system_default]
Options = KTLS
"""


def _environment() -> dict[str, str]:
    """The program's environment: ours, and OpenSSL told to use kTLS."""
    env = dict(os.environ)
    if "OPENSSL_CONF" not in env:
        path = build_root() / "live" / "openssl-ktls.cnf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_OPENSSL_CONF)
        env["OPENSSL_CONF"] = str(path)
    return env


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def run_program(
    command: list[str], *, port: str, kernel: str, exact: bool, capture: Path | None
) -> int:
    """Run a program to its end.

    Returns:
        Its exit status; 1 if it succeeded and a record was wrong, or none was checked.
    """
    kind = Supervisor
    if exact:
        from ktls_cosim.run.exact import ExactSupervisor

        kind = ExactSupervisor
    numbers = arch()
    program = filter_program(numbers, kind.trapped, kind.by_arg1)
    reproduce = f"ktls-cosim run -- {' '.join(command)}"
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(Capture(capture)) if capture else None
        machine = stack.enter_context(open_machine(port, reproduce, KERNELS[kernel], name="run"))
        child, listener = spawn(command, _environment(), numbers, program)
        stack.callback(listener.close)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda n, _: _kill(child, n))
        supervisor = kind(machine, listener, file)
        try:
            status = supervisor.loop(child)
        except BaseException:
            # nobody would answer its calls any more
            _kill(child, signal.SIGKILL)
            raise
        failure = machine.finish()
        print(
            f"ktls-cosim: connections with kTLS: {supervisor.connections}, {machine.summary()}",
            file=sys.stderr,
        )
    if failure:
        print(failure, file=sys.stderr)
        if not supervisor.connections:
            print(
                "the program set TCP_ULP on no socket: does its TLS library use kTLS? "
                "(OpenSSL 3 does with Options = KTLS, for suites with AES-GCM)",
                file=sys.stderr,
            )
    return status or (1 if failure else 0)
