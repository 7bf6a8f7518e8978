# SPDX-License-Identifier: Apache-2.0
"""The device path of one direction (net/tls/tls_device.c)."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.errors import DeviceError, NotOffloadable
from ktls.nic import Completion, DeviceContext, KtlsNic
from ktls.record import MAX_NUMBER, Buffer, Protection
from ktls.tcp import Chunk, Sealed
from ktls_hw.layout import Status

Work = Callable[[], Awaitable[None]]


class Events(Protocol):
    """Who wants to know what becomes of the offload."""

    def tx_offloaded(self, refused: str | None) -> None:
        """The device has taken the keys of the transmit side, or why not."""

    def rx_offloaded(self, refused: str | None) -> None:
        """The same of the receive side."""

    def record_done(self, rtype: int, length: int, completion: Completion) -> None:
        """The device has completed a record."""


class _Direction:
    """Keys of one direction in the device.

    Args:
        direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
        nic: the device's driver.
        info: the keys.
        submit: queues work for the device, in order.
        told: called with None once the device has the keys, or with why it has not.
    """

    def __init__(
        self,
        direction: int,
        nic: KtlsNic,
        info: CryptoInfo,
        submit: Callable[[Work], None],
        told: Callable[[str | None], None],
    ) -> None:
        self._direction = direction
        self._nic = nic
        self._info = info
        self._submit = submit
        self._told = told
        self._context: DeviceContext | None = None
        submit(self._add)

    async def _add(self) -> None:
        try:
            self._context = await self._nic.tls_dev_add(self._direction, self._info)
        except NotOffloadable as e:
            self._told(e.reason)
        else:
            self._told(None)

    def close(self) -> None:
        """Remove the keys from the device, behind all records."""
        self._submit(self._delete)

    async def _delete(self) -> None:
        if self._context is not None:
            await self._nic.tls_dev_del(self._context)
            self._context = None


class DeviceSealer(_Direction):
    """Seals records with a device; what it refuses, the CPU seals under the same number.

    The device gives every descriptor of a context a number, so both sides stay in step
    and no number is used for two different records. Work for the device is handed to
    `submit` in order; a record's bytes come later, as `Sealed`.

    Args:
        nic: the device's driver.
        info: the keys.
        submit: queues work for the device.
        events: told about results.
    """

    def __init__(
        self, nic: KtlsNic, info: CryptoInfo, submit: Callable[[Work], None], events: Events
    ) -> None:
        super().__init__(uapi.TLS_TX, nic, info, submit, events.tx_offloaded)
        self._events = events
        self._exhausted = False

    def seal(self, protection: Protection, rtype: int, data: Buffer) -> Sequence[Chunk]:
        seq, iv = protection.seq, protection.iv
        if seq == MAX_NUMBER:
            # past here numbers repeat, and the device refuses that
            self._exhausted = True
        if self._exhausted:
            return protection.seal_at(seq, iv, rtype, data)
        text = bytes(data)
        sealed = Sealed(len(text) + protection.overhead)

        def in_software() -> None:
            sealed.fill(b"".join(protection.seal_at(seq, iv, rtype, text)))

        def done(completion: Completion) -> None:
            if completion.rec_seq not in (None, seq):
                raise DeviceError(f"record {seq} was sealed under number {completion.rec_seq}")
            self._events.record_done(rtype, len(text), completion)
            if completion.status == Status.OK:
                sealed.fill(completion.data)
            else:
                in_software()

        async def post() -> None:
            if self._context is None:
                in_software()
            else:
                await self._nic.xmit(self._context, rtype, text, done)

        self._submit(post)
        return (sealed,)


class Stream(Protocol):
    """Bytes that have come and wait to be parsed."""

    def bytes_at(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset` on."""


class _Ahead:
    """A record that the device opens before anybody asks for it."""

    __slots__ = ("inner", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.inner: bytes | None = None


class DeviceOpener(_Direction):
    """Opens records with a device as they come; what it cannot, the CPU opens later.

    The device counts records itself, so it sees every record of the stream in order. Once
    one of them fails, its numbers are of no use any more and it gets no further records.

    Args:
        nic: the device's driver.
        info: the keys.
        submit: queues work for the device.
        events: told about results.
    """

    def __init__(
        self, nic: KtlsNic, info: CryptoInfo, submit: Callable[[Work], None], events: Events
    ) -> None:
        super().__init__(uapi.TLS_RX, nic, info, submit, events.rx_offloaded)
        self._events = events
        self._protection = Protection(info)
        self._ahead: deque[_Ahead] = deque()
        self._at = 0
        self._number = self._protection.seq
        self._stopped = False

    async def _add(self) -> None:
        await super()._add()
        self._stopped |= self._context is None

    def look(self, stream: Stream) -> None:
        """Give the device every complete record that it has not seen yet."""
        p = self._protection
        while not self._stopped:
            header = stream.bytes_at(self._at, uapi.TLS_HEADER_SIZE)
            if len(header) < uapi.TLS_HEADER_SIZE:
                return
            size = uapi.TLS_HEADER_SIZE + int.from_bytes(header[3:5], "big")
            text = size - p.prepend - uapi.TLS_TAG_SIZE
            if header[1:3] != b"\x03\x03" or not 0 <= text <= uapi.TLS_MAX_PAYLOAD_SIZE + p.tail:
                # the parser will find that, too
                self._stopped = True
                return
            record = stream.bytes_at(self._at, size)
            if len(record) < size or self._number == MAX_NUMBER:
                return
            self._open(record)
            self._at += size

    def _open(self, record: bytes) -> None:
        entry = _Ahead(len(record))
        self._ahead.append(entry)
        number = self._number
        self._number += 1
        body = record[self._protection.prepend :]
        explicit = record[uapi.TLS_HEADER_SIZE : self._protection.prepend]

        def done(completion: Completion) -> None:
            if completion.rec_seq not in (None, number):
                raise DeviceError(f"record {number} was opened under number {completion.rec_seq}")
            if completion.status != Status.OK:
                self._stopped = True
            elif self._protection.tls13:
                end = bytes((completion.rtype,))
                padding = len(body) - uapi.TLS_TAG_SIZE - 1 - len(completion.data)
                entry.inner = completion.data + end + bytes(padding)
            else:
                entry.inner = completion.data

        async def post() -> None:
            if self._context is not None:
                await self._nic.open(self._context, record[0], explicit, body, done)

        self._submit(post)

    @property
    def head(self) -> bytes | None:
        """What the record at the head of the stream holds, if the device has opened it."""
        return self._ahead[0].inner if self._ahead else None

    def consumed(self) -> None:
        """The record at the head of the stream was taken."""
        if self._ahead:
            self._at -= self._ahead.popleft().size
        else:
            self._stopped = True

    def close(self) -> None:
        """Remove the keys from the device, behind all records."""
        self._stopped = True
        super().close()
