# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the FIFO (`ktls_fifo`)."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Pause, StreamSink, StreamSource, never, random_pause, start


async def _run(dut: Any, in_pause: Pause, out_pause: Pause, n: int = 400) -> StreamSink:
    cycles = await start(dut)
    src = StreamSource(dut, "s", ["data"], cycles, in_pause)
    sink = StreamSink(dut, "m", ["data"], cycles, out_pause)
    for i in range(n):
        src.put(data=i & 0xFF)
    await sink.wait_for(n)
    assert [b.values["data"] for b in sink.beats] == [i & 0xFF for i in range(n)]
    await RisingEdge(dut.clk)
    assert int(dut.count.value) == 0
    return sink


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def random_pauses(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    for a, b in ((0.5, 0.5), (0.1, 0.8), (0.8, 0.1)):
        await _run(dut, random_pause(rng, a), random_pause(rng, b))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_word_per_cycle(dut: Any) -> None:
    sink = await _run(dut, never, never, 100)
    assert sink.beats[-1].cycle - sink.beats[0].cycle == 99


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def holds_16_words_and_no_more(dut: Any) -> None:
    cycles = await start(dut, m_ready=0)
    src = StreamSource(dut, "s", ["data"], cycles)
    for i in range(30):
        src.put(data=i)
    for _ in range(60):
        await RisingEdge(dut.clk)
    assert int(dut.count.value) == 16
    assert len(src.sent) == 16
    assert dut.s_ready.value == 0
