# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the byte queue (`ktls_bytes`)."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge, Timer

from ktls_cosim.sim.bus import start


async def _run(dut: Any, rng: random.Random, cycles: int, push_max: int, pop_max: int) -> int:
    await start(dut, push_valid=0, push_data=0, push_cnt=0, pop_cnt=0)
    queue = bytearray()
    moved = 0
    for _ in range(cycles):
        await Timer(1, unit="ns")
        piece = rng.randbytes(rng.randint(0, push_max))
        # bytes after push_cnt are noise, which must not appear in the output
        noise = rng.randbytes(16 - len(piece))
        dut.push_valid.value = int(rng.random() < 0.9)
        dut.push_data.value = int.from_bytes(piece + noise, "little")
        dut.push_cnt.value = len(piece)
        avail = int(dut.avail.value)
        assert avail == len(queue)
        head = int(dut.data.value).to_bytes(16, "little")
        assert head[: min(16, avail)] == bytes(queue[:16])
        n = min(rng.randint(0, pop_max), avail)
        dut.pop_cnt.value = n
        await ReadOnly()
        pushed = dut.push_valid.value == 1 and dut.push_ready.value == 1
        await RisingEdge(dut.clk)
        del queue[:n]
        moved += n
        if pushed:
            queue += piece
    return moved


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def random_pieces(dut: Any) -> None:
    assert await _run(dut, random.Random(cocotb.RANDOM_SEED), 1500, 16, 16) > 1000


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def small_pieces_in_large_out(dut: Any) -> None:
    assert await _run(dut, random.Random(cocotb.RANDOM_SEED), 1000, 3, 16) > 500


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def full_speed(dut: Any) -> None:
    """Every cycle moves 16 bytes in and 16 bytes out."""
    await start(dut, push_valid=1, push_data=0, push_cnt=16, pop_cnt=0)
    for i in range(100):
        await Timer(1, unit="ns")
        dut.push_data.value = i
        dut.pop_cnt.value = 16 if int(dut.avail.value) >= 16 else 0
        await ReadOnly()
        assert dut.push_ready.value == 1, f"stall in cycle {i}"
        await RisingEdge(dut.clk)
