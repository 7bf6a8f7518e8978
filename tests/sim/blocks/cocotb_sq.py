# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the descriptor fetch (`ktls_sq`): rings take turns and never block each other."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Cycles, StreamSink, random_pause, start
from readers import answer_reads

MASK = 0xFFFFFFFF
STRIDE = 1 << 20  # between the rings in memory


class Bench:
    """Rings in a memory in Python; every descriptor contains its own address."""

    def __init__(self, dut: Any, cycles: Cycles, rng: random.Random, pause: float) -> None:
        self.dut = dut
        self.rings = len(dut.prod) // 32
        self.beat = len(dut.rsp_data) // 8  # bytes
        self.bad: set[int] = set()
        self.req = StreamSink(dut, "req", ["addr", "beats"], cycles, random_pause(rng, pause))
        self.d = StreamSink(
            dut, "d", ["data", "ring", "index", "err"], cycles, random_pause(rng, pause)
        )
        self.prod = [0] * self.rings
        self.cq_cons = [0] * self.rings
        cocotb.start_soon(
            answer_reads(
                dut,
                self.req,
                lambda at, n: b"".join(
                    (at & ~63 | k).to_bytes(64, "little") for k in range(0, n, 64)
                )[at & 63 :][:n],
                lambda at, n: any(at & ~63 | k in self.bad for k in range(0, n, 64)),
            )
        )

    @classmethod
    async def create(cls, dut: Any, sq_log2: int, cq_log2: list[int], pause: float = 0.3) -> Bench:
        rng = random.Random(cocotb.RANDOM_SEED)
        rings = len(dut.prod) // 32
        cycles = await start(
            dut, enable=1, prod=0, cq_cons=0, rsp_valid=0, req_ready=0, d_ready=0, data_rst=0,
            push_valid=0, push_ring=0, push_data=0,
            base=sum(STRIDE * (n + 1) << 64 * n for n in range(rings)),
            size_log2=sum(sq_log2 << 4 * n for n in range(rings)),
            cq_log2=sum(cq_log2[n % len(cq_log2)] << 4 * n for n in range(rings)),
        )  # fmt: skip
        return cls(dut, cycles, rng, pause)

    def set(self) -> None:
        for name in ("prod", "cq_cons"):
            values = getattr(self, name)
            packed = sum((v & MASK) << 32 * n for n, v in enumerate(values))
            getattr(self.dut, name).value = packed

    async def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)

    async def push(self, ring: int) -> None:
        """Post one descriptor and offer it in the same cycle, as `ktls_csr` does."""
        size = 1 << (int(self.dut.size_log2.value) >> 4 * ring & 15)
        data = STRIDE * (ring + 1) + 64 * (self.prod[ring] % size)
        self.prod[ring] += 1
        self.set()
        self.dut.push_valid.value, self.dut.push_ring.value = 1, ring
        self.dut.push_data.value = data
        await RisingEdge(self.dut.clk)
        self.dut.push_valid.value = 0
        await RisingEdge(self.dut.clk)
        self.dut.push_data.value = 0

    def taken(self) -> list[tuple[int, int]]:
        """Ring and index of every fetched descriptor, after a check of its content."""
        out = []
        for b in self.d.beats:
            ring, index = b.values["ring"], b.values["index"]
            size = 1 << (int(self.dut.size_log2.value) >> 4 * ring & 15)
            where = STRIDE * (ring + 1) + 64 * (index % size)
            assert b.values["data"] == where
            read = range(where & -self.beat, (where | self.beat - 1) + 1)  # with its neighbours
            assert b.values["err"] == int(any(at in read for at in self.bad))
            out.append((ring, index))
        return out


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def rings_take_turns(dut: Any) -> None:
    """With work in every ring each is served once per turn, in spite of a head start."""
    bench = await Bench.create(dut, 5, [5])
    bench.prod[0] = 30
    bench.set()
    await bench.wait(15)
    bench.prod = [30] * bench.rings
    bench.set()
    await bench.d.wait_for(30 * bench.rings)
    taken = bench.taken()
    for n in range(bench.rings):
        assert [i for ring, i in taken if ring == n] == list(range(30))
    # after the first descriptor of the last ring, no ring is served twice per turn
    start_at = next(k for k, (ring, _) in enumerate(taken) if ring == bench.rings - 1)
    full = taken[start_at + 1 :]
    turns = 30 - full[0][1] if full[0][0] == 0 else 0
    assert turns > 5, "the ring with the head start blocked the others"
    for k in range(0, turns * bench.rings, bench.rings):
        assert [ring for ring, _ in full[k : k + bench.rings]] == list(range(bench.rings))
    assert dut.idle.value == 1


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def nothing_is_fetched_without_room_for_its_completion(dut: Any) -> None:
    """A ring without room waits, the others continue, and new room is used."""
    bench = await Bench.create(dut, 4, [1, 4])
    bench.prod = [10] * bench.rings
    bench.set()
    await bench.wait(400)
    taken = bench.taken()
    for n in range(bench.rings):
        assert sum(ring == n for ring, _ in taken) == (2 if n % 2 == 0 else 10)
    assert dut.idle.value == 0
    bench.cq_cons[0] = 1
    bench.set()
    await bench.wait(100)
    assert [i for ring, i in bench.taken() if ring == 0] == [0, 1, 2]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def random_work_of_all_rings(dut: Any) -> None:
    """Wraps, late completions, failed reads: every descriptor arrives once and in order."""
    rng = random.Random(cocotb.RANDOM_SEED)
    bench = await Bench.create(dut, 3, [0, 1, 2, 3])
    bench.bad = {STRIDE * (1 + n) + 64 * rng.randrange(8) for n in range(bench.rings)}
    seen = 0
    due: list[deque[int]] = [deque() for _ in range(bench.rings)]
    for _ in range(400):
        n = rng.randrange(bench.rings)
        room = 8 - (bench.prod[n] - bench.cq_cons[n])
        bench.prod[n] += rng.randint(0, max(0, room))
        bench.set()
        await bench.wait(rng.randrange(20))
        for ring, index in bench.taken()[seen:]:
            due[ring].append(index)
            seen += 1
        for ring in range(bench.rings):
            assert len(due[ring]) <= 1 << (ring % 4)
            while due[ring] and rng.random() < 0.5:
                assert due[ring].popleft() == bench.cq_cons[ring]
                bench.cq_cons[ring] += 1
    assert seen > 100


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def pushed_descriptors_are_not_read(dut: Any) -> None:
    """Only while another read is under way is a pushed descriptor read from memory as well."""
    rng = random.Random(cocotb.RANDOM_SEED)
    bench = await Bench.create(dut, 4, [4], pause=0.0)
    for n in range(20):
        await bench.push(rng.randrange(bench.rings))
        await bench.d.wait_for(n + 1)
        bench.cq_cons = list(bench.prod)
        await bench.wait(rng.randrange(4))
    assert not bench.req.beats
    for _ in range(100):
        ring = rng.randrange(bench.rings)
        if rng.random() < 0.3:
            bench.prod[ring] += rng.randint(1, 3)
            bench.set()
        elif bench.prod[ring] == sum(r == ring for r, _ in bench.taken()):
            await bench.push(ring)
        await bench.wait(rng.randrange(12))
        taken = bench.taken()
        bench.cq_cons = [sum(r == n for r, _ in taken) for n in range(bench.rings)]
    await bench.d.wait_for(sum(bench.prod))
    for n in range(bench.rings):
        assert [i for r, i in bench.taken() if r == n] == list(range(bench.prod[n]))
    assert 0 < len(bench.req.beats) < sum(bench.prod) - 20
    assert dut.idle.value == 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_pushed_descriptor_needs_room_and_an_enabled_device(dut: Any) -> None:
    bench = await Bench.create(dut, 4, [0])
    await bench.push(0)
    await bench.d.wait_for(1)
    await bench.push(0)  # no room for its completion
    await bench.wait(50)
    assert len(bench.d.beats) == 1
    assert not bench.req.beats
    bench.cq_cons[0] = 1
    bench.set()
    await bench.d.wait_for(2)
    dut.enable.value = 0
    bench.cq_cons[0] = 2
    await bench.push(0)
    await bench.wait(50)
    assert len(bench.d.beats) == 2
    dut.enable.value = 1
    await bench.d.wait_for(3)
    assert bench.taken() == [(0, 0), (0, 1), (0, 2)]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_pushed_descriptor_does_not_overtake(dut: Any) -> None:
    bench = await Bench.create(dut, 4, [4], pause=0.0)
    for n in range(bench.rings):
        bench.prod[n] += 1
        bench.set()
        await bench.wait(1)
        await bench.push(n)
        await bench.d.wait_for(2 * n + 2)
    assert bench.taken() == [(n, i) for n in range(bench.rings) for i in range(2)]
    assert len(bench.req.beats) == 2 * bench.rings


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_disabled_device_fetches_nothing(dut: Any) -> None:
    bench = await Bench.create(dut, 4, [4])
    dut.enable.value = 0
    bench.prod = [3] * bench.rings
    bench.set()
    await bench.wait(50)
    assert not bench.req.beats
    dut.enable.value = 1
    await bench.d.wait_for(3 * bench.rings)
