# SPDX-License-Identifier: Apache-2.0
"""Valid/ready streams, driven and observed beat by beat; the only module that uses cocotb-bus.

`StreamSource` is a cocotb-bus driver, `StreamMonitor` and `StreamSink` are cocotb-bus monitors.
They serve any block whose ports follow the valid/ready handshake of AXI: name the prefix of the
port and its payload fields, and choose a pause generator.

    cycles = await start(dut, s_valid=0, m_ready=0)
    source = StreamSource(dut, "s", ["data", "last"], cycles, random_pause(rng, 0.3))
    sink = StreamSink(dut, "m", ["data", "last"], cycles, callback=check)
    source.put(data=1, last=1)
    beats = await sink.wait_for(1)

The classes run Python code in every clock cycle. Simulations of the whole device therefore use
none of them: their memory and their register master are Verilog (`hdl/`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb_bus.drivers import BusDriver
from cocotb_bus.monitors import BusMonitor

Pause = Callable[[], Iterator[bool]]
"""Returns an endless sequence with one entry per cycle: True in the cycles to pause."""


def never() -> Iterator[bool]:
    """A pause generator without pauses."""
    while True:
        yield False


def random_pause(rng: random.Random, share: float) -> Pause:
    """Return a pause generator that pauses in a random share (0 to 1) of the cycles."""

    def pauses() -> Iterator[bool]:
        while True:
            yield rng.random() < share

    return pauses


@dataclass
class Beat:
    """One transfer.

    Attributes:
        cycle: The clock cycle of the transfer.
        values: The payload, field by field.
    """

    cycle: int
    values: Mapping[str, int]


class Cycles:
    """A clock and the count of its cycles.

    Attributes:
        clock: Handle of the clock signal.
        now: Rising edges since the object was created.
    """

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.now = 0
        cocotb.start_soon(self._count())

    async def _count(self) -> None:
        edge = RisingEdge(self.clock)
        while True:
            await edge
            self.now += 1


# cocotb-bus has no type hints
class StreamSource(BusDriver):  # type: ignore[misc]
    """Drives `valid` and the payload of a port, and waits for `ready`.

    `put` queues a beat. The methods of `cocotb_bus.drivers.Driver` work as well: `append` takes
    the payload as a mapping, with a callback or an event for the moment of the transfer.

    Args:
        dut: The block that has the port.
        prefix: Prefix of the port's signals.
        payload: Names of the payload fields, without the prefix.
        cycles: The clock of the port.
        pause: Cycles in which no beat starts.
        separator: Text between prefix and name; empty for AXI channels (`m_axi_r`).

    Attributes:
        sent: All transfers so far.
    """

    def __init__(
        self,
        dut: Any,
        prefix: str,
        payload: Sequence[str],
        cycles: Cycles,
        pause: Pause = never,
        separator: str = "_",
    ) -> None:
        self._signals = ["valid", "ready", *payload]
        self._cycles = cycles
        self._pauses = pause()
        self._sending = False
        self.sent: list[Beat] = []
        super().__init__(dut, prefix, cycles.clock, bus_separator=separator, case_insensitive=False)
        self._payload = {name: getattr(self.bus, name) for name in payload}
        self.bus.valid.value = 0

    def put(self, **values: int) -> None:
        """Queue one beat.

        Raises:
            ValueError: `values` are not exactly the fields of the payload.
        """
        if values.keys() != self._payload.keys():
            raise ValueError(f"the payload is {sorted(self._payload)}, got {sorted(values)}")
        self.append(values)

    @property
    def pending(self) -> int:
        """The number of queued beats whose transfer has not happened yet."""
        return len(self._sendQ) + self._sending

    async def _driver_send(
        self, transaction: Mapping[str, int], sync: bool = True, **_: Any
    ) -> None:
        """Transfer one beat; called by cocotb-bus for each entry of its queue."""
        self._sending = True
        edge = RisingEdge(self.clock)
        if sync:
            await edge
        while next(self._pauses):
            await edge
        for name, handle in self._payload.items():
            handle.value = transaction[name]
        self.bus.valid.value = 1
        await edge
        while self.bus.ready.value != 1:
            await edge
        self.sent.append(Beat(self._cycles.now, transaction))
        # the next beat overwrites this in the same time step if it follows at once
        self.bus.valid.value = 0
        self._sending = False


class StreamMonitor(BusMonitor):  # type: ignore[misc]
    """Observes a port without driving any of its signals.

    Args:
        dut: The block that has the port.
        prefix: Prefix of the port's signals.
        payload: Names of the payload fields, without the prefix.
        cycles: The clock of the port.
        callback: Called with every `Beat`; `add_callback` adds further ones.
        separator: Text between prefix and name; empty for AXI channels (`m_axi_r`).

    Attributes:
        beats: All transfers so far.
    """

    def __init__(
        self,
        dut: Any,
        prefix: str,
        payload: Sequence[str],
        cycles: Cycles,
        *,
        callback: Callable[[Beat], object] | None = None,
        separator: str = "_",
    ) -> None:
        self._signals = ["valid", "ready", *payload]
        self._cycles = cycles
        self.beats: list[Beat] = []
        super().__init__(
            dut,
            prefix,
            cycles.clock,
            callback=self.beats.append,
            bus_separator=separator,
            case_insensitive=False,
        )
        if callback is not None:
            self.add_callback(callback)
        self._payload = {name: getattr(self.bus, name) for name in payload}

    async def _monitor_recv(self) -> None:
        """Sample the port in every cycle; started by cocotb-bus."""
        edge = RisingEdge(self.clock)
        while True:
            await edge
            self._sample()

    def _sample(self) -> None:
        if self.bus.ready.value == 1 and self.bus.valid.value == 1:
            values = {name: int(handle.value) for name, handle in self._payload.items()}
            self._recv(Beat(self._cycles.now, values))

    async def wait_for(self, count: int, limit: int = 100_000) -> list[Beat]:
        """Wait until `beats` has `count` entries, and return it.

        Raises:
            TimeoutError: `limit` cycles have passed.
        """
        edge = RisingEdge(self.clock)
        start = self._cycles.now
        while len(self.beats) < count:
            if self._cycles.now - start > limit:
                raise TimeoutError(f"{len(self.beats)} of {count} beats in {limit} cycles")
            await edge
        return self.beats


class StreamSink(StreamMonitor):
    """Drives `ready` of a port and collects its transfers.

    Args:
        dut: The block that has the port.
        prefix: Prefix of the port's signals.
        payload: Names of the payload fields, without the prefix.
        cycles: The clock of the port.
        pause: Cycles in which `ready` is low.
        callback: Called with every `Beat`.
        separator: Text between prefix and name; empty for AXI channels (`m_axi_r`).
    """

    def __init__(
        self,
        dut: Any,
        prefix: str,
        payload: Sequence[str],
        cycles: Cycles,
        pause: Pause = never,
        *,
        callback: Callable[[Beat], object] | None = None,
        separator: str = "_",
    ) -> None:
        super().__init__(dut, prefix, payload, cycles, callback=callback, separator=separator)
        self._pauses = pause()
        self.bus.ready.value = 0

    async def _monitor_recv(self) -> None:
        edge = RisingEdge(self.clock)
        while True:
            await edge
            self._sample()
            self.bus.ready.value = int(not next(self._pauses))


async def start(dut: Any, period_ns: int = 4, **initial: int) -> Cycles:
    """Start the clock `clk`, set inputs, and hold `rst` high for four cycles.

    Call this before you create a stream: after the reset no stream samples an X.

    Args:
        dut: A block with the inputs `clk` and `rst`.
        period_ns: Clock period in nanoseconds.
        initial: Values of further inputs.
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
