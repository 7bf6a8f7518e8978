# SPDX-License-Identifier: Apache-2.0
"""A hostile AXI4 slave and a register master for `ktls_nic` alone, written per cycle in Python.

The bench of the product (`ktls_host_mem`) behaves; this slave does whatever a test asks for: it
answers late, early, unasked, with errors or not at all, and it can put memory at any of the 2^64
addresses. It is independent of the bench.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import Task
from cocotb.triggers import ClockCycles, Lock, RisingEdge

from ktls_hw import layout
from ktls_hw.layout import Reg

OKAY, EXOKAY, SLVERR, DECERR = range(4)
CHANNELS = ("ar", "r", "aw", "w", "b")
_DRIVEN = (
    "msg_ready",
    "s_axil_awaddr", "s_axil_awvalid", "s_axil_wdata", "s_axil_wstrb", "s_axil_wvalid",
    "s_axil_bready", "s_axil_araddr", "s_axil_arvalid", "s_axil_rready", "m_axi_awready",
    "m_axi_wready", "m_axi_bresp", "m_axi_bvalid", "m_axi_arready", "m_axi_rdata", "m_axi_rresp",
    "m_axi_rlast", "m_axi_rvalid",
)  # fmt: skip


class Memory:
    """Host memory as the driver sees it; the slave maps bus addresses to it."""

    def __init__(self, size: int = 1 << 20) -> None:
        self.size = size
        self.data = bytearray(size)

    def read(self, addr: int, length: int) -> bytes:
        assert addr + length <= self.size
        return bytes(self.data[addr : addr + length])

    def write(self, addr: int, data: bytes) -> None:
        assert addr + len(data) <= self.size
        self.data[addr : addr + len(data)] = data


@dataclass
class ReadBeat:
    """A beat of read data before it is offered; a policy may change it.

    Attributes:
        addr: Bus address of the beat.
        data: The bytes.
        resp: Response.
        last: RLAST.
        delay: Cycles to wait before it.
    """

    addr: int
    data: bytes
    resp: int
    last: bool
    delay: int = 0


@dataclass
class WriteBeat:
    """A beat of write data as the device sent it."""

    cycle: int
    addr: int
    data: bytes
    strobes: int

    @property
    def written(self) -> list[int]:
        """The addresses of the bytes that the beat writes."""
        return [self.addr + i for i in range(len(self.data)) if self.strobes >> i & 1]


@dataclass
class _Burst:
    addr: int
    beats: int
    due: int
    taken: list[WriteBeat] = field(default_factory=list)


@dataclass
class Policy:
    """How the slave behaves.

    Attributes:
        latency: Cycles from the address of a read to its data.
        b_latency: Cycles from the last beat of a write to its response.
        pause: Share of cycles in which a channel rests.
        blocked: Channels that do not move at all.
        on_read: Called with each beat before it is offered; it may change the beat.
        on_response: Called with the address of a finished write burst and its response; returns
            the response.
        early_b: Number of write bursts whose response comes with their address.
        unasked_r: Beats of read data to offer although no burst awaits them.
        unasked_b: Responses to offer although no burst awaits them.
        visible_at_b: Written data reaches the memory with the response only.
        place: Maps a bus address to an offset in the memory, or None for a decode error.
    """

    latency: int = 3
    b_latency: int = 3
    pause: float = 0.0
    blocked: set[str] = field(default_factory=set)
    on_read: Callable[[ReadBeat], None] | None = None
    on_response: Callable[[int, int], int] | None = None
    early_b: int = 0
    unasked_r: int = 0
    unasked_b: int = 0
    visible_at_b: bool = False
    place: Callable[[int], int | None] | None = None


class Hostile:
    """The device's port (`ktls_cosim.port.Port`) with the hostile slave behind it.

    Args:
        dut: `ktls_nic`.
        rng: Source of the pauses.

    Attributes:
        mem: Host memory.
        policy: Replace or change it at any time.
        cycle: Cycles so far.
        reads: Cycle, address and beats of each read burst.
        writes: Each beat of write data.
        wait_limit: Cycles after which `wait_irq` gives up.
    """

    def __init__(self, dut: Any, rng: random.Random) -> None:
        self.dut = dut
        self.mem = Memory()
        self.policy = Policy()
        self.cycle = 0
        self.reads: list[tuple[int, int, int]] = []
        self.writes: list[WriteBeat] = []
        self.wait_limit = 20_000
        self._rng = rng
        # a fault may strike with a register write while the driver accesses another one
        self._registers = Lock()
        self._beat = len(dut.m_axi_wdata) // 8
        self._task: Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._ar: deque[_Burst] = deque()
        self._aw: deque[_Burst] = deque()
        self._w: deque[tuple[bytes, int, bool]] = deque()
        self._b: deque[tuple[int, int, _Burst | None]] = deque()
        self._current: _Burst | None = None
        self._next = 0  # number of the next beat of `_current`
        self._ready_beat: ReadBeat | None = None

    async def start(self) -> None:
        """Start clock and slave, apply the reset pin, and wait until the device is ready."""
        for name in _DRIVEN:
            getattr(self.dut, name).value = 0
        self.dut.s_axil_bready.value = self.dut.s_axil_rready.value = 1
        self.dut.rst.value = 1
        Clock(self.dut.clk, 4, unit="ns").start()
        await ClockCycles(self.dut.clk, 5)
        self.dut.rst.value = 0
        self._task = cocotb.start_soon(self._run())
        await self.until_ready()

    def stop(self) -> None:
        """End the slave, so that another one can drive the signals."""
        if self._task:
            self._task.cancel()

    async def until_ready(self, limit: int = 5000) -> None:
        end = self.cycle + limit
        while not layout.STATUS_READY.get(await self.read32(Reg.STATUS)):
            assert self.cycle < end, "STATUS.ready stays 0"

    def reset_bus(self) -> None:
        """Forget all open transactions, as the reset of a bus does."""
        self._forget()
        self.dut.m_axi_rvalid.value = self.dut.m_axi_bvalid.value = 0
        self._reset = True

    # ------------------------------------------------------------------ the slave

    _reset = False

    def _offset(self, addr: int) -> int | None:
        if self.policy.place:
            return self.policy.place(addr)
        return addr if addr + self._beat <= self.mem.size else None

    async def _run(self) -> None:
        d = self.dut
        r_valid = b_valid = False
        while True:
            await RisingEdge(d.clk)
            self.cycle += 1
            if self._reset:
                self._reset = r_valid = b_valid = False
                continue
            # what the device and the slave agreed on in this edge
            if d.m_axi_arvalid.value == 1 and d.m_axi_arready.value == 1:
                addr, beats = int(d.m_axi_araddr.value), int(d.m_axi_arlen.value) + 1
                self.reads.append((self.cycle, addr, beats))
                self._ar.append(_Burst(addr, beats, self.cycle + self.policy.latency))
            if d.m_axi_awvalid.value == 1 and d.m_axi_awready.value == 1:
                burst = _Burst(int(d.m_axi_awaddr.value), int(d.m_axi_awlen.value) + 1, 0)
                self._aw.append(burst)
                if self.policy.early_b:
                    self.policy.early_b -= 1
                    burst.due = -1
                    self._b.append((self.cycle, OKAY, None))
            if d.m_axi_wvalid.value == 1 and d.m_axi_wready.value == 1:
                data = int(d.m_axi_wdata.value).to_bytes(self._beat, "little")
                self._w.append((data, int(d.m_axi_wstrb.value), d.m_axi_wlast.value == 1))
            while self._aw and self._w:
                self._take_beat(*self._w.popleft())
            if r_valid and d.m_axi_rready.value == 1:
                r_valid = False
            if b_valid and d.m_axi_bready.value == 1:
                b_valid = False
            # what the slave offers next
            moves = {c: self._moves(c) for c in CHANNELS}
            d.m_axi_arready.value = int(moves["ar"] and len(self._ar) < 60)
            d.m_axi_awready.value = int(moves["aw"] and len(self._aw) < 60)
            d.m_axi_wready.value = int(moves["w"] and len(self._w) < 60)
            if not r_valid:
                r_valid = self._offer_read(moves["r"])
                d.m_axi_rvalid.value = int(r_valid)
            if not b_valid:
                b_valid = self._offer_response(moves["b"])
                d.m_axi_bvalid.value = int(b_valid)

    def _moves(self, channel: str) -> bool:
        if channel in self.policy.blocked:
            return False
        return not self.policy.pause or self._rng.random() >= self.policy.pause

    def _offer_read(self, moves: bool) -> bool:
        d, policy = self.dut, self.policy
        if policy.unasked_r and not self._ar and self._current is None:
            policy.unasked_r -= 1
            beat = ReadBeat(0, self._rng.randbytes(self._beat), OKAY, True)
        else:
            if self._ready_beat is None:
                self._ready_beat = self._prepare_read()
            if self._ready_beat is None:
                return False
            if self._ready_beat.delay:
                self._ready_beat.delay -= 1
                return False
            if not moves:
                return False
            beat, self._ready_beat = self._ready_beat, None
            self._next += 1
            assert self._current
            if beat.last or self._next == self._current.beats:
                self._current = None
        d.m_axi_rdata.value = int.from_bytes(beat.data, "little")
        d.m_axi_rresp.value = beat.resp
        d.m_axi_rlast.value = int(beat.last)
        return True

    def _prepare_read(self) -> ReadBeat | None:
        if self._current is None:
            if not self._ar or self._ar[0].due > self.cycle:
                return None
            self._current = self._ar.popleft()
            self._next = 0
        burst = self._current
        addr = burst.addr + self._next * self._beat
        at = self._offset(addr)
        beat = ReadBeat(
            addr,
            b"\xee" * self._beat if at is None else self.mem.read(at, self._beat),
            DECERR if at is None else OKAY,
            self._next == burst.beats - 1,
        )
        if self.policy.on_read:
            self.policy.on_read(beat)
        return beat

    def _take_beat(self, data: bytes, strobes: int, last: bool) -> None:
        burst = self._aw[0]
        beat = WriteBeat(self.cycle, burst.addr + self._beat * len(burst.taken), data, strobes)
        self.writes.append(beat)
        burst.taken.append(beat)
        assert last == (len(burst.taken) == burst.beats), "WLAST at the wrong beat"
        if not self.policy.visible_at_b:
            self._store(beat)
        if last:
            self._aw.popleft()
            failed = any(self._offset(b.addr) is None for b in burst.taken)
            resp = DECERR if failed else OKAY
            if self.policy.on_response:
                resp = self.policy.on_response(burst.addr, resp)
            if burst.due < 0:  # answered already
                if self.policy.visible_at_b:
                    for b in burst.taken:
                        self._store(b)
            else:
                self._b.append((self.cycle + self.policy.b_latency, resp, burst))

    def _store(self, beat: WriteBeat) -> None:
        at = self._offset(beat.addr)
        if at is not None:
            for i, byte in enumerate(beat.data):
                if beat.strobes >> i & 1:
                    self.mem.data[at + i] = byte

    def _offer_response(self, moves: bool) -> bool:
        policy = self.policy
        resp = OKAY
        if policy.unasked_b and not self._aw and not self._b and not self._w:
            policy.unasked_b -= 1
        elif moves and self._b and self._b[0][0] <= self.cycle:
            _, resp, burst = self._b.popleft()
            if burst and policy.visible_at_b and resp == OKAY:
                for beat in burst.taken:
                    self._store(beat)
        else:
            return False
        self.dut.m_axi_bresp.value = resp
        return True

    # ------------------------------------------------------------- the driver's port

    async def read32(self, addr: int) -> int:
        d = self.dut
        async with self._registers:
            d.s_axil_araddr.value = addr
            d.s_axil_arvalid.value = 1
            while True:
                await RisingEdge(d.clk)
                if d.s_axil_arready.value == 1:
                    break
            d.s_axil_arvalid.value = 0
            while True:
                await RisingEdge(d.clk)
                if d.s_axil_rvalid.value == 1:
                    return int(d.s_axil_rdata.value)

    async def write32(self, addr: int, value: int, strobes: int = 15) -> None:
        d = self.dut
        async with self._registers:
            d.s_axil_awaddr.value = addr
            d.s_axil_wdata.value = value & 0xFFFFFFFF
            d.s_axil_wstrb.value = strobes
            d.s_axil_awvalid.value = d.s_axil_wvalid.value = 1
            while True:
                await RisingEdge(d.clk)
                if d.s_axil_awready.value == 1:
                    break
            d.s_axil_awvalid.value = d.s_axil_wvalid.value = 0
            while True:
                await RisingEdge(d.clk)
                if d.s_axil_bvalid.value == 1:
                    return

    async def wait_irq(self) -> bool:
        end = self.cycle + self.wait_limit
        while self.dut.irq.value != 1:
            if self.cycle >= end:
                return False
            await RisingEdge(self.dut.clk)
        return True

    async def wait_message(self) -> int | None:
        end = self.cycle + self.wait_limit
        self.dut.msg_ready.value = 1
        try:
            while self.cycle < end:
                await RisingEdge(self.dut.clk)
                if self.dut.msg_valid.value == 1:
                    return int(self.dut.msg_vector.value)
        finally:
            self.dut.msg_ready.value = 0
        return None

    def now(self) -> int:
        return self.cycle * 4
