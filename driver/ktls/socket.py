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
from dataclasses import dataclass, field
from typing import BinaryIO

from ktls import cmsg, tcp, uapi
from ktls.cmsg import AncillaryData, Cmsg, ControlBuffer
from ktls.crypto_info import CIPHERS, CryptoInfo
from ktls.errors import KtlsOSError
from ktls.nic import Completion
from ktls.pipe import PAGE, PIPE_BUFFERS, FileSource, Pipe, file_source
from ktls.record import Buffer, Protection
from ktls.stack import KtlsStack
from ktls.tcp import State, TcpSock, Wire
from ktls.tls_device import DeviceSealer
from ktls.tls_rx import TlsRx
from ktls.tls_tx import MemoryFaults, Sealer, SoftwareSealer, TlsTx

# records that sendfile reads at once
_FILE_PIECES = 16
_MAX_PAYLOAD_MIN = 64
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


@dataclass(slots=True)
class _TlsContext:
    """State of the ULP of one socket (`struct tls_context`)."""

    zerocopy: int = 0
    limit: int = uapi.TLS_MAX_PAYLOAD_SIZE
    version: int = 0
    tx: TlsTx | None = None
    rx: TlsRx | None = None
    device: DeviceSealer | None = None
    counted: list[str] = field(default_factory=list)


