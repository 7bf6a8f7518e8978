# SPDX-License-Identifier: Apache-2.0
"""Sockets with the TLS ULP: Linux's system calls, return values and errnos (net/socket.c).

`KtlsSocket` is one end of a TCP connection; `ktls.connect` makes its other end. Once the
ULP has keys, `ktls.tls_tx` and `ktls.tls_rx` implement the calls; before, `ktls.tcp` does.
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import BinaryIO, Concatenate, ParamSpec, TypeVar

from ktls import cmsg, sockopt, uapi
from ktls.cmsg import AncillaryData, Cmsg, ControlBuffer
from ktls.errors import KtlsOSError
from ktls.pipe import PAGE, Pipe, file_source
from ktls.record import Buffer
from ktls.sockopt import SocketOptions, pack_int
from ktls.splice import splice_file, splice_pipe
from ktls.stack import KtlsStack
from ktls.tap import Tap
from ktls.tcp import RCV_SHUTDOWN, State, TcpSock
from ktls.tls_main import TlsContext
from ktls.tls_tx import MemoryFaults, TlsTx
from ktls.wire import Wire

_MAX_OFFSET = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Received:
    """The result of recvmsg.

    Attributes:
        data: the bytes.
        cmsgs: the control messages.
        msg_flags: MSG_EOR and MSG_CTRUNC bits.
        controllen: msg_controllen after the call.
    """

    data: bytes
    cmsgs: Sequence[Cmsg] = ()
    msg_flags: int = 0
    controllen: int = 0

    @property
    def record_type(self) -> int | None:
        """The record type of TLS_GET_RECORD_TYPE, None without that message."""
        for c in self.cmsgs:
            if (c.level, c.kind) == (uapi.SOL_TLS, uapi.TLS_GET_RECORD_TYPE) and c.data:
                return c.data[0]
        return None


P = ParamSpec("P")
R = TypeVar("R")


def _locked(
    call: Callable[Concatenate[KtlsSocket, P], R],
) -> Callable[Concatenate[KtlsSocket, P], R]:
    """Run a call with the lock of the stack, so that threads can share it."""

    @wraps(call)
    def run(self: KtlsSocket, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.stack.lock:
            return call(self, *args, **kwargs)

    return run


class KtlsSocket:
    """A socket; its methods are Linux's system calls.

    Args:
        stack: the kernel around the socket.
        kind: `tcp`, `udp` or `unix`; only TCP supports the ULP.

    Attributes:
        stack: the kernel around the socket.
        kind: `tcp`, `udp` or `unix`.
        tcp: the TCP end.
        conn: number of the connection in its stack.
        tap: reports to the observer of the stack, None without one.
        nonblocking: O_NONBLOCK.
        faults: allocation failures to inject.
    """

    def __init__(self, stack: KtlsStack, kind: str = "tcp") -> None:
        self.stack = stack
        self.kind = kind
        self.tcp = TcpSock(stack.sleep)
        self.conn = stack.next_conn()
        self.tap = Tap(stack.observer, self.conn) if stack.observer is not None else None
        self.nonblocking = False
        self.faults = MemoryFaults()
        self._options = SocketOptions(self.tcp, stack.kernel)
        self._ulp: TlsContext | None = None
        self._closed = False
        self._write_shut = False

    def attach(self, far: Wire) -> None:
        """Connect the socket to the outside."""
        if self.tap is not None:
            far.watch(self.tap.wire_sent)
            self.tcp.watcher = self.tap.wire_received
        far.near = self.tcp
        self.tcp.far = far
        self.tcp.state = State.ESTABLISHED

    @property
    def why_not_offloaded(self) -> str | None:
        """The reason, if TLS_TX is set and the device does not seal."""
        return self._ulp.why_not_offloaded if self._ulp is not None else None

    @property
    def why_rx_not_offloaded(self) -> str | None:
        """The reason, if TLS_RX is set and the device does not open."""
        return self._ulp.why_rx_not_offloaded if self._ulp is not None else None

    @property
    def rekey_wanted(self) -> bool:
        """Whether a key has been used so often that it should be replaced (KEY_WARN)."""
        return self._ulp is not None and self._ulp.rekey_wanted

    @property
    def closed(self) -> bool:
        """Whether close(2) was called."""
        return self._closed

    @property
    def sigpipe(self) -> int:
        """Number of SIGPIPEs that the calls have raised."""
        return self.tcp.sigpipe

    @property
    def tx(self) -> TlsTx | None:
        """The transmit direction of the ULP, None until it has keys."""
        return self._ulp.tx if self._ulp is not None else None

    def _check_open(self) -> None:
        if self._closed:
            raise KtlsOSError(errno.EBADF, "the socket is closed")

    # --------------------------------------------------------------------- options

    @_locked
    def setsockopt(
        self, level: int, option: int, value: bytes | None, optlen: int | None = None
    ) -> None:
        """setsockopt(2).

        Args:
            level: SOL_SOCKET, SOL_TCP or SOL_TLS.
            option: number of the option.
            value: the readable bytes at optval; None for a NULL pointer.
            optlen: length that the caller passes, by default the number of bytes.

        Raises:
            KtlsOSError: as Linux.
        """
        self._check_open()
        self.stack.sync_device()
        optlen = (len(value) if value else 0) if optlen is None else optlen
        if optlen < 0:
            raise KtlsOSError(errno.EINVAL, "optlen is negative")
        if level == uapi.SOL_TCP and option == uapi.TCP_ULP:
            self._set_ulp(value, optlen)
        elif level == uapi.SOL_TLS:
            if self._ulp is None:
                raise KtlsOSError(errno.ENOPROTOOPT, "the socket has no ULP")
            self._ulp.set_option(option, value, optlen)
        elif level in (uapi.SOL_SOCKET, uapi.SOL_TCP):
            self._options.set(level, option, value, optlen)
        else:
            raise KtlsOSError(errno.ENOPROTOOPT, f"level {level}, option {option}")

    def _set_ulp(self, value: bytes | None, optlen: int) -> None:
        """TCP_ULP (net/ipv4/tcp_ulp.c, `tls_init`)."""
        if self.kind != "tcp":
            number = errno.ENOPROTOOPT if self.kind == "udp" else errno.EOPNOTSUPP
            raise KtlsOSError(number, f"a {self.kind} socket has no ULP")
        name = sockopt.ulp_name(value, optlen)
        if name != b"tls":
            raise KtlsOSError(errno.ENOENT, f"no ULP is named {name!r}")
        if self._ulp is not None:
            raise KtlsOSError(errno.EEXIST, "the socket already has a ULP")
        if self.tcp.state != State.ESTABLISHED:
            raise KtlsOSError(errno.ENOTCONN, "the connection is not established")
        self._ulp = TlsContext(self.stack, self.tcp, self.faults, self.tap)
        self._finalizer = weakref.finalize(self, self._ulp.abandon)
        self._finalizer.atexit = False

    @_locked
    def getsockopt(self, level: int, option: int, optlen: int, *, null: bool = False) -> bytes:
        """getsockopt(2).

        Args:
            level: SOL_SOCKET, SOL_TCP or SOL_TLS.
            option: number of the option.
            optlen: length of the caller's buffer.
            null: the buffer is a NULL pointer.

        Returns:
            The bytes that Linux writes; their number is the new optlen.

        Raises:
            KtlsOSError: as Linux; its `optlen` is what Linux has written, if anything.
        """
        self._check_open()
        self.stack.sync_device()
        ulp = self._ulp
        if level == uapi.SOL_TLS and ulp is not None:
            data = ulp.get_option(option, optlen, null)
        elif (level, option) == (uapi.SOL_TCP, uapi.TCP_ULP):
            if optlen < 0:
                raise KtlsOSError(errno.EINVAL, "optlen is negative")
            size = min(optlen, uapi.TCP_ULP_NAME_MAX)
            data = b"tls".ljust(uapi.TCP_ULP_NAME_MAX, b"\0")[:size] if ulp else b""
        elif level in (uapi.SOL_SOCKET, uapi.SOL_TCP):
            data = self._options.get(level, option, optlen)
        else:
            ip = level == uapi.SOL_IP and self.kind == "tcp"
            number = errno.ENOPROTOOPT if ip else errno.EOPNOTSUPP
            raise KtlsOSError(number, f"level {level}, option {option}")
        if null and data:
            error = KtlsOSError(errno.EFAULT, "the buffer is a NULL pointer")
            if level != uapi.SOL_SOCKET and option != uapi.TLS_TX_ZEROCOPY_RO:
                error.optlen = len(data)
            raise error
        return data

    # ------------------------------------------------------------------------ send

    @_locked
    def send(self, data: Buffer, flags: int = 0) -> int:
        """send(2).

        Args:
            data: the bytes.
            flags: MSG_* bits.

        Returns:
            Number of accepted bytes, including those in an open record.

        Raises:
            KtlsOSError: as Linux; no byte was accepted.
        """
        if not flags and self._ulp is not None and not self._closed:
            self._let_peer_answer()
            tx = self._ulp.tx
            if tx is not None and tx.send_record(data):
                return len(data)
        return self._sendmsg(data, flags, b"", None)

    def write(self, data: Buffer) -> int:
        """write(2); see `send`."""
        return self._sendmsg(data, 0, b"", None)

    def writev(self, buffers: Iterable[Buffer]) -> int:
        """writev(2): as `sendmsg`, but writing no bytes never reaches TCP (`vfs_writev`)."""
        parts = list(buffers)
        self._check_open()
        return self.sendmsg(parts) if any(map(len, parts)) else 0

    def sendto(self, data: Buffer, flags: int = 0) -> int:
        """sendto(2); see `send`. A connected TCP socket ignores the address."""
        return self._sendmsg(data, flags, b"", None)

    def sendmsg(
        self,
        buffers: Iterable[Buffer],
        ancdata: AncillaryData | bytes = (),
        flags: int = 0,
        *,
        fault_at: int | None = None,
    ) -> int:
        """sendmsg(2).

        Args:
            buffers: the scatter list.
            ancdata: control messages as (level, type, data), or the raw control buffer.
            flags: MSG_* bits.
            fault_at: offset of the first byte at a bad address.

        Returns:
            Number of accepted bytes; fewer than given if memory ran out.

        Raises:
            KtlsOSError: as Linux; no byte was accepted.
        """
        self._refuse_compat(flags)
        parts = list(buffers)
        if len(parts) > uapi.UIO_MAXIOV:
            raise KtlsOSError(errno.EMSGSIZE, f"{len(parts)} iovecs")
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        control = ancdata if isinstance(ancdata, bytes) else cmsg.pack(ancdata)
        return self._sendmsg(data, flags, control, fault_at)

    def sendmmsg(self, messages: Sequence[Buffer], flags: int = 0) -> list[int]:
        """sendmmsg(2) with one buffer per message.

        Args:
            messages: the messages.
            flags: MSG_* bits.

        Returns:
            Number of accepted bytes of each message that was sent.

        Raises:
            KtlsOSError: the first message failed.
        """
        self._refuse_compat(flags)
        done: list[int] = []
        for i, message in enumerate(messages):
            batch = uapi.MSG_BATCH if i + 1 < len(messages) else 0
            try:
                done.append(self._sendmsg(message, flags | batch, b"", None))
            except KtlsOSError:
                if not done:
                    raise
                break
        return done

    def _let_peer_answer(self) -> None:
        """Send what is in the device if the peer has closed, as it may answer with a reset.

        Otherwise the result of the next call would depend on how long the device takes.
        """
        if self.tcp.state == State.CLOSE_WAIT:
            self.stack.sync_device()

    def _refuse_compat(self, flags: int) -> None:
        """Refuse the flag that the system calls of 32-bit programs add (`__sys_sendmsg`).

        Raises:
            KtlsOSError: EINVAL.
        """
        if self.stack.kernel.compat and flags & uapi.MSG_CMSG_COMPAT:
            raise KtlsOSError(errno.EINVAL, "MSG_CMSG_COMPAT")

    @_locked
    def _sendmsg(self, data: Buffer, flags: int, control: bytes, fault_at: int | None) -> int:
        if self._closed:
            self._check_open()
        self._let_peer_answer()
        if self.nonblocking:
            flags |= uapi.MSG_DONTWAIT
        t = self.tcp
        t.owned = True
        try:
            if self._ulp is not None and self._ulp.tx is not None:
                return self._ulp.tx.sendmsg(data, flags, control, fault_at)
            cmsgs = (uapi.SO_PRIORITY,) if self.stack.kernel.priority_message else ()
            return t.sendmsg(data, flags, fault_at, control, cmsgs)
        finally:
            t.owned = False
            if t.pending:
                t.release()
            if self.stack.nic is not None:
                self.stack.kick_device()

    # ----------------------------------------------------------- sendfile and splice

    def sendfile(self, file: BinaryIO, offset: int | None, count: int) -> int:
        """sendfile(2) from a regular file.

        Args:
            file: open for reading in binary mode.
            offset: where to start. None: at the file's position, which then advances.
            count: maximal number of bytes.

        Returns:
            Number of accepted bytes; fewer than the file holds if memory ran out.

        Raises:
            KtlsOSError: as Linux; no byte was accepted.
        """
        self._check_open()
        start = file.tell() if offset is None else offset
        if start < 0 or count < 0 or start + count > _MAX_OFFSET:
            raise KtlsOSError(errno.EINVAL, "no range of a file (`rw_verify_area`)")
        sent = self._owned(splice_file, self, file_source(file), start, count)
        if offset is None:
            file.seek(start + sent)
        return sent

    @_locked
    def _owned(self, call: Callable[..., int], *args: object) -> int:
        """Run a call that owns the socket (`lock_sock`, `release_sock`)."""
        self._let_peer_answer()
        t = self.tcp
        t.owned = True
        try:
            return call(*args)
        finally:
            t.owned = False
            t.release()
            self.stack.kick_device()

    @_locked
    def splice_from(self, pipe: Pipe, count: int, flags: int = 0) -> int:
        """splice(2) from a pipe into this socket.

        Args:
            pipe: the pipe.
            count: maximal number of bytes.
            flags: SPLICE_F_* bits.

        Returns:
            Number of moved bytes.

        Raises:
            KtlsOSError: as Linux; no byte was moved.
        """
        self._check_open()
        if not count:
            return 0
        while not pipe.occupancy:
            if pipe.write_closed:
                return 0
            if flags & uapi.SPLICE_F_NONBLOCK:
                raise KtlsOSError(errno.EAGAIN, "the pipe is empty")
            if not self.stack.sleep("splicing from an empty pipe"):
                raise KtlsOSError(errno.EINTR, "interrupted")
        return self._owned(splice_pipe, self, pipe, count, flags)

    @_locked
    def splice_to(self, pipe: Pipe, count: int, flags: int = 0) -> int:
        """splice(2) from this socket into a pipe: bytes of at most one record.

        Args:
            pipe: the pipe.
            count: maximal number of bytes.
            flags: SPLICE_F_* bits.

        Returns:
            Number of moved bytes.

        Raises:
            KtlsOSError: as Linux; no byte was moved.
        """
        self._check_open()
        self.stack.sync_device()
        if not count:
            return 0
        while pipe.occupancy >= pipe.slots:
            if flags & uapi.SPLICE_F_NONBLOCK:
                raise KtlsOSError(errno.EAGAIN, "the pipe is full")
            if not self.stack.sleep("splicing into a full pipe"):
                raise KtlsOSError(errno.EINTR, "interrupted")
        count = min(count, (pipe.slots - pipe.occupancy) * PAGE)
        if self._ulp is not None and self._ulp.rx is not None:
            # `tls_sw_splice_read` does not look at O_NONBLOCK
            wait = uapi.MSG_DONTWAIT if flags & uapi.SPLICE_F_NONBLOCK else 0
            return self._ulp.rx.splice_read(pipe.put_buffers, count, wait)
        # `tcp_splice_read` does not look at SPLICE_F_NONBLOCK
        wait = uapi.MSG_DONTWAIT if self.nonblocking else 0
        return pipe.put_pages(memoryview(self.tcp.recvmsg(count, wait)))

    # --------------------------------------------------------------------- receive

    def recv(self, size: int, flags: int = 0) -> bytes:
        """recv(2); see `recvmsg`."""
        return self._recvmsg(size, 0, flags, None).data

    def read(self, size: int) -> bytes:
        """read(2); see `readv`."""
        return self.readv(size)

    def readv(self, size: int, *, fault_at: int | None = None) -> bytes:
        """readv(2); a read of nothing does not reach the connection (`sock_read_iter`).

        Args:
            size: bytes that all iovecs hold.
            fault_at: offset of the first byte at a bad address.

        Raises:
            KtlsOSError: as `recvmsg`.
        """
        self._check_open()
        return self.recvmsg(size, fault_at=fault_at).data if size else b""

    def recvmsg(
        self, size: int, control_size: int = 0, flags: int = 0, *, fault_at: int | None = None
    ) -> Received:
        """recvmsg(2).

        Args:
            size: bytes that all iovecs hold.
            control_size: msg_controllen.
            flags: MSG_* bits.
            fault_at: offset of the first byte at a bad address.

        Raises:
            KtlsOSError: as Linux; no byte was received. Its `cmsgs` are in the control buffer.
        """
        self._refuse_compat(flags)
        return self._recvmsg(size, control_size, flags, fault_at)

    @_locked
    def _recvmsg(self, size: int, control_size: int, flags: int, fault_at: int | None) -> Received:
        self._check_open()
        self.stack.sync_device()
        if self.nonblocking:
            flags |= uapi.MSG_DONTWAIT
        out = flags & uapi.MSG_CMSG_CLOEXEC
        control = ControlBuffer(control_size)
        if self._ulp is None or self._ulp.rx is None:
            data, eor = self.tcp.recvmsg(size, flags, fault_at), False
            if self._options.inq:
                control.put(uapi.SOL_TCP, uapi.TCP_INQ, pack_int(self.tcp.inq))
        else:
            try:
                data, eor = self._ulp.rx.recvmsg(size, flags, control, fault_at)
            except KtlsOSError as e:
                # Linux has written them, although the call does not return their size
                e.cmsgs = [(c.level, c.kind, c.data) for c in control.cmsgs]
                raise
        out |= (uapi.MSG_EOR if eor else 0) | (uapi.MSG_CTRUNC if control.truncated else 0)
        return Received(data, control.cmsgs, out, control.used)

    @_locked
    def poll(self, events: int) -> int:
        """poll(2) without waiting.

        Args:
            events: POLL* bits of interest.

        Returns:
            The bits of `events` that are set, POLLERR and POLLHUP.
        """
        self._check_open()
        self.stack.sync_device()
        t = self.tcp
        rx = self._ulp.rx if self._ulp is not None else None
        mask = t.poll(rx is not None and rx.readable)
        open_end = t.state == State.ESTABLISHED and not t.shutdown & RCV_SHUTDOWN
        if rx is not None and open_end and rx.hides_input:
            mask &= ~(uapi.POLLIN | uapi.POLLRDNORM)
        return mask & (events | uapi.POLLERR | uapi.POLLHUP)

    @property
    def inq(self) -> int:
        """Number of unread bytes in TCP, records and all (FIONREAD)."""
        with self.stack.lock:
            self.stack.sync_device()
            return self.tcp.inq

    # ------------------------------------------------------------ connection states

    @_locked
    def listen(self) -> None:
        """listen(2).

        Raises:
            KtlsOSError: EINVAL, the socket is or was connected.
        """
        self._check_open()
        if self.tcp.state not in (State.CLOSE, State.LISTEN) or self._ulp is not None:
            raise KtlsOSError(errno.EINVAL, "the socket is not unconnected")
        self.tcp.state = State.LISTEN

    @_locked
    def disconnect(self) -> None:
        """connect(2) with AF_UNSPEC.

        Raises:
            KtlsOSError: EOPNOTSUPP on a socket with the ULP.
        """
        self._check_open()
        if self._ulp is not None:
            raise KtlsOSError(errno.EOPNOTSUPP, "a socket with a ULP cannot be disconnected")
        self.tcp.abort()

    @_locked
    def flush(self) -> None:
        """Wait until every closed record is on the wire."""
        self.stack.sync_device()

    @_locked
    def shutdown(self, how: int) -> None:
        """shutdown(2); SHUT_WR sends the closed records and drops the open one.

        Args:
            how: `uapi.SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`.

        Raises:
            KtlsOSError: EINVAL, ENOTCONN.
        """
        self._check_open()
        self.stack.sync_device()
        if how not in (uapi.SHUT_RD, uapi.SHUT_WR, uapi.SHUT_RDWR):
            raise KtlsOSError(errno.EINVAL, f"how={how}")
        self.tcp.shut(how)
        if how != uapi.SHUT_RD and not self._write_shut:
            self._write_shut = True
            if self._ulp is not None:
                self._ulp.report_dropped()

    @_locked
    def close(self) -> None:
        """close(2): send the closed records, drop the open one and remove the keys."""
        self._check_open()
        self.stack.sync_device()
        self._closed = True
        if self._ulp is not None:
            self._finalizer.detach()
            self._ulp.close(dropped_reported=self._write_shut)
        self.tcp.close()
        self.stack.sync_device()
        if self.tap is not None:
            self.tap.closed()

    def reset(self) -> None:
        """close(2) with SO_LINGER 0: reset the connection."""
        self.tcp.linger_reset = True
        self.close()
