# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the scatter unit (`ktls_scatter`): bytes in, strobed beats out."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Cycles, StreamSink, StreamSource, random_pause, start


class Bench:
    """A list, a byte source and a memory in Python."""

    def __init__(self, dut: Any, cycles: Cycles, rng: random.Random) -> None:
        self.dut = dut
        self.word = len(dut.s_data) // 8  # bytes
        self.rng = rng
        self.memory: dict[int, int] = {}
        pause = random_pause(rng, 0.2)
        self.job = StreamSource(dut, "job", ["len"], cycles)
        self.entry = StreamSource(dut, "e", ["addr", "len", "last", "err"], cycles, pause)
        self.src = StreamSource(dut, "s", ["data", "cnt"], cycles, pause)
        self.req = StreamSink(dut, "req", ["addr", "beats", "mark"], cycles, pause)
        self.w = StreamSink(dut, "w", ["data", "strb"], cycles, pause)
        self.done: list[tuple[int, int]] = []
        cocotb.start_soon(self._watch())

    @classmethod
    async def create(cls, dut: Any) -> Bench:
        rng = random.Random(cocotb.RANDOM_SEED)
        cycles = await start(dut, job_valid=0, e_valid=0, s_valid=0, req_ready=0, w_ready=0)
        return cls(dut, cycles, rng)

    async def _watch(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            if self.dut.done_valid.value == 1:
                self.done.append((int(self.dut.done_short.value), int(self.dut.done_err.value)))

    async def scatter(self, data: bytes, entries: list[tuple[int, int]]) -> dict[int, int]:
        """Scatter one record, and return the written bytes by address."""
        self.req.beats.clear()
        self.w.beats.clear()
        self.job.put(len=len(data))
        for i, (addr, n) in enumerate(entries):
            self.entry.put(addr=addr, len=n, last=int(i == len(entries) - 1), err=0)
        at = 0
        while at < len(data):
            n = min(len(data) - at, self.rng.choice((0, 1, 5, 13, 16, self.word, self.word)))
            piece = data[at : at + n] + self.rng.randbytes(self.word - n)
            self.src.put(data=int.from_bytes(piece, "little"), cnt=n)
            at += n
        for _ in range(20_000):
            await RisingEdge(self.dut.clk)
            if self.req.beats and self.req.beats[-1].values["mark"]:
                need = sum(b.values["beats"] + 1 for b in self.req.beats[:-1])
                idle = not self.src.pending and self.dut.s_valid.value == 0
                if len(self.w.beats) == need and idle:
                    break
        else:
            raise TimeoutError("the record never ended")
        for _ in range(10):
            await RisingEdge(self.dut.clk)
        out: dict[int, int] = {}
        beats = iter(self.w.beats)
        for r in self.req.beats[:-1]:
            for i in range(r.values["beats"] + 1):
                b = next(beats).values
                for lane in range(self.word):
                    if b["strb"] >> lane & 1:
                        addr = r.values["addr"] + self.word * i + lane
                        assert addr not in out, "a byte was written twice"
                        out[addr] = b["data"] >> (8 * lane) & 0xFF
        return out


def same_memory(got: dict[int, int], want: dict[int, int]) -> None:
    """Check bytes by address; the message shows the first difference."""
    for addr in sorted({*got, *want}):
        g, w = (f"{m[addr]:#04x}" if addr in m else "nothing" for m in (got, want))
        assert g == w, f"address {addr:#x}: wrote {g}, expected {w}"


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def pieces_of_any_alignment(dut: Any) -> None:
    bench = await Bench.create(dut)
    rng = bench.rng
    for _ in range(50):
        sizes = [rng.choice((0, 1, 3, 15, 16, 17, 40, 300)) for _ in range(rng.randint(1, 6))]
        entries = [(4096 * (i + 1) - rng.randrange(40), n) for i, n in enumerate(sizes)]
        data = rng.randbytes(rng.randint(0, sum(sizes)))
        want = {}
        it = iter(data)
        for addr, n in entries:
            for i in range(n):
                byte = next(it, None)
                if byte is not None:
                    want[addr + i] = byte
        same_memory(await bench.scatter(data, entries), want)
    assert set(bench.done) == {(0, 0)}


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def short_destination_drops_the_rest(dut: Any) -> None:
    bench = await Bench.create(dut)
    for room, size in ((0, 1), (0, 100), (10, 11), (16, 100), (99, 100)):
        data = bench.rng.randbytes(size)
        got = await bench.scatter(data, [(100, room)])
        assert got == {100 + i: data[i] for i in range(room)}
        assert bench.done[-1] == (1, 0)
        # the next record is unaffected
        same_memory(
            await bench.scatter(b"next", [(7, 4)]), {7 + i: b for i, b in enumerate(b"next")}
        )
        assert bench.done[-1] == (0, 0)
