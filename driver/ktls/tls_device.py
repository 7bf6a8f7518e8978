# SPDX-License-Identifier: Apache-2.0
"""The device path of one direction (net/tls/tls_device.c).

`DeviceSealer` and `DeviceOpener` pass every record of a connection to the device as a job.
A job posts its descriptor when the stack runs it and handles the completion.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.errors import DeviceError, NotOffloadable
from ktls.nic import DeviceContext, KtlsNic
from ktls.record import MAX_NUMBER, Buffer, Protection
from ktls.ring import Completion
from ktls.stack import Work
from ktls.tap import Tap
from ktls.wire import Chunk, Sealed
from ktls_hw.layout import Status

_log = logging.getLogger("ktls.driver")

Offloaded = Callable[[str | None], None]
"""Called with None when the device has taken the keys, or with the reason of its refusal."""


class _Direction:
    """The keys of one direction in the device.

    Args:
        direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
        nic: driver of the device.
        info: keys and counters.
        submit: queues work for the device, in order.
        offloaded: receives the device's decision.

    Attributes:
        nic: driver of the device.
        context: the keys in the device, None before the decision and without offload.
    """

    def __init__(
        self,
        direction: int,
        nic: KtlsNic,
        info: CryptoInfo,
        submit: Callable[[Work], None],
        offloaded: Offloaded,
    ) -> None:
        self.nic = nic
        self.context: DeviceContext | None = None
        self.submit = submit
        self._direction = direction
        self._info = info
        self._offloaded = offloaded
        submit(self._add)

    async def _add(self) -> None:
        try:
            self.context = await self.nic.tls_dev_add(self._direction, self._info)
        except NotOffloadable as e:
            _log.info("not offloaded: %s", e.reason)
            self._offloaded(e.reason)
        else:
            self._offloaded(None)

    def close(self) -> None:
        """Remove the keys from the device after all queued records."""
        self.submit(self._delete)

    async def _delete(self) -> None:
        if self.context is not None:
            await self.nic.tls_dev_del(self.context)
            self.context = None


def _check_number(completion: Completion, seq: int, verb: str) -> None:
    """Compare the record number that the device consumed with ours.

    Raises:
        DeviceError: they differ.
    """
    if completion.rec_seq not in (None, seq):
        swapped = int.from_bytes(seq.to_bytes(8, "little"), "big") == completion.rec_seq
        raise DeviceError(
            f"record {seq} was {verb} under number {completion.rec_seq} ({completion.rec_seq:#x})"
            + "; rec_seq of the descriptor has the wrong byte order" * swapped
        )


# -------------------------------------------------------------------------- transmit


class _SealJob:
    """One record that the device seals; the CPU seals it if the device does not.

    Attributes:
        sealed: TCP's placeholder for the record.
    """

    __slots__ = ("_iv", "_owner", "_protection", "_rtype", "_seq", "_text", "sealed")

    def __init__(
        self, owner: DeviceSealer, protection: Protection, rtype: int, text: bytes
    ) -> None:
        self.sealed = Sealed(len(text) + protection.overhead)
        self._owner = owner
        self._protection = protection
        # the counters of `protection` advance before the job runs
        self._seq, self._iv = protection.seq, protection.iv
        self._rtype = rtype
        self._text = text

    async def post(self) -> None:
        """Post the descriptor, or seal in software if the device does not have the keys."""
        context = self._owner.context
        if context is None:
            self._seal_in_software()
        else:
            await self._owner.nic.xmit(context, self._rtype, self._text, self._done)

    def _done(self, completion: Completion) -> None:
        _check_number(completion, self._seq, "sealed")
        if self._owner.tap is not None:
            self._owner.tap.record_done(self._rtype, len(self._text), completion)
        if completion.status == Status.OK:
            self.sealed.fill(completion.data)
        else:
            _log.info("record %d: %s; the CPU seals it", self._seq, completion.status.name)
            self._seal_in_software()

    def _seal_in_software(self) -> None:
        record = self._protection.seal_at(self._seq, self._iv, self._rtype, self._text)
        self.sealed.fill(b"".join(record))


class DeviceSealer(_Direction):
    """Seals records with a device; the CPU seals refused records under the same number.

    The device assigns a number to every descriptor of a context. Both sides therefore stay
    in step, and no number is used for two different records.

    Args:
        nic: driver of the device.
        info: keys and counters.
        submit: queues work for the device, in order.
        offloaded: receives the device's decision.
        tap: receives reports of completed records.
    """

    def __init__(
        self,
        nic: KtlsNic,
        info: CryptoInfo,
        submit: Callable[[Work], None],
        offloaded: Offloaded,
        tap: Tap | None,
    ) -> None:
        super().__init__(uapi.TLS_TX, nic, info, submit, offloaded)
        self.tap = tap
        self._exhausted = False

    def seal(self, protection: Protection, rtype: int, data: Buffer) -> Sequence[Chunk]:
        """Seal the record with the current counters of `protection`; see `tls_tx.Sealer`."""
        if protection.seq == MAX_NUMBER:
            # the next number would wrap, which the device refuses
            self._exhausted = True
        if self._exhausted:
            return protection.seal_at(protection.seq, protection.iv, rtype, data)
        job = _SealJob(self, protection, rtype, bytes(data))
        self.submit(job.post)
        return (job.sealed,)


# --------------------------------------------------------------------------- receive


class Stream(Protocol):
    """Received bytes that wait to be parsed."""

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset` on."""


