# SPDX-License-Identifier: Apache-2.0
"""The device path of one direction (net/tls/tls_device.c).

`DeviceSealer` and `DeviceOpener` pass every record of a connection to the device as a job.
A job posts its descriptor when the stack runs it and handles the completion. The CPU does
what the device does not, under the same record number, as after `tls_device_down`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.errors import DeviceError, NotOffloadable, StaleContext
from ktls.nic import KtlsNic
from ktls.nic_contexts import DeviceContext
from ktls.nic_health import NicState
from ktls.record import MAX_NUMBER, Buffer, Protection
from ktls.ring import Completion
from ktls.stack import Work
from ktls.tap import Tap
from ktls.wire import Chunk, Sealed
from ktls_hw.layout import Status

_log = logging.getLogger("ktls.driver")
# failed OPENs in a row after which the device receives no more records of a connection
_MAX_FAILURES = 8

Offloaded = Callable[[str | None], None]
"""Called with None when the device has taken the keys, or with the reason why it does not."""


class _Direction:
    """The keys of one direction in the device.

    Args:
        direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
        nic: driver of the device.
        info: keys and counters.
        submit: queues work for the device, in order.
        offloaded: receives the device's decision, again whenever it changes.

    Attributes:
        nic: driver of the device.
        context: the keys in the device, None before the decision and without offload.
        rekey_wanted: the key has been used so often that it should be replaced.
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
        self.rekey_wanted = False
        self._direction = direction
        self._info = info
        self._first = int.from_bytes(info.rec_seq, "big")
        self._next = self._first  # number of the next record that a job handles
        self._offloaded = offloaded
        self._closed = False
        submit(self.install)

    async def install(self) -> None:
        """Install the keys with the present record number, unless the device has them."""
        if self._closed or self.usable:
            return
        try:
            self.context = await self.nic.tls_dev_add(
                self._direction, self._info.at(self._next - self._first)
            )
        except NotOffloadable as e:
            _log.info("not offloaded: %s", e.reason)
            self._offloaded(e.reason)
        else:
            self._offloaded(None)

    @property
    def usable(self) -> bool:
        """Whether the device has the keys."""
        return self.context is not None and self.context.alive

    def device_lost(self) -> None:
        """Note that the device has failed: the CPU continues (`tls_device_down`)."""
        if self.context is not None:
            self.context = None
            self._offloaded(f"the device is {self.nic.state.value}: {self.nic.why_down}")

    def close(self) -> None:
        """Remove the keys from the device after all queued records."""
        self._closed = True
        self.submit(self._delete)

    async def _delete(self) -> None:
        context, self.context = self.context, None
        if context is not None and context.alive:
            await self.nic.tls_dev_del(context)

    def check(self, completion: Completion, seq: int, verb: str) -> DeviceError | None:
        """Compare the record number that the device consumed with ours, and note key usage.

        Args:
            completion: of the record.
            seq: its number.
            verb: what the device did, for the message.

        Returns:
            The violation of the contract, None if there is none.
        """
        if completion.code is None:
            return None
        if completion.rekey and not self.rekey_wanted:
            self.rekey_wanted = True
            self.nic.events["rekey_wanted"] += 1
            _log.warning("record %d: the key is close to its usage limit: install a new key", seq)
        if completion.status == Status.KEY_EXHAUSTED:
            self._offloaded("the key has reached its usage limit: install a new key")
        number = completion.rec_seq
        if number == seq:
            return None
        if number is None:
            return DeviceError(
                f"record {seq} ended with {completion.why} and consumed no record number: the "
                "device no longer has the number of the next record"
            )
        swapped = int.from_bytes(seq.to_bytes(8, "little"), "big") == number
        return DeviceError(
            f"record {seq} was {verb} under number {number} ({number:#x})"
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
        context = self._owner.start(self._seq)
        if context is None:
            self._seal_in_software()
            return
        try:
            await self._owner.nic.xmit(context, self._rtype, self._text, self._done)
        except StaleContext:
            self._seal_in_software()
        except Exception:
            self._seal_in_software()
            raise

    def _done(self, completion: Completion) -> None:
        owner = self._owner
        wrong = owner.check(completion, self._seq, "sealed")
        if owner.tap is not None and completion.code is not None and wrong is None:
            owner.tap.record_done(self._rtype, len(self._text), completion)
        if completion.ok and wrong is None:
            self.sealed.fill(completion.data)
        else:
            _log.info("record %d: %s; the CPU seals it", self._seq, completion.why)
            self._seal_in_software()
        if wrong is not None:
            owner.nic.fail(wrong)

    def _seal_in_software(self) -> None:
        if self.sealed.data is None:
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
        offloaded: receives the device's decision, again whenever it changes.
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

    def start(self, seq: int) -> DeviceContext | None:
        """Return the context for the job of record `seq`, None if the CPU must seal it."""
        self._next = seq + 1
        return self.context if self.usable else None

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
        context = self._owner.start(self._number)
        if context is not None:
            record, prepend = self._record, self._protection.prepend
            explicit = record[uapi.TLS_HEADER_SIZE : prepend]
            try:
                await self._owner.nic.open(
                    context, record[0], explicit, record[prepend:], self._done
                )
            except StaleContext:
                return

    def _done(self, completion: Completion) -> None:
        wrong = self._owner.check(completion, self._number, "opened")
        if completion.ok and wrong is None:
            inner = completion.data
            if self._protection.tls13:
                inner += bytes((completion.rtype,))
                rest = self.size - self._protection.prepend - uapi.TLS_TAG_SIZE - len(inner)
                inner += bytes(rest)
            self.inner = inner
        if completion.code is not None:
            self._owner.opened(completion.ok)
        if wrong is not None:
            self._owner.nic.fail(wrong)


class DeviceOpener(_Direction):
    """Opens records with a device as they arrive; the CPU opens the others later.

    The device counts records itself, so it must receive every record of the stream in order.
    After a failure a RESYNC names the next record.

    Args:
        nic: driver of the device.
        info: keys and counters.
        submit: queues work for the device, in order.
        offloaded: receives the device's decision, again whenever it changes.
    """

    def __init__(
        self,
        nic: KtlsNic,
        info: CryptoInfo,
        submit: Callable[[Work], None],
        offloaded: Offloaded,
    ) -> None:
        self._protection = Protection(info)
        self._jobs: deque[_OpenJob] = deque()
        self._at = 0  # offset in the stream of the first record without a job
        self._number = self._protection.seq
        self._stopped = False
        self._failures = 0  # in a row
        super().__init__(uapi.TLS_RX, nic, info, submit, offloaded)

    async def install(self) -> None:
        """Install the keys; a device that refuses them while it is up never gets a record."""
        if self._stopped:
            return
        await super().install()
        if self.context is None and self.nic.state is NicState.UP:
            self.stop()

    def stop(self) -> None:
        """Pass no more records to the device."""
        self._stopped = True

    def start(self, number: int) -> DeviceContext | None:
        """Return the context for the job of record `number`, None if the CPU must open it."""
        self._next = number + 1
        return self.context if self.usable else None

    def opened(self, ok: bool) -> None:
        """Note whether the device has opened a record; after a failure, resynchronise it."""
        self._failures = 0 if ok else self._failures + 1
        if self._failures > _MAX_FAILURES:
            self._offloaded(f"{self._failures} records in a row failed")
            self.stop()
        elif not ok:
            self.submit(self._resync)

    async def _resync(self) -> None:
        """Tell the device the number of the next record (`tls_device_rx_resync_async`)."""
        if self.context is not None and self.context.alive and not self._closed:
            await self.nic.tls_dev_resync(self.context, self._next)

    def offer(self, stream: Stream) -> None:
        """Make a job of every complete record that has none yet."""
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
