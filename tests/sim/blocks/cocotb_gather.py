# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the gather unit (`ktls_gather`): pieces in, words out."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Cycles, StreamSink, StreamSource, random_pause, start
from readers import answer_reads

MEMORY = 1 << 16


class Bench:
    """A list and a memory in Python; a read at or above MEMORY fails."""

    def __init__(self, dut: Any, cycles: Cycles, rng: random.Random) -> None:
        self.dut = dut
        self.word = len(dut.m_data) // 8  # bytes
        self.rng = rng
        self.memory = rng.randbytes(MEMORY)
        pause = random_pause(rng, 0.2)
        self.job = StreamSource(dut, "job", ["len", "cut"], cycles)
        self.entry = StreamSource(dut, "e", ["addr", "len", "last", "err"], cycles, pause)
        self.req = StreamSink(dut, "req", ["addr", "beats"], cycles, pause)
        self.out = StreamSink(dut, "m", ["data", "err"], cycles, pause)
        self.done: list[tuple[int, int]] = []
        cocotb.start_soon(
            answer_reads(
                dut, self.req, lambda at, n: self.memory[at : at + n], lambda at, _n: at >= MEMORY
            )
        )
        cocotb.start_soon(self._watch())

    @classmethod
    async def create(cls, dut: Any) -> Bench:
        rng = random.Random(cocotb.RANDOM_SEED)
        cycles = await start(dut, job_valid=0, e_valid=0, rsp_valid=0, req_ready=0, m_ready=0)
        return cls(dut, cycles, rng)

    async def _watch(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            if self.dut.done_valid.value == 1:
                self.done.append((int(self.dut.done_short.value), int(self.dut.done_err.value)))

    async def gather(
        self, length: int, entries: list[tuple[int, int]], cut: int = 0
    ) -> tuple[bytes, list[int]]:
        """Gather one record, and return its words and their error flags."""
        start_at = len(self.out.beats)
        self.job.put(len=length, cut=cut)
        for i, (addr, n) in enumerate(entries):
            self.entry.put(addr=addr, len=n, last=int(i == len(entries) - 1), err=0)
        done = len(self.done)
        for _ in range(20_000):
            await RisingEdge(self.dut.clk)
            if len(self.done) > done:
                break
        beats = self.out.beats[start_at:]
        data = b"".join(b.values["data"].to_bytes(self.word, "little") for b in beats)
        return data, [b.values["err"] for b in beats]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def pieces_of_any_alignment(dut: Any) -> None:
    bench = await Bench.create(dut)
    rng = bench.rng
    for _ in range(60):
        entries = [
            (rng.randrange(MEMORY - 2000), rng.choice((0, 1, 2, 7, 15, 16, 17, 64, 300, 1000)))
            for _ in range(rng.randint(1, 6))
        ]
        whole = b"".join(bench.memory[a : a + n] for a, n in entries)
        length = rng.randint(0, len(whole))
        data, errors = await bench.gather(length, entries)
        assert data == whole[:length].ljust(-(-length // bench.word) * bench.word, b"\0")
        assert not any(errors)
    assert set(bench.done) == {(0, 0)}


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def short_list_is_zero_filled_and_reported(dut: Any) -> None:
    bench = await Bench.create(dut)
    for have, want in ((0, 1), (0, 40), (5, 40), (16, 40), (39, 40), (1, 16384)):
        data, errors = await bench.gather(want, [(33, have)])
        assert data[:have] == bench.memory[33 : 33 + have]
        assert not any(data[have:])
        assert len(data) == -(-want // bench.word) * bench.word
        assert errors[-1] == 1
        assert bench.done[-1] == (1, 0)
    data, errors = await bench.gather(16, [(0, 16)])
    assert (errors, bench.done[-1]) == ([0], (0, 0))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_cut_ends_a_word(dut: Any) -> None:
    """The AAD has words of its own; the text starts in a new word."""
    bench = await Bench.create(dut)
    rng, word = bench.rng, bench.word
    for _ in range(60):
        cut = 16 * rng.choice((0, 1, 2, 3, 4, 5, 8, 9, 20))
        length = cut + rng.choice((0, 1, 15, 16, 17, 63, 64, 65, 200))
        at = rng.randrange(MEMORY - 2000)
        data, errors = await bench.gather(length, [(at, 7), (at + 7, length)], cut)
        whole = bench.memory[at : at + length]
        words = -(-cut // word) * word
        assert data[:cut] == whole[:cut]
        rest = length - cut
        assert data[words:] == whole[cut:].ljust(-(-rest // word) * word, b"\0")
        assert not any(errors)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_read_error_marks_its_word_and_all_later_ones(dut: Any) -> None:
    bench = await Bench.create(dut)
    word = bench.word
    _, errors = await bench.gather(6 * word, [(MEMORY - 3 * word, 6 * word)])
    # the flag may also mark up to two earlier words that are still queued, never a later one
    assert errors[3:] == [1, 1, 1]
    assert errors == sorted(errors)
    assert errors[0] == 0
    assert bench.done[-1] == (0, 1)
    _, errors = await bench.gather(2 * word, [(64, 2 * word)])
    assert (errors, bench.done[-1]) == ([0, 0], (0, 0))
