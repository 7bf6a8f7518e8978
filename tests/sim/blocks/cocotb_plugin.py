# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the bus models (`ktls_cosim.sim.bus`), extended as a user would extend them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb
import pytest
from cocotb.triggers import Event

from ktls_cosim.sim.bus import Beat, StreamMonitor, StreamSink, StreamSource, start


class TextSource(StreamSource):
    """A user's own source: characters instead of numbers."""

    def put_text(self, text: str) -> None:
        """Queue one beat per character."""
        for char in text.encode():
            self.put(data=char)


def two_of_three() -> Iterator[bool]:
    """A user's own pause generator: a pause in every third cycle."""
    while True:
        yield from (False, False, True)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def own_payload_pauses_and_callbacks(dut: Any) -> None:
    """Source, sink and passive monitor see the same beats; each beat calls the callback once."""
    text = "a FIFO of characters" * 3
    called: list[str] = []

    def on_beat(beat: Beat) -> None:
        called.append(chr(beat.values["data"]))

    cycles = await start(dut, s_valid=0, m_ready=0)
    source = TextSource(dut, "s", ["data"], cycles)
    monitor = StreamMonitor(dut, "s", ["data"], cycles)
    sink = StreamSink(dut, "m", ["data"], cycles, two_of_three, callback=on_beat)
    source.put_text(text)
    assert source.pending == len(text)
    beats = await sink.wait_for(len(text))
    assert (source.pending, "".join(called)) == (0, text)
    assert [b.values for b in beats] == [b.values for b in source.sent]
    assert [(b.cycle, b.values) for b in monitor.beats] == [
        (b.cycle, b.values) for b in source.sent
    ]
    # the sink takes two beats and pauses for one cycle, so a beat takes 1.5 cycles
    steady = beats[4:]
    assert (steady[-1].cycle - steady[0].cycle) / (len(steady) - 1) == pytest.approx(1.5, abs=0.05)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def methods_of_cocotb_bus_work(dut: Any) -> None:
    """`append` with callback and event, and `wait_for_recv`, as cocotb-bus documents them."""
    rng = random.Random(cocotb.RANDOM_SEED)
    cycles = await start(dut, s_valid=0, m_ready=0)
    source = StreamSource(dut, "s", ["data"], cycles)
    sink = StreamSink(dut, "m", ["data"], cycles)
    sent: list[object] = []
    for _ in range(5):
        value, done = rng.randrange(256), Event()
        source.append({"data": value}, callback=sent.append, event=done)
        beat = await sink.wait_for_recv()
        assert beat.values == sent[-1] == {"data": value}
        assert done.is_set()
    assert sink.stats.received_transactions == len(source.sent) == 5


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_wrong_payload_is_refused(dut: Any) -> None:
    """A wrong field is an error of the call, not of a background task."""
    cycles = await start(dut, s_valid=0, m_ready=0)
    source = StreamSource(dut, "s", ["data"], cycles)
    with pytest.raises(ValueError, match=r"payload is \['data'\], got \['dato'\]"):
        source.put(dato=1)
    with pytest.raises(AttributeError):
        StreamSource(dut, "s", ["no_such_field"], cycles)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_missing_beat_is_a_timeout(dut: Any) -> None:
    """`wait_for` ends after its limit and counts the beats."""
    cycles = await start(dut, s_valid=0, m_ready=0)
    StreamSource(dut, "s", ["data"], cycles).put(data=1)
    sink = StreamSink(dut, "m", ["data"], cycles)
    with pytest.raises(TimeoutError, match="1 of 2 beats in 50 cycles"):
        await sink.wait_for(2, limit=50)
