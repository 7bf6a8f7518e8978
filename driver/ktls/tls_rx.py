# SPDX-License-Identifier: Apache-2.0
"""The receive side of the ULP: bytes from TCP in, records' text out.

`StreamParser` finds records in the byte stream (net/tls/tls_strp.c, `tls_rx_msg_size`),
`TlsRx` opens and delivers them (tls_sw.c: `tls_sw_recvmsg`, `process_rx_list`,
`tls_sw_splice_read`), step by step.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from ktls import uapi
from ktls.cmsg import ControlBuffer
from ktls.errors import KtlsOSError
from ktls.kernels import Kernel
from ktls.record import BadRecord, Buffer, Protection
from ktls.tcp import RCV_SHUTDOWN, TcpSock
from ktls.tls_device import DeviceOpener


class StreamParser:
    """Cuts a TCP receive queue into records.

    Attributes:
        full_len: bytes of the record at the head, 0 if its header is not there yet.
        ready: that record is complete.
        stopped: a header was broken; nothing is looked at any more.
    """

    def __init__(self, tcp: TcpSock, protection: Protection) -> None:
        self.full_len = 0
        self.ready = False
        self.stopped = False
        self._tcp = tcp
        self._protection = protection
        self._taken = bytearray()
        self._busy = False

    def check(self) -> None:
        """Look at the queue (`tls_strp_check_rcv`)."""
        if self.stopped or self.ready or self._busy:
            return
        queue = self._tcp.rcvq
        while True:
            have = len(self._taken) + len(queue)
            if not self.full_len and have >= self._protection.prepend:
                err = self._header(bytes(self._taken + queue[: uapi.TLS_HEADER_SIZE]))
                if err:
                    self.stopped = True
                    self._tcp.sk_err = err
                    return
            if self.full_len and have >= self.full_len:
                self.ready = True
                return
            # a record larger than the receive window never comes as long as its first
            # bytes stay in the queue (`tls_strp_read_copy`)
            if not queue or not (self._taken or self._tcp.window() == 0):
                return
            self._take()

    def _take(self) -> None:
        self._busy = True
        room = (self.full_len or self._protection.prepend) - len(self._taken)
        self._taken += self._tcp.consume(room)
        self._busy = False

    def _header(self, header: bytes) -> int:
        p = self._protection
        length = int.from_bytes(header[3:5], "big")
        extra = uapi.TLS_TAG_SIZE + (8 if p.explicit else 0)
        if length > uapi.TLS_MAX_PAYLOAD_SIZE + extra + p.tail:
            return errno.EMSGSIZE
        if length < extra:
            return errno.EBADMSG
        if header[1:3] != b"\x03\x03":
            return errno.EINVAL
        self.full_len = uapi.TLS_HEADER_SIZE + length
        return 0

    def bytes_at(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset` behind the head of the stream on."""
        taken = len(self._taken)
        out = bytes(self._taken[offset : offset + count])
        at = max(0, offset - taken)
        return out + bytes(self._tcp.rcvq[at : at + count - len(out)])

    @property
    def record(self) -> memoryview:
        """The complete record at the head of the queue."""
        rest = self.full_len - len(self._taken)
        return memoryview(bytes(self._taken + self._tcp.rcvq[:rest]))

    def done(self) -> None:
        """The record was taken; look for the next (`tls_strp_msg_done`)."""
        rest = self.full_len - len(self._taken)
        self.full_len, self.ready = 0, False
        self._taken.clear()
        self._tcp.consume(rest)
        self.check()


@dataclass(slots=True)
class Opened:
    """An opened record, or what is left of it."""

    control: int
    text: memoryview


class _Call:
    """What one recvmsg has done so far.

    Attributes:
        memory: the caller's memory as far as it was written.
        count: bytes that were delivered; all of `memory`, but for a bug of some kernels.
        rtype: type of the records delivered, 0 before the first.
        eor: the last one was delivered to its end.
    """

    __slots__ = ("_fault_at", "_size", "control", "count", "eor", "memory", "rtype")

    def __init__(self, control: ControlBuffer, size: int, fault_at: int | None) -> None:
        self.control = control
        self.memory = bytearray()
        self.count = 0
        self.rtype = 0
        self.eor = False
        self._size = size
        self._fault_at = size if fault_at is None else fault_at

    def copy(self, text: Buffer) -> None:
        """Deliver, all or nothing.

        Raises:
            KtlsOSError: EFAULT.
        """
        room = self._size - len(self.memory)
        self.check_address(min(len(text), room))
        self.memory += text[:room]
        self.count += len(text)

    def check_address(self, count: int) -> None:
        """Can the next `count` bytes be written?

        Raises:
            KtlsOSError: EFAULT.
        """
        if count > 0 and len(self.memory) + count > min(self._fault_at, self._size):
            raise KtlsOSError(errno.EFAULT, f"byte {self._fault_at} cannot be written")


class _Deliver(Exception):
    """The call ends here with what it has; or with this errno if it has nothing."""

    def __init__(self, number: int = 0) -> None:
        self.number = number


