# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the list reader (`ktls_sgl`): lists and direct buffers in, entries out."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from ktls_cosim.sim.bus import Cycles, StreamSink, StreamSource, random_pause, start
from ktls_hw.layout import Sge
from readers import answer_reads

MEMORY = 1 << 14
DIRECT = -1


class Bench:
    """Lists in a memory in Python; a read that touches an address in `bad` fails."""

    def __init__(self, dut: Any, cycles: Cycles, rng: random.Random) -> None:
        self.dut = dut
        self.rng = rng
        self.beat = len(dut.rsp_data) // 8  # bytes
        self.memory = bytearray(rng.randbytes(MEMORY))
        self.bad = range(0)
        pause = random_pause(rng, 0.3)
        self.job = StreamSource(dut, "job", ["addr", "cnt", "direct"], cycles)
        self.req = StreamSink(dut, "req", ["addr", "beats"], cycles, pause)
        self.out = StreamSink(dut, "e", ["addr", "len", "last", "err"], cycles, pause)
        cocotb.start_soon(
            answer_reads(
                dut,
                self.req,
                lambda at, n: bytes(self.memory[at : at + n]),
                lambda at, n: any(at <= b < at + n for b in self.bad),
            )
        )

    @classmethod
    async def create(cls, dut: Any) -> Bench:
        rng = random.Random(cocotb.RANDOM_SEED)
        cycles = await start(dut, job_valid=0, rsp_valid=0, req_ready=0, e_ready=0)
        return cls(dut, cycles, rng)

    async def read(self, lists: list[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
        """Read lists, given as (address, entries or DIRECT), and return all their entries."""
        self.out.beats.clear()
        for addr, count in lists:
            direct = count == DIRECT
            self.job.put(addr=addr, cnt=0 if direct else count, direct=int(direct))
        beats = await self.out.wait_for(sum(max(1, n) for _, n in lists))
        return [
            (b.values["addr"], b.values["len"], b.values["last"], b.values["err"]) for b in beats
        ]

    def want(self, addr: int, count: int) -> list[tuple[int, int, int, int]]:
        if count == DIRECT:
            return [(addr, 0xFFFFFFFF, 1, 0)]
        entries = []
        for n in range(count):
            e = Sge.unpack(bytes(self.memory[addr + 16 * n : addr + 16 * n + 16]))
            entries.append((e.addr, e.len, int(n == count - 1), 0))
        return entries


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def lists_of_any_length_at_any_place(dut: Any) -> None:
    bench = await Bench.create(dut)
    rng = bench.rng
    for _ in range(12):
        lists = [
            (16 * rng.randrange(MEMORY // 16 - 40), rng.choice((1, 1, 2, 3, 4, 5, 7, 8, 9, 17, 40)))
            for _ in range(8)
        ]
        assert await bench.read(lists) == [e for x in lists for e in bench.want(*x)]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def direct_buffers_keep_their_place(dut: Any) -> None:
    """Direct buffers at any address between lists; more of them than the queues hold."""
    bench = await Bench.create(dut)
    rng = bench.rng
    for share in (0.5, 1.0):
        jobs = [
            (rng.getrandbits(64), DIRECT)
            if rng.random() < share
            else (16 * rng.randrange(MEMORY // 16 - 40), rng.choice((1, 2, 9)))
            for _ in range(60)
        ]
        assert await bench.read(jobs) == [e for x in jobs for e in bench.want(*x)]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def empty_list_yields_one_empty_entry(dut: Any) -> None:
    bench = await Bench.create(dut)
    entries = await bench.read([(32, 0), (48, 2), (64, 0)])
    assert entries[1:3] == bench.want(48, 2)
    assert [e[1:] for e in (entries[0], entries[3])] == [(0, 1, 0), (0, 1, 0)]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def entries_of_a_failed_beat_are_empty(dut: Any) -> None:
    bench = await Bench.create(dut)
    bench.bad = range(128, 129)
    entries = await bench.read([(64, 16)])
    in_beat = bench.beat // 16
    failed = entries[4 : 4 + in_beat]
    assert [e[1:] for e in failed] == [(0, 0, 1)] * in_beat
    good = entries[:4] + entries[4 + in_beat :]
    want = bench.want(64, 16)
    assert good == want[:4] + want[4 + in_beat :]
