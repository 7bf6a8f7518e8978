# SPDX-License-Identifier: Apache-2.0
"""The device-side checker: compare every completed descriptor with the golden model."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ktls_cosim.check.access import Accesses, Observed
from ktls_cosim.check.audit import Audit
from ktls_cosim.check.diagnosis import diagnose, diagnose_gcm, window
from ktls_cosim.check.golden import (
    TrafficKeys,
    open_body,
    open_gcm,
    open_inputs,
    open_record,
    seal_gcm,
    seal_record,
)
from ktls_cosim.check.lockstep import LockstepPort
from ktls_cosim.check.mismatch import Mismatch
from ktls_cosim.check.owned import Use
from ktls_cosim.check.rings import Rings
from ktls_cosim.check.rules import Breach
from ktls_cosim.check.verdict import Keys, RawKeys, padded, verdict
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.errors import CosimError
from ktls_cosim.port import NS_PER_CYCLE, Memory, Port
from ktls_hw.layout import (
    CTRL_RESET,
    RING_COUNT,
    Cqe,
    Opcode,
    Reg,
    Sge,
    SqeCtx,
    SqeRecord,
    Status,
    ring_of,
    ring_reg,
)

_MASK32 = 0xFFFFFFFF
_MAX_LIST = 1024  # entries of a scatter-gather list
_MAX_RECORD = 1 << 17  # more than the bytes that a record moves
_TAG = 16
_OVERHEAD = 29  # of TLS 1.2, the largest
_TLS_1_3 = 0x0304
_AES_256 = 52
_RECORDS = (Opcode.SEAL, Opcode.OPEN)
_log = logging.getLogger("ktls.check")


@dataclass(slots=True)
class _Pending:
    """A published descriptor without a completion.

    Attributes:
        index: Submission index, 32 bits.
        raw: The descriptor.
        record: The same as the descriptor of a record, whatever its opcode is.
        source: Bytes of its source list at the time of the doorbell.
        destination: Entries of its destination list at that time.
        posted_ns: Time of the doorbell in nanoseconds; None: the device has no clock.
    """

    index: int
    opcode: int
    posted_ns: int | None
    raw: bytes = field(repr=False)
    record: SqeRecord
    source: bytes = field(repr=False)
    destination: list[Sge] = field(repr=False)


def _name(ring: int, index: int) -> str:
    """Name a descriptor in a message."""
    return f"{index} of ring {ring}" if ring else str(index)


def _list(memory: Memory, d: SqeRecord, *, destination: bool) -> tuple[bytes, list[Sge]]:
    """Read a list of a descriptor.

    Returns:
        Its bytes and its entries; a direct buffer counts as one entry.
    """
    sg, count = (d.dst_sg, d.dst_cnt) if destination else (d.src_sg, d.src_cnt)
    if d.dst_direct if destination else d.src_direct:
        # dst_len bounds a destination, the record bounds a source
        return b"", [Sge(sg, d.dst_len if destination else _MAX_RECORD)]
    count = max(0, min(count, _MAX_LIST, (memory.size - sg) // Sge.SIZE))
    raw = memory.read(sg, Sge.SIZE * count) if count else b""
    return raw, [Sge.unpack(raw[at : at + Sge.SIZE]) for at in range(0, len(raw), Sge.SIZE)]


def _pieces(entries: list[Sge], length: int, end: int) -> list[tuple[int, int]]:
    """Return address and bytes of the pieces that hold the first `length` bytes.

    Args:
        entries: Entries of a list.
        length: Bytes.
        end: First bus address behind the memory.
    """
    out = []
    for e in entries:
        n = min(e.len, length, end - e.addr)
        if n > 0:
            out.append((e.addr, n))
            length -= n
    return out


class _AuditedMemory:
    """DMA memory whose accesses by the driver reach the audit.

    Attributes:
        size: Size in bytes.
    """

    def __init__(self, memory: Memory, audit: Audit) -> None:
        self._memory = memory
        self._audit = audit
        self.size = memory.size

    def read(self, addr: int, length: int) -> bytes:
        """Return `length` bytes from bus address `addr`."""
        data = self._memory.read(addr, length)
        self._audit.driver_read(addr, data)
        return data

    def write(self, addr: int, data: bytes) -> None:
        """Write `data` at bus address `addr`."""
        self._audit.driver_wrote(addr, len(data))
        self._memory.write(addr, data)


class RecordObserver(Protocol):
    """Learns of the TLS contexts and the records that have passed the check."""

    def installed(self, ctx: int, keys: TrafficKeys, *, opens: bool) -> None:
        """A context has these keys now."""

    def deleted(self, ctx: int) -> None:
        """A context has no keys any more."""

    def reset(self) -> None:
        """No context has keys any more."""

    def record(self, ctx: int, rtype: int, text: bytes) -> None:
        """The device has sealed or opened a record of this type and text."""


class CheckedPort:
    """A host port that checks the result of every descriptor.

    It reads rings and data from the device's memory with `ktls_hw.layout`: descriptors at
    the doorbell, completions when the driver writes CQ_CONS.

    Args:
        port: Device to observe; all accesses go through unchanged.
        scoreboard: Receives findings and counts.
        breach: Receives what the driver does wrong; by default the scoreboard does.
        results: Memory as the device has left it, whatever the driver does meanwhile. If it is
            given, the owner reports the accesses of the device (`device_read`, `device_wrote`), and
            each completion is checked when the device writes it, and not when the driver writes
            CQ_CONS. The driver may be another process and use its memory right behind that.
        records: Learns of all good records.

    Attributes:
        mem: Host memory for the driver.
        audit: The audit of the driver.
    """

    def __init__(
        self,
        port: Port,
        scoreboard: Scoreboard,
        *,
        breach: Callable[[Breach], None] | None = None,
        results: Memory | None = None,
        records: RecordObserver | None = None,
    ) -> None:
        self._records = records
        self._port = port
        self._sb = scoreboard
        self._live = results is not None
        self._results = results or port.mem
        self._rings = Rings()
        self.audit = Audit(self._rings, self._peek, breach or self._breach)
        self.mem: Memory = _AuditedMemory(port.mem, self.audit)
        self._observed = port if isinstance(port, Observed) else None
        self._accesses: Accesses | None = None
        scoreboard.at_finish(self.finish)
        scoreboard.clock = self._time
        if isinstance(port, LockstepPort):
            port.explain = self.explain
        self._forget()

    def _forget(self) -> None:
        """Start over, as the device does at a reset."""
        if self._records is not None:
            self._records.reset()
        self._rings.clear()
        self._seen = [0] * RING_COUNT  # completions that were checked
        self._window = bytearray(SqeRecord.SIZE)  # the push window
        self._contexts: dict[int, Keys | RawKeys] = {}
        self._pending: list[deque[_Pending]] = [deque() for _ in range(RING_COUNT)]
        self._lost: set[int] = set()  # contexts whose keys or numbers are not known
        self._checking: tuple[_Pending, ...] = ()  # while `_completed` checks it

    # --------------------------------------------------------------- ktls_cosim.port.Port

    def explain(self, addr: int, memory: Memory) -> str | None:
        """Judge the record that the device wrote at a bus address.

        Args:
            addr: Bus address of a byte.
            memory: Memory that holds the record.

        Returns:
            Text for a message; None if no record in flight has its destination there.
        """
        for queue in (self._checking, *self._pending):
            for at, pending in enumerate(queue):
                if any(e.addr <= addr < e.addr + e.len for e in pending.destination):
                    where = f"context {pending.record.ctx}, descriptor {pending.index}"
                    return f"{where}: {self._judge(pending, list(queue)[:at], memory)}"
        return None

    def _judge(self, pending: _Pending, earlier: list[_Pending], memory: Memory) -> str:
        """Compare a record in flight with the golden model.

        Args:
            pending: The record.
            earlier: Descriptors that complete before it and have not been checked.
            memory: Memory that holds the record.
        """
        if any(p.opcode not in _RECORDS for p in earlier):
            return "not judged, because a context command is in flight"
        d = pending.record
        context = self._contexts.get(d.ctx)
        index = context.used if isinstance(context, Keys) else 0
        index += sum(p.opcode == d.opcode and p.record.ctx == d.ctx for p in earlier)
        if pending in self._checking:
            index -= 1  # it has consumed its number already

        def read(length: int) -> bytes:
            return self._result(pending, length, memory)

        where = ""
        if isinstance(context, Keys):
            where = f"record {context.keys.first_number + index}: "
            conn = self._sb.connection_with(context.keys)
            where = f"connection {conn}, {where}" if conn is not None else where
        return where + verdict(context, d, pending.source, index, read)

    async def read32(self, addr: int) -> int:
        """Return the register at byte offset `addr`."""
        value = await self._port.read32(addr)
        self.audit.register_read(addr, value)
        return value

    async def wait_irq(self) -> bool:
        """Wait for the interrupt; False if the line is low and the device is idle."""
        return await self._port.wait_irq()

    async def wait_message(self) -> int | None:
        """Take an interrupt message or wait for one; None if the device is idle."""
        return await self._port.wait_message()

    def now(self) -> int:
        """Return the device's time in nanoseconds."""
        return self._port.now()

    async def write32(self, addr: int, value: int) -> None:
        """Write a register, after checking the effect of a doorbell or of CQ_CONS."""
        if addr == Reg.CTRL and CTRL_RESET.get(value):
            self._check_accesses("before a reset")
            self._forget()
        taken = self.audit.register_write(addr, value)
        ring, in_first = ring_of(addr)
        if Reg.PUSH0_WORD <= addr < Reg.PUSH0_WORD + SqeRecord.SIZE:
            at = addr - Reg.PUSH0_WORD
            self._window[at : at + 4] = value.to_bytes(4, "little")
        elif in_first in (Reg.RING0_SQ_PROD, Reg.RING0_SQ_PUSH):
            if taken or await self._accepts(ring, value):
                prod = ring_reg(ring, Reg.RING0_SQ_PROD)
                self._published(ring, self._rings.value(ring, Reg.RING0_SQ_PROD), value)
                self._rings.write(prod, value)
                if in_first == Reg.RING0_SQ_PUSH:
                    self._pushed(ring)
        elif in_first == Reg.RING0_CQ_CONS and taken:
            if not self._live:
                self._reaped(ring, value)
            self._rings.write(addr, value)
        elif taken:
            self._rings.write(addr, value)
        await self._port.write32(addr, value)

    async def _accepts(self, ring: int, value: int) -> bool:
        """Return whether the device accepts a doorbell that the audit does not."""
        if not self._rings.complete(ring):
            return False
        first = await self._port.read32(ring_reg(ring, Reg.RING0_SQ_CONS))
        before = self._rings.value(ring, Reg.RING0_SQ_PROD) - first & _MASK32
        return before <= (value - first & _MASK32) <= self._rings.sq_slots(ring)

    def forget(self) -> None:
        """The device was reset by somebody else than its driver."""
        self._forget()
        self.audit.reset()

    def device_read(self, addr: int, data: bytes) -> None:
        """The device reads memory (a card only)."""
        self.audit.device_read(addr, data)

    def device_wrote(self, addr: int, data: bytes, *, exact: bool) -> bool:
        """The device writes memory (a card only).

        Args:
            addr: Bus address.
            data: The bytes.
            exact: They are not in memory yet, so the driver has not seen them.

        Returns:
            Whether they are a completion.
        """
        if len(data) != Cqe.SIZE:
            return False
        for ring in range(RING_COUNT):
            complete = self._rings.complete(ring)
            if complete and addr == self._rings.completion(ring, self._seen[ring]):
                cqe = Cqe.unpack(data)
                self._seen[ring] = self._seen[ring] + 1 & _MASK32
                if exact:
                    self.audit.unchanged(ring)
                self._completed(ring, cqe)
                self.audit.completed(ring, cqe)
                return True
        return False

    @property
    def in_flight(self) -> bool:
        """Whether a descriptor has no completion yet."""
        return any(self._pending)

    def _peek(self, addr: int, length: int) -> bytes | None:
        memory = self._port.mem
        return memory.read(addr, length) if addr + length <= memory.size else None

    def _breach(self, breach: Breach) -> None:
        self._sb.report(Mismatch("driver", str(breach), ()))

    def _time(self) -> int | None:
        try:
            return self._port.now()
        except CosimError:
            return None  # the simulator has ended, or the device has no clock

    # ------------------------------------------------------------------------- rings

    def finish(self) -> None:
        """Report descriptors that never completed."""
        self._check_accesses("at the end")
        self.audit.end(gone=False)
        for ring, pending in enumerate(self._pending):
            if not pending:
                continue
            self._sb.report(
                Mismatch(
                    "completion",
                    f"descriptor {_name(ring, pending[0].index)}",
                    (f"{len(pending)} descriptors never completed",),
                    cause="a completion was lost",
                )
            )
            pending.clear()

    # ---------------------------------------------------------------------- accesses

    def _allow(self, observed: Observed, ring: int, index: int, d: SqeRecord) -> None:
        """Allow what the device needs for one descriptor."""
        if self._accesses is None:
            self._accesses = Accesses(observed.beat)
        allow = self._accesses.allow
        allow(False, self._rings.descriptor(ring, index), SqeRecord.SIZE)
        # the completions of a ring are written in order, so its next slots are in question
        for n in range(len(self._pending[ring]) + 1):
            at = self._rings.value(ring, Reg.RING0_CQ_CONS) + n
            allow(True, self._rings.completion(ring, at), Cqe.SIZE)
        if d.opcode not in _RECORDS:
            return
        source = d.len + _TAG + padded(d.aad_len)
        for write, direct, sg, count, left in (
            (False, d.src_direct, d.src_sg, d.src_cnt, source),
            (True, d.dst_direct, d.dst_sg, d.dst_cnt, d.dst_len),
        ):
            if not direct:
                allow(False, sg, Sge.SIZE * min(count, _MAX_LIST))
            for e in _list(self._port.mem, d, destination=write)[1]:
                n = min(e.len, left)
                allow(write, e.addr, min(n, _MAX_RECORD))
                left -= n

    def _check_accesses(self, when: str) -> None:
        """Compare the bursts of the device so far with what it may touch."""
        if self._observed is None:
            return
        bursts = self._observed.bursts()
        accesses = self._accesses or Accesses(self._observed.beat)
        for burst in bursts:
            stray = accesses.stray(burst)
            if stray is not None:
                what = "write" if burst.write else "read"
                line = f"a {what} of {burst.length} bytes at {burst.addr:#x} touches {stray:#x}"
                self._sb.report(
                    Mismatch("access", when, (line, "no ring, descriptor or list names it"))
                )
        if not any(self._pending):
            accesses.forget()

    def _published(self, ring: int, old: int, new: int) -> None:
        """Keep the descriptors of a doorbell, with their source bytes."""
        index = old
        while index != new:
            raw = self._port.mem.read(self._rings.descriptor(ring, index), SqeRecord.SIZE)
            record = SqeRecord.unpack(raw)
            if self._observed is not None:
                self._allow(self._observed, ring, index, record)
            named: list[tuple[Use, int, bytes | int]] = []
            destination: list[Sge] = []
            if record.opcode in _RECORDS:
                named, destination = self._named(ring, record)
            source = b"".join(
                what for use, _, what in named if use is Use.SOURCE and isinstance(what, bytes)
            )
            self.audit.published(ring, index, raw, named)
            self._pending[ring].append(
                _Pending(index, record.opcode, self._time(), raw, record, source, destination)
            )
            index = (index + 1) & _MASK32

    def _named(
        self, ring: int, d: SqeRecord
    ) -> tuple[list[tuple[Use, int, bytes | int]], list[Sge]]:
        """Return what a record names: lists, source and destination; and the destination's list."""
        memory = self._port.mem
        # a destination may be larger than the record
        room = d.len + (d.pad + _OVERHEAD if d.opcode == Opcode.SEAL else 0)
        src_list, src = _list(memory, d, destination=False)
        dst_list, dst = _list(memory, d, destination=True)
        named: list[tuple[Use, int, bytes | int]] = [
            (Use.LIST, d.src_sg, src_list),
            (Use.LIST, d.dst_sg, dst_list),
            *(
                (Use.SOURCE, addr, memory.read(addr, n))
                for addr, n in _pieces(src, min(self._source(ring, d), _MAX_RECORD), memory.size)
            ),
            *(
                (Use.DESTINATION, addr, n)
                for addr, n in _pieces(dst, min(d.dst_len, room, _MAX_RECORD), memory.size)
            ),
        ]
        return named, dst

    def _pushed(self, ring: int) -> None:
        """Compare the push window with the descriptor in memory: the device may use either."""
        window, self._window = self._window, bytearray(SqeRecord.SIZE)
        if not self._pending[ring]:
            return
        pending = self._pending[ring][-1]
        if window != pending.raw:
            at = next(i for i in range(SqeRecord.SIZE) if window[i] != pending.raw[i])
            name = f"descriptor {_name(ring, pending.index)}"
            line = f"byte {at} of the push window differs from the descriptor in its slot"
            cause = "the driver: it must push what it has written into the ring"
            self._sb.report(Mismatch("push", name, (line,), cause=cause))

    def _source(self, ring: int, d: SqeRecord) -> int:
        """Return the bytes of the source of a record, or more if its context is not known."""
        plain = isinstance(self._contexts.get(d.ctx), RawKeys)
        for pending in self._pending[ring]:
            if pending.opcode == Opcode.CTX_SET:
                ahead = SqeCtx.unpack(pending.raw)
                plain = ahead.version == 0 if ahead.ctx == d.ctx else plain
        tag = 0 if d.opcode == Opcode.SEAL else d.tag_len if plain else _TAG
        return (padded(d.aad_len) if plain else 0) + d.len + tag

    def _result(self, pending: _Pending, length: int, memory: Memory | None = None) -> bytes:
        """Collect at most `length` bytes of the destination of a descriptor."""
        memory = memory or self._results
        pieces = _pieces(pending.destination, length, memory.size)
        return b"".join(memory.read(addr, n) for addr, n in pieces)

    def _reaped(self, ring: int, new: int) -> None:
        """Check the completions that the driver has consumed."""
        while self._seen[ring] != new:
            at = self._rings.completion(ring, self._seen[ring])
            self._completed(ring, Cqe.unpack(self._port.mem.read(at, Cqe.SIZE)))
            self._seen[ring] = (self._seen[ring] + 1) & _MASK32
        self._check_accesses(f"when descriptor {_name(ring, new)} was due")

    def _completed(self, ring: int, cqe: Cqe) -> None:
        _log.debug("ring %d: %r", ring, cqe)
        where = f"completion of descriptor {_name(ring, cqe.sq_index)}"
        pending = self._due(ring, cqe, where)
        if pending is None:
            return
        self._times(pending, cqe, where)
        if cqe.status == Status.SQ_BUS_ERROR:
            self._sb.device_refused += 1
            return
        if self._live and (self.audit.spoiled(ring, pending.index) or cqe.ctx in self._lost):
            self._spoiled(pending, cqe)
            return
        if cqe.opcode != pending.opcode:
            self._sb.report(
                Mismatch(
                    "completion",
                    where,
                    (f"opcode {cqe.opcode}, the descriptor has {pending.opcode}",),
                )
            )
            return
        if pending.opcode in _RECORDS:
            self._checking = (pending,)
            d = pending.record
            context = self._contexts.get(d.ctx)
            if isinstance(context, RawKeys) and context.opcode == d.opcode:
                self._plain(context, pending, cqe)
            elif pending.opcode == Opcode.SEAL:
                self._sealed(pending, cqe)
            else:
                self._opened(pending, cqe)
            self._checking = ()
        elif cqe.status == Status.OK:
            self._context(SqeCtx.unpack(pending.raw), where)

    def _spoiled(self, pending: _Pending, cqe: Cqe) -> None:
        """Follow a descriptor of which the driver has changed something that the device owned.

        What the device has read is not known. If that may be more than the bytes of a record, the
        checks lose the context until it is deleted.
        """
        self._sb.device_spoiled += pending.opcode in _RECORDS
        same = (cqe.opcode, cqe.ctx) == (pending.opcode, pending.record.ctx)
        context = self._contexts.get(cqe.ctx)
        if cqe.opcode == Opcode.CTX_DEL and cqe.status == Status.OK:
            self._lost.discard(cqe.ctx)
            self._contexts.pop(cqe.ctx, None)
        elif same and pending.opcode in _RECORDS and isinstance(context, Keys):
            context.used += cqe.numbered
        else:
            self._lost |= {cqe.ctx, pending.record.ctx}

    def _times(self, pending: _Pending, cqe: Cqe, where: str) -> None:
        """Check the clock figures of a completion against each other and the time that passed."""
        now = self._time()
        if now is None or pending.posted_ns is None:
            return
        passed = (now - pending.posted_ns) // NS_PER_CYCLE
        if cqe.latency > passed or cqe.cycles > cqe.latency:
            line = f"cycles {cqe.cycles}, latency {cqe.latency}; {passed} cycles passed"
            self._sb.report(Mismatch("completion", where, (line,), cause="a wrong clock figure"))

    def _due(self, ring: int, cqe: Cqe, where: str) -> _Pending | None:
        """Take the descriptor of a completion from its queue; None if there is no such one."""
        queue = self._pending[ring]
        if not queue or queue[0].index != cqe.sq_index:
            due = queue[0].index if queue else None
            self._sb.report(
                Mismatch(
                    "completion",
                    where,
                    (f"the next completion due is that of descriptor {due}",),
                    cause="a completion was lost, doubled or out of order",
                )
            )
            if not any(p.index == cqe.sq_index for p in queue):
                return None
            while queue[0].index != cqe.sq_index:
                queue.popleft()
        return queue.popleft()

    # ---------------------------------------------------------------------- contexts

    def _context(self, d: SqeCtx, where: str) -> None:
        """Follow a CTX_SET, CTX_DEL or RESYNC that completed with OK."""
        opcode = Opcode.OPEN if d.dir else Opcode.SEAL
        if d.opcode == Opcode.CTX_DEL:
            self._contexts.pop(d.ctx, None)
            if self._records is not None:
                self._records.deleted(d.ctx)
            return
        if d.opcode == Opcode.RESYNC:
            self._resync(d, where)
            return
        key = d.key[: 32 if d.cipher == _AES_256 else 16]
        if d.version == 0:
            self._contexts[d.ctx] = RawKeys(key, opcode)
            return
        blob = (
            d.version.to_bytes(2, "little")
            + d.cipher.to_bytes(2, "little")
            + d.iv
            + key
            + d.salt
            + d.rec_seq
        )
        keys = TrafficKeys.from_crypto_info(blob)
        self._contexts[d.ctx] = Keys(keys, opcode)
        if self._records is not None:
            self._records.installed(d.ctx, keys, opens=opcode == Opcode.OPEN)

    def _resync(self, d: SqeCtx, where: str) -> None:
        context = self._contexts.get(d.ctx)
        if not isinstance(context, Keys):
            self._sb.report(Mismatch("completion", where, ("OK without such a context",)))
            return
        used = int.from_bytes(d.rec_seq, "big") - context.keys.first_number
        if context.opcode == Opcode.SEAL and used < context.used:
            self._sb.report(
                Mismatch(
                    "number", where, ("OK for a step back",), cause="a nonce could be used twice"
                )
            )
        context.used = used

    # ----------------------------------------------------------------------- records

    def _plain(self, context: RawKeys, pending: _Pending, cqe: Cqe) -> None:
        """Check a SEAL or OPEN of plain AES-GCM."""
        d, source = pending.record, pending.source
        where = f"context {d.ctx}, descriptor {cqe.sq_index}"
        sealing = d.opcode == Opcode.SEAL
        if cqe.status not in (Status.OK, Status.AUTH_FAILED):
            self._sb.device_refused += 1
            return
        nonce = d.nonce + d.explicit_nonce
        aad = source[: d.aad_len]
        data = source[padded(d.aad_len) :][: d.len + (0 if sealing else d.tag_len)]
        got = self._result(pending, d.len + (d.tag_len if sealing else 0))
        want: bytes | None
        if sealing:
            want = seal_gcm(context.key, nonce, aad, data, d.tag_len)
        else:
            want = open_gcm(context.key, nonce, aad, data, d.tag_len)
        status = Status.AUTH_FAILED if want is None else Status.OK
        if cqe.status != status or got != (bytes(d.len) if want is None else want):
            lines, cause = diagnose_gcm(
                context.key, nonce, aad, data[: d.len] if sealing else None,
                bytes(d.len) if want is None else want, got,
            )  # fmt: skip
            self._sb.report(
                Mismatch(
                    "golden" if sealing else "open",
                    where,
                    (
                        f"status {Status(cqe.status).name}, expected {status.name}; "
                        f"{d.aad_len} bytes of AAD, {d.len} of text, {d.tag_len} of tag",
                        *lines,
                    ),
                    cause=cause,
                )
            )
        elif cqe.numbered:
            self._sb.report(Mismatch("number", where, ("plain AES-GCM has no record number",)))
        elif want is None:
            self._sb.device_refused += 1
        else:
            self._sb.device_records += 1
            self._sb.device_bytes += d.len

    def _numbered(self, d: SqeRecord, cqe: Cqe) -> tuple[TrafficKeys, int, str] | None:
        """Check the record number.

        Returns:
            Keys, index and name of the record; None if the context cannot take this record.
        """
        where = f"context {d.ctx}, descriptor {cqe.sq_index}"
        context = self._contexts.get(d.ctx)
        if not isinstance(context, Keys) or context.opcode != d.opcode:
            if cqe.status == Status.OK:
                self._sb.report(Mismatch("completion", where, ("OK without such a context",)))
            self._sb.device_refused += 1
            return None
        keys, index = context.keys, context.used
        number = keys.first_number + index
        where += f", record {number}"
        if cqe.numbered:
            context.used += 1
            if cqe.rec_seq != number:
                found = Mismatch("number", where, (f"the completion has number {cqe.rec_seq}",))
                self._sb.report(found, keys)
        return keys, index, where

    def _sealed(self, pending: _Pending, cqe: Cqe) -> None:
        """Check a SEAL of a TLS record."""
        d = pending.record
        plaintext = pending.source[: d.len]
        record = self._numbered(d, cqe)
        if record is None:
            return
        keys, index, where = record
        if cqe.status != Status.OK:
            need = d.len + len(seal_record(keys, index, d.rtype, b"", d.pad).wire)
            self._refused(pending, cqe, where, keys, need)
            return
        if not cqe.numbered or len(plaintext) != d.len:
            found = Mismatch("completion", where, ("OK for a record that cannot be sealed",))
            self._sb.report(found, keys)
            return
        got = self._result(pending, cqe.len)
        want = seal_record(keys, index, d.rtype, plaintext, d.pad)
        if got != want.wire:
            name, lines, cause = diagnose(keys, index, d.rtype, plaintext, got, d.pad)
            self._sb.report(Mismatch("golden", where, lines, name, cause), keys)
            return
        # in TLS 1.3 an inner type of 0 looks like padding, so no receiver can open the record
        padding = keys.version == _TLS_1_3 and d.rtype == 0
        if not padding and open_record(keys, index, got) != (d.rtype, plaintext):
            found = Mismatch("open", where, ("the record does not open to its text",))
            self._sb.report(found, keys)
            return
        self._sb.device_records += 1
        self._sb.device_bytes += len(plaintext)
        if self._records is not None:
            self._records.record(d.ctx, d.rtype, plaintext)

    def _refused(
        self, pending: _Pending, cqe: Cqe, where: str, keys: TrafficKeys, need: int
    ) -> None:
        """Note a record that ended with an error; check that DST_SHORT is justified.

        Args:
            pending: The record.
            cqe: Its completion, with an error.
            where: Name of the record.
            keys: Keys of the record.
            need: Bytes of the result.
        """
        d = pending.record
        listed = sum(e.len for e in pending.destination)
        found = (
            f"status {Status(cqe.status).name}: the result needs {need} bytes, "
            f"dst_len is {d.dst_len}, the destination list has {listed} bytes"
        )
        self._sb.device_refused += 1
        self._sb.first_refused = self._sb.first_refused or f"{where}\n  {found}"
        if cqe.status == Status.DST_SHORT and min(d.dst_len, listed) >= need:
            cause = "the device: it counts the bytes of the destination wrongly"
            self._sb.report(Mismatch("completion", where, (found,), cause=cause), keys)

    def _opened(self, pending: _Pending, cqe: Cqe) -> None:
        """Check an OPEN of a TLS record."""
        d = pending.record
        sealed = pending.source[: d.len + _TAG]
        record = self._numbered(d, cqe)
        if record is None:
            return
        keys, index, where = record
        if cqe.status not in (Status.OK, Status.AUTH_FAILED):
            self._refused(pending, cqe, where, keys, d.len)
            return
        got = self._result(pending, d.len)
        inner = open_body(keys, index, d.rtype, d.explicit_nonce, sealed)
        nonce, aad = open_inputs(keys, index, d.rtype, d.explicit_nonce, len(sealed))
        inputs = f"nonce {nonce.hex()}  aad {aad.hex()}"
        expected = Status.AUTH_FAILED if inner is None else Status.OK
        if cqe.status != expected:
            self._sb.report(
                Mismatch(
                    "open",
                    where,
                    (f"status {Status(cqe.status).name}, expected {expected.name}", inputs),
                    cause="tag comparison, AAD, nonce or padding",
                ),
                keys,
            )
            return
        if inner is None:
            self._sb.device_refused += 1
            if any(got):
                found = "bytes of a record that is not authentic"
                self._sb.report(Mismatch("open", where, (found, inputs)), keys)
            return
        rtype, text = inner
        if (cqe.rtype, cqe.len, got[: cqe.len]) != (rtype, len(text), text):
            self._sb.report(
                Mismatch(
                    "open",
                    where,
                    (
                        f"type {cqe.rtype}, {cqe.len} bytes; expected type {rtype}, {len(text)}",
                        *window([("text", text)], got[: cqe.len]),
                        inputs,
                    ),
                    cause="the text, its length or its inner type",
                ),
                keys,
            )
            return
        self._sb.device_records += 1
        self._sb.device_bytes += len(text)
        if self._records is not None:
            self._records.record(d.ctx, rtype, text)
