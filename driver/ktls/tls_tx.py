# SPDX-License-Identifier: Apache-2.0
"""The transmit side of the ULP: calls and bytes in, records out (net/tls/tls_sw.c).

`tls_sw_sendmsg_locked`, `tls_process_cmsg`, `tls_push_record` and `tls_tx_records`,
step by step. Whether the CPU or a device seals a record makes no difference here.
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
from ktls.tcp import SEND_SHUTDOWN, Chunk, TcpSock, Wire

PAGE = 4096
MAX_FRAGS = 17


class Sealer(Protocol):
    """Who seals the records of a connection."""

    def seal(self, protection: Protection, rtype: int, data: Buffer) -> Sequence[Chunk]:
        """Seal the record that `protection` counts next; the counters are not moved."""


class SoftwareSealer:
    """The CPU."""

    def seal(self, protection: Protection, rtype: int, data: Buffer) -> Sequence[Chunk]:
        return protection.seal_at(protection.seq, protection.iv, rtype, data)


@dataclass(slots=True)
class MemoryFaults:
    """Injected allocation failures; each counts down the calls that succeed before it fails once.

    Attributes:
        record_alloc: allocation of a record descriptor: ENOMEM (`tls_get_rec`).
        buffer_mem: memory for a record's bytes: the call waits (`sk_stream_wait_memory`).
    """

    record_alloc: int | None = None
    buffer_mem: int | None = None

    def strikes(self, name: str) -> bool:
        left: int | None = getattr(self, name)
        if left is None:
            return False
        setattr(self, name, left - 1 if left else None)
        return left == 0


class _OpenRecord:
    """A record that still takes bytes (`struct tls_rec`, the plaintext `sk_msg`).

    Copied bytes go behind each other into one fragment, a page is a fragment of its own.
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
    """Bytes of a call, of which some may lie at bad addresses."""

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
    """One socket's transmit direction.

    Args:
        tcp: the connection.
        kernel: whose behaviour.
        protection: keys and counters.
        sealer: who seals.
        wait: `wait(flags)` sleeps until there may be room; its result is an errno, 0 to go on.
        sent: observer of accepted bytes, `sent(rtype, data)`.
        unsent: observer of accepted bytes that are taken back, `unsent(count)`.
    """

    def __init__(
        self,
        tcp: TcpSock,
        kernel: Kernel,
        protection: Protection,
        sealer: Sealer,
        wait: Callable[[int], int],
        faults: MemoryFaults,
        sent: Callable[[int, Buffer], None] | None = None,
        unsent: Callable[[int], None] | None = None,
    ) -> None:
        self.protection = protection
        self.sealer = sealer
        self.limit = uapi.TLS_MAX_PAYLOAD_SIZE
        self._tcp = tcp
        self._kernel = kernel
        self._wait = wait
        self._faults = faults
        self._sent = sent
        self._unsent = unsent
        self._open: _OpenRecord | None = None
        self._queue: deque[tuple[Chunk, int]] = deque()
        # where records can go at once: there is no device and no send buffer
        self._sink: Callable[[bytes], None] | None = None
        if isinstance(tcp.far, Wire) and isinstance(sealer, SoftwareSealer):
            self._sink = tcp.far.sink

    @property
    def open_bytes(self) -> int:
        """Bytes accepted with MSG_MORE that no record on the wire holds yet."""
        return self._open.size if self._open else 0

    @property
    def has_open_record(self) -> bool:
        return self._open is not None

    # -------------------------------------------------------------- system calls

    def sendmsg(
        self, data: Buffer, flags: int, control: bytes = b"", fault_at: int | None = None
    ) -> int:
        """sendmsg(2) with what a msghdr holds.

        Args:
            data: all iovecs, behind each other.
            flags: MSG_* bits as given by the caller.
            control: the control buffer.
            fault_at: offset of the first byte at a bad address.

        Returns:
            Accepted bytes, those of the open record included.

        Raises:
            KtlsOSError: as Linux; nothing was accepted.
        """
        flags &= ~self._kernel.stripped_flags
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
            # an application may reuse its buffer once the call is over
            record.copy(view if closes else bytes(view))
            taken += n
            self._observe(rtype, view)
            if closes or record.frags == MAX_FRAGS:
                err, back = self._close_record(rtype, flags)
                taken -= back
        return self._finish(err, taken, flags)

    def sendpages(self, pages: Sequence[Buffer], flags: int) -> int:
        """Pages from a pipe in one message (MSG_SPLICE_PAGES; one page is `sendpage`)."""
        more = bool(flags & uapi.MSG_MORE)
        left = deque(memoryview(p) for p in pages if len(p))
        taken = 0
        err = 0
        while left and not err:
            record, err = self._record_with_room(flags)
            if record is None:
                break
            while left and record.size < self.limit and record.frags < MAX_FRAGS:
                taken += self._add_page(record, left)
            full = record.size == self.limit or record.frags == MAX_FRAGS
            if full or not more:
                err, back = self._close_record(uapi.RECORD_TYPE_DATA, flags)
                taken -= back
        return self._finish(err, taken, flags)

    def send_record(self, data: Buffer) -> bool:
        """The common case at once: plain data that makes one record, nothing in the way.

        Returns:
            False if there is something in the way; nothing was done.
        """
        tcp = self._tcp
        faults = self._faults
        sink = self._sink
        if (
            sink is None
            or not 0 < len(data) <= self.limit
            or self._open is not None
            or tcp.sk_err
            or tcp.shutdown
            or faults.record_alloc is not None
            or faults.buffer_mem is not None
            or self.protection.seq == MAX_NUMBER
        ):
            return False
        if self._sent is not None:
            self._sent(uapi.RECORD_TYPE_DATA, data)
        head, body = self.protection.seal_data(data)
        sink(head)
        sink(body)
        return True

    def send_file(self, pieces: Sequence[Buffer]) -> int:
        """Whole records out of a file, as long as nothing is in the way.

        Args:
            pieces: consecutive bytes, each of the record limit, the last may be shorter.

        Returns:
            How many pieces went out as records; the rest goes the usual way.
        """
        limit = self.limit
        whole = len(pieces) if pieces and len(pieces[-1]) == limit else len(pieces) - 1
        # the first record finds out whether anything is in the way
        if whole <= 0 or not self.send_record(pieces[0]):
            return 0
        sink = self._sink
        assert sink is not None
        seal = self.protection.seal_data
        tcp = self._tcp
        for done in range(1, whole):
            if tcp.sk_err or tcp.shutdown or self.protection.seq == MAX_NUMBER:
                return done
            data = pieces[done]
            if self._sent is not None:
                self._sent(uapi.RECORD_TYPE_DATA, data)
            head, body = seal(data)
            sink(head)
            sink(body)
        return whole

    def splice_eof(self) -> None:
        """The end of a file closes the open record (`tls_sw_splice_eof`)."""
        if self._open is not None and self._open.size:
            self._close_record(uapi.RECORD_TYPE_DATA, 0)

    # ------------------------------------------------------------------- records

    def _finish(self, err: int, taken: int, flags: int) -> int:
        if err:
            err = self._tcp.stream_error(err, flags)
            # taking a whole record back can take back more than this call gave
            if taken <= 0:
                raise KtlsOSError(err, "nothing was accepted")
        return taken

    def _observe(self, rtype: int, data: Buffer) -> None:
        if self._sent is not None and not self._tcp.shutdown & SEND_SHUTDOWN:
            self._sent(rtype, data)

    def _add_page(self, record: _OpenRecord, left: deque[memoryview]) -> int:
        page = left[0]
        n = min(len(page), self.limit - record.size)
        # pages stay shared with the file or pipe in Linux; here they are copied
        record.page(bytes(page[:n]))
        self._observe(uapi.RECORD_TYPE_DATA, page[:n])
        if n == len(page):
            left.popleft()
        else:
            left[0] = page[n:]
        return n

    def _record_with_room(self, flags: int) -> tuple[_OpenRecord | None, int]:
        """The open record, or a new one, once the send buffer has room; or an errno."""
        while True:
            if self._tcp.sk_err:
                return None, self._tcp.sk_err
            if self._open is None:
                if self._faults.strikes("record_alloc"):
                    return None, errno.ENOMEM
                self._open = _OpenRecord()
            if self._tcp.memory_free and not self._faults.strikes("buffer_mem"):
                return self._open, 0
            err = self._wait(flags)
            if err:
                return None, err

    def _process_cmsg(self, control: bytes, flags: int) -> int:
        """The record type that control messages ask for; closes the open record.

        Raises:
            KtlsOSError: EINVAL, or why the open record could not go out.
        """
        rtype: int | None = None
        err = 0
        for message in cmsg.walk(control):
            if message.level != uapi.SOL_TLS:
                continue
            if message.kind != uapi.TLS_SET_RECORD_TYPE:
                raise KtlsOSError(errno.EINVAL, f"control message {message.kind} of SOL_TLS")
            if not message.data:
                raise KtlsOSError(errno.EINVAL, "TLS_SET_RECORD_TYPE without its byte")
            if flags & uapi.MSG_MORE:
                raise KtlsOSError(errno.EINVAL, "TLS_SET_RECORD_TYPE with MSG_MORE")
            rtype = message.data[0]
            # an error of the flush counts only if nothing follows
            err = 0
            if self._open is not None and self._open.size:
                err, _ = self._close_record(uapi.RECORD_TYPE_DATA, flags)
        if rtype is None:
            raise KtlsOSError(errno.EINVAL, "control messages without TLS_SET_RECORD_TYPE")
        if err:
            self._finish(err, 0, flags)
        return rtype

    def _close_record(self, rtype: int, flags: int) -> tuple[int, int]:
        """Seal the open record and hand it to TCP (`tls_push_record`).

        Returns:
            An errno or 0, and how many accepted bytes the call has to take back.
        """
        record = self._open
        assert record is not None
        self._open = None
        for chunk in self.sealer.seal(self.protection, rtype, record.text()):
            self._queue.append((chunk, 0))
        if self.protection.advance():
            # the record is sealed and held: it goes out if somebody clears the error
            self._tcp.sk_err = errno.EBADMSG
        err = self._tx_records(flags)
        if err and self._tcp.sk_err == errno.EBADMSG:
            if self._unsent is not None:
                self._unsent(record.size)
            return errno.EBADMSG, record.size
        return err, 0

    def _tx_records(self, flags: int) -> int:
        """Hand sealed records to TCP (`tls_tx_records`); an errno or 0.

        What the send buffer has no room for goes out when it has.
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
            if n == 0 and self._wait(flags):
                return 0
        return 0

    def write_space(self) -> None:
        """The send buffer has room again (`tls_sw_write_space`)."""
        tcp = self._tcp
        if self._queue and not (tcp.sk_err or tcp.shutdown & SEND_SHUTDOWN or tcp.owned):
            tcp.owned = True
            self._tx_records(uapi.MSG_DONTWAIT | uapi.MSG_NOSIGNAL)
            tcp.owned = False

    def close(self) -> int:
        """close(2) drops the open record and sends what is sealed; returns dropped bytes."""
        if self._queue:
            self._tx_records(uapi.MSG_DONTWAIT | uapi.MSG_NOSIGNAL)
        self._queue.clear()
        return self.drop_open()

    def drop_open(self) -> int:
        """Forget the open record; returns its bytes."""
        dropped = self.open_bytes
        self._open = None
        return dropped
