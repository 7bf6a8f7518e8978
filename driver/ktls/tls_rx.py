# SPDX-License-Identifier: Apache-2.0
"""The receive direction of the ULP: records in, plaintext out (net/tls/tls_sw.c).

Follows `tls_sw_recvmsg`, `process_rx_list`, `tls_rx_one_record` and `tls_sw_splice_read`
step by step. `ktls.tls_strp` finds the records in TCP's byte stream.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ktls import uapi
from ktls.cmsg import ControlBuffer
from ktls.errors import KtlsOSError
from ktls.kernels import Kernel
from ktls.pipe import PAGE
from ktls.record import BadRecord, Buffer, Protection
from ktls.tap import Tap
from ktls.tcp import RCV_SHUTDOWN, TcpSock
from ktls.tls_device import DeviceOpener
from ktls.tls_strp import StreamParser

_MAX_BLOCK = 8  # pages of contiguous memory (TLS_PAGE_ORDER)


@dataclass(slots=True)
class Opened:
    """An opened record.

    Attributes:
        control: its type.
        text: its plaintext without the delivered bytes.
        full_len: bytes of the record on the wire.
        at: offset of `text` in the memory that Linux opens the record into; the header comes first.
    """

    control: int
    text: memoryview
    full_len: int
    at: int

    def drop(self, count: int) -> None:
        """Remove the first `count` bytes, which were delivered."""
        self.text = self.text[count:]
        self.at += count

    def fragments(self, size: int) -> list[memoryview]:
        """Split the first `size` bytes where Linux's memory for them is not contiguous.

        The memory has the record's size, in blocks of at most 32 KiB, each a power of two of pages,
        the largest that fits (`tls_alloc_clrtxt_skb`, `alloc_skb_with_frags`).
        """
        out = []
        start, block = 0, 0  # of the memory
        while start < self.full_len:
            pages = -(-(self.full_len - start) // PAGE)
            block = min(1 << (pages.bit_length() - 1), _MAX_BLOCK) * PAGE
            low, high = max(start - self.at, 0), min(start + block - self.at, size, len(self.text))
            if low < high:
                out.append(self.text[low:high])
            start += block
        return out


class _Call:
    """The progress of one recvmsg.

    Args:
        control: the caller's control buffer.
        size: bytes that the iovecs hold.
        fault_at: offset of the first byte at a bad address.

    Attributes:
        control: the caller's control buffer.
        memory: the written part of the caller's memory.
        count: number of delivered bytes; the length of `memory`, except with a kernel bug.
        rtype: type of the delivered records, 0 before the first.
        eor: the last record was delivered to its end.
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
        """Deliver all bytes or none.

        Raises:
            KtlsOSError: EFAULT.
        """
        room = self._size - len(self.memory)
        self.check_address(min(len(text), room))
        self.memory += text[:room]
        self.count += len(text)

    def check_address(self, count: int) -> None:
        """Check that the next `count` bytes can be written.

        Raises:
            KtlsOSError: EFAULT.
        """
        if count > 0 and len(self.memory) + count > min(self._fault_at, self._size):
            raise KtlsOSError(errno.EFAULT, f"byte {self._fault_at} cannot be written")


class _Deliver(Exception):
    """Ends a call: with the bytes that it has, or with an errno if it has none.

    Args:
        number: the errno; 0: the call returns 0 bytes.
    """

    def __init__(self, number: int = 0) -> None:
        self.number = number


