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
        self.held = 0  # answer only when so many bursts wait
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            if len(self.aw.beats) < self.held:
                continue
            while self.aw.beats and len(self.w.beats) > self.aw.beats[0].values["len"]:
                a = self.aw.beats.pop(0).values
                beats = [self.w.beats.pop(0).values for _ in range(a["len"] + 1)]
                assert [b["last"] for b in beats] == [0] * a["len"] + [1]
                self.bursts.append((a["addr"], [(b["data"], b["strb"]) for b in beats]))
                self.b.put(resp=2 * (a["addr"] >> 12 & 1))


async def begin(dut: Any, share: float) -> Slave:
    rng = random.Random(cocotb.RANDOM_SEED)
    cycles = await start(
        dut, flush=0, ordered=0, req_valid=0, req_addr=0, req_beats=0, req0_mark=0, w_valid=0,
        w0_data=0, w0_strb=0, w1_data=0, w1_strb=0, m_axi_awready=0, m_axi_wready=0, m_axi_bvalid=0,
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


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def ordered_bursts_are_done_when_the_bus_has_them(dut: Any) -> None:
    """b1_done comes with the last of address and data, not with the response; errors are `lost`."""
    rng = random.Random(cocotb.RANDOM_SEED)
    slave = await begin(dut, 0.4)
    slave.held = 20
    dut.ordered.value = 1
    strobes = (1 << len(dut.w0_strb)) - 1
    dut.w0_strb.value = dut.w1_strb.value = strobes
    taken: list[int] = []  # clients of the bursts, in the order of their grants
    issued = addresses = lasts = done = marks = lost = 0
    jobs = [rng.choice((0, 1, 1, None)) for _ in range(300)]
    count = sum(job is not None for job in jobs)
    at = 0
    for _ in range(8000):
        await Timer(1, unit="ns")
        job = jobs[at] if at < len(jobs) else -1
        dut.req_valid.value = {None: 1, 0: 1, 1: 2, -1: 0}[job]
        dut.req0_mark.value = int(job is None)
        bad = at % 9 == 0
        dut.req_addr.value = (0x1000 * bad) << 64 | 0x1000 * bad
        dut.req_beats.value = rng.choice((0, 0, 1, 3)) * 0x101
        dut.w_valid.value = 3 if rng.random() < 0.7 else 0
        await ReadOnly()
        addresses += int(dut.m_axi_awvalid.value) & int(dut.m_axi_awready.value)
        last = int(dut.m_axi_wvalid.value) & int(dut.m_axi_wready.value)
        lasts += last and int(dut.m_axi_wlast.value)
        now = min(addresses, lasts)
        want = sum(taken[issued:now])
        issued = now
        assert int(dut.b1_done.value) == want, f"burst {issued}"
        assert not (dut.b1_done.value == 1 and dut.b1_err.value == 1)
        done += want
        ready = int(dut.req_ready.value)
        assert int(dut.mark_done.value) == int(job is None and ready == 1)
        marks += int(dut.mark_done.value)
        lost += int(dut.lost.value)
        await RisingEdge(dut.clk)
        if ready:
            if job is not None:
                taken.append(int(job == 1))
            at += 1
        if issued == count and at == len(jobs):
            slave.held = 0
            if dut.idle.value == 1:
                break
    assert (issued, done) == (count, jobs.count(1))
    assert marks == jobs.count(None)
    assert lost == sum(addr >> 12 & 1 for addr, _ in slave.bursts) > 0
    assert dut.idle.value == 1


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
