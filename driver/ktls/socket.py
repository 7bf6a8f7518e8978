# SPDX-License-Identifier: Apache-2.0
"""Sockets with the TLS ULP: Linux's calls, return values and errnos.

`KtlsSocket` is one end of a TCP connection: either the other end is another socket of
the same stack (`socketpair`), or a `Wire` that connects it to the outside
(`connect_wire`). What the calls mean once the ULP has keys is in `ktls.tls_tx` and
`ktls.tls_rx`.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from ktls import cmsg, tcp, uapi
from ktls.cmsg import AncillaryData, Cmsg, ControlBuffer
from ktls.errors import KtlsOSError
from ktls.pipe import PAGE, Pipe, file_source
from ktls.record import Buffer
from ktls.splice import splice_file, splice_pipe
from ktls.stack import KtlsStack, Observer
from ktls.tcp import State, TcpSock, Wire
from ktls.tls_main import TlsContext, readable
from ktls.tls_tx import MemoryFaults, TlsTx

_INT = struct.Struct("=i")
_TIMEVAL = struct.Struct("=qq")


@dataclass(frozen=True, slots=True)
class Received:
    """What recvmsg hands out.

    Attributes:
        data: bytes.
        cmsgs: control messages.
        msg_flags: MSG_EOR, MSG_CTRUNC.
        controllen: msg_controllen afterwards.
    """

    data: bytes
    cmsgs: Sequence[Cmsg] = ()
    msg_flags: int = 0
    controllen: int = 0

    @property
    def record_type(self) -> int | None:
        """The type that TLS_GET_RECORD_TYPE tells, if it does."""
        for c in self.cmsgs:
            if (c.level, c.kind) == (uapi.SOL_TLS, uapi.TLS_GET_RECORD_TYPE) and c.data:
                return c.data[0]
        return None


def socketpair(stack: KtlsStack) -> tuple[KtlsSocket, KtlsSocket]:
    """Two connected sockets, as a loopback connection would give."""
    a, b = KtlsSocket(stack), KtlsSocket(stack)
    tcp.connect(a.tcp, b.tcp)
    observer = stack.observer
    if observer is not None:
        for near, far in ((a, b), (b, a)):
            far.tcp.watcher = partial(_passed, observer, near.conn, far.conn)
    return a, b


def _passed(observer: Observer, sender: int, receiver: int, data: bytes) -> None:
    observer.wire_sent(sender, data)
    observer.wire_received(receiver, data)


def connect_wire(stack: KtlsStack, wire: Wire | Callable[[bytes], None]) -> KtlsSocket:
    """A connected socket whose other end is outside the model.

    Args:
        wire: the other end, or just a function that gets the outgoing bytes.
    """
    far = wire if isinstance(wire, Wire) else Wire(wire)
    sock = KtlsSocket(stack)
    sock.attach(far)
    return sock


class KtlsSocket:
    """A socket; its methods are Linux's system calls.

    Attributes:
        tcp: the TCP end below.
        conn: number of the connection in its stack.
        kind: `tcp`, `udp` or `unix`; only TCP takes the ULP.
        nonblocking: O_NONBLOCK.
        faults: allocation failures to inject.
    """

    def __init__(self, stack: KtlsStack, kind: str = "tcp") -> None:
        self.stack = stack
        self.kind = kind
        self.tcp = TcpSock()
        self.conn = stack.next_conn()
        self.nonblocking = False
        self.faults = MemoryFaults()
        self._ulp: TlsContext | None = None
        self._closed = False
        self._write_shut = False

    def attach(self, far: Wire) -> None:
        """Connect to the outside."""
        observer = self.stack.observer
        if observer is not None:
            far.watch(lambda data: observer.wire_sent(self.conn, data))
            self.tcp.watcher = lambda data: observer.wire_received(self.conn, data)
        far.near = self.tcp
        self.tcp.far = far
        self.tcp.state = State.ESTABLISHED

    @property
    def why_not_offloaded(self) -> str | None:
        """The reason, once TLS_TX is set and the device does not seal."""
        return self._ulp.why_not_offloaded if self._ulp is not None else None

    @property
    def why_rx_not_offloaded(self) -> str | None:
        """The reason, once TLS_RX is set and the device does not open."""
        return self._ulp.why_rx_not_offloaded if self._ulp is not None else None

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def sigpipe(self) -> int:
        """SIGPIPEs that the calls have raised."""
        return self.tcp.sigpipe

    @property
    def tx(self) -> TlsTx | None:
        """The transmit side of the ULP, if it has keys."""
        return self._ulp.tx if self._ulp is not None else None

    def _alive(self) -> None:
        if self._closed:
            raise KtlsOSError(errno.EBADF, "the socket is closed")

    # --------------------------------------------------------------- set an option

    def setsockopt(
        self, level: int, option: int, value: bytes | None, optlen: int | None = None
    ) -> None:
        """setsockopt(2).

        Args:
            value: the bytes that can be read at optval; None is a NULL pointer.
            optlen: as given by the caller, by default the number of bytes.

        Raises:
            KtlsOSError: as Linux.
        """
        self._alive()
        self.stack.before_look()
        optlen = (len(value) if value else 0) if optlen is None else optlen
        if optlen < 0:
            raise KtlsOSError(errno.EINVAL, "optlen is negative")
        if level == uapi.SOL_TCP and option == uapi.TCP_ULP:
            self._set_ulp(value, optlen)
        elif level == uapi.SOL_TLS:
            self._tls_context().set_option(option, value, optlen)
        elif level == uapi.SOL_SOCKET:
            self._set_socket(option, value, optlen)
        elif level == uapi.SOL_TCP and option in (uapi.TCP_NODELAY, uapi.TCP_CORK):
            _int_value(value, optlen)
        else:
            raise KtlsOSError(errno.ENOPROTOOPT, f"level {level}, option {option}")

    def _set_socket(self, option: int, value: bytes | None, optlen: int) -> None:
        t = self.tcp
        if option in (uapi.SO_RCVTIMEO, uapi.SO_SNDTIMEO):
            if optlen < _TIMEVAL.size:
                raise KtlsOSError(errno.EINVAL, "a timeval has 16 bytes")
            seconds, micros = _TIMEVAL.unpack(readable(value, _TIMEVAL.size))
            timeout = seconds + micros / 1e6 or None
            if option == uapi.SO_RCVTIMEO:
                t.rcvtimeo = timeout
            else:
                t.sndtimeo = timeout
        elif option == uapi.SO_LINGER:
            onoff, seconds = struct.unpack("=ii", readable(value, 8))
            t.linger_reset = bool(onoff) and seconds == 0
        elif option == uapi.SO_SNDBUF:
            t.set_sndbuf(_int_value(value, optlen))
        elif option == uapi.SO_RCVBUF:
            t.set_rcvbuf(_int_value(value, optlen))
        elif option == uapi.SO_RCVLOWAT:
            low = _int_value(value, optlen)
            t.rcvlowat = 0x7FFF_FFFF if low < 0 else low or 1
        else:
            _int_value(value, optlen)

    def _set_ulp(self, value: bytes | None, optlen: int) -> None:
        if self.kind != "tcp":
            number = errno.ENOPROTOOPT if self.kind == "udp" else errno.EOPNOTSUPP
            raise KtlsOSError(number, f"a {self.kind} socket has no ULP")
        if optlen < 1:
            raise KtlsOSError(errno.EINVAL, "TCP_ULP needs a name")
        # the name is copied as a string: what is behind its NUL is never touched
        readable = bytes(value or b"")[: min(optlen, uapi.TCP_ULP_NAME_MAX - 1)]
        name, nul, _ = readable.partition(b"\0")
        if not nul and len(readable) < min(optlen, uapi.TCP_ULP_NAME_MAX - 1):
            raise KtlsOSError(errno.EFAULT, "the name cannot be read")
        if name != b"tls":
            raise KtlsOSError(errno.ENOENT, f"no ULP is named {name!r}")
        if self._ulp is not None:
            raise KtlsOSError(errno.EEXIST, "the socket has a ULP")
        if self.tcp.state != State.ESTABLISHED:
            raise KtlsOSError(errno.ENOTCONN, "the connection is not established")
        self._ulp = TlsContext(
            self.stack, self.tcp, self.conn, self.faults, self._wait_space, self._wait_data
        )

    def _tls_context(self) -> TlsContext:
        if self._ulp is None:
            raise KtlsOSError(errno.ENOPROTOOPT, "the socket has no ULP")
        return self._ulp

    # --------------------------------------------------------------- get an option

    def getsockopt(self, level: int, option: int, optlen: int) -> bytes:
        """getsockopt(2); returns what the kernel would write, its length is the new optlen.

        Raises:
            KtlsOSError: as Linux.
        """
        self._alive()
        self.stack.before_look()
        if level == uapi.SOL_SOCKET and option == uapi.SO_ERROR:
            return _INT.pack(self.tcp.take_error())[:optlen]
        if level == uapi.SOL_TCP and option == uapi.TCP_ULP:
            if optlen < 0:
                raise KtlsOSError(errno.EINVAL, "optlen is negative")
            size = min(optlen, uapi.TCP_ULP_NAME_MAX)
            return b"tls".ljust(uapi.TCP_ULP_NAME_MAX, b"\0")[:size] if self._ulp else b""
        ulp = self._ulp
        if level != uapi.SOL_TLS or ulp is None:
            raise KtlsOSError(errno.EOPNOTSUPP, f"level {level}, option {option}")
        return ulp.get_option(option, optlen)

    # ------------------------------------------------------------------------ wait

    def _wait_space(self, flags: int) -> int:
        """`sk_stream_wait_memory`: an errno, 0 to look again."""
        if flags & uapi.MSG_DONTWAIT:
            return errno.EAGAIN
        t = self.tcp
        t.release()
        if t.sndtimeo is not None:
            return errno.EAGAIN
        # while a call sleeps the socket is nobody's (`sk_wait_event`)
        t.owned = False
        try:
            return 0 if self.stack.sleep("sending into a full buffer") else errno.EINTR
        finally:
            t.owned = True

    def _wait_data(self, flags: int) -> int:
        """Wait for something to read: an errno, 0 to look again."""
        if flags & uapi.MSG_DONTWAIT or self.tcp.rcvtimeo is not None:
            return errno.EAGAIN
        return 0 if self.stack.sleep("reading from an empty queue") else errno.EINTR

    # ------------------------------------------------------------------------ send

    def send(self, data: Buffer, flags: int = 0) -> int:
        """send(2): returns how many bytes were accepted, those of an open record included."""
        if not flags and self._ulp is not None and not self._closed:
            tx = self._ulp.tx
            if tx is not None and tx.send_record(data):
                return len(data)
        return self._sendmsg(data, flags, b"", None)

    def write(self, data: Buffer) -> int:
        """write(2)."""
        return self._sendmsg(data, 0, b"", None)

    def writev(self, buffers: Iterable[Buffer]) -> int:
        """writev(2)."""
        return self.sendmsg(buffers)

    def sendto(self, data: Buffer, flags: int = 0) -> int:
        """sendto(2); the address of a connected TCP socket does not matter."""
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
            fault_at: offset of the first byte that lies at a bad address.

        Returns:
            Accepted bytes; fewer than given if memory ran out on the way.

        Raises:
            KtlsOSError: as Linux; nothing was accepted.
        """
        parts = list(buffers)
        if len(parts) > uapi.UIO_MAXIOV:
            raise KtlsOSError(errno.EMSGSIZE, f"{len(parts)} iovecs")
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        control = ancdata if isinstance(ancdata, bytes) else cmsg.pack(ancdata)
        return self._sendmsg(data, flags, control, fault_at)

    def sendmmsg(self, messages: Sequence[Buffer], flags: int = 0) -> list[int]:
        """sendmmsg(2) with one buffer per message; returns the bytes that each took.

        Raises:
            KtlsOSError: the first message failed.
        """
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

    def _sendmsg(self, data: Buffer, flags: int, control: bytes, fault_at: int | None) -> int:
        if self._closed:
            self._alive()
        if self.nonblocking:
            flags |= uapi.MSG_DONTWAIT
        t = self.tcp
        t.owned = True
        try:
            if self._ulp is not None and self._ulp.tx is not None:
                return self._ulp.tx.sendmsg(data, flags, control, fault_at)
            return self.send_plain(data, flags, fault_at)
        finally:
            t.owned = False
            if t.pending:
                t.release()
            if self.stack.nic is not None:
                self.stack.after_send()

    def send_plain(self, data: Buffer, flags: int, fault_at: int | None = None) -> int:
        """TCP without keys."""
        good = bytes(data if fault_at is None else data[:fault_at])
        if fault_at is not None and not good and len(data):
            raise KtlsOSError(errno.EFAULT, "byte 0 cannot be read")
        at = 0
        while at < len(good):
            try:
                n = self.tcp.push(good, at, flags)
            except KtlsOSError:
                if at:
                    break
                raise
            at += n
            if n == 0 and at < len(good):
                err = self._wait_space(flags)
                if err and at:
                    break
                if err:
                    raise KtlsOSError(err, "the send buffer is full")
        return at

    # ----------------------------------------------------------- sendfile and splice

    def sendfile(self, file: BinaryIO, offset: int | None, count: int) -> int:
        """sendfile(2) from a regular file.

        Args:
            file: open for reading in binary mode.
            offset: where to start; None: at the file's position, which moves.
            count: at most so many bytes.

        Returns:
            Accepted bytes; fewer than the file holds if memory ran out on the way.

        Raises:
            KtlsOSError: as Linux; nothing was accepted.
        """
        self._alive()
        start = file.tell() if offset is None else offset
        if start < 0 or count < 0:
            raise KtlsOSError(errno.EINVAL, "a negative offset or count")
        sent = self._owned(splice_file, self, file_source(file), start, count)
        if offset is None:
            file.seek(start + sent)
        return sent

    def _owned(self, call: Callable[..., int], *args: object) -> int:
        t = self.tcp
        t.owned = True
        try:
            return call(*args)
        finally:
            t.owned = False
            t.release()
            self.stack.after_send()

    def splice_from(self, pipe: Pipe, count: int, flags: int = 0) -> int:
        """splice(2) from a pipe into this socket.

        Raises:
            KtlsOSError: as Linux; nothing was moved.
        """
        self._alive()
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

    def splice_to(self, pipe: Pipe, count: int, flags: int = 0) -> int:
        """splice(2) from this socket into a pipe: at most one record's bytes.

        Raises:
            KtlsOSError: as Linux; nothing was moved.
        """
        self._alive()
        self.stack.before_look()
        if not count:
            return 0
        while pipe.occupancy >= pipe.slots:
            if flags & uapi.SPLICE_F_NONBLOCK:
                raise KtlsOSError(errno.EAGAIN, "the pipe is full")
            if not self.stack.sleep("splicing into a full pipe"):
                raise KtlsOSError(errno.EINTR, "interrupted")
        nonblock = self.nonblocking or flags & uapi.SPLICE_F_NONBLOCK
        wait = uapi.MSG_DONTWAIT if nonblock else 0
        count = min(count, (pipe.slots - pipe.occupancy) * PAGE)
        if self._ulp is not None and self._ulp.rx is not None:
            return self._ulp.rx.splice_read(pipe.put_pages, count, wait)
        data = self._recv_plain(count, wait, None)
        return pipe.put_pages(memoryview(data))

    # --------------------------------------------------------------------- receive

    def recv(self, size: int, flags: int = 0) -> bytes:
        """recv(2)."""
        return self.recvmsg(size, 0, flags).data

    def read(self, size: int) -> bytes:
        """read(2)."""
        return self.recvmsg(size, 0, 0).data

    def recvmsg(
        self, size: int, control_size: int = 0, flags: int = 0, *, fault_at: int | None = None
    ) -> Received:
        """recvmsg(2).

        Args:
            size: bytes that all iovecs hold.
            control_size: msg_controllen.
            flags: MSG_* bits.
            fault_at: offset of the first byte that lies at a bad address.

        Raises:
            KtlsOSError: as Linux; nothing was received.
        """
        self._alive()
        self.stack.before_look()
        if self.nonblocking:
            flags |= uapi.MSG_DONTWAIT
        out = flags & uapi.MSG_CMSG_CLOEXEC
        if self._ulp is None or self._ulp.rx is None:
            return Received(self._recv_plain(size, flags, fault_at), (), out, 0)
        control = ControlBuffer(control_size)
        data, eor = self._ulp.rx.recvmsg(size, flags, control, fault_at)
        out |= (uapi.MSG_EOR if eor else 0) | (uapi.MSG_CTRUNC if control.truncated else 0)
        return Received(data, control.cmsgs, out, control.used)

    def _recv_plain(self, size: int, flags: int, fault_at: int | None) -> bytes:
        """TCP without keys (`tcp_recvmsg_locked`)."""
        t = self.tcp
        if flags & uapi.MSG_ERRQUEUE:
            raise KtlsOSError(errno.EAGAIN, "the error queue is empty")
        if flags & uapi.MSG_OOB:
            raise KtlsOSError(errno.EINVAL, "there is no urgent data")
        target = size if flags & uapi.MSG_WAITALL else min(t.rcvlowat, size) or 1
        peek = bool(flags & uapi.MSG_PEEK)
        out = b""
        while True:
            n = min(size - len(out), len(t.rcvq) - (len(out) if peek else 0))
            if n > 0:
                if fault_at is not None and len(out) + n > fault_at:
                    if not out:
                        raise KtlsOSError(errno.EFAULT, f"byte {fault_at} cannot be written")
                    return out
                out += bytes(t.rcvq[len(out) : len(out) + n]) if peek else t.consume(n)
            if (size or t.rcvq) and len(out) >= min(size, target):
                break
            if out and (t.sk_err or t.state == State.CLOSE or t.shutdown & tcp.RCV_SHUTDOWN):
                break
            if not out:
                if t.done:
                    break
                if t.sk_err:
                    raise KtlsOSError(t.take_error(), "pending socket error")
                if t.shutdown & tcp.RCV_SHUTDOWN:
                    break
                if t.state in (State.CLOSE, State.LISTEN):
                    raise KtlsOSError(errno.ENOTCONN, "the socket is not connected")
            err = self._wait_data(flags)
            if err and out:
                break
            if err:
                raise KtlsOSError(err, "there is nothing to read")
        # MSG_TRUNC throws TCP's bytes away instead of copying them
        return bytes(len(out)) if flags & uapi.MSG_TRUNC and not peek else out

    def poll(self, events: int) -> int:
        """poll(2) without waiting: the bits of `events` that hold, POLLERR and POLLHUP."""
        self._alive()
        self.stack.before_look()
        t = self.tcp
        rx = self._ulp.rx if self._ulp is not None else None
        mask = t.poll(rx is not None and rx.readable)
        hides = self.stack.kernel.poll_hides_partial_record
        open_end = t.state == State.ESTABLISHED and not t.shutdown & tcp.RCV_SHUTDOWN
        if rx is not None and hides and open_end and not rx.readable:
            mask &= ~(uapi.POLLIN | uapi.POLLRDNORM)
        return mask & (events | uapi.POLLERR | uapi.POLLHUP)

    @property
    def inq(self) -> int:
        """FIONREAD: raw bytes of TCP."""
        self.stack.before_look()
        return self.tcp.inq

    # ------------------------------------------------------------ connection states

    def listen(self) -> None:
        """listen(2).

        Raises:
            KtlsOSError: EINVAL, the socket is or was connected.
        """
        self._alive()
        if self.tcp.state not in (State.CLOSE, State.LISTEN) or self._ulp is not None:
            raise KtlsOSError(errno.EINVAL, "the socket is not unconnected")
        self.tcp.state = State.LISTEN

    def disconnect(self) -> None:
        """connect(2) with AF_UNSPEC.

        Raises:
            KtlsOSError: EOPNOTSUPP on a socket with the ULP.
        """
        self._alive()
        if self._ulp is not None:
            raise KtlsOSError(errno.EOPNOTSUPP, "a socket with a ULP cannot be disconnected")
        self.tcp.abort()

    def flush(self) -> None:
        """Wait until every closed record has reached the wire."""
        self.stack.before_look()

    def shutdown(self, how: int) -> None:
        """shutdown(2): after SHUT_WR an open record is never sent; closed ones are.

        Raises:
            KtlsOSError: EINVAL, ENOTCONN.
        """
        self._alive()
        self.stack.before_look()
        if how not in (uapi.SHUT_RD, uapi.SHUT_WR, uapi.SHUT_RDWR):
            raise KtlsOSError(errno.EINVAL, f"how={how}")
        self.tcp.shut(how)
        if how != uapi.SHUT_RD and not self._write_shut:
            self._write_shut = True
            if self._ulp is not None:
                self._ulp.drop_open()

    def close(self) -> None:
        """close(2): drops an open record, sends closed ones, removes the keys."""
        self._alive()
        self.stack.before_look()
        self._closed = True
        if self._ulp is not None:
            self._ulp.close(told=self._write_shut)
        self.tcp.close()
        self.stack.before_look()
        if self.stack.observer is not None:
            self.stack.observer.closed(self.conn)

    def reset(self) -> None:
        """close(2) with SO_LINGER 0: the peer gets a reset."""
        self.tcp.linger_reset = True
        self.close()


def _int_value(value: bytes | None, optlen: int) -> int:
    if optlen < 4:
        raise KtlsOSError(errno.EINVAL, "the option takes an int")
    number: int = _INT.unpack(readable(value, 4))[0]
    return number