class TlsRx:
    """One socket's receive direction.

    Attributes:
        no_pad: TLS_RX_EXPECT_NO_PAD.
        key_update_pending: a KeyUpdate was read and no new key was set since.

    Args:
        tcp: the connection.
        kernel: whose behaviour.
        protection: keys and counters.
        stat: counters of /proc/net/tls_stat.
        wait: `wait(flags)` sleeps until there may be something; an errno, 0 to go on.
        opener: a device that opens records ahead, or None.
        received: observer of what is handed out, `received(rtype, data)`.
    """

    def __init__(
        self,
        tcp: TcpSock,
        kernel: Kernel,
        protection: Protection,
        stat: Counter[str],
        wait: Callable[[int], int],
        opener: DeviceOpener | None = None,
        received: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.opener = opener
        self._received = received
        self.protection = protection
        self.no_pad = False
        self.key_update_pending = False
        self._tcp = tcp
        self._kernel = kernel
        self._stat = stat
        self._wait = wait
        self._parser = StreamParser(tcp, protection)
        self._list: deque[Opened] = deque()
        tcp.on_data = self._arrived
        self._arrived()

    def rekey(self, protection: Protection, opener: DeviceOpener | None = None) -> None:
        """TLS_RX was set again (`tls_finish_key_update`)."""
        self.protection = protection
        self.key_update_pending = False
        if self.opener is not None:
            self.opener.close()
        self.opener = opener
        self._arrived()

    def _arrived(self) -> None:
        self._parser.check()
        if self.opener is not None:
            self.opener.look(self._parser)

    def _consume(self) -> None:
        """The record at the head was opened."""
        if self.opener is not None:
            self.opener.consumed()
        self._parser.done()

    # ----------------------------------------------------------------------- poll

    @property
    def readable(self) -> bool:
        """Is there something for recvmsg (`tls_sw_sock_is_readable`)?"""
        if self._list:
            return True
        return self._parser.ready and not self.key_update_pending

    # -------------------------------------------------------------------- recvmsg

    def recvmsg(
        self, size: int, flags: int, control: ControlBuffer, fault_at: int | None = None
    ) -> tuple[bytes, bool]:
        """recvmsg(2).

        Args:
            size: bytes that the iovecs hold.
            flags: MSG_* bits.
            control: filled with the record type.
            fault_at: offset of the first byte at a bad address.

        Returns:
            The bytes, and whether they end at the end of a record (MSG_EOR).

        Raises:
            KtlsOSError: as Linux; nothing was delivered.
        """
        if flags & uapi.MSG_ERRQUEUE:
            raise KtlsOSError(errno.EAGAIN, "the error queue is empty")
        call = _Call(control, size, fault_at)
        number = 0
        try:
            self._from_list(call, size, bool(flags & uapi.MSG_PEEK))
            self._from_stream(call, size, flags)
        except _Deliver as e:
            number = e.number
        data = bytes(call.memory[: call.count])
        if data and self._received is not None and not flags & uapi.MSG_PEEK:
            self._received(call.rtype, data)
        if number and not data:
            raise KtlsOSError(number, "nothing was received")
        return data, call.eor

    def _from_list(self, call: _Call, size: int, peek: bool) -> None:
        """Records opened earlier (`process_rx_list`).

        Raises:
            _Deliver: the call ends here.
        """
        left = size
        index = 0
        while left and index < len(self._list):
            opened = self._list[index]
            chunk = min(len(opened.text), left)
            try:
                if not self._content_type(call, opened.control):
                    raise _Deliver()
                call.copy(opened.text[:chunk])
            except KtlsOSError as e:
                raise _Deliver(e.errno or errno.EIO) from None
            left -= chunk
            if not peek and chunk < len(opened.text):
                opened.text = opened.text[chunk:]
                break
            call.eor = True
            if peek:
                index += 1
            else:
                self._list.popleft()
        if left == 0 or call.rtype not in (0, uapi.RECORD_TYPE_DATA):
            raise _Deliver()

    def _from_stream(self, call: _Call, size: int, flags: int) -> None:
        peek = bool(flags & uapi.MSG_PEEK)
        target = size if flags & uapi.MSG_WAITALL else min(self._tcp.rcvlowat, size) or 1
        while call.count < size and (call.count < target or self._parser.ready):
            room = size - call.count
            if not self._record_wait(flags, bool(call.count)):
                return
            opened = self._open_one(call, room, peek)
            self._consume()
            try:
                if not self._content_type(call, opened.control):
                    self._list.append(opened)
                    return
                call.copy(opened.text[:room])
            except KtlsOSError as e:
                # EIO or EFAULT: the record is opened and counted, so it is kept
                self._list.append(opened)
                raise _Deliver(e.errno or errno.EIO) from None
            if peek or len(opened.text) > room:
                if not peek:
                    opened.text = opened.text[room:]
                self._list.append(opened)
            else:
                call.eor = True
            if opened.control != uapi.RECORD_TYPE_DATA:
                return

    def _content_type(self, call: _Call, control: int) -> bool:
        """Can a record of this type be part of the call (`tls_record_content_type`)?

        Raises:
            KtlsOSError: EIO without room for the type, EBADMSG for type 0.
        """
        if call.rtype:
            return call.rtype == control
        if control == 0:
            raise KtlsOSError(errno.EBADMSG, "a record of type 0")
        call.rtype = control
        call.control.put(uapi.SOL_TLS, uapi.TLS_GET_RECORD_TYPE, bytes((control,)))
        if control != uapi.RECORD_TYPE_DATA and call.control.truncated:
            raise KtlsOSError(errno.EIO, "a control record without room for its type")
        return True

    # -------------------------------------------------------------------- records

    def _record_wait(self, flags: int, copied: bool) -> bool:
        """Wait for a complete record (`tls_rx_rec_wait`); False at the end of the stream.

        Raises:
            _Deliver: with the errno.
        """
        tcp = self._tcp
        if self.key_update_pending:
            raise _Deliver(errno.EKEYEXPIRED)
        err = 0
        while not self._parser.ready:
            if tcp.sk_err:
                if copied and self._kernel.keeps_error_behind_data:
                    raise _Deliver()
                raise _Deliver(tcp.take_error())
            if err:
                raise _Deliver(err)
            if tcp.shutdown & RCV_SHUTDOWN or tcp.done:
                return False
            err = self._wait(flags)
        return True

    def _open_one(self, call: _Call | None, room: int, peek: bool) -> Opened:
        """Open the record at the head (`tls_rx_one_record`); it stays in the queue.

        Where Linux decrypts into the caller's memory (its zero-copy path) a bad address
        shows before the record is opened.

        Raises:
            _Deliver: with the errno; the socket error is set.
        """
        record = self._parser.record
        p = self.protection
        text_len = len(record) - p.overhead
        direct = (
            call is not None
            and not peek
            and (not p.tls13 or self.no_pad)
            and text_len <= room
            and record[0] == uapi.RECORD_TYPE_DATA
        )
        try:
            if direct and call is not None:
                call.check_address(text_len)
            ahead = self.opener.head if self.opener is not None else None
            inner = p.open(record) if ahead is None else ahead
            if not p.tls13:
                opened = Opened(record[0], memoryview(inner))
            else:
                if direct and inner[-1:] != bytes((uapi.RECORD_TYPE_DATA,)):
                    # the guess "data without padding" was wrong: Linux decrypts again
                    if self._kernel.nopad_retry_misplaces and call is not None:
                        call.memory += inner[:text_len]
                    if not inner[-1:] or not inner[-1]:
                        self._stat["TlsRxNoPadViolation"] += 1
                    self._stat["TlsDecryptRetry"] += 1
                stripped = inner.rstrip(b"\0")
                if not stripped:
                    raise KtlsOSError(errno.EBADMSG, "an inner plaintext of zeros")
                opened = Opened(stripped[-1], memoryview(stripped)[:-1])
        except BadRecord:
            self._stat["TlsDecryptError"] += 1
            self._tcp.sk_err = errno.EBADMSG
            raise _Deliver(errno.EBADMSG) from None
        except KtlsOSError as e:
            self._tcp.sk_err = errno.EBADMSG
            raise _Deliver(e.errno or errno.EBADMSG) from None
        if p.advance():
            self._tcp.sk_err = errno.EBADMSG
        self._check_key_update(opened)
        return opened

    def _check_key_update(self, opened: Opened) -> None:
        if (
            self._kernel.rekey
            and self.protection.tls13
            and opened.control == uapi.RECORD_TYPE_HANDSHAKE
            and opened.text[:1] == bytes((uapi.HANDSHAKE_KEY_UPDATE,))
        ):
            self.key_update_pending = True
            self._stat["TlsRxRekeyReceived"] += 1

    # --------------------------------------------------------------------- splice

    def splice_read(self, put: Callable[[memoryview], int], size: int, flags: int) -> int:
        """Hand at most one record's bytes to a pipe (`tls_sw_splice_read`).

        Args:
            put: takes bytes and says how many it had room for.
            size: at most so many bytes.
            flags: MSG_DONTWAIT or 0.

        Returns:
            Bytes moved; 0 for an empty record and at the end of the stream.

        Raises:
            KtlsOSError: EINVAL for a control record, or as recvmsg.
        """
        if self._list:
            opened = self._list.popleft()
        else:
            try:
                if not self._record_wait(flags, False):
                    return 0
                opened = self._open_one(None, 0, False)
            except _Deliver as e:
                raise KtlsOSError(e.number, "nothing was received") from None
            self._consume()
        if opened.control != uapi.RECORD_TYPE_DATA:
            self._list.appendleft(opened)
            raise KtlsOSError(errno.EINVAL, "splice does not take control records")
        moved = put(opened.text[:size])
        if moved and self._received is not None:
            self._received(opened.control, bytes(opened.text[:moved]))
        if moved < len(opened.text):
            opened.text = opened.text[moved:]
            self._list.appendleft(opened)
        return moved
