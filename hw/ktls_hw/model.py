# SPDX-License-Identifier: Apache-2.0
"""Functional model of the NIC: same registers, rings, statuses and bytes as the RTL, no clock.

A doorbell executes everything that it publishes before `write32` returns; only a
full completion ring makes descriptors wait. Figures that only a clock can give
(CQE cycles and latency, CYCLES) follow the throughput law of docs/architecture.md.

The model has knobs for bus errors (`ModelMemory.fail`) and for deliberate faults
(`NicModel.inject`), with which the checkers are tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_hw import layout
from ktls_hw.layout import (
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
_MAX_PLAINTEXT = 16384
# header, explicit nonce and tag; header, inner type and tag
_OVERHEAD = {0x0303: 5 + 8 + 16, 0x0304: 5 + 1 + 16}
_TAG = 16
_RAW = 0
_RAW_TAGS = (4, 8, 12, 13, 14, 15, 16)
_SEAL_DIR, _OPEN_DIR = 0, 1
_TX_SUITES = (
    layout.SUITES_TX_TLS12_GCM128.put(1)
    | layout.SUITES_TX_TLS12_GCM256.put(1)
    | layout.SUITES_TX_TLS13_GCM128.put(1)
    | layout.SUITES_TX_TLS13_GCM256.put(1)
)
_RX_SUITES = (
    layout.SUITES_RX_TLS12_GCM128.put(1)
    | layout.SUITES_RX_TLS12_GCM256.put(1)
    | layout.SUITES_RX_TLS13_GCM128.put(1)
    | layout.SUITES_RX_TLS13_GCM256.put(1)
)
_RAW_SUITES = layout.SUITES_RAW_GCM128.put(1) | layout.SUITES_RAW_GCM256.put(1)
_LAST_NUMBER = (1 << 64) - 1
_NS_PER_CYCLE = 4
# what a driver can write of a ring's registers
_RING_MASKS: dict[int, int] = {
    Reg.RING0_SQ_BASE_LO: _MASK32 & ~63,
    Reg.RING0_SQ_BASE_HI: _MASK32,
    Reg.RING0_SQ_SIZE: 15,
    Reg.RING0_SQ_PROD: _MASK32,
    Reg.RING0_CQ_BASE_LO: _MASK32 & ~63,
    Reg.RING0_CQ_BASE_HI: _MASK32,
    Reg.RING0_CQ_SIZE: 15,
    Reg.RING0_CQ_CONS: _MASK32,
    Reg.RING0_IRQ_MOD: _MASK32,
}
_MASKS: dict[int, int] = {Reg.CTRL: 1, Reg.IRQ_ENABLE: 3, **_RING_MASKS}


class ModelMemory:
    """Host memory with bus addresses 0..size-1."""

    def __init__(self, size: int = 4 << 20) -> None:
        self._data = bytearray(size)
        self._bad: list[tuple[int, int, bool, bool]] = []

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, addr: int, length: int) -> bytes:
        """Read as the host does."""
        self._check_host(addr, length)
        return bytes(self._data[addr : addr + length])

    def write(self, addr: int, data: bytes) -> None:
        """Write as the host does."""
        self._check_host(addr, len(data))
        self._data[addr : addr + len(data)] = data

    def _check_host(self, addr: int, length: int) -> None:
        if addr < 0 or addr + length > self.size:
            raise ValueError(
                f"host access to {addr:#x}..{addr + length:#x} outside of {self.size:#x} bytes"
            )

    def fail(self, lo: int, hi: int, *, read: bool = True, write: bool = True) -> None:
        """Answer the device's accesses to [lo, hi) with a bus error from now on."""
        self._bad.append((lo, hi, read, write))

    def heal(self) -> None:
        """Forget all `fail` ranges."""
        self._bad.clear()

    def faulty(self, addr: int, beat: int, write: bool) -> bool:
        """Does a beat at `addr` (aligned to `beat` bytes) get a bus error?"""
        if addr + beat > self.size:
            return True
        return any(
            addr + beat > lo and addr < hi and (w if write else r) for lo, hi, r, w in self._bad
        )

    def _all_good(self, addr: int, length: int, beat: int) -> bool:
        """Is there no need to look at each beat?"""
        return not self._bad and addr + length + beat <= self.size

    def device_read(self, addr: int, length: int, beat: int) -> tuple[bytes, bool]:
        """Read as the device does; returns the bytes and whether all beats were good."""
        first = addr - addr % beat
        if self._all_good(addr, length, beat):
            return bytes(self._data[addr : addr + length]), True
        good = not any(self.faulty(a, beat, False) for a in range(first, addr + length, beat))
        if not good:
            return bytes(length), False
        return bytes(self._data[addr : addr + length]), True

    def device_write(self, addr: int, data: bytes, beat: int) -> bool:
        """Write as the device does, beat by beat; bad beats change nothing."""
        if self._all_good(addr, len(data), beat):
            self._data[addr : addr + len(data)] = data
            return True
        good = True
        at = 0
        while at < len(data):
            n = min(len(data) - at, beat - (addr + at) % beat)
            here = addr + at
            if self.faulty(here - here % beat, beat, True):
                good = False
            else:
                self._data[here : here + n] = data[at : at + n]
            at += n
        return good


