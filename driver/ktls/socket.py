# SPDX-License-Identifier: Apache-2.0
"""Sockets with the TLS ULP: Linux's calls, return values and errnos.

`TlsSock` is the socket itself, its methods are coroutines because a device may have
to be waited for. `KtlsSocket` is the same with blocking methods, for ports that never
suspend; applications use that one. Both share a `KtlsStack`, the kernel that they run
in: the NIC, if there is one, and the counters of /proc/net/tls_stat.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable
from typing import BinaryIO, Protocol

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.errors import KtlsOSError, NotOffloadable
from ktls.nic import Completion, KtlsNic
from ktls.port import run_sync
from ktls.tls_device import DeviceTx
from ktls.tls_sw import SwTx
from ktls.ulp import AncillaryData, MemoryFaults, Record, TxUlp

Buffer = bytes | bytearray | memoryview


class Observer(Protocol):
    """Watches sockets from the side; used by scoreboards, never needed."""

    def tx_configured(self, conn: int, crypto_info: bytes) -> None:
        """TLS_TX was set with these bytes."""

    def app_sent(self, conn: int, rtype: int, data: bytes) -> None:
        """A call accepted these bytes for records of this type."""

    def app_closed(self, conn: int, unsent: int) -> None:
        """The socket was closed; `unsent` accepted bytes were dropped as Linux drops them."""

    def record_done(self, conn: int, rtype: int, length: int, completion: Completion) -> None:
        """The device completed a record."""

    def wire_sent(self, conn: int, data: bytes) -> None:
        """These bytes left towards the peer."""


class _SoftwareTx:
    """Seals at once; the counterpart of `DeviceTx`."""

    def __init__(self, info: CryptoInfo, wire: Callable[[bytes], None]) -> None:
        self._sw = SwTx(info)
        self._wire = wire

    async def push(self, number: int, rtype: int, data: bytes) -> None:
        self._wire(self._sw.seal(number, rtype, data))

    async def flush(self) -> None:
        pass

    async def close(self) -> None:
        pass


class KtlsStack:
    """The kernel around the sockets.

    Args:
        nic: offloads what it can; None is a machine without such a NIC.
        observer: watches every socket.
    """

    def __init__(self, nic: KtlsNic | None = None, observer: Observer | None = None) -> None:
        self.nic = nic
        self.observer = observer
        self.tls_stat: Counter[str] = Counter()
        self._next = 0

    def sock(self, wire: Callable[[bytes], None]) -> TlsSock:
        """An established connection whose outgoing bytes go to `wire`."""
        self._next += 1
        return TlsSock(self, self._next, wire)

    def socket(self, wire: Callable[[bytes], None]) -> KtlsSocket:
        """The same with blocking methods."""
        return KtlsSocket(self.sock(wire))


class TlsSock:
    """An established TCP connection that may get the TLS ULP.

    Attributes:
        conn: number of the connection in its stack.
        why_not_offloaded: the reason, once TLS_TX is set and the device does not seal.
        sigpipe: how many SIGPIPEs the calls would have raised.
    """

    def __init__(self, stack: KtlsStack, conn: int, wire: Callable[[bytes], None]) -> None:
        self.conn = conn
        self.why_not_offloaded: str | None = None
        self.sigpipe = 0
        self._stack = stack
        self._sink = wire
        self._ulp = False
        self._zerocopy = 0
        self._tx = TxUlp()
        self._path: DeviceTx | _SoftwareTx | None = None
        self._closed = False
        self._write_shut = False

    @property
    def faults(self) -> MemoryFaults:
        """Allocation failures to inject."""
        return self._tx.faults

    def _wire(self, data: bytes) -> None:
        if self._stack.observer:
            self._stack.observer.wire_sent(self.conn, data)
        self._sink(data)

    def _check_open(self) -> None:
        if self._closed:
            raise KtlsOSError(errno.EBADF, "the socket is closed")

    # ----------------------------------------------------------------- options

    async def setsockopt(self, level: int, option: int, value: bytes | None) -> None:
        """setsockopt(2) for SOL_TCP/TCP_ULP and SOL_TLS.

        Args:
            value: the option's bytes, their number is optlen; None is a NULL pointer.

        Raises:
            KtlsOSError: as Linux.
        """
        self._check_open()
        if level == uapi.SOL_TCP and option == uapi.TCP_ULP:
            self._set_ulp(value)
        elif level == uapi.SOL_TLS and self._ulp:
            if option == uapi.TLS_TX:
                await self._set_tx(value)
            elif option == uapi.TLS_TX_ZEROCOPY_RO:
                if value is None or len(value) != 4 or int.from_bytes(value, "little") > 1:
                    raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO takes an int, 0 or 1")
                self._zerocopy = int.from_bytes(value, "little")
            else:
                raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TLS")
        else:
            raise KtlsOSError(errno.ENOPROTOOPT, f"level {level}, option {option}")

    def _set_ulp(self, value: bytes | None) -> None:
        if not value:
            raise KtlsOSError(errno.EINVAL, "TCP_ULP needs a name")
        name = bytes(value[: uapi.TCP_ULP_NAME_MAX - 1]).split(b"\0")[0]
        if name != b"tls":
            raise KtlsOSError(errno.ENOENT, f"no ULP is named {name!r}")
        if self._ulp:
            raise KtlsOSError(errno.EEXIST, "the socket has a ULP")
        if self._write_shut:
            raise KtlsOSError(errno.ENOTCONN, "the connection is not established")
        self._ulp = True

    async def _set_tx(self, value: bytes | None) -> None:
        info = self._tx.check_crypto_info(value)
        self._path = await self._make_path(info)
        self._tx.install(info)
        if self._stack.observer:
            self._stack.observer.tx_configured(self.conn, info.pack())

    async def _make_path(self, info: CryptoInfo) -> DeviceTx | _SoftwareTx:
        stack = self._stack
        try:
            if stack.nic is None:
                raise NotOffloadable("there is no offload device")
            context = await stack.nic.tls_dev_add(uapi.TLS_TX, info)
        except NotOffloadable as e:
            path = _SoftwareTx(info, self._wire)
            self.why_not_offloaded = e.reason
            stack.tls_stat.update(TlsTxSw=1, TlsCurrTxSw=1)
            return path
        stack.tls_stat.update(TlsTxDevice=1, TlsCurrTxDevice=1)
        return DeviceTx(stack.nic, context, self._wire, self._record_done)

    def _record_done(self, rtype: int, length: int, completion: Completion) -> None:
        if self._stack.observer:
            self._stack.observer.record_done(self.conn, rtype, length, completion)

    async def getsockopt(self, level: int, option: int, optlen: int) -> bytes:
        """getsockopt(2); returns what the kernel would write, its length is the new optlen.

        Raises:
            KtlsOSError: as Linux.
        """
        self._check_open()
        if level == uapi.SOL_TCP and option == uapi.TCP_ULP:
            size = min(optlen, uapi.TCP_ULP_NAME_MAX)
            return b"tls".ljust(uapi.TCP_ULP_NAME_MAX, b"\0")[:size] if self._ulp else b""
        if level != uapi.SOL_TLS or not self._ulp:
            raise KtlsOSError(errno.EOPNOTSUPP, f"level {level}, option {option}")
        if option == uapi.TLS_TX:
            return self._tx.get_crypto_info(optlen)
        if option == uapi.TLS_TX_ZEROCOPY_RO:
            if optlen != 4:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO is an int")
            return self._zerocopy.to_bytes(4, "little")
        raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TLS")

    # -------------------------------------------------------------------- send

    async def send(self, data: Buffer, flags: int = 0) -> int:
        """send(2): returns how many bytes were accepted, those of an open record included."""
        return await self.sendmsg([data], (), flags)

    async def sendmsg(
        self, buffers: Iterable[Buffer], ancdata: AncillaryData = (), flags: int = 0
    ) -> int:
        """sendmsg(2).

        Args:
            buffers: the scatter list.
            ancdata: control messages as (level, type, data).
            flags: MSG_* bits.

        Returns:
            Accepted bytes; fewer than given if memory ran out on the way.

        Raises:
            KtlsOSError: as Linux; nothing was accepted.
        """
        self._check_open()
        data = b"".join(bytes(b) for b in buffers)
        path = self._path
        if path is None:
            return self._send_plain(data)
        flags = self._tx.check_flags(flags)
        rtype = self._tx.record_type(ancdata, flags)
        if rtype is not None:
            self._tx.check_error()
            await self._push(self._tx.flush_open())
        return await self._send_records(data, flags, rtype)

    async def _send_records(self, data: bytes, flags: int, rtype: int | None) -> int:
        kind = uapi.RECORD_TYPE_DATA if rtype is None else rtype
        view = memoryview(data)
        while view:
            try:
                n, record = self._tx.take(view, flags, kind)
            except KtlsOSError:
                accepted = len(data) - len(view)
                if accepted and not self._tx.error:
                    return accepted
                raise
            if self._stack.observer and not self._write_shut:
                self._stack.observer.app_sent(self.conn, kind, bytes(view[:n]))
            await self._push(record)
            view = view[n:]
        return len(data)

    async def _push(self, record: Record | None) -> None:
        if record is None:
            return
        if self._write_shut:
            # Linux reports success, raises SIGPIPE and sends nothing
            self.sigpipe += 1
            return
        assert self._path is not None
        await self._path.push(record.number, record.rtype, record.data)

    def _send_plain(self, data: bytes) -> int:
        if self._write_shut:
            self.sigpipe += 1
            raise KtlsOSError(errno.EPIPE, "the connection is shut down for writing")
        if data:
            self._wire(data)
        return len(data)

    async def sendfile(self, file: BinaryIO, offset: int | None, count: int) -> int:
        """sendfile(2) from a regular file.

        The file continues an open record; the end of the file closes the record.

        Args:
            file: open for reading in binary mode.
            offset: where to start; None: at the file's position, which moves.
            count: at most so many bytes.

        Returns:
            Accepted bytes; fewer than the file holds if memory ran out on the way.

        Raises:
            KtlsOSError: as Linux; nothing was accepted.
        """
        self._check_open()
        back = file.tell()
        start = back if offset is None else offset
        file.seek(start)
        sent = 0
        try:
            sent = await self._splice_file(file, count)
        finally:
            file.seek(start + sent if offset is None else back)
        return sent

    async def _splice_file(self, file: BinaryIO, count: int) -> int:
        sent = 0
        while sent < count:
            chunk = file.read(min(count - sent, uapi.TLS_MAX_PAYLOAD_SIZE))
            if not chunk:
                break
            try:
                n = await self._splice(chunk)
            except KtlsOSError:
                if sent and not self._tx.error:
                    return sent
                raise
            sent += n
            if n < len(chunk):
                return sent
        if self._path is not None and sent:
            await self._push(self._tx.flush_open())
        return sent

    async def _splice(self, chunk: bytes) -> int:
        if self._path is None:
            return self._send_plain(chunk)
        return await self._send_records(chunk, uapi.MSG_MORE, None)

    # ------------------------------------------------------------------- close

    async def flush(self) -> None:
        """Wait until every closed record has reached the wire."""
        if self._path is not None:
            await self._path.flush()

    async def shutdown(self, how: int) -> None:
        """shutdown(2): SHUT_WR drops an open record; closed ones are still sent."""
        self._check_open()
        if how not in (uapi.SHUT_RD, uapi.SHUT_WR, uapi.SHUT_RDWR):
            raise KtlsOSError(errno.EINVAL, f"how={how}")
        if how != uapi.SHUT_RD:
            await self.flush()
            self._drop_open()
            self._write_shut = True

    async def close(self) -> None:
        """close(2): drops an open record, sends closed ones, removes the keys."""
        self._check_open()
        self._drop_open()
        self._closed = True
        if self._path is not None:
            await self._path.flush()
            await self._path.close()
            mode = "TlsCurrTxSw" if isinstance(self._path, _SoftwareTx) else "TlsCurrTxDevice"
            self._stack.tls_stat[mode] -= 1

    def _drop_open(self) -> None:
        if self._stack.observer:
            self._stack.observer.app_closed(self.conn, self._tx.open_bytes)
        self._tx.discard_open()


class KtlsSocket:
    """A `TlsSock` with blocking methods; see there for arguments and errors."""

    def __init__(self, sock: TlsSock) -> None:
        self.sock = sock

    def setsockopt(self, level: int, option: int, value: bytes | None) -> None:
        run_sync(self.sock.setsockopt(level, option, value))

    def getsockopt(self, level: int, option: int, optlen: int) -> bytes:
        return run_sync(self.sock.getsockopt(level, option, optlen))

    def send(self, data: Buffer, flags: int = 0) -> int:
        return run_sync(self.sock.send(data, flags))

    def sendmsg(
        self, buffers: Iterable[Buffer], ancdata: AncillaryData = (), flags: int = 0
    ) -> int:
        return run_sync(self.sock.sendmsg(buffers, ancdata, flags))

    def sendfile(self, file: BinaryIO, offset: int | None, count: int) -> int:
        return run_sync(self.sock.sendfile(file, offset, count))

    def flush(self) -> None:
        run_sync(self.sock.flush())

    def shutdown(self, how: int) -> None:
        run_sync(self.sock.shutdown(how))

    def close(self) -> None:
        run_sync(self.sock.close())

    @property
    def why_not_offloaded(self) -> str | None:
        return self.sock.why_not_offloaded