def socketpair(stack: KtlsStack) -> tuple[KtlsSocket, KtlsSocket]:
    """Two connected sockets, as a loopback connection would give."""
    a, b = KtlsSocket(stack), KtlsSocket(stack)
    tcp.connect(a.tcp, b.tcp)
    observer = stack.observer
    if observer is not None:
        b.tcp.watcher = lambda data: observer.wire_sent(a.conn, data)
        a.tcp.watcher = lambda data: observer.wire_sent(b.conn, data)
    return a, b


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
        why_not_offloaded: the reason, once TLS_TX is set and the device does not seal.
        faults: allocation failures to inject.
    """

    def __init__(self, stack: KtlsStack, kind: str = "tcp") -> None:
        self.stack = stack
        self.kind = kind
        self.tcp = TcpSock()
        self.conn = stack.next_conn()
        self.nonblocking = False
        self.why_not_offloaded: str | None = None
        self.faults = MemoryFaults()
        self._ulp: _TlsContext | None = None
        self._closed = False
        self._write_shut = False

    def attach(self, far: Wire) -> None:
        """Connect to the outside."""
        observer = self.stack.observer
        if observer is not None:
            far.watch(lambda data: observer.wire_sent(self.conn, data))
        far.near = self.tcp
        self.tcp.far = far
        self.tcp.state = State.ESTABLISHED

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def sigpipe(self) -> int:
        """SIGPIPEs that the calls have raised."""
        return self.tcp.sigpipe

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
            self._set_tls(option, value, optlen)
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
            seconds, micros = _TIMEVAL.unpack(_readable(value, _TIMEVAL.size))
            timeout = seconds + micros / 1e6 or None
            if option == uapi.SO_RCVTIMEO:
                t.rcvtimeo = timeout
            else:
                t.sndtimeo = timeout
        elif option == uapi.SO_LINGER:
            onoff, seconds = struct.unpack("=ii", _readable(value, 8))
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
        self._ulp = _TlsContext()

    def _set_tls(self, option: int, value: bytes | None, optlen: int) -> None:
        ulp = self._ulp
        if ulp is None:
            raise KtlsOSError(errno.ENOPROTOOPT, "the socket has no ULP")
        if option in (uapi.TLS_TX, uapi.TLS_RX):
            self._set_keys(ulp, option, value, optlen)
        elif option == uapi.TLS_TX_ZEROCOPY_RO:
            if value is None or optlen != 4:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO takes an int")
            zerocopy = int.from_bytes(_readable(value, 4), "little")
            if zerocopy > 1:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO is 0 or 1")
            ulp.zerocopy = zerocopy
        elif option == uapi.TLS_RX_EXPECT_NO_PAD:
            self._set_no_pad(ulp, value, optlen)
        elif option == uapi.TLS_TX_MAX_PAYLOAD_LEN and self.stack.kernel.tx_max_payload_len:
            self._set_limit(ulp, value, optlen)
        else:
            raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TLS")

    def _set_no_pad(self, ulp: _TlsContext, value: bytes | None, optlen: int) -> None:
        if ulp.version != uapi.TLS_1_3_VERSION or value is None or optlen < 4:
            raise KtlsOSError(errno.EINVAL, "TLS_RX_EXPECT_NO_PAD needs TLS 1.3 and an int")
        data = _readable(value, optlen)
        no_pad = int.from_bytes(data[:4], "little")
        if no_pad > 1 or any(data[4:]) or ulp.rx is None:
            raise KtlsOSError(errno.EINVAL, "TLS_RX_EXPECT_NO_PAD is 0 or 1, with TLS_RX set")
        ulp.rx.no_pad = bool(no_pad)

    def _set_limit(self, ulp: _TlsContext, value: bytes | None, optlen: int) -> None:
        if ulp.tx is not None and ulp.tx.has_open_record:
            raise KtlsOSError(errno.EBUSY, "a record is open")
        if value is None or optlen != 2:
            raise KtlsOSError(errno.EINVAL, "TLS_TX_MAX_PAYLOAD_LEN takes two bytes")
        limit = int.from_bytes(_readable(value, 2), "little")
        low = _MAX_PAYLOAD_MIN - (1 if ulp.version == uapi.TLS_1_3_VERSION else 0)
        if not low <= limit <= uapi.TLS_MAX_PAYLOAD_SIZE:
            raise KtlsOSError(errno.EINVAL, f"TLS_TX_MAX_PAYLOAD_LEN is {low}..16384")
        ulp.limit = limit
        if ulp.tx is not None:
            ulp.tx.limit = limit

    # ------------------------------------------------------------------------ keys

    def _set_keys(self, ulp: _TlsContext, option: int, value: bytes | None, optlen: int) -> None:
        """TLS_TX and TLS_RX (`do_tls_setsockopt_conf`)."""
        is_tx = option == uapi.TLS_TX
        side, other = (ulp.tx, ulp.rx) if is_tx else (ulp.rx, ulp.tx)
        if value is None or optlen < 4:
            raise KtlsOSError(errno.EINVAL, "crypto_info is shorter than its header of 4 bytes")
        rekey = "TlsTxRekey" if is_tx else "TlsRxRekey"
        stat = self.stack.tls_stat
        try:
            info = _check_crypto_info(
                value,
                optlen,
                side.protection if side else None,
                other.protection if other else None,
                self.stack.kernel.rekey,
            )
            protection = Protection(info)
        except KtlsOSError:
            if side is not None and self.stack.kernel.rekey:
                stat[rekey + "Error"] += 1
            raise
        if side is not None:
            stat[rekey + "Ok"] += 1
        if is_tx:
            self._install_tx(ulp, info, protection)
        elif ulp.rx is not None:
            ulp.rx.rekey(protection)
        else:
            ulp.rx = TlsRx(self.tcp, self.stack.kernel, protection, stat, self._wait_data, None)
            self._count(ulp, "TlsRxSw", "TlsCurrRxSw")
        ulp.version = info.version

    def _install_tx(self, ulp: _TlsContext, info: CryptoInfo, protection: Protection) -> None:
        observer = self.stack.observer
        if observer is not None:
            observer.tx_configured(self.conn, info.pack())
        if ulp.tx is not None:
            # an open record is not flushed: it will be sealed with the new key
            ulp.tx.protection = protection
            return
        sealer: Sealer = SoftwareSealer()
        if self.stack.nic is not None:
            ulp.device = sealer = DeviceSealer(self.stack.nic, info, self.stack.submit, self)
        else:
            self.tx_offloaded("there is no offload device")
        ulp.tx = TlsTx(
            self.tcp,
            self.stack.kernel,
            protection,
            sealer,
            self._wait_space,
            self.faults,
            None if observer is None else self._app_sent,
            None if observer is None else self._app_dropped,
        )
        ulp.tx.limit = ulp.limit
        self.tcp.on_space = ulp.tx.write_space
        self.stack.before_look()

    def _count(self, ulp: _TlsContext, total: str, current: str) -> None:
        self.stack.tls_stat[total] += 1
        self.stack.tls_stat[current] += 1
        ulp.counted.append(current)

    def tx_offloaded(self, refused: str | None) -> None:
        """The device has taken the keys, or `refused` says why not."""
        self.why_not_offloaded = refused
        assert self._ulp is not None
        where = "Device" if refused is None else "Sw"
        if self._closed:
            self.stack.tls_stat["TlsTx" + where] += 1
            return
        self._count(self._ulp, "TlsTx" + where, "TlsCurrTx" + where)

    def record_done(self, rtype: int, length: int, completion: Completion) -> None:
        """The device has completed a record."""
        if self.stack.observer is not None:
            self.stack.observer.record_done(self.conn, rtype, length, completion)

    def _app_sent(self, rtype: int, data: Buffer) -> None:
        assert self.stack.observer is not None
        self.stack.observer.app_sent(self.conn, rtype, bytes(data))

    def _app_dropped(self, count: int) -> None:
        if self.stack.observer is not None and count:
            self.stack.observer.app_dropped(self.conn, count)

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
        if option in (uapi.TLS_TX, uapi.TLS_RX):
            return self._get_keys(ulp.tx if option == uapi.TLS_TX else ulp.rx, optlen)
        if option == uapi.TLS_TX_ZEROCOPY_RO:
            if optlen != 4:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO is an int")
            return ulp.zerocopy.to_bytes(4, "little")
        if option == uapi.TLS_RX_EXPECT_NO_PAD:
            if ulp.version != uapi.TLS_1_3_VERSION or optlen < 4 or ulp.rx is None:
                raise KtlsOSError(errno.EINVAL, "TLS_RX_EXPECT_NO_PAD needs TLS 1.3 and 4 bytes")
            return int(ulp.rx.no_pad).to_bytes(4, "little")
        if option == uapi.TLS_TX_MAX_PAYLOAD_LEN and self.stack.kernel.tx_max_payload_len:
            if optlen < 2:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_MAX_PAYLOAD_LEN has two bytes")
            return ulp.limit.to_bytes(2, "little")
        raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TLS")

    def _get_keys(self, side: TlsTx | TlsRx | None, optlen: int) -> bytes:
        if optlen < 4:
            raise KtlsOSError(errno.EINVAL, "optlen is less than 4")
        if side is None:
            raise KtlsOSError(errno.EBUSY, "no keys are set")
        blob = side.protection.info.pack()
        if optlen == 4:
            return blob[:4]
        if optlen != len(blob):
            raise KtlsOSError(errno.EINVAL, f"optlen is neither 4 nor {len(blob)}")
        return blob

    # ------------------------------------------------------------------------ wait

    def _wait_space(self, flags: int) -> int:
        """`sk_stream_wait_memory`: an errno, 0 to look again."""
        if flags & uapi.MSG_DONTWAIT:
            return errno.EAGAIN
        self.tcp.release()
        if self.tcp.sndtimeo is not None:
            return errno.EAGAIN
        return 0 if self.stack.sleep("sending into a full buffer") else errno.EINTR

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
            return self._send_plain(data, flags, fault_at)
        finally:
            t.owned = False
            if t.pending:
                t.release()
            if self.stack.nic is not None:
                self.stack.after_send()

    def _send_plain(self, data: Buffer, flags: int, fault_at: int | None = None) -> int:
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
        sent = self._owned(self._splice_file, file_source(file), start, count)
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

    def _splice_file(self, file: FileSource, start: int, count: int) -> int:
        """`splice_direct_to_actor`: fill a pipe from the file, empty it into the socket."""
        flags = uapi.MSG_DONTWAIT if self.nonblocking else 0
        tx = self._ulp.tx if self._ulp is not None else None
        size = tx.limit if tx is not None else uapi.TLS_MAX_PAYLOAD_SIZE
        by_message = self.stack.kernel.pages_by_sendmsg
        sent = 0
        while sent < count:
            at = start + sent
            want = min(count - sent, _FILE_PIECES * size)
            if not by_message:
                want = min(want, PIPE_BUFFERS * PAGE - at % PAGE)
            pieces = file.read_pieces(at, want, size)
            if not pieces:
                # the end of the file comes sooner than the count promised
                if sent and by_message and tx is not None:
                    tx.splice_eof()
                break
            got = (len(pieces) - 1) * size + len(pieces[-1])
            more = uapi.MSG_MORE if by_message and sent + got < count else 0
            try:
                n = self._splice_pieces(tx, pieces, at, flags | more)
            except KtlsOSError:
                if sent:
                    break
                raise
            sent += n
            if n < got:
                break
        return sent

    def _splice_pieces(
        self, tx: TlsTx | None, pieces: Sequence[Buffer], at: int, flags: int
    ) -> int:
        """Send consecutive bytes of a file."""
        if tx is None:
            return self._send_plain(b"".join(pieces), flags)
        whole = tx.send_file(pieces)
        done = sum(map(len, pieces[:whole]))
        if whole == len(pieces):
            return done
        rest = memoryview(b"".join(pieces[whole:]))
        pages = _pages(rest, at + done)
        try:
            return done + self._splice_pages(tx, pages, len(rest), len(pages), flags)
        except KtlsOSError:
            if done:
                return done
            raise

    def _splice_pages(
        self, tx: TlsTx, pages: Sequence[Buffer], count: int, occupancy: int, flags: int
    ) -> int:
        """Give the buffers at the front of a pipe to the ULP; returns accepted bytes.

        Args:
            pages: what to send.
            count: what splice was asked to move; may be more than there is.
            occupancy: buffers in the pipe.
        """
        if self.stack.kernel.pages_by_sendmsg:
            return tx.sendpages(pages, flags)
        done = 0
        for i, page in enumerate(pages):
            last = done + len(page) >= count or occupancy - i <= 1
            try:
                n = tx.sendpage(page, last, flags)
            except KtlsOSError:
                if done:
                    break
                raise
            done += n
            if n < len(page):
                break
        return done

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
        return self._owned(self._splice_from, pipe, count, flags)

    def _splice_from(self, pipe: Pipe, count: int, flags: int) -> int:
        """`splice_to_socket`, or `splice_from_pipe` in front of it."""
        moved = 0
        while moved < count and pipe.occupancy:
            pages: list[bytes] = []
            left = count - moved
            for page in pipe.pages[:PIPE_BUFFERS]:
                pages.append(page[:left])
                left -= len(pages[-1])
                if not left:
                    break
            msg_flags = uapi.MSG_DONTWAIT if self.nonblocking else 0
            if self.stack.kernel.pages_by_sendmsg:
                # the last buffer looked at counts as "more to come" when all were used
                behind = pipe.occupancy - len(pages) + (1 if len(pages) == PIPE_BUFFERS else 0)
                if flags & uapi.SPLICE_F_MORE or (left and behind):
                    msg_flags |= uapi.MSG_MORE
            try:
                tx = self._ulp.tx if self._ulp is not None else None
                if tx is None:
                    n = self._send_plain(b"".join(pages), msg_flags)
                else:
                    n = self._splice_pages(tx, pages, count - moved, pipe.occupancy, msg_flags)
            except KtlsOSError:
                if moved:
                    break
                raise
            pipe.drop(n)
            moved += n
            if n < sum(map(len, pages)):
                break
        return moved

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

    def connect(self) -> None:
        """connect(2) to some address, which a connected or listening socket refuses.

        Raises:
            KtlsOSError: EISCONN.
        """
        self._alive()
        raise KtlsOSError(errno.EISCONN, "the socket is connected")

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
            if self._ulp is not None and self._ulp.tx is not None:
                self._app_dropped(self._ulp.tx.open_bytes)

    def close(self) -> None:
        """close(2): drops an open record, sends closed ones, removes the keys."""
        self._alive()
        self.stack.before_look()
        self._closed = True
        ulp = self._ulp
        if ulp is not None:
            if ulp.tx is not None:
                dropped = ulp.tx.close()
                if not self._write_shut:
                    self._app_dropped(dropped)
            if ulp.device is not None:
                ulp.device.close()
            for name in ulp.counted:
                self.stack.tls_stat[name] -= 1
        self.tcp.close()
        self.stack.before_look()

    def reset(self) -> None:
        """close(2) with SO_LINGER 0: the peer gets a reset."""
        self.tcp.linger_reset = True
        self.close()


def _pages(view: memoryview, at: int) -> list[memoryview]:
    """Cut consecutive bytes of a file at its page boundaries."""
    out = []
    start = 0
    while start < len(view):
        stop = min(len(view), start + PAGE - (at + start) % PAGE)
        out.append(view[start:stop])
        start = stop
    return out


def _readable(value: bytes | None, size: int) -> bytes:
    if value is None or len(value) < size:
        raise KtlsOSError(errno.EFAULT, f"{size} bytes cannot be read")
    return bytes(value[:size])


def _int_value(value: bytes | None, optlen: int) -> int:
    if optlen < 4:
        raise KtlsOSError(errno.EINVAL, "the option takes an int")
    number: int = _INT.unpack(_readable(value, 4))[0]
    return number


def _check_crypto_info(
    value: bytes, optlen: int, mine: Protection | None, other: Protection | None, rekey: bool
) -> CryptoInfo:
    """The checks of setsockopt in Linux's order.

    Args:
        value: the bytes that can be read.
        optlen: what the caller said.
        mine: keys that this direction has already.
        other: keys of the other direction.
        rekey: this kernel can replace keys.

    Raises:
        KtlsOSError: EBUSY, EFAULT or EINVAL.
    """
    if mine is not None and not (rekey and mine.tls13):
        raise KtlsOSError(errno.EBUSY, "the keys of this direction are set already")
    version, cipher = struct.unpack("=HH", _readable(value, 4))
    if mine is not None:
        if (version, cipher) != (mine.version, mine.cipher):
            raise KtlsOSError(errno.EINVAL, "a rekey cannot change version or cipher")
    elif version not in (uapi.TLS_1_2_VERSION, uapi.TLS_1_3_VERSION):
        raise KtlsOSError(errno.EINVAL, f"version {version:#06x}")
    desc = CIPHERS.get(cipher)
    if desc is None or (version == uapi.TLS_1_3_VERSION and not desc.tls13):
        raise KtlsOSError(errno.EINVAL, f"cipher_type {cipher} with version {version:#06x}")
    if other is not None and (version, cipher) != (other.version, other.cipher):
        raise KtlsOSError(errno.EINVAL, "the other direction has another version or cipher")
    if optlen != desc.crypto_info:
        raise KtlsOSError(errno.EINVAL, f"{desc.name} needs {desc.crypto_info} bytes")
    return CryptoInfo.unpack(_readable(value, optlen))
