# SPDX-License-Identifier: Apache-2.0
"""The device path of one direction (net/tls/tls_device.c)."""

from __future__ import annotations

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
        """The device has taken the keys, or why not."""

    def record_done(self, rtype: int, length: int, completion: Completion) -> None:
        """The device has completed a record."""


class DeviceSealer:
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
        self._nic = nic
        self._info = info
        self._submit = submit
        self._events = events
        self._context: DeviceContext | None = None
        self._exhausted = False
        submit(self._add)

    async def _add(self) -> None:
        try:
            self._context = await self._nic.tls_dev_add(uapi.TLS_TX, self._info)
        except NotOffloadable as e:
            self._events.tx_offloaded(e.reason)
        else:
            self._events.tx_offloaded(None)

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
                sealed.fill(completion.sealed)
            else:
                in_software()

        async def post() -> None:
            if self._context is None:
                in_software()
            else:
                await self._nic.xmit(self._context, rtype, text, done)

        self._submit(post)
        return (sealed,)

    def close(self) -> None:
        """Remove the keys from the device, behind all records."""

        async def delete() -> None:
            if self._context is not None:
                await self._nic.tls_dev_del(self._context)
                self._context = None

        self._submit(delete)
