# SPDX-License-Identifier: Apache-2.0
"""Functional model of the NIC: the registers, rings, statuses and bytes of the RTL, no clock.

A doorbell executes everything that it publishes before `write32` returns; only a full
completion ring or a hung bus makes descriptors wait. WATCHDOG has no duration here: unless
it is 0, a hung bus is dead at once. Figures that need a clock (CQE cycles and latency,
CYCLES) follow the throughput formula of docs/performance.md.

The record engine is in `ktls_hw.engine`, host memory in `ktls_hw.memory`. Three knobs serve
the tests: bus errors (`ModelMemory.fail`), a dead bus (`ModelMemory.hang`) and deliberate
faults (`NicModel.inject`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ktls_hw import engine, layout
from ktls_hw.engine import Context, Engine
from ktls_hw.faults import Fault, FaultInjector, OpenFault
from ktls_hw.fields import register_address
from ktls_hw.layout import (
    RING_STRIDE,
    Cqe,
    Opcode,
    Reg,
    SqeCtx,
    SqeRecord,
    Status,
    ring_of,
    ring_reg,
)
from ktls_hw.memory import Access, BusHung, ModelMemory
from ktls_hw.messages import Messages

__all__ = ["Fault", "ModelMemory", "NicModel", "OpenFault"]

_MASK32 = 0xFFFFFFFF
_NS_PER_CYCLE = 4
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
_PLAIN_SUITES = layout.SUITES_RAW_GCM128.put(1) | layout.SUITES_RAW_GCM256.put(1)
_ALL_SUITES = _TX_SUITES | _RX_SUITES | _PLAIN_SUITES
# direction, version and key size of a context to the bit of SUITES that it needs
_TLS_SUITE = {
    (engine.SEAL_DIRECTION, engine.VERSION_1_2, 16): layout.SUITES_TX_TLS12_GCM128.put(1),
    (engine.SEAL_DIRECTION, engine.VERSION_1_2, 32): layout.SUITES_TX_TLS12_GCM256.put(1),
    (engine.SEAL_DIRECTION, engine.VERSION_1_3, 16): layout.SUITES_TX_TLS13_GCM128.put(1),
    (engine.SEAL_DIRECTION, engine.VERSION_1_3, 32): layout.SUITES_TX_TLS13_GCM256.put(1),
    (engine.OPEN_DIRECTION, engine.VERSION_1_2, 16): layout.SUITES_RX_TLS12_GCM128.put(1),
    (engine.OPEN_DIRECTION, engine.VERSION_1_2, 32): layout.SUITES_RX_TLS12_GCM256.put(1),
    (engine.OPEN_DIRECTION, engine.VERSION_1_3, 16): layout.SUITES_RX_TLS13_GCM128.put(1),
    (engine.OPEN_DIRECTION, engine.VERSION_1_3, 32): layout.SUITES_RX_TLS13_GCM256.put(1),
}
_PLAIN_SUITE = {16: layout.SUITES_RAW_GCM128.put(1), 32: layout.SUITES_RAW_GCM256.put(1)}
# the bits of a ring's registers that the driver can write
_RING_MASKS: dict[int, int] = {
    Reg.RING0_SQ_BASE_LO: _MASK32,
    Reg.RING0_SQ_BASE_HI: _MASK32,
    Reg.RING0_SQ_SIZE: 15,
    Reg.RING0_SQ_PROD: _MASK32,
    Reg.RING0_CQ_BASE_LO: _MASK32,
    Reg.RING0_CQ_BASE_HI: _MASK32,
    Reg.RING0_CQ_SIZE: 15,
    Reg.RING0_CQ_CONS: _MASK32,
    Reg.RING0_IRQ_MOD: _MASK32,
}
_CTRL_ORDERED = layout.CTRL_ORDERED.put(1)
_CTRL_ENABLE = layout.CTRL_ENABLE.put(1)
_CTRL_MASK = _CTRL_ENABLE | _CTRL_ORDERED
_MASKS: dict[int, int] = {Reg.CTRL: _CTRL_MASK, Reg.IRQ_ENABLE: 7, **_RING_MASKS}
# the registers whose writes can be refused, and the field of ERRORS that counts them
_REFUSABLE = {
    Reg.RING0_SQ_PROD: layout.RING0_ERRORS_SQ_PROD,
    Reg.RING0_CQ_CONS: layout.RING0_ERRORS_CQ_CONS,
    Reg.RING0_SQ_BASE_LO: layout.RING0_ERRORS_BASE,
    Reg.RING0_CQ_BASE_LO: layout.RING0_ERRORS_BASE,
}
_COUNTERS = (
    Reg.CNT_DESCRIPTORS,
    Reg.CNT_RECORDS,
    Reg.CNT_ERR_REFUSED,
    Reg.CNT_ERR_SHORT,
    Reg.CNT_ERR_BUS,
    Reg.CNT_ERR_AUTH,
)
# status of a completion to the counter that it increments; all others but OK: refused
_ERROR_COUNTERS = {
    Status.SRC_SHORT: Reg.CNT_ERR_SHORT,
    Status.DST_SHORT: Reg.CNT_ERR_SHORT,
    Status.SRC_BUS_ERROR: Reg.CNT_ERR_BUS,
    Status.DST_BUS_ERROR: Reg.CNT_ERR_BUS,
    Status.SQ_BUS_ERROR: Reg.CNT_ERR_BUS,
    Status.AUTH_FAILED: Reg.CNT_ERR_AUTH,
}


@dataclass(slots=True)
class _Outcome:
    """The contents of a completion.

    Attributes:
        status: result of the descriptor.
        rtype: record type.
        length: bytes of the record or its text.
        number: record number that the descriptor consumed, None if it consumed none.
        rekey: 1 if the key has reached KEY_WARN uses.
        cycles: cycles for which the record occupied the engine.
    """

    status: Status
    rtype: int = 0
    length: int = 0
    number: int | None = None
    rekey: int = 0
    cycles: int = 0


class NicModel:
    """The device as a `ktls.port.HostPort` that never suspends.

    Args:
        memory: host memory, 4 MiB by default.
        contexts: number of contexts.
        lanes: blocks per cycle; sets the beat size and the clock figures.
        rings: number of ring pairs, 1 to 8.
        suites: value of the register SUITES. A device without any RX suite refuses OPEN
            with BAD_OPCODE.
        record_engine: seals and opens the records; replace it to model a broken device.

    Attributes:
        mem: host memory.
    """

    def __init__(
        self,
        memory: ModelMemory | None = None,
        contexts: int = 64,
        lanes: int = 1,
        rings: int = 4,
        suites: int = _ALL_SUITES,
        record_engine: Engine = engine.process,
    ) -> None:
        self.mem = memory or ModelMemory()
        self._suites = suites
        self.contexts = contexts
        self.lanes = lanes
        self.rings = rings
        self._beat = 16 * lanes
        self._sq_prods = [ring_reg(ring, Reg.RING0_SQ_PROD) for ring in range(rings)]
        self._errors = [ring_reg(ring, Reg.RING0_ERRORS) for ring in range(rings)]
        self._faults = FaultInjector(record_engine)
        self._readers: dict[int, Callable[[], int]] = {
            Reg.ID: lambda: layout.ID_VALUE_RESET,
            Reg.VERSION: self._read_version,
            Reg.CAPS: self._read_caps,
            Reg.SUITES: lambda: self._suites,
            Reg.STATUS: self._read_status,
            Reg.IRQ_STATUS: self._causes,
            Reg.RESETS: lambda: self._resets,
            Reg.ERROR_MSG: lambda: self._messages.register(self.rings),
            Reg.CNT_BYTES_LO: lambda: self._latch(Reg.CNT_BYTES_HI, self._bytes),
            Reg.CNT_BYTES_HI: lambda: self._latched[Reg.CNT_BYTES_HI],
            Reg.CYCLES_LO: lambda: self._latch(Reg.CYCLES_HI, self._cycles),
            Reg.CYCLES_HI: lambda: self._latched[Reg.CYCLES_HI],
        }
        self._resets = 0
        self._messages = Messages(rings)
        self._reset()

    def _reset(self) -> None:
        self._armed = False  # the driver has read STATUS.ready as 1 since the reset
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
            self._regs[ring_reg(ring, Reg.RING0_ERRORS)] = 0
        self._ctx: dict[int, Context] = {}
        self._counters: dict[int, int] = dict.fromkeys(_COUNTERS, 0)
        self._bytes = 0
        self._cycles = 0
        self._latched = {Reg.CNT_BYTES_HI: 0, Reg.CYCLES_HI: 0}
        self._sq_cons = [0] * self.rings
        self._cq_prod = [0] * self.rings
        self._turn = 0  # the ring that was served last
        self._ordered = False  # the present mode, CTRL.ordered when the device was last idle
        self._lost = False  # a write of data has failed behind the completion
        self._cq_error = False
        self._stuck = False  # a bus access is not answered
        self._bus_dead = False
        self._reset_waits = False  # for the bus
        self._messages.reset()
        self._faults.reset()

    def inject(self, fault: Fault | OpenFault, record: int = 0) -> None:
        """Break one record.

        Args:
            fault: a `Fault` breaks a SEAL, an `OpenFault` breaks the next OPEN.
            record: number of the SEAL, counted from the last reset.
        """
        self._faults.arm(fault, record)

    @property
    def faults_done(self) -> list[Fault | OpenFault]:
        """The injected faults that took effect, in order."""
        return self._faults.done

    # --------------------------------------------------------------- HostPort

    async def read32(self, addr: int) -> int:
        """Read the register at byte offset `addr`; a hole reads as 0.

        Raises:
            ValueError: the device has no register space at `addr`.
        """
        addr = register_address(addr)
        if addr in self._regs:
            return self._regs[addr]
        if addr in self._counters:
            return self._counters[addr]
        if addr in self._readers:
            return self._readers[addr]()
        ring, in_first = ring_of(addr)
        if ring < self.rings and in_first == Reg.RING0_SQ_CONS:
            return self._sq_cons[ring]
        if ring < self.rings and in_first == Reg.RING0_CQ_PROD:
            return self._cq_prod[ring]
        if ring < self.rings and in_first == Reg.RING0_MSG:
            return self._messages.register(ring)
        return 0

    async def write32(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`; holes and read-only registers ignore it.

        Raises:
            ValueError: the device has no register space at `addr`.
        """
        addr = register_address(addr)
        ring, in_first = ring_of(addr)
        if in_first == Reg.RING0_SQ_PUSH:
            # the slot holds the same descriptor as the push window
            addr, in_first = ring_reg(ring, Reg.RING0_SQ_PROD), Reg.RING0_SQ_PROD
        vector = self._vector(addr)
        if addr not in self._regs and vector is None:
            return
        if addr == Reg.CTRL and layout.CTRL_RESET.get(value):
            self._start_reset()
            return
        if not self._armed and addr != Reg.WATCHDOG:
            return
        if vector is not None:
            self._messages.enable(vector, layout.ERROR_MSG_ENABLE.get(value) != 0)
        elif in_first == Reg.RING0_ERRORS:
            self._regs[addr] = 0
            self._messages.acknowledge(self.rings)
        elif self._refuses(ring, in_first, value & _MASK32):
            self._count_refused(ring, in_first)
        else:
            self._regs[addr] = value & _MASKS.get(in_first, _MASK32)
        if in_first == Reg.RING0_CQ_CONS:
            self._messages.acknowledge(ring)
        self._change_mode()
        self._run()

    async def wait_irq(self) -> bool:
        """Return whether the interrupt line is high; nothing can raise it later."""
        self._run()
        return bool(self._causes() & self._regs[Reg.IRQ_ENABLE])

    async def wait_message(self) -> int | None:
        """Return the vector of a message that has arrived; None: nothing can send one later."""
        self._run()
        return self._messages.take()

    def now(self) -> int:
        """Return the device's time in nanoseconds."""
        return self._cycles * _NS_PER_CYCLE

    # ---------------------------------------------------------------- registers

    def _read_version(self) -> int:
        major = layout.VERSION_MAJOR.put(layout.VERSION_MAJOR_RESET)
        return major | layout.VERSION_MINOR.put(layout.VERSION_MINOR_RESET)

    def _read_caps(self) -> int:
        return (
            layout.CAPS_LANES.put(self.lanes)
            | layout.CAPS_MESSAGES.put(1)
            | layout.CAPS_RINGS.put(self.rings)
            | layout.CAPS_CONTEXTS.put(self.contexts)
        )

    def _read_status(self) -> int:
        self._run()
        ready = not (self._halted or self._reset_waits)
        self._armed |= ready
        return (
            layout.STATUS_READY.put(int(ready))
            | layout.STATUS_IDLE.put(int(not self._pending() and not self._stuck))
            | layout.STATUS_CQ_ERROR.put(int(self._cq_error))
            | layout.STATUS_BUS_DEAD.put(int(self._bus_dead))
        )

    @property
    def _halted(self) -> bool:
        return self._cq_error or self._bus_dead

    def _start_reset(self) -> None:
        """Reset; a hung bus without a watchdog delays the end, but not the loss of all keys."""
        self._resets = (self._resets + 1) & _MASK32
        waits = self._stuck and not self._bus_dead and self._regs[Reg.WATCHDOG] == 0
        self._reset()
        if waits:
            self._regs[Reg.WATCHDOG] = 0
            self._reset_waits = True

    def _refuses(self, ring: int, reg: int, value: int) -> bool:
        """Return whether a ring refuses a write; `reg` is the register in ring 0."""
        if reg in (Reg.RING0_SQ_BASE_LO, Reg.RING0_CQ_BASE_LO):
            return value % 64 != 0
        if reg == Reg.RING0_SQ_PROD:
            posted = (value - self._sq_cons[ring]) & _MASK32
            before = (self._ring(ring, Reg.RING0_SQ_PROD) - self._sq_cons[ring]) & _MASK32
            slots = 1 << self._ring(ring, Reg.RING0_SQ_SIZE)
            return not (
                before <= posted <= slots
                and self._base(ring, Reg.RING0_SQ_BASE_LO)
                and self._base(ring, Reg.RING0_CQ_BASE_LO)
            )
        if reg == Reg.RING0_CQ_CONS:
            cons = self._ring(ring, Reg.RING0_CQ_CONS)
            return (value - cons) & _MASK32 > self._unread(ring)
        return False

    def _count_refused(self, ring: int, reg: int) -> None:
        field, addr = _REFUSABLE[Reg(reg)], ring_reg(ring, Reg.RING0_ERRORS)
        count = min(field.get(self._regs[addr]) + 1, 255)
        self._regs[addr] = self._regs[addr] & ~field.put(255) | field.put(count)

    def _vector(self, addr: int) -> int | None:
        """Return the vector whose message a register controls."""
        ring, in_first = ring_of(addr)
        if in_first == Reg.RING0_MSG and ring < self.rings:
            return ring
        return self.rings if addr == Reg.ERROR_MSG else None

    def _latch(self, high: Reg, value: int) -> int:
        """Return the low half of a 64-bit counter and latch its high half."""
        self._latched[high] = value >> 32
        return value & _MASK32

    def _causes(self) -> int:
        rings = self._requests()
        return (
            layout.IRQ_STATUS_CQ.put(int(rings != 0))
            | layout.IRQ_STATUS_ERROR.put(int(self._halted))
            | layout.IRQ_STATUS_RING_ERROR.put(int(self._refused))
            | layout.IRQ_STATUS_RINGS.put(rings)
        )

    def _requests(self) -> int:
        """Return the rings that request service, one bit each."""
        return sum(self._raises(ring) << ring for ring in range(self.rings))

    @property
    def _refused(self) -> bool:
        """Whether a ring has refused a register write."""
        return any(map(self._regs.__getitem__, self._errors))

    def _raises(self, ring: int) -> bool:
        """Return whether the completions of a ring raise the interrupt."""
        unread = self._unread(ring)
        if not unread:
            return False
        mod = self._ring(ring, Reg.RING0_IRQ_MOD)
        # without a clock, a moderation timer has always expired by the next read
        return unread >= layout.RING0_IRQ_MOD_COUNT.get(mod) or bool(
            layout.RING0_IRQ_MOD_TIMER.get(mod)
        )

    # -------------------------------------------------------------------- rings

    def _ring(self, ring: int, reg: Reg) -> int:
        """Return a register of a ring; `reg` is the name in ring 0."""
        return self._regs[reg + RING_STRIDE * ring]

    def _unread(self, ring: int) -> int:
        return (self._cq_prod[ring] - self._ring(ring, Reg.RING0_CQ_CONS)) & _MASK32

    def _pending(self) -> bool:
        return self._sq_cons != [self._regs[at] for at in self._sq_prods]

    def _base(self, ring: int, low: Reg) -> int:
        """Return the address in a register of a ring and in the next one, its high half."""
        at = low + RING_STRIDE * ring
        return self._regs[at + 4] << 32 | self._regs[at]

    def _next_ring(self) -> int | None:
        """Return the next ring, in turn, that has work and room for its completion."""
        for step in range(1, self.rings + 1):
            ring = (self._turn + step) % self.rings
            waits = self._sq_cons[ring] != self._regs[self._sq_prods[ring]]
            if waits and self._unread(ring) < 1 << self._ring(ring, Reg.RING0_CQ_SIZE):
                return ring
        return None

    def _change_mode(self) -> None:
        """Apply CTRL.ordered if the device is idle."""
        wanted = self._regs[Reg.CTRL] & _CTRL_ORDERED != 0
        if wanted != self._ordered and not self._pending() and not self._stuck:
            self._ordered = wanted

    def _run(self) -> None:
        """Execute what can be executed now, and send the messages that are due."""
        self._serve_rings()
        errors = int(self._refused) | int(self._halted) << 1
        self._messages.update(self._requests() | errors << self.rings)

    def _serve_rings(self) -> None:
        if self._stuck or self._reset_waits:
            self._look_at_bus()
        try:
            while self._regs[Reg.CTRL] & _CTRL_ENABLE and not self._halted:
                ring = self._next_ring()
                if ring is None or self._stuck:
                    return
                self._turn = ring
                self._serve(ring)
                self._change_mode()
        except BusHung:
            self._stuck = True
            self._look_at_bus()

    def _look_at_bus(self) -> None:
        """Act on a bus that has stopped, as the watchdog does, or that answers again."""
        if self.mem.hung and self._regs[Reg.WATCHDOG] == 0:
            return
        if self._stuck:
            # the abandoned descriptor cannot be finished when the bus comes back
            self._bus_dead = True
            self._ctx.clear()
        self._stuck = self._reset_waits = False

    def _serve(self, ring: int) -> None:
        """Fetch, execute and complete the next descriptor of a ring."""
        index = self._sq_cons[ring]
        slot = index & ((1 << self._ring(ring, Reg.RING0_SQ_SIZE)) - 1)
        base = self._base(ring, Reg.RING0_SQ_BASE_LO)
        addr = base + SqeRecord.SIZE * slot
        raw, good = self.mem.device_read(addr, SqeRecord.SIZE, self._beat)
        self._sq_cons[ring] = (index + 1) & _MASK32
        if good:
            self._complete(ring, self._execute(raw, index))
        else:
            self._complete(ring, Cqe(status=Status.SQ_BUS_ERROR, sq_index=index))

    def _complete(self, ring: int, cqe: Cqe) -> None:
        self._counters[Reg.CNT_DESCRIPTORS] += 1
        if cqe.status != Status.OK:
            counter = _ERROR_COUNTERS.get(Status(cqe.status), Reg.CNT_ERR_REFUSED)
            self._counters[counter] += 1
        for _ in range(self._faults.completions(cqe)):
            self._write_cqe(ring, cqe)

    def _write_cqe(self, ring: int, cqe: Cqe) -> None:
        log2 = self._ring(ring, Reg.RING0_CQ_SIZE)
        serial = self._cq_prod[ring]
        base = self._base(ring, Reg.RING0_CQ_BASE_LO)
        addr = base + Cqe.SIZE * (serial & ((1 << log2) - 1))
        cqe.phase = ~(serial >> log2) & 1
        good = self.mem.device_write(addr, cqe.pack(), self._beat)
        if good or self._ordered:
            self._cq_prod[ring] = (serial + 1) & _MASK32
        if not good or self._lost:
            self._cq_error = True
            self._ctx.clear()

    # -------------------------------------------------------------- descriptors

    def _execute(self, raw: bytes, index: int) -> Cqe:
        d = SqeRecord.unpack(raw)
        can_open = self._suites & _RX_SUITES
        if d.opcode == Opcode.SEAL or (d.opcode == Opcode.OPEN and can_open):
            outcome = self._record(d)
        elif d.opcode in (Opcode.CTX_SET, Opcode.CTX_DEL):
            outcome = _Outcome(self._set_context(SqeCtx.unpack(raw)))
        elif d.opcode == Opcode.RESYNC:
            outcome = _Outcome(self._resync(SqeCtx.unpack(raw)))
        else:
            outcome = _Outcome(Status.BAD_OPCODE)
        return Cqe(
            cookie=d.cookie,
            status=outcome.status,
            opcode=d.opcode,
            ctx=d.ctx,
            gen=d.gen,
            rtype=outcome.rtype,
            len=outcome.length,
            cycles=outcome.cycles,
            rec_seq=outcome.number or 0,
            sq_index=index,
            latency=outcome.cycles,
            rekey=outcome.rekey,
            numbered=int(outcome.number is not None),
        )

    def _set_context(self, d: SqeCtx) -> Status:
        if d.ctx >= self.contexts:
            return Status.BAD_CTX
        if d.opcode == Opcode.CTX_DEL:
            if self._find(d) is None:
                return Status.BAD_CTX
            del self._ctx[d.ctx]
            return Status.OK
        key_size = engine.KEY_SIZES.get(d.cipher, 0)
        if not self._offers(d.dir, d.version, key_size):
            return Status.BAD_SUITE
        self._ctx[d.ctx] = Context(
            d.dir,
            d.version,
            d.key[:key_size],
            d.salt,
            int.from_bytes(d.iv, "big"),
            int.from_bytes(d.rec_seq, "big"),
            generation=_generation(d),
        )
        return Status.OK

    def _find(self, d: SqeCtx | SqeRecord) -> Context | None:
        """Return the context of a descriptor, None unless it has the same generation."""
        ctx = self._ctx.get(d.ctx)
        return ctx if ctx is not None and ctx.generation == _generation(d) else None

    def _offers(self, direction: int, version: int, key_size: int) -> bool:
        """Return whether SUITES has the suite of a context.

        Plain AES-GCM needs the TLS 1.2 suite of its direction and key size, too.
        """
        plain = version == engine.PLAIN_GCM
        tls = _TLS_SUITE.get((direction, engine.VERSION_1_2 if plain else version, key_size), 0)
        need = tls | (_PLAIN_SUITE[key_size] if tls and plain else 0)
        return need != 0 and self._suites & need == need

    def _resync(self, d: SqeCtx) -> Status:
        ctx = self._find(d)
        if ctx is None:
            return Status.BAD_CTX
        number = int.from_bytes(d.rec_seq, "big")
        backward = ctx.direction == engine.SEAL_DIRECTION and number < ctx.seq
        if not ctx.numbered or backward:
            return Status.BAD_SEQ
        self._ctx[d.ctx] = ctx.at(number)
        return Status.OK

    def _record(self, d: SqeRecord) -> _Outcome:
        """Check a record descriptor, update its context and execute it."""
        outcome = _Outcome(Status.BAD_CTX)
        opening = d.opcode == Opcode.OPEN
        if not opening:
            outcome.rtype = d.rtype
        ctx = self._find(d)
        if ctx is None or (ctx.direction == engine.OPEN_DIRECTION) != opening:
            return outcome
        if ctx.exhausted:
            outcome.status = Status.SEQ_EXHAUSTED
            return outcome
        if ctx.numbered:
            outcome.number = ctx.seq
        limit, warn = self._regs[Reg.KEY_LIMIT], self._regs[Reg.KEY_WARN]
        outcome.status = engine.refusal(ctx, d)
        if limit and ctx.uses >= limit:
            outcome.status = Status.KEY_EXHAUSTED
        accepted = outcome.status == Status.OK
        after = ctx.after_record(used=accepted)
        self._ctx[d.ctx] = after
        outcome.rekey = int(warn != 0 and after.uses >= warn)
        if accepted:
            self._move(ctx, d, outcome)
        return outcome

    def _move(self, ctx: Context, d: SqeRecord, outcome: _Outcome) -> None:
        """Gather the source, run the engine and scatter its result."""
        length = engine.source_length(ctx, d)
        count = None if d.src_direct else d.src_cnt
        source, src = self.mem.gather(d.src_sg, count, length, self._beat)
        result = self._faults.process(ctx, d, source)
        # the RTL writes zeros after the first bad block; the driver must discard all of it
        data = bytes(len(result.data)) if any(src) else result.data
        dst = self._faults.scatter(self._scatter, d, data)
        outcome.cycles = engine.cycles(ctx, d, self._beat)
        self._cycles += outcome.cycles
        if self._ordered:
            # the completion leaves before the bus has answered the write
            self._lost, dst = dst.lost, dst._replace(lost=False)
        outcome.status = _moved(src, dst, result.authentic)
        if outcome.status == Status.OK:
            outcome.rtype, outcome.length = result.rtype, result.length
            self._counters[Reg.CNT_RECORDS] += 1
            self._bytes += result.length if d.opcode == Opcode.OPEN else d.len

    def _scatter(self, d: SqeRecord, data: bytes) -> Access:
        return self.mem.scatter(d.dst_sg, None if d.dst_direct else d.dst_cnt, data, self._beat)


def _generation(d: SqeCtx | SqeRecord) -> int:
    return d.epoch << 8 | d.gen


def _moved(src: Access, dst: Access, authentic: bool) -> Status:
    """Return the status of an executed record; the first error in this order counts."""
    if authentic and not (any(src) or any(dst)):
        return Status.OK
    for wrong, status in (
        (src.bus_error, Status.SRC_BUS_ERROR),
        (src.short, Status.SRC_SHORT),
        (dst.bus_error or dst.lost, Status.DST_BUS_ERROR),
        (dst.short, Status.DST_SHORT),
        (not authentic, Status.AUTH_FAILED),
    ):
        if wrong:
            return status
    return Status.OK