class _OpenJob:
    """One record that the device opens before a call asks for it.

    Attributes:
        size: bytes of the record.
        inner: the plaintext, in TLS 1.3 with type and padding; None if the device did not
            open the record.
    """

    __slots__ = ("_number", "_owner", "_protection", "_record", "inner", "size")

    def __init__(
        self, owner: DeviceOpener, protection: Protection, number: int, record: bytes
    ) -> None:
        self.size = len(record)
        self.inner: bytes | None = None
        self._owner = owner
        self._protection = protection
        self._number = number
        self._record = record

    async def post(self) -> None:
        """Post the descriptor, if the device has the keys."""
        context = self._owner.context
        if context is not None:
            record, prepend = self._record, self._protection.prepend
            explicit = record[uapi.TLS_HEADER_SIZE : prepend]
            await self._owner.nic.open(context, record[0], explicit, record[prepend:], self._done)

    def _done(self, completion: Completion) -> None:
        _check_number(completion, self._number, "opened")
        if completion.status != Status.OK:
            self._owner.stop()
            return
        inner = completion.data
        if self._protection.tls13:
            inner += bytes((completion.rtype,))
            inner += bytes(self.size - self._protection.prepend - uapi.TLS_TAG_SIZE - len(inner))
        self.inner = inner


class DeviceOpener(_Direction):
    """Opens records with a device as they arrive; the CPU opens the others later.

    The device counts records itself, so it must receive every record of the stream in order.
    After the first failure its count is no longer valid, and it receives no more records.

    Args:
        nic: driver of the device.
        info: keys and counters.
        submit: queues work for the device, in order.
        offloaded: receives the device's decision.
    """

    def __init__(
        self,
        nic: KtlsNic,
        info: CryptoInfo,
        submit: Callable[[Work], None],
        offloaded: Offloaded,
    ) -> None:
        super().__init__(uapi.TLS_RX, nic, info, submit, offloaded)
        self._protection = Protection(info)
        self._jobs: deque[_OpenJob] = deque()
        self._at = 0  # offset in the stream of the first record without a job
        self._number = self._protection.seq
        self._stopped = False

    async def _add(self) -> None:
        await super()._add()
        self._stopped |= self.context is None

    def stop(self) -> None:
        """Pass no more records to the device."""
        self._stopped = True

    def offer(self, stream: Stream) -> None:
        """Pass the device every complete record that it does not have yet."""
        p = self._protection
        while not self._stopped:
            header = stream.bytes_at(self._at, uapi.TLS_HEADER_SIZE)
            if len(header) < uapi.TLS_HEADER_SIZE:
                return
            size = uapi.TLS_HEADER_SIZE + int.from_bytes(header[3:5], "big")
            text = size - p.prepend - uapi.TLS_TAG_SIZE
            if header[1:3] != b"\x03\x03" or not 0 <= text <= uapi.TLS_MAX_PAYLOAD_SIZE + p.tail:
                # the parser rejects this header, too
                self.stop()
                return
            record = stream.bytes_at(self._at, size)
            if len(record) < size or self._number == MAX_NUMBER:
                return
            job = _OpenJob(self, p, self._number, record)
            self._jobs.append(job)
            self.submit(job.post)
            self._number += 1
            self._at += size

    @property
    def head(self) -> bytes | None:
        """The plaintext of the record at the head of the stream, if the device opened it."""
        return self._jobs[0].inner if self._jobs else None

    def consumed(self) -> None:
        """Remove the record at the head of the stream."""
        if self._jobs:
            self._at -= self._jobs.popleft().size
        else:
            # the device has missed a record
            self.stop()

    def close(self) -> None:
        """Remove the keys from the device after all queued records."""
        self.stop()
        super().close()