class Fault(Enum):
    """What `NicModel.inject` can break, each with the wrong result a real engine could give."""

    WRONG_NONCE = "a bit of the nonce is wrong"
    WRONG_AAD_LENGTH = "the length in the additional data is one too large"
    COUNTER_START = "the payload counter starts at 3 instead of 2"
    SWAPPED_TAG_BYTES = "the tag is written in reverse byte order"
    FLIPPED_CIPHERTEXT_BIT = "one bit of the ciphertext is flipped"
    WRONG_HEADER_LENGTH = "the header's length is one too large"
    LOST_COMPLETION = "a completion is never written"
    DOUBLED_COMPLETION = "a completion is written twice"
    SWAPPED_RECORDS = "two records are written to each other's place"


class OpenFault(Enum):
    """The same for OPEN."""

    BAD_TAG_ACCEPTED = "a record with a wrong tag is opened and called good"
    TEXT_RELEASED = "the text of a record with a wrong tag is written to memory"
    NUMBER_MISSED = "the additional data or nonce has the number of the record before"
    WRONG_TYPE = "the record type is one too large"
    PADDING_KEPT = "one byte too many is called text"


@dataclass(slots=True)
class _Context:
    direction: int
    version: int
    key: bytes
    salt: bytes
    iv: int
    seq: int
    uses: int = 0

    def __repr__(self) -> str:
        return f"_Context(version={self.version:#06x}, seq={self.seq}, key=<hidden>)"


