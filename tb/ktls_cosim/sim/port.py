# SPDX-License-Identifier: Apache-2.0
"""`HostPort` for Python inside the simulator (top level `ktls_tb`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cocotb.handle import Immediate
from cocotb.triggers import FallingEdge, First, RisingEdge, Timer, Trigger
from cocotb.utils import get_sim_time

from ktls_cosim.check.access import Burst
from ktls_cosim.errors import CosimError
from ktls_cosim.sim.wire import LINE, check_range
from ktls_hw.fields import register_address
from ktls_hw.layout import (
    CTRL_RESET,
    RING0_IRQ_MOD_TIMER,
    RING_COUNT,
    STATUS_IDLE,
    Reg,
    ring_of,
)

DEFAULT_IRQ_LIMIT_NS = 2_000_000
_IRQ_STEP_NS = 20_000
_LOGGED = 1 << 16  # entries of ktls_access_log


class SimMemory:
    """Host memory in the simulation (`ktls_host_mem`), an array of lines of `LINE` bytes.

    Attributes:
        size: Size in bytes.
    """

    def __init__(self, host: Any) -> None:
        self._mem = host.mem
        self._lines: dict[int, Any] = {}  # handles by number: cocotb creates them slowly
        self.size = len(self._mem) * LINE

    def _line(self, number: int) -> Any:
        handle = self._lines.get(number)
        if handle is None:
            handle = self._lines[number] = self._mem[number]
        return handle

    # Text, because cocotb converts a number of 1024 bits four times as slowly.

    def get_line(self, number: int) -> bytes:
        """Return the bytes of a line."""
        return int(str(self._line(number).value), 2).to_bytes(LINE, "little")

    def put_line(self, number: int, data: bytes) -> None:
        """Write at most `LINE` bytes to the start of a line, and zeros behind them."""
        text = format(int.from_bytes(data, "little"), f"0{8 * LINE}b")
        self._line(number).value = Immediate(text)

    def read(self, addr: int, length: int) -> bytes:
        """Read `length` bytes at byte address `addr`, in no simulation time."""
        check_range(addr, length, self.size)
        if not length:
            return b""
        first = addr // LINE
        last = (addr + length - 1) // LINE
        data = b"".join(self.get_line(n) for n in range(first, last + 1))
        at = addr - first * LINE
        return data[at : at + length]

    def write(self, addr: int, data: bytes) -> None:
        """Write `data` at byte address `addr`, in no simulation time."""
        check_range(addr, len(data), self.size)
        at = 0
        while at < len(data):
            number, offset = divmod(addr + at, LINE)
            n = min(LINE - offset, len(data) - at)
            piece = data[at : at + n]
            if n < LINE:
                old = self.get_line(number)
                piece = old[:offset] + piece + old[offset + n :]
            self.put_line(number, piece)
            at += n


class SimPort:
    """`HostPort` inside cocotb; a test awaits the driver's coroutines.

    Args:
        dut: The top level `ktls_tb`.
        irq_limit_ns: Simulation time in nanoseconds after which `wait_irq` gives up.

    Attributes:
        mem: Host memory.
        beat: Bytes of a beat of the device's bus.
    """

    def __init__(self, dut: Any, irq_limit_ns: int = DEFAULT_IRQ_LIMIT_NS) -> None:
        self.dut = dut
        self.mem = SimMemory(dut.host)
        self.irq_limit_ns = irq_limit_ns
        self._go = 0
        self._timers: dict[int, int] = {}  # moderation timers by register address
        self._messages_handled: dict[int, int] = {}  # by vector
        self.beat = len(dut.m_wdata) // 8
        self._bursts = 0  # of the log that `bursts` has returned

    async def ready(self) -> None:
        """Wait for the end of the power-on reset; call this before any other method."""
        await RisingEdge(self.dut.clk)
        if self.dut.rst.value != 0:
            await self.dut.rst.falling_edge
            await RisingEdge(self.dut.clk)
        await FallingEdge(self.dut.clk)
        # an earlier test of the same simulation may have left either value
        self._go = int(self.dut.bfm_go.value)
        self._drop_messages()

    async def _access(self) -> None:
        self._go ^= 1
        self.dut.bfm_go.value = self._go
        await self.dut.bfm_done.value_change

    async def read32(self, addr: int) -> int:
        """Read the register at byte address `addr`; ValueError outside of the register space."""
        self.dut.bfm_addr.value = register_address(addr)
        self.dut.bfm_write.value = 0
        await self._access()
        return int(self.dut.bfm_rdata.value)

    async def write32(self, addr: int, value: int) -> None:
        """Write the register at byte address `addr`; ValueError outside of the register space."""
        addr = register_address(addr)
        if ring_of(addr)[1] == Reg.RING0_IRQ_MOD:
            self._timers[addr] = RING0_IRQ_MOD_TIMER.get(value)
        elif addr == Reg.CTRL and CTRL_RESET.get(value):
            self._timers.clear()
        self.dut.bfm_write.value = 1
        self.dut.bfm_addr.value = addr
        self.dut.bfm_wdata.value = value
        await self._access()
        if addr == Reg.CTRL and CTRL_RESET.get(value):
            self._drop_messages()

    async def wait_irq(self) -> bool:
        """Wait for the interrupt.

        Returns:
            False if the device is idle with no moderation timer running, so that no interrupt
            can come, or if `irq_limit_ns` have passed.
        """
        irq = self.dut.irq_seen
        await self._wait(lambda: bool(irq.value == 1), lambda: RisingEdge(irq))
        return bool(irq.value == 1)

    async def wait_message(self) -> int | None:
        """Take an interrupt message, or wait for one.

        Returns:
            Its vector; None under the conditions of `wait_irq`.
        """
        total = self.dut.msg_total
        await self._wait(lambda: self._next_message() is not None, lambda: total.value_change)
        return self.take_message()

    def take_message(self) -> int | None:
        """Take an interrupt message that has arrived; returns its vector, None without one."""
        vector = self._next_message()
        if vector is not None:
            self._messages_handled[vector] = int(self.dut.msg_count[vector].value)
        return vector

    def _next_message(self) -> int | None:
        """Return the lowest vector with a message that nobody has taken."""
        for vector, handled in self._messages_handled.items():
            if int(self.dut.msg_count[vector].value) != handled:
                return vector
        return None

    def _drop_messages(self) -> None:
        counts = self.dut.msg_count
        self._messages_handled = {v: int(counts[v].value) for v in range(RING_COUNT + 1)}

    async def _wait(self, there: Callable[[], bool], change: Callable[[], Trigger]) -> None:
        """Wait until something is there, or nothing can come any more."""
        waited = 0
        while not there() and waited < self.irq_limit_ns:
            await First(change(), Timer(_IRQ_STEP_NS, unit="ns"))
            if there():
                return
            waited += _IRQ_STEP_NS
            if not self.timers_run and STATUS_IDLE.get(await self.read32(Reg.STATUS)):
                # the last completion may have arrived during the read of STATUS
                return

    @property
    def timers_run(self) -> bool:
        """Whether the interrupt of a ring is moderated by a timer."""
        return any(self._timers.values())

    def watch(self) -> None:
        """Log the bursts of the device from now on, for `bursts`."""
        self.dut.accesses.on.value = Immediate(1)
        self._bursts = int(self.dut.accesses.count.value)

    def bursts(self) -> list[Burst]:
        """Return the bursts since the last call; none unless `watch` was called.

        Raises:
            CosimError: There were more than the log holds.
        """
        count = int(self.dut.accesses.count.value)
        if count - self._bursts > _LOGGED:
            raise CosimError(f"{count - self._bursts} bursts since the last call; call more often")
        out = []
        for n in range(self._bursts, count):
            entry = int(self.dut.accesses.log[n % _LOGGED].value)
            beats = (entry >> 64 & 255) + 1
            out.append(Burst(bool(entry >> 72), entry & (1 << 64) - 1, beats * self.beat))
        self._bursts = count
        return out

    def now(self) -> int:
        """The simulation time in nanoseconds."""
        return int(get_sim_time("ns"))