class TlsRx:
    """The receive direction of one socket.

    Args:
        tcp: the connection.
        kernel: personality of the kernel.
        protection: keys and counters.
        stat: counters of /proc/net/tls_stat.
        opener: a device that opens records when they arrive; None without one.
        tap: receives reports of delivered bytes; None without an observer.

    Attributes:
        opener: the device, None without one.
        protection: keys and counters.
        no_pad: TLS_RX_EXPECT_NO_PAD.
        key_update_pending: a KeyUpdate was read and its new key has not been set yet.
    """

    def __init__(
        self,
        tcp: TcpSock,
        kernel: Kernel,
        protection: Protection,
        stat: Counter[str],
        opener: DeviceOpener | None,
        tap: Tap | None,
    ) -> None:
        self.opener = opener
        self.protection = protection
        self.no_pad = False
        self.key_update_pending = False
        self._tcp = tcp
        self._kernel = kernel
        self._stat = stat
        self._tap = tap
        self._parser = StreamParser(tcp, protection)
        self._list: deque[Opened] = deque()
        tcp.on_data = self._arrived
        self._arrived()

    def rekey(self, protection: Protection, opener: DeviceOpener | None) -> None:
        """Replace the keys (`tls_finish_key_update`).

        Args:
            protection: the new keys and counters.
            opener: the device with the new keys, None without one.
        """
        self.protection = protection
        self.key_update_pending = False
        if self.opener is not None:
            self.opener.close()
        self.opener = opener
        self._arrived()

    def _arrived(self) -> None:
        self._parser.check()
        if self.opener is not None:
            self.opener.offer(self._parser)

    def _consume(self) -> None:
        """Remove the record at the head, which was opened."""
        if self.opener is not None:
            self.opener.consumed()
        self._parser.done()

    # ----------------------------------------------------------------------- poll

    @property
    def readable(self) -> bool:
        """Whether there is a complete record (`tls_sw_sock_is_readable`)."""
        return bool(self._list) or self._parser.ready

    @property
    def hides_input(self) -> bool:
        """Whether poll must not report POLLIN on an open connection (`tls_sk_poll`)."""
        partial = self._kernel.poll_hides_partial_record and not self.readable
        return partial or self.key_update_pending

    # -------------------------------------------------------------------- recvmsg

    def recvmsg(
        self, size: int, flags: int, control: ControlBuffer, fault_at: int | None = None
    ) -> tuple[bytes, bool]:
        """recvmsg(2).

        Args:
            size: bytes that the iovecs hold.
            flags: MSG_* bits.
            control: receives the record type.
            fault_at: offset of the first byte at a bad address.

        Returns:
            The bytes, and whether they end at the end of a record (MSG_EOR).

        Raises:
            KtlsOSError: as Linux; no byte was delivered.
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
        if data and self._tap is not None and not flags & uapi.MSG_PEEK:
            self._tap.app_received(call.rtype, data)
        if number and not data:
            raise KtlsOSError(number, "no byte was received")
        return data, call.eor

    def _from_list(self, call: _Call, size: int, peek: bool) -> None:
        """Deliver records that were opened earlier (`process_rx_list`).

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
                opened.drop(chunk)
                break
            call.eor = True
            if peek:
                index += 1
            else:
                self._list.popleft()
        if left == 0 or call.rtype not in (0, uapi.RECORD_TYPE_DATA):
            raise _Deliver()

    def _from_stream(self, call: _Call, size: int, flags: int) -> None:
        """Open and deliver records of the stream.

        Raises:
            _Deliver: the call ends here.
        """
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
                # EIO or EFAULT: keep the record, because it is opened and counted
                self._list.append(opened)
                raise _Deliver(e.errno or errno.EIO) from None
            if peek or len(opened.text) > room:
                if not peek:
                    opened.drop(room)
                self._list.append(opened)
            else:
                call.eor = True
            if opened.control != uapi.RECORD_TYPE_DATA:
                return

    def _content_type(self, call: _Call, control: int) -> bool:
        """Return whether the call can deliver this type (`tls_record_content_type`).

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
            raise KtlsOSError(errno.EIO, "no room for the type of a control record")
        return True

    # -------------------------------------------------------------------- records

    def _record_wait(self, flags: int, copied: bool) -> bool:
        """Wait for a complete record (`tls_rx_rec_wait`).

        Args:
            flags: MSG_* bits of the call.
            copied: the call has bytes to return.

        Returns:
            False at the end of the stream.

        Raises:
            _Deliver: with the errno.
        """
        tcp = self._tcp
        if self.key_update_pending:
            raise _Deliver(errno.EKEYEXPIRED)
        err = 0
        while not self._parser.ready:
            if tcp.sk_err:
                if copied and self._kernel.keeps_error_after_data:
                    raise _Deliver()
                raise _Deliver(tcp.take_error())
            if err:
                raise _Deliver(err)
            # bytes below SO_RCVLOWAT have not been looked at
            self._arrived()
            if self._parser.ready:
                break
            if tcp.sk_err and self._kernel.reports_new_parse_error:
                continue
            if tcp.shutdown & RCV_SHUTDOWN or tcp.done:
                return False
            err = tcp.wait_data(flags)
            if err == errno.EINTR or (err and flags & uapi.MSG_DONTWAIT):
                raise _Deliver(err)
        return True

    def _open_one(self, call: _Call | None, room: int, peek: bool) -> Opened:
        """Open the record at the head (`tls_rx_one_record`); it stays in the queue.

        Args:
            call: the recvmsg, None for splice.
            room: bytes that the call can still take.
            peek: the call has MSG_PEEK.

        Raises:
            _Deliver: with the errno; the socket error is set.
        """
        record = self._parser.record
        p = self.protection
        zero_copy = (
            not peek
            and (not p.tls13 or self.no_pad)
            and len(record) - p.overhead <= room
            and record[0] == uapi.RECORD_TYPE_DATA
        )
        try:
            opened = self._decrypt(record, call if zero_copy else None)
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

    def _decrypt(self, record: memoryview, direct: _Call | None) -> Opened:
        """Decrypt a record and separate its type from its text (`tls_decrypt_sw`).

        Args:
            record: the record.
            direct: the recvmsg, if Linux decrypts into its memory (zero copy). A bad address
                then fails before the record is opened.

        Raises:
            BadRecord: the record is not authentic.
            KtlsOSError: EFAULT, or EBADMSG for an inner plaintext of zeros.
        """
        p = self.protection
        text_len = len(record) - p.overhead
        if direct is not None:
            direct.check_address(text_len)
        ahead = self.opener.head if self.opener is not None else None
        inner = p.open(record) if ahead is None else ahead
        if not p.tls13:
            return Opened(record[0], memoryview(inner), len(record), p.prepend)
        if direct is not None and inner[-1:] != bytes((uapi.RECORD_TYPE_DATA,)):
            # the record is padded or not application data: Linux decrypts again
            if self._kernel.nopad_retry_misplaces:
                direct.memory += inner[:text_len]
            if not inner[-1:] or not inner[-1]:
                self._stat["TlsRxNoPadViolation"] += 1
            self._stat["TlsDecryptRetry"] += 1
        stripped = inner.rstrip(b"\0")
        if not stripped:
            raise KtlsOSError(errno.EBADMSG, "an inner plaintext of zeros")
        return Opened(stripped[-1], memoryview(stripped)[:-1], len(record), p.prepend)

    def _check_key_update(self, opened: Opened) -> None:
        """Stop reading behind a KeyUpdate (`tls_check_pending_rekey`).

        Linux looks at the first byte in TLS 1.2 as well, where it cannot mean a KeyUpdate.
        """
        if (
            self._kernel.rekey
            and opened.control == uapi.RECORD_TYPE_HANDSHAKE
            and opened.text[:1] == bytes((uapi.HANDSHAKE_KEY_UPDATE,))
        ):
            self.key_update_pending = True
            self._stat["TlsRxRekeyReceived"] += 1

    # --------------------------------------------------------------------- splice

    def splice_read(self, put: Callable[[Sequence[memoryview]], int], size: int, flags: int) -> int:
        """Move bytes of at most one record to a pipe (`tls_sw_splice_read`).

        Args:
            put: adds buffers to the pipe and returns how many bytes had room.
            size: maximal number of bytes.
            flags: MSG_DONTWAIT or 0.

        Returns:
            Number of moved bytes; 0 for an empty record and at the end of the stream.

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
                raise KtlsOSError(e.number, "no byte was received") from None
            self._consume()
        if opened.control != uapi.RECORD_TYPE_DATA:
            self._list.appendleft(opened)
            raise KtlsOSError(errno.EINVAL, "splice does not deliver control records")
        moved = put(opened.fragments(size))
        if moved and self._tap is not None:
            self._tap.app_received(opened.control, bytes(opened.text[:moved]))
        if moved < len(opened.text):
            opened.drop(moved)
            self._list.appendleft(opened)
        return moved
