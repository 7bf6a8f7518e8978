# SPDX-License-Identifier: Apache-2.0
"""Valid/ready streams for the tests of single blocks, driven beat by beat.

The only user of cocotb-bus, whose `Bus` binds the signals of a port by prefix.
These bus models wake up every clock cycle; the path of the whole device does
not use them (its memory and register master are Verilog, `hdl/`).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb_bus.bus import Bus

Pause = Callable[[], Iterator[bool]]
"""Makes an endless sequence: True where the side does nothing in that cycle."""


def never() -> Iterator[bool]:
    while True:
        yield False


def random_pause(rng: random.Random, share: float) -> Pause:
    """Pause in a random share of the cycles."""

    def pauses() -> Iterator[bool]:
        while True:
            yield rng.random() < share

    return pauses


@dataclass
class Beat:
    """A transfer and the cycle in which it happened."""

    cycle: int
    values: dict[str, int]


class Cycles:
    """Counts the cycles of a clock."""

    def __init__(self, clk: Any) -> None:
        self.now = 0
        cocotb.start_soon(self._count(clk))

    async def _count(self, clk: Any) -> None:
        while True:
            await RisingEdge(clk)
            self.now += 1


class _Stream:
    """A valid/ready port `<prefix>_*` with payload signals `names`.

    AXI channels have no separator: prefix `m_axi_r`, separator "".
    """

    def __init__(
        self,
        dut: Any,
        prefix: str,
        names: list[str],
        cycles: Cycles,
        pause: Pause = never,
        separator: str = "_",
    ):
        signals = ["valid", "ready", *names]
        self.bus = Bus(dut, prefix, signals, bus_separator=separator, case_insensitive=False)
        self.names = names
        self.cycles = cycles
        self.pause = pause
        self._begin()
        cocotb.start_soon(self._run(dut.clk))

    def _begin(self) -> None:
        raise NotImplementedError

    async def _run(self, clk: Any) -> None:
        raise NotImplementedError


class StreamSource(_Stream):
    """Drives valid and payload, waits for ready."""

    def _begin(self) -> None:
        self.queue: deque[dict[str, int]] = deque()
        self.sent: list[Beat] = []
        self.bus.valid.value = 0

    def send(self, **values: int) -> None:
        self.queue.append(values)

    async def _run(self, clk: Any) -> None:
        pauses = self.pause()
        current = None
        while True:
            await RisingEdge(clk)
            if current is not None and self.bus.ready.value == 1:
                self.sent.append(Beat(self.cycles.now, current))
                current = None
            if current is None and self.queue and not next(pauses):
                current = self.queue.popleft()
                for name in self.names:
                    getattr(self.bus, name).value = current[name]
            self.bus.valid.value = int(current is not None)


class StreamSink(_Stream):
    """Drives ready and collects what is transferred."""

    def _begin(self) -> None:
        self.beats: list[Beat] = []
        self.bus.ready.value = 0

    async def _run(self, clk: Any) -> None:
        pauses = self.pause()
        while True:
            await RisingEdge(clk)
            if self.bus.ready.value == 1 and self.bus.valid.value == 1:
                values = {n: int(getattr(self.bus, n).value) for n in self.names}
                self.beats.append(Beat(self.cycles.now, values))
            self.bus.ready.value = int(not next(pauses))

    async def wait_for(self, count: int, clk: Any, limit: int = 100_000) -> list[Beat]:
        """Wait until `count` beats have come.

        Raises:
            TimeoutError: `limit` cycles passed.
        """
        start = self.cycles.now
        while len(self.beats) < count:
            if self.cycles.now - start > limit:
                raise TimeoutError(f"{len(self.beats)} of {count} beats in {limit} cycles")
            await RisingEdge(clk)
        return self.beats


async def start(dut: Any, period_ns: int = 4, **initial: int) -> Cycles:
    """Start the clock, set inputs and hold `rst` for four cycles.

    Reset is active before any bus model looks at a signal, so none sees X.
    """
    dut.rst.value = 1
    for name, value in initial.items():
        getattr(dut, name).value = value
    Clock(dut.clk, period_ns, unit="ns").start()
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return Cycles(dut.clk)
