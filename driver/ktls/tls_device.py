# SPDX-License-Identifier: Apache-2.0
"""The device path of one direction (net/tls/tls_device.c)."""

from __future__ import annotations

from collections.abc import Callable

from ktls.errors import DeviceError
from ktls.nic import Completion, DeviceContext, KtlsNic
from ktls.tls_sw import SwTx
from ktls_hw.layout import Status


class DeviceTx:
    """Sends records through the device and hands them out in order.

    A record that the device could not seal is sealed in software under the same
    number: the device gives every descriptor of a context a number, so both sides
    stay in step and no number is used for two different records.
    """

    def __init__(
        self,
        nic: KtlsNic,
        context: DeviceContext,
        wire: Callable[[bytes], None],
        observe: Callable[[int, int, Completion], None] | None = None,
    ) -> None:
        self._nic = nic
        self._context = context
        self._first = int.from_bytes(context.info.rec_seq, "big")
        self._sw = SwTx(context.info)
        self._wire = wire
        self._observe = observe

    async def push(self, number: int, rtype: int, data: bytes) -> None:
        """Queue record `number` (counted from the installed key)."""

        def done(completion: Completion) -> None:
            sealed = completion.sealed
            expected = (self._first + number) % (1 << 64)
            if completion.rec_seq is not None and completion.rec_seq != expected:
                raise DeviceError(f"record {expected} was sealed under number {completion.rec_seq}")
            if completion.status != Status.OK:
                sealed = self._sw.seal(number, rtype, data)
            if self._observe:
                self._observe(rtype, len(data), completion)
            self._wire(sealed)

        await self._nic.xmit(self._context, rtype, data, done)
        await self._nic.poll()

    async def flush(self) -> None:
        await self._nic.flush()

    async def close(self) -> None:
        """Finish what is queued and remove the keys from the device."""
        await self._nic.tls_dev_del(self._context)
