# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the read master (`ktls_dma_rd`) against an AXI4 slave in Python.

The slave is per-beat Python, independent of the Verilog host memory.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge, Timer

from ktls_cosim.sim.bus import StreamSink, StreamSource, random_pause, start

N = 4


def pattern(addr: int, size: int) -> int:
    """The content of memory in the `size` bytes of a beat."""
    return int.from_bytes(bytes((addr + i) * 7 & 0xFF for i in range(size)), "little")


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def every_client_gets_its_own_beats_in_order(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    beat = len(dut.rsp_data) // 8  # bytes
    cycles = await start(
        dut, flush=0, req_valid=0, req_addr=0, req_beats=0, m_axi_rvalid=0, m_axi_arready=0
    )
    ar = StreamSink(dut, "m_axi_ar", ["addr", "len"], cycles, random_pause(rng, 0.3), separator="")
    r = StreamSource(
        dut, "m_axi_r", ["data", "resp", "last"], cycles, random_pause(rng, 0.3), separator=""
    )

    async def slave() -> None:
        served = 0
        while True:
            await RisingEdge(dut.clk)
            while served < len(ar.beats):
                a = ar.beats[served].values
                served += 1
                for i in range(a["len"] + 1):
                    addr = a["addr"] + beat * i
                    r.put(
                        data=pattern(addr, beat),
                        resp=2 * (addr % 1024 == 512),
                        last=int(i == a["len"]),
                    )

    cocotb.start_soon(slave())
    todo = [
        [
            (rng.randrange(1 << 12) * 4096 + 64 * rng.randrange(32), rng.randint(1, 16))
            for _ in range(25)
        ]
        for _ in range(N)
    ]
    want = [
        [
            (pattern(at, beat), int(at % 1024 == 512))
            for a, n in jobs
            for at in range(a, a + beat * n, beat)
        ]
        for jobs in todo
    ]
    got: list[list[tuple[int, int]]] = [[] for _ in range(N)]
    waiting = [list(jobs) for jobs in todo]
    for _ in range(20_000):
        await Timer(1, unit="ns")
        valid = addr = beats = 0
        for c, jobs in enumerate(waiting):
            if jobs:
                valid |= 1 << c
                addr |= jobs[0][0] << (64 * c)
                beats |= (jobs[0][1] - 1) << (8 * c)
        dut.req_valid.value = valid
        dut.req_addr.value = addr
        dut.req_beats.value = beats
        await ReadOnly()
        ready = int(dut.req_ready.value)
        rsp = int(dut.rsp_valid.value)
        if rsp:
            assert rsp & (rsp - 1) == 0
            got[rsp.bit_length() - 1].append((int(dut.rsp_data.value), int(dut.rsp_err.value)))
        await RisingEdge(dut.clk)
        for c in range(N):
            if ready >> c & 1:
                waiting[c].pop(0)
        if not any(waiting) and all(len(g) == len(w) for g, w in zip(got, want, strict=True)):
            break
    assert got == want
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    assert dut.idle.value == 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def flush_completes_a_burst_and_starts_none(dut: Any) -> None:
    cycles = await start(
        dut, flush=0, req_valid=1, req_addr=0x1000, req_beats=3, m_axi_rvalid=0, m_axi_arready=0
    )
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.flush.value = 1
    for _ in range(4):
        await RisingEdge(dut.clk)
    assert dut.m_axi_arvalid.value == 1, "a pending address must stay valid"
    assert dut.idle.value == 0
    ar = StreamSink(dut, "m_axi_ar", ["addr", "len"], cycles, separator="")
    r = StreamSource(dut, "m_axi_r", ["data", "resp", "last"], cycles, separator="")
    for _ in range(6):
        await RisingEdge(dut.clk)
    assert len(ar.beats) == 1
    for i in range(4):
        r.put(data=i, resp=0, last=int(i == 3))
    for _ in range(10):
        await RisingEdge(dut.clk)
    assert dut.idle.value == 1
    assert dut.m_axi_arvalid.value == 0
