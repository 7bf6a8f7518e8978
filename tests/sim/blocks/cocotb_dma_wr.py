# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the write master (`ktls_dma_wr`) against an AXI4 slave in Python."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge, Timer

from ktls_cosim.sim.bus import Cycles, StreamSink, StreamSource, random_pause, start

Job = tuple[int, int]  # address and beats of a burst


class Slave:
    """An AXI4 slave that accepts bursts and returns SLVERR if address bit 12 is set."""

    def __init__(self, dut: Any, cycles: Cycles, rng: random.Random, share: float) -> None:
        pause = random_pause(rng, share)
        self.dut = dut
        self.aw = StreamSink(dut, "m_axi_aw", ["addr", "len"], cycles, pause, separator="")
        self.w = StreamSink(dut, "m_axi_w", ["data", "strb", "last"], cycles, pause, separator="")
        self.b = StreamSource(dut, "m_axi_b", ["resp"], cycles, pause, separator="")
        self.bursts: list[tuple[int, list[tuple[int, int]]]] = []
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            while self.aw.beats and len(self.w.beats) > self.aw.beats[0].values["len"]:
                a = self.aw.beats.pop(0).values
                beats = [self.w.beats.pop(0).values for _ in range(a["len"] + 1)]
                assert [b["last"] for b in beats] == [0] * a["len"] + [1]
                self.bursts.append((a["addr"], [(b["data"], b["strb"]) for b in beats]))
                self.b.put(resp=2 * (a["addr"] >> 12 & 1))


async def begin(dut: Any, share: float) -> Slave:
    rng = random.Random(cocotb.RANDOM_SEED)
    cycles = await start(
        dut, flush=0, req_valid=0, req_addr=0, req_beats=0, req0_mark=0, w_valid=0, w0_data=0,
        w0_strb=0, w1_data=0, w1_strb=0, m_axi_awready=0, m_axi_wready=0, m_axi_bvalid=0,
        m_axi_bresp=0,
    )  # fmt: skip
    return Slave(dut, cycles, rng, share)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def bursts_and_marks_of_two_clients(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    slave = await begin(dut, 0.3)
    # client 0: bursts and marks; client 1: bursts
    jobs: list[list[Job | None]] = [[], []]
    for _ in range(60):
        addr = rng.randrange(1 << 20) * 4096 + rng.choice((0, 256))
        jobs[0].append(None if rng.random() < 0.3 else (addr, rng.randint(1, 16)))
        if rng.random() < 0.5:
            jobs[1].append((rng.randrange(1 << 20) * 4096 + 512, 2))
    jobs[0].append(None)
    width = len(dut.m_axi_wdata)
    data = [[rng.getrandbits(width) for job in js if job for _ in range(job[1])] for js in jobs]
    want_marks, bad = [], 0
    for job in jobs[0]:
        if job is None:
            want_marks.append(bad)
            bad = 0
        else:
            bad |= job[0] >> 12 & 1
    want_b1 = [job[0] >> 12 & 1 for job in jobs[1] if job]
    want = sorted(
        (job[0], tuple(data[c][at : at + job[1]]))
        for c, js in enumerate(jobs)
        for at, job in _positions(js)
    )
    marks, b1 = [], []
    for _ in range(20_000):
        await Timer(1, unit="ns")
        valid = addr = beats = 0
        for c in (0, 1):
            if jobs[c]:
                valid |= 1 << c
                job = jobs[c][0]
                if job:
                    addr |= job[0] << (64 * c)
                    beats |= (job[1] - 1) << (8 * c)
        dut.req_valid.value = valid
        dut.req_addr.value = addr
        dut.req_beats.value = beats
        dut.req0_mark.value = int(bool(jobs[0]) and jobs[0][0] is None)
        wv = sum(int(bool(data[c]) and rng.random() < 0.8) << c for c in (0, 1))
        dut.w_valid.value = wv
        for c, value, strb in ((0, dut.w0_data, dut.w0_strb), (1, dut.w1_data, dut.w1_strb)):
            value.value = data[c][0] if data[c] else 0
            strb.value = (1 << len(strb)) - 1
        await ReadOnly()
        ready, wr = int(dut.req_ready.value), int(dut.w_ready.value) & wv
        if dut.mark_done.value == 1:
            marks.append(int(dut.mark_err.value))
        if dut.b1_done.value == 1:
            b1.append(int(dut.b1_err.value))
        await RisingEdge(dut.clk)
        for c in (0, 1):
            if ready >> c & 1:
                jobs[c].pop(0)
            if wr >> c & 1:
                data[c].pop(0)
        if not jobs[0] and not jobs[1] and dut.idle.value == 1 and len(b1) == len(want_b1):
            break
    assert (marks, b1) == (want_marks, want_b1)
    assert dut.m_axi_wdata.value == 0, "data stays on the bus"
    assert sorted((a, tuple(d for d, _ in beats)) for a, beats in slave.bursts) == want


def _positions(jobs: list[Job | None]) -> Iterator[tuple[int, Job]]:
    """The jobs of one client with the index of their first data word; None is a mark."""
    at = 0
    for job in jobs:
        if job:
            yield at, job
            at += job[1]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def flush_completes_a_burst_without_writing(dut: Any) -> None:
    slave = await begin(dut, 0.0)
    dut.req_valid.value = 1
    dut.req_addr.value = 0x2000
    dut.req_beats.value = 7
    await RisingEdge(dut.clk)
    await Timer(1, unit="ns")
    dut.req_valid.value = 0
    dut.w_valid.value = 1
    dut.w0_strb.value = 0xFFFF
    for _ in range(3):
        await RisingEdge(dut.clk)
    await Timer(1, unit="ns")
    dut.w_valid.value = 0
    dut.flush.value = 1
    for _ in range(30):
        await RisingEdge(dut.clk)
    assert dut.idle.value == 1
    ((_, beats),) = slave.bursts
    strobes = [s for _, s in beats]
    assert len(strobes) == 8
    written = strobes.index(0)
    assert 0 < written < 8
    assert set(strobes[written:]) == {0}
