# SPDX-License-Identifier: Apache-2.0
"""The transmit direction of the ULP: calls in, records out (net/tls/tls_sw.c).

Follows `tls_sw_sendmsg_locked`, `tls_process_cmsg`, `tls_push_record` and `tls_tx_records`
step by step. The code is the same whether the CPU or a device seals the records.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ktls import cmsg, uapi
from ktls.errors import KtlsOSError
from ktls.kernels import Kernel
from ktls.record import MAX_NUMBER, Buffer, Protection
from ktls.tap import Tap
from ktls.tcp import SEND_SHUTDOWN, TcpSock
from ktls.wire import Chunk, Wire

MAX_FRAGS = 17
"""Fragments of an open record at which Linux closes it (MAX_SKB_FRAGS)."""


class Sealer(Protocol):
    """Seals the records of a connection: the CPU or a device."""

    def seal(self, protection: Protection, rtype: int, data: Buffer) -> Sequence[Chunk]:
        """Seal a record with the current counters of `protection`, without advancing them.

        Args:
            protection: keys and counters.
            rtype: record type.
            data: plaintext.

        Returns:
            The chunks of the record, in wire order.
        """


class SoftwareSealer:
    """Seals records with the CPU."""

    def seal(self, protection: Protection, rtype: int, data: Buffer) -> Sequence[Chunk]:
        """Seal a record at once; see `Sealer`."""
        return protection.seal_at(protection.seq, protection.iv, rtype, data)


@dataclass(slots=True)
class MemoryFaults:
    """Allocation failures to inject.

    Each attribute is the number of allocations that succeed before one fails; None: no
    failure.

    Attributes:
        record_alloc: allocations of a record; the failure is ENOMEM (`tls_get_rec`).
        buffer_mem: allocations for the bytes of a record; on failure the call waits
            (`sk_stream_wait_memory`).
    """

    record_alloc: int | None = None
    buffer_mem: int | None = None

    def strikes(self, name: str) -> bool:
        """Count an allocation and return whether it fails.

        Args:
            name: `record_alloc` or `buffer_mem`.
        """
        left: int | None = getattr(self, name)
        if left is None:
            return False
        setattr(self, name, left - 1 if left else None)
        return left == 0


class _OpenRecord:
    """A record that still accepts bytes (`struct tls_rec`, the plaintext `sk_msg`).

    Consecutive copied bytes share one fragment; a page is a fragment of its own.
    """

    __slots__ = ("_last_copied", "frags", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[Buffer] = []
        self.size = 0
        self.frags = 0
        self._last_copied = False

    def copy(self, data: Buffer) -> None:
        self.parts.append(data)
        self.size += len(data)
        if not self._last_copied:
            self.frags += 1
            self._last_copied = True

    def page(self, data: Buffer) -> None:
        self.parts.append(data)
        self.size += len(data)
        self.frags += 1
        self._last_copied = False

    def text(self) -> Buffer:
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


class _Source:
    """The bytes of a call; those from `fault_at` on are at bad addresses."""

    __slots__ = ("_view", "at", "end", "fault_at")

    def __init__(self, data: Buffer, fault_at: int | None) -> None:
        self._view = memoryview(data)
        self.at = 0
        self.end = len(data)
        self.fault_at = self.end if fault_at is None else fault_at

    def take(self, count: int) -> memoryview:
        stop = self.at + count
        if stop > self.fault_at:
            raise KtlsOSError(errno.EFAULT, f"byte {self.fault_at} cannot be read")
        view = self._view[self.at : stop]
        self.at = stop
        return view


class TlsTx:
    """The transmit direction of one socket.

    Args:
        tcp: the connection.
        kernel: personality of the kernel.
        protection: keys and counters.
        sealer: seals the records.
        faults: allocation failures to inject.
        tap: receives reports of accepted and dropped bytes; None without an observer.

    Attributes:
        protection: keys and counters.
        sealer: seals the records.
        limit: bytes of plaintext at which a record is closed.
    """

    def __init__(
        self,
        tcp: TcpSock,
        kernel: Kernel,
        protection: Protection,
        sealer: Sealer,
        faults: MemoryFaults,
        tap: Tap | None,
    ) -> None:
        self.protection = protection
        self.sealer = sealer
        self.limit = uapi.TLS_MAX_PAYLOAD_SIZE
        self._tcp = tcp
        self._kernel = kernel
        self._faults = faults
        self._tap = tap
        self._open: _OpenRecord | None = None
        self._queue: deque[tuple[Chunk, int]] = deque()
        # set if records can go to the wire at once: no device and no send buffer
        self._sink: Callable[[bytes], None] | None = None
        if isinstance(tcp.far, Wire) and isinstance(sealer, SoftwareSealer):
            self._sink = tcp.far.sink

    @property
    def open_bytes(self) -> int:
        """Number of accepted bytes in the open record (MSG_MORE)."""
        return self._open.size if self._open else 0

    @property
    def has_open_record(self) -> bool:
        """Whether a record is open; it may be empty."""
        return self._open is not None

    # -------------------------------------------------------------- system calls

    def sendmsg(
        self, data: Buffer, flags: int, control: bytes = b"", fault_at: int | None = None
    ) -> int:
        """sendmsg(2).

        Args:
            data: all iovecs, concatenated.
            flags: MSG_* bits as the caller passed them.
            control: the control buffer.
            fault_at: offset of the first byte at a bad address.

        Returns:
            Number of accepted bytes, including those in the open record.

        Raises:
            KtlsOSError: as Linux; no byte was accepted.
        """
        flags &= ~self._kernel.stripped_flags & 0xFFFF_FFFF
        if self._kernel.compat:
            # allowed, and without a meaning in a call without a msghdr
            flags &= ~uapi.MSG_CMSG_COMPAT
        if flags & ~self._kernel.send_flags:
            raise KtlsOSError(errno.EOPNOTSUPP, f"flags {flags & ~self._kernel.send_flags:#x}")
        if flags & uapi.MSG_MORE and flags & uapi.MSG_EOR:
            raise KtlsOSError(errno.EINVAL, "MSG_MORE with MSG_EOR")
        rtype = uapi.RECORD_TYPE_DATA
        if control:
            rtype = self._process_cmsg(control, flags)
        source = _Source(data, fault_at)
        more = bool(flags & uapi.MSG_MORE)
        taken = 0
        err = 0
        while source.at < source.end and not err:
            record, err = self._record_with_room(flags)
            if record is None:
                break
            room = self.limit - record.size
            n = min(source.end - source.at, room)
            try:
                view = source.take(n)
            except KtlsOSError as e:
                err = e.errno or errno.EFAULT
                break
            closes = n == room or not more
            # the application may reuse its buffer after the call
            record.copy(view if closes else bytes(view))
            taken += n
            self._observe(rtype, view)
            if closes or record.frags == MAX_FRAGS:
                err, back = self._close_record(rtype, flags)
                taken -= back
        return self._finish(err, taken, flags)

    def sendpages(self, pages: Sequence[Buffer], flags: int) -> int:
        """Send pages of a pipe as one message (MSG_SPLICE_PAGES; a single page: `sendpage`).

        Args:
            pages: the pages.
            flags: MSG_* bits.

        Returns:
            Number of accepted bytes.

        Raises:
            KtlsOSError: as Linux; no byte was accepted.
        """
        more = bool(flags & uapi.MSG_MORE)
        left = deque(memoryview(p) for p in pages if len(p))
        taken = 0
        err = 0
        while left and not err:
            record, err = self._record_with_room(flags)
            if record is None:
                break
            first, before = len(record.parts), record.size
            while left and record.size < self.limit and record.frags < MAX_FRAGS:
                self._add_page(record, left)
            # Linux shares the pages with the file or pipe; the model copies them
            copied = b"".join(record.parts[first:])
            record.parts[first:] = [copied]
            taken += record.size - before
            self._observe(uapi.RECORD_TYPE_DATA, copied)
            full = record.size == self.limit or record.frags == MAX_FRAGS
            if full or not more:
                err, back = self._close_record(uapi.RECORD_TYPE_DATA, flags)
                taken -= back
        return self._finish(err, taken, flags)

    def send_record(self, data: Buffer) -> bool:
        """Send application data as one record on the fast path.

        The fast path is the common case: the CPU seals, TCP has no send buffer, no record is
        open or queued, and no error is pending. The result equals that of `sendmsg`.

        Returns:
            False if a condition does not hold; the call had no effect.
        """
        tcp = self._tcp
        faults = self._faults
        sink = self._sink
        if (
            sink is None
            or not 0 < len(data) <= self.limit
            or self._open is not None
            or self._queue
            or tcp.sk_err
            or tcp.shutdown
            or faults.record_alloc is not None
            or faults.buffer_mem is not None
            or self.protection.seq == MAX_NUMBER
        ):
            return False
        if self._tap is not None:
            self._tap.app_sent(uapi.RECORD_TYPE_DATA, data)
        head, body = self.protection.seal_data(data)
        sink(head)
        sink(body)
        return True

    def send_file(self, data: memoryview) -> int:
        """Send full records of a file on the fast path of `send_record`.

        Args:
            data: consecutive bytes.

        Returns:
            Number of bytes sent as records; the others need `sendpages`.
        """
        limit = self.limit
        # the first record checks the conditions
        if len(data) < limit or not self.send_record(data[:limit]):
            return 0
        sink = self._sink
        assert sink is not None
        seal = self.protection.seal_data
        tcp = self._tcp
        at = limit
        while at + limit <= len(data):
            if tcp.sk_err or tcp.shutdown or self.protection.seq == MAX_NUMBER:
                break
            piece = data[at : at + limit]
            if self._tap is not None:
                self._tap.app_sent(uapi.RECORD_TYPE_DATA, piece)
            head, body = seal(piece)
            sink(head)
            sink(body)
            at += limit
        return at

    def splice_eof(self) -> None:
        """Close the open record at the end of a file (`tls_sw_splice_eof`)."""
        if self._open is not None and self._open.size:
            self._close_record(uapi.RECORD_TYPE_DATA, 0)

    # ------------------------------------------------------------------- records

    def _finish(self, err: int, taken: int, flags: int) -> int:
        if err:
            err = self._tcp.stream_error(err, flags)
            # dropping a whole record can drop more bytes than this call supplied
            if taken <= 0:
                raise KtlsOSError(err, "no byte was accepted")
        return taken

    def _observe(self, rtype: int, data: Buffer) -> None:
        if self._tap is not None and not self._tcp.shutdown & SEND_SHUTDOWN:
            self._tap.app_sent(rtype, data)

    def _add_page(self, record: _OpenRecord, left: deque[memoryview]) -> None:
        """Move the first page to a record, or as much of it as the record holds."""
        page = left[0]
        room = self.limit - record.size
        if len(page) <= room:
            record.page(left.popleft())
        else:
            record.page(page[:room])
            left[0] = page[room:]

    def _record_with_room(self, flags: int) -> tuple[_OpenRecord | None, int]:
        """Return the open record or a new one once the send buffer has room, or an errno."""
        while True:
            if self._tcp.sk_err:
                return None, self._tcp.sk_err
            if self._open is None:
                if self._faults.strikes("record_alloc"):
                    return None, errno.ENOMEM
                self._open = _OpenRecord()
            if self._tcp.memory_free and not self._faults.strikes("buffer_mem"):
                return self._open, 0
            err = self._tcp.wait_space(flags)
            if err:
                return None, err

    def _process_cmsg(self, control: bytes, flags: int) -> int:
        """Return the record type in the control messages, and close the open record.

        Raises:
            KtlsOSError: EINVAL, or the error of closing the open record.
        """
        rtype: int | None = None
        err = 0
        for message in cmsg.walk(control):
            if message.level != uapi.SOL_TLS:
                continue
            if message.kind != uapi.TLS_SET_RECORD_TYPE:
                raise KtlsOSError(errno.EINVAL, f"control message {message.kind} of SOL_TLS")
            if not message.data:
                raise KtlsOSError(errno.EINVAL, "TLS_SET_RECORD_TYPE without a type")
            if flags & uapi.MSG_MORE:
                raise KtlsOSError(errno.EINVAL, "TLS_SET_RECORD_TYPE with MSG_MORE")
            rtype = message.data[0]
            # a later control message overrides the error of an earlier flush
            err = 0
            if self._open is not None and self._open.size:
                err, _ = self._close_record(uapi.RECORD_TYPE_DATA, flags)
        if rtype is None:
            raise KtlsOSError(errno.EINVAL, "control messages without TLS_SET_RECORD_TYPE")
        if err:
            self._finish(err, 0, flags)
        return rtype

    def _close_record(self, rtype: int, flags: int) -> tuple[int, int]:
        """Seal the open record and pass it to TCP (`tls_push_record`).

        Returns:
            An errno or 0, and the number of accepted bytes that were dropped.
        """
        record = self._open
        assert record is not None
        self._open = None
        for chunk in self.sealer.seal(self.protection, rtype, record.text()):
            self._queue.append((chunk, 0))
        if self.protection.advance():
            # the record is sealed and kept: it is sent once the error has been cleared
            self._tcp.sk_err = errno.EBADMSG
        err = self._tx_records(flags)
        if err and self._tcp.sk_err == errno.EBADMSG:
            if self._tap is not None:
                self._tap.app_dropped(record.size)
            return errno.EBADMSG, record.size
        return err, 0

    def _tx_records(self, flags: int) -> int:
        """Pass sealed records to TCP (`tls_tx_records`).

        Records without room in the send buffer stay queued.

        Returns:
            An errno or 0.
        """
        queue = self._queue
        while queue:
            chunk, start = queue[0]
            try:
                n = self._tcp.push(chunk, start, flags)
            except KtlsOSError as e:
                err = e.errno or errno.EPIPE
                self._tcp.sk_err = err
                return err
            if start + n == len(chunk):
                queue.popleft()
                continue
            queue[0] = (chunk, start + n)
            if n == 0 and self._tcp.wait_space(flags):
                return 0
        return 0

    def write_space(self) -> None:
        """Send queued records, because the send buffer has room again (`tls_sw_write_space`)."""
        tcp = self._tcp
        if self._queue and not (tcp.sk_err or tcp.shutdown & SEND_SHUTDOWN or tcp.owned):
            tcp.owned = True
            self._tx_records(uapi.MSG_DONTWAIT | uapi.MSG_NOSIGNAL)
            tcp.owned = False

    def close(self) -> int:
        """Send the sealed records and drop the open one; returns the number of dropped bytes."""
        if self._queue:
            self._tx_records(uapi.MSG_DONTWAIT | uapi.MSG_NOSIGNAL)
        self._queue.clear()
        dropped = self.open_bytes
        self._open = None
        return dropped