class NicModel:
    """The device as a `HostPort` of its own: it never suspends.

    Args:
        memory: host memory, 4 MiB by default.
        contexts: number of contexts.
        rings: number of ring pairs, 1 to 8.
        lanes: blocks per cycle, for the beat size and the figures.
        receive: the device can OPEN; False stands for one that only seals.
    """

    def __init__(
        self,
        memory: ModelMemory | None = None,
        contexts: int = 64,
        lanes: int = 1,
        rings: int = 4,
        receive: bool = True,
    ) -> None:
        self.mem = memory or ModelMemory()
        self.receive = receive
        self.contexts = contexts
        self.lanes = lanes
        self.rings = rings
        self._beat = 16 * lanes
        self._fault: tuple[Fault, int] | None = None
        self._held: tuple[SqeRecord, bytes] | None = None
        self._open_fault: OpenFault | None = None
        self.faults_done: list[Fault | OpenFault] = []
        self._reset()

    def _reset(self) -> None:
        self._regs: dict[int, int] = {
            Reg.CTRL: 0,
            Reg.IRQ_ENABLE: 0,
            Reg.KEY_WARN: 0,
            Reg.KEY_LIMIT: 0,
            Reg.WATCHDOG: layout.WATCHDOG_CYCLES_RESET,
        }
        for ring in range(self.rings):
            self._regs |= dict.fromkeys((ring_reg(ring, reg) for reg in _RING_MASKS), 0)
            irq_mod = ring_reg(ring, Reg.RING0_IRQ_MOD)
            self._regs[irq_mod] = layout.RING0_IRQ_MOD_COUNT_RESET
        self._ctx: dict[int, _Context] = {}
        self._counters = dict.fromkeys(
            (
                Reg.CNT_DESCRIPTORS,
                Reg.CNT_RECORDS,
                Reg.CNT_ERR_REFUSED,
                Reg.CNT_ERR_SHORT,
                Reg.CNT_ERR_BUS,
                Reg.CNT_ERR_AUTH,
            ),
            0,
        )
        self._bytes = 0
        self._cycles = 0
        self._latched = 0
        self._sq_cons = [0] * self.rings
        self._cq_prod = [0] * self.rings
        self._turn = 0  # the ring that was served last
        self._cq_error = False
        self._records = 0

    def inject(self, fault: Fault | OpenFault, record: int = 0) -> None:
        """Break the SEAL with number `record` (counted from the last reset), or the next OPEN."""
        if isinstance(fault, OpenFault):
            self._open_fault = fault
        else:
            self._fault = (fault, record)

    # --------------------------------------------------------------- HostPort

    async def read32(self, addr: int) -> int:
        """Read a register; holes read as 0."""
        addr &= ~3
        if addr in self._regs:
            return self._regs[addr]
        ring, in_first = ring_of(addr)
        if in_first in (Reg.RING0_SQ_CONS, Reg.RING0_CQ_PROD):
            indices = self._sq_cons if in_first == Reg.RING0_SQ_CONS else self._cq_prod
            return indices[ring] if ring < self.rings else 0
        try:
            reg = Reg(addr)
        except ValueError:
            return 0
        if reg in self._counters:
            return self._counters[reg]
        match reg:
            case Reg.ID:
                return layout.ID_VALUE_RESET
            case Reg.VERSION:
                return layout.VERSION_MAJOR.put(
                    layout.VERSION_MAJOR_RESET
                ) | layout.VERSION_MINOR.put(layout.VERSION_MINOR_RESET)
            case Reg.CAPS:
                return (
                    layout.CAPS_LANES.put(self.lanes)
                    | layout.CAPS_RINGS.put(self.rings)
                    | layout.CAPS_CONTEXTS.put(self.contexts)
                )
            case Reg.SUITES:
                return _TX_SUITES | _RAW_SUITES | (_RX_SUITES if self.receive else 0)
            case Reg.STATUS:
                return (
                    layout.STATUS_READY.put(int(not self._cq_error))
                    | layout.STATUS_IDLE.put(int(not self._pending()))
                    | layout.STATUS_CQ_ERROR.put(int(self._cq_error))
                )
            case Reg.IRQ_STATUS:
                return self._causes()
            case Reg.CNT_BYTES_LO:
                self._latched = self._bytes >> 32
                return self._bytes & _MASK32
            case Reg.CYCLES_LO:
                self._latched = self._cycles >> 32
                return self._cycles & _MASK32
            case _:  # CNT_BYTES_HI, CYCLES_HI
                return self._latched

    async def write32(self, addr: int, value: int) -> None:
        """Write a register; holes and read-only registers ignore it."""
        addr &= ~3
        if addr not in self._regs:
            return
        if addr == Reg.CTRL and layout.CTRL_RESET.get(value):
            self._reset()
            return
        _, in_first = ring_of(addr)
        mask = _MASKS.get(in_first, _MASK32)
        self._regs[addr] = value & mask
        self._run()

    def _ring(self, ring: int, reg: Reg) -> int:
        """A register of a ring, named as that of ring 0."""
        return self._regs[ring_reg(ring, reg)]

    async def wait_irq(self) -> bool:
        """True if the line is high; nothing can raise it later."""
        self._run()
        return bool(self._causes() & self._regs[Reg.IRQ_ENABLE])

    def now(self) -> int:
        return self._cycles * _NS_PER_CYCLE

    # -------------------------------------------------------------- execution

    def _causes(self) -> int:
        rings = sum(self._calls(ring) << ring for ring in range(self.rings))
        return (
            layout.IRQ_STATUS_CQ.put(int(rings != 0))
            | layout.IRQ_STATUS_ERROR.put(int(self._cq_error))
            | layout.IRQ_STATUS_RINGS.put(rings)
        )

    def _calls(self, ring: int) -> bool:
        """Whether the completions of a ring raise the interrupt."""
        unread = self._unread(ring)
        mod = self._ring(ring, Reg.RING0_IRQ_MOD)
        # the timer, if there is one, has always run out by the time somebody looks
        enough = unread >= layout.RING0_IRQ_MOD_COUNT.get(mod)
        timer = layout.RING0_IRQ_MOD_TIMER.get(mod) != 0
        return unread != 0 and (enough or timer)

    def _unread(self, ring: int) -> int:
        return (self._cq_prod[ring] - self._ring(ring, Reg.RING0_CQ_CONS)) & _MASK32

    def _waiting(self, ring: int) -> bool:
        return self._sq_cons[ring] != self._ring(ring, Reg.RING0_SQ_PROD)

    def _pending(self) -> bool:
        return any(map(self._waiting, range(self.rings)))

    def _base(self, ring: int, lo: Reg, hi: Reg) -> int:
        return self._ring(ring, hi) << 32 | self._ring(ring, lo)

    def _next_ring(self) -> int | None:
        """The first ring behind the last one that has work and room for its completion."""
        for step in range(1, self.rings + 1):
            ring = (self._turn + step) % self.rings
            if self._waiting(ring) and self._unread(ring) < 1 << self._ring(
                ring, Reg.RING0_CQ_SIZE
            ):
                return ring
        return None

    def _run(self) -> None:
        while layout.CTRL_ENABLE.get(self._regs[Reg.CTRL]) and not self._cq_error:
            ring = self._next_ring()
            if ring is None:
                return
            self._turn = ring
            index = self._sq_cons[ring]
            place = index & ((1 << self._ring(ring, Reg.RING0_SQ_SIZE)) - 1)
            base = self._base(ring, Reg.RING0_SQ_BASE_LO, Reg.RING0_SQ_BASE_HI)
            raw, good = self.mem.device_read(base + 64 * place, 64, self._beat)
            self._sq_cons[ring] = (index + 1) & _MASK32
            self._complete(ring, self._execute(raw, good, index))

    def _execute(self, raw: bytes, good: bool, index: int) -> Cqe:
        if not good:
            return Cqe(status=Status.SQ_BUS_ERROR, sq_index=index)
        seal = SqeRecord.unpack(raw)
        if seal.opcode == Opcode.SEAL or (seal.opcode == Opcode.OPEN and self.receive):
            return self._record(seal, index)
        status = Status.BAD_OPCODE
        if seal.opcode in (Opcode.CTX_SET, Opcode.CTX_DEL):
            status = self._set_context(SqeCtx.unpack(raw))
        elif seal.opcode == Opcode.RESYNC:
            status = self._resync(SqeCtx.unpack(raw))
        return Cqe(
            cookie=seal.cookie,
            opcode=seal.opcode,
            status=status,
            ctx=seal.ctx,
            sq_index=index,
        )

    def _set_context(self, d: SqeCtx) -> Status:
        if d.ctx >= self.contexts:
            return Status.BAD_CTX
        if d.opcode == Opcode.CTX_DEL:
            return Status.OK if self._ctx.pop(d.ctx, None) else Status.BAD_CTX
        key_size = {51: 16, 52: 32}.get(d.cipher)
        directions = (_SEAL_DIR, _OPEN_DIR) if self.receive else (_SEAL_DIR,)
        if d.version not in (*_OVERHEAD, _RAW) or d.dir not in directions or key_size is None:
            return Status.BAD_SUITE
        self._ctx[d.ctx] = _Context(
            d.dir,
            d.version,
            d.key[:key_size],
            d.salt,
            int.from_bytes(d.iv, "big"),
            int.from_bytes(d.rec_seq, "big"),
        )
        return Status.OK

    def _resync(self, d: SqeCtx) -> Status:
        ctx = self._ctx.get(d.ctx)
        if ctx is None:
            return Status.BAD_CTX
        number = int.from_bytes(d.rec_seq, "big")
        if ctx.version == _RAW or (ctx.direction == _SEAL_DIR and number < ctx.seq):
            return Status.BAD_SEQ
        if ctx.version == 0x0303:
            ctx.iv = (ctx.iv + number - ctx.seq) & _LAST_NUMBER
        ctx.seq = number
        return Status.OK

    def _record(self, d: SqeRecord, index: int) -> Cqe:
        def cqe(status: Status, number: int | None, cycles: int = 0) -> Cqe:
            good = status == Status.OK
            sealing = d.opcode == Opcode.SEAL
            return Cqe(
                cookie=d.cookie,
                opcode=d.opcode,
                status=status,
                ctx=d.ctx,
                rtype=d.rtype if sealing else rtype if good else 0,
                len=length if good else 0,
                cycles=cycles,
                rec_seq=number or 0,
                rekey=rekey,
                numbered=int(number is not None),
                sq_index=index,
                latency=cycles,
            )

        length = rtype = rekey = 0
        ctx = self._ctx.get(d.ctx)
        if ctx is None or (ctx.direction == _OPEN_DIR) != (d.opcode == Opcode.OPEN):
            return cqe(Status.BAD_CTX, None)
        opening = d.opcode == Opcode.OPEN
        raw = ctx.version == _RAW
        tls13 = ctx.version == 0x0304
        number, iv = (None, 0) if raw else (ctx.seq, ctx.iv)
        if number is not None:
            if number == _LAST_NUMBER:
                return cqe(Status.SEQ_EXHAUSTED, None)
            # whatever becomes of it, this descriptor has taken its number
            ctx.seq += 1
            if ctx.version == 0x0303:
                ctx.iv = (ctx.iv + 1) & _LAST_NUMBER
        limit, warn = self._regs[Reg.KEY_LIMIT], self._regs[Reg.KEY_WARN]
        rekey = int(warn != 0 and ctx.uses >= warn)
        if limit and ctx.uses >= limit:
            return cqe(Status.KEY_EXHAUSTED, number)
        pad = d.pad if tls13 and not opening else 0
        if d.len + pad > _MAX_PLAINTEXT + (1 if tls13 and opening else 0):
            return cqe(Status.BAD_LENGTH, number)
        if raw and (d.aad_len > _MAX_PLAINTEXT or d.tag_len not in _RAW_TAGS):
            return cqe(Status.BAD_LENGTH, number)
        tag = d.tag_len if raw else _TAG
        overhead = tag if raw else _OVERHEAD[ctx.version] + pad
        if d.dst_len < d.len + (0 if opening else overhead):
            return cqe(Status.DST_SHORT, number)
        ctx.uses += 1
        rekey = int(warn != 0 and ctx.uses >= warn)

        aad = -(-d.aad_len // 16) * 16 if raw else 0
        src, src_bus, src_short = self._gather(d, aad + d.len + (tag if opening else 0))
        authentic = True
        if number is None:
            record, authentic = self._plain_gcm(ctx, d, src[: d.aad_len], src[aad:])
            rtype, length = d.rtype, len(record)
        elif opening:
            out, rtype, length = self._unseal(ctx, d, number, src)
            authentic = out is not None
            record = out or bytes(d.len)
            if self._open_fault is not None:
                fault, self._open_fault = self._open_fault, None
                self.faults_done.append(fault)
                if fault == OpenFault.NUMBER_MISSED:
                    out, rtype, length = self._unseal(ctx, d, number - 1, src)
                    authentic = out is not None
                    record = out or bytes(d.len)
                elif fault in (OpenFault.BAD_TAG_ACCEPTED, OpenFault.TEXT_RELEASED):
                    record = self._keystream(ctx, d, number, src)
                    authentic = fault == OpenFault.BAD_TAG_ACCEPTED
                    rtype, length = d.rtype, d.len
                elif fault == OpenFault.WRONG_TYPE:
                    rtype += 1
                else:
                    length += 1
        else:
            record = self._frame(ctx, iv, number, d.rtype, src, pad)
            record = self._apply_fault(d, ctx, iv, number, src, record)
            length = len(record)
            self._records += 1
        if src_bus or src_short:
            # the RTL writes zeros from the first bad block on; nobody may use any of it
            record = bytes(len(record))
        dst_bus, dst_short = self._scatter(d, record)
        inner = aad + d.len + (1 + pad if tls13 and not opening else 0)
        cycles = -(-inner // self._beat) + 2
        self._cycles += cycles
        for wrong, status in (
            (src_bus, Status.SRC_BUS_ERROR),
            (src_short, Status.SRC_SHORT),
            (dst_bus, Status.DST_BUS_ERROR),
            (dst_short, Status.DST_SHORT),
            (not authentic, Status.AUTH_FAILED),
        ):
            if wrong:
                return cqe(status, number, cycles)
        self._counters[Reg.CNT_RECORDS] += 1
        self._bytes += length if opening else d.len
        return cqe(Status.OK, number, cycles)

    @staticmethod
    def _plain_gcm(ctx: _Context, d: SqeRecord, aad: bytes, data: bytes) -> tuple[bytes, bool]:
        """NIST SP 800-38D sections 7.1 and 7.2, any allowed tag length."""
        nonce = d.nonce + d.explicit_nonce
        if d.opcode == Opcode.SEAL:
            sealed = AESGCM(ctx.key).encrypt(nonce, data, aad)
            return sealed[: d.len + d.tag_len], True
        text = _counter_mode(ctx.key, nonce, data[: d.len])
        tag = AESGCM(ctx.key).encrypt(nonce, text, aad)[d.len :]
        good = tag[: d.tag_len] == data[d.len :]
        return text if good else bytes(d.len), good

    @staticmethod
    def _unseal(
        ctx: _Context, d: SqeRecord, number: int, sealed: bytes
    ) -> tuple[bytes | None, int, int]:
        """What a record holds, its type and the bytes of its text; None if it is not authentic."""
        if ctx.version == 0x0304:
            static = int.from_bytes(ctx.salt + ctx.iv.to_bytes(8, "big"), "big")
            nonce = (static ^ number).to_bytes(12, "big")
            aad = b"\x17\x03\x03" + len(sealed).to_bytes(2, "big")
        else:
            nonce = ctx.salt + d.explicit_nonce
            aad = number.to_bytes(8, "big") + bytes([d.rtype, 3, 3]) + d.len.to_bytes(2, "big")
        try:
            out = AESGCM(ctx.key).decrypt(nonce, sealed, aad)
        except InvalidTag:
            return None, 0, 0
        if ctx.version == 0x0303:
            return out, d.rtype, len(out)
        text = out.rstrip(b"\0")
        if not text:
            return None, 0, 0
        return out, text[-1], len(text) - 1

    @staticmethod
    def _keystream(ctx: _Context, d: SqeRecord, number: int, sealed: bytes) -> bytes:
        """What an engine gets that does not look at the tag."""
        if ctx.version == 0x0304:
            static = int.from_bytes(ctx.salt + ctx.iv.to_bytes(8, "big"), "big")
            nonce = (static ^ number).to_bytes(12, "big")
        else:
            nonce = ctx.salt + d.explicit_nonce
        return _counter_mode(ctx.key, nonce, sealed[: d.len])

    def _list(self, addr: int, count: int) -> tuple[list[Sge], bool]:
        out = []
        bad = False
        for i in range(count):
            raw, good = self.mem.device_read((addr & ~15) + 16 * i, 16, self._beat)
            bad |= not good
            out.append(Sge.unpack(raw) if good else Sge())
        return out, bad

    def _gather(self, d: SqeRecord, length: int) -> tuple[bytes, bool, bool]:
        entries, bad = self._list(d.src_sg, d.src_cnt)
        data = b""
        for e in entries:
            n = min(e.len, length - len(data))
            piece, good = self.mem.device_read(e.addr, n, self._beat) if n else (b"", True)
            bad |= not good
            data += piece
        return data.ljust(length, b"\0"), bad, len(data) < length

    def _scatter(self, d: SqeRecord, record: bytes) -> tuple[bool, bool]:
        entries, bad = self._list(d.dst_sg, d.dst_cnt)
        at = 0
        for e in entries:
            n = min(e.len, len(record) - at)
            if n:
                bad |= not self.mem.device_write(e.addr, record[at : at + n], self._beat)
            at += n
        return bad, at < len(record)

    @staticmethod
    def _frame(ctx: _Context, iv: int, number: int, rtype: int, data: bytes, pad: int = 0) -> bytes:
        """RFC 5246 section 6.2.3.3 and RFC 5288 section 3; RFC 8446 section 5.2."""
        if ctx.version == 0x0304:
            inner = data + bytes([rtype]) + bytes(pad)
            head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
            static = int.from_bytes(ctx.salt + iv.to_bytes(8, "big"), "big")
            nonce = (static ^ number).to_bytes(12, "big")
            return head + AESGCM(ctx.key).encrypt(nonce, inner, head)
        explicit = iv.to_bytes(8, "big")
        head = bytes([rtype]) + ctx.version.to_bytes(2, "big")
        aad = number.to_bytes(8, "big") + head + len(data).to_bytes(2, "big")
        body = explicit + AESGCM(ctx.key).encrypt(ctx.salt + explicit, data, aad)
        return head + len(body).to_bytes(2, "big") + body

    def _complete(self, ring: int, cqe: Cqe) -> None:
        self._counters[Reg.CNT_DESCRIPTORS] += 1
        status = Status(cqe.status)
        if status in (Status.SRC_SHORT, Status.DST_SHORT):
            self._counters[Reg.CNT_ERR_SHORT] += 1
        elif status in (Status.SRC_BUS_ERROR, Status.DST_BUS_ERROR, Status.SQ_BUS_ERROR):
            self._counters[Reg.CNT_ERR_BUS] += 1
        elif status == Status.AUTH_FAILED:
            self._counters[Reg.CNT_ERR_AUTH] += 1
        elif status != Status.OK:
            self._counters[Reg.CNT_ERR_REFUSED] += 1
        times = 1
        if self._fault and cqe.opcode == Opcode.SEAL and self._records > self._fault[1]:
            if self._fault[0] == Fault.LOST_COMPLETION:
                times = 0
            elif self._fault[0] == Fault.DOUBLED_COMPLETION:
                times = 2
            if times != 1:
                self.faults_done.append(self._fault[0])
                self._fault = None
        for _ in range(times):
            self._write_cqe(ring, cqe)

    def _write_cqe(self, ring: int, cqe: Cqe) -> None:
        log2 = self._ring(ring, Reg.RING0_CQ_SIZE)
        serial = self._cq_prod[ring]
        base = self._base(ring, Reg.RING0_CQ_BASE_LO, Reg.RING0_CQ_BASE_HI)
        addr = base + 32 * (serial & ((1 << log2) - 1))
        phase = ~(serial >> log2) & 1
        if self.mem.device_write(addr, replace(cqe, phase=phase).pack(), self._beat):
            self._cq_prod[ring] = (serial + 1) & _MASK32
        else:
            self._cq_error = True
            self._ctx.clear()

    # ----------------------------------------------------------------- faults

    def _apply_fault(
        self, d: SqeRecord, ctx: _Context, iv: int, number: int, data: bytes, record: bytes
    ) -> bytes:
        if self._held is not None:
            held, other = self._held
            self._held = None
            self._scatter(held, record)
            return other
        if self._fault is None or self._records != self._fault[1]:
            return record
        fault = self._fault[0]
        if fault in (Fault.LOST_COMPLETION, Fault.DOUBLED_COMPLETION):
            return record
        self._fault = None
        self.faults_done.append(fault)
        if fault == Fault.SWAPPED_RECORDS:
            self._held = (d, record)
            return record
        return _FAULTS[fault](ctx, iv, number, d.rtype, data, record)


def _counter_mode(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """What GCM does to a text, in either direction; counters start at 2."""
    mode = modes.CTR(nonce + (2).to_bytes(4, "big"))
    return Cipher(algorithms.AES(key), mode).encryptor().update(data)


def _wrong_nonce(
    ctx: _Context, iv: int, number: int, rtype: int, data: bytes, record: bytes
) -> bytes:
    wrong = NicModel._frame(ctx, iv ^ 1, number, rtype, data)
    return record[:13] + wrong[13:]


def _wrong_aad_length(
    ctx: _Context, iv: int, number: int, _rtype: int, data: bytes, record: bytes
) -> bytes:
    explicit = iv.to_bytes(8, "big")
    aad = number.to_bytes(8, "big") + record[:3] + (len(data) + 1).to_bytes(2, "big")
    return record[:13] + AESGCM(ctx.key).encrypt(ctx.salt + explicit, data, aad)


def _counter_start(
    ctx: _Context, iv: int, number: int, rtype: int, data: bytes, record: bytes
) -> bytes:
    # the keystream of counters 3.. where 2.. belongs, with the tag of that ciphertext
    keystream = _counter_mode(ctx.key, ctx.salt + iv.to_bytes(8, "big"), bytes(len(data) + 16))
    shifted = bytes(a ^ b ^ c for a, b, c in zip(data, keystream, keystream[16:], strict=False))
    wrong = NicModel._frame(ctx, iv, number, rtype, shifted)
    return record[:13] + wrong[13:]


def _swapped_tag(
    _ctx: _Context, _iv: int, _number: int, _rtype: int, _data: bytes, record: bytes
) -> bytes:
    return record[:-16] + record[:-17:-1]


def _flipped_bit(
    _ctx: _Context, _iv: int, _number: int, _rtype: int, data: bytes, record: bytes
) -> bytes:
    at = 13 + len(data) // 2
    return record[:at] + bytes([record[at] ^ 0x10]) + record[at + 1 :]


def _wrong_header_length(
    _ctx: _Context, _iv: int, _number: int, _rtype: int, _data: bytes, record: bytes
) -> bytes:
    return record[:4] + bytes([(record[4] + 1) & 255]) + record[5:]


_FaultMaker = Callable[[_Context, int, int, int, bytes, bytes], bytes]
_FAULTS: dict[Fault, _FaultMaker] = {
    Fault.WRONG_NONCE: _wrong_nonce,
    Fault.WRONG_AAD_LENGTH: _wrong_aad_length,
    Fault.COUNTER_START: _counter_start,
    Fault.SWAPPED_TAG_BYTES: _swapped_tag,
    Fault.FLIPPED_CIPHERTEXT_BIT: _flipped_bit,
    Fault.WRONG_HEADER_LENGTH: _wrong_header_length,
}
