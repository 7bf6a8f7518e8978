# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the byte queue (`ktls_bytes`)."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge, Timer

from ktls_cosim.sim.bus import start


async def _run(dut: Any, rng: random.Random, cycles: int, push_max: int, pop_max: int) -> int:
    """Move random pieces; returns the number of bytes that have left."""
    await start(dut, off=0, push_valid=0, push_data=0, push_cnt=0, push_zero=0, pop_cnt=0)
    word = len(dut.data) // 8
    pack = int(dut.PACK.value)
    queue = bytearray()
    moved = 0
    for _ in range(cycles):
        await Timer(1, unit="ns")
        off = rng.choice((0, 0, rng.randrange(word)))
        dut.off.value = off
        room = word - off if pack else word
        piece = rng.randbytes(min(rng.randint(0, push_max), room))
        # bytes before and behind the piece are noise, which must not appear in the output
        before = rng.randbytes(off if pack else 0)
        noise = rng.randbytes(word - len(before) - len(piece))
        dut.push_valid.value = int(rng.random() < 0.9)
        dut.push_data.value = int.from_bytes(before + piece + noise, "little")
        dut.push_cnt.value = len(piece)
        zero = bool(pack) and rng.random() < 0.1
        dut.push_zero.value = int(zero)
        await ReadOnly()
        avail = int(dut.avail.value)
        assert avail == len(queue)
        head = int(dut.data.value).to_bytes(word, "little")
        first = 0 if pack else off
        shown = min(avail, word - first)
        assert head[first : first + shown] == bytes(queue[:shown])
        assert not pack or not any(head[shown:]), "bytes beyond `avail`"
        pushed = dut.push_valid.value == 1 and dut.push_ready.value == 1
        await Timer(1, unit="ps")
        n = min(rng.randint(0, pop_max), avail)
        dut.pop_cnt.value = n
        await RisingEdge(dut.clk)
        del queue[:n]
        moved += n
        if pushed:
            queue += bytes(len(piece)) if zero else piece
    return moved


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def random_pieces(dut: Any) -> None:
    word = len(dut.data) // 8
    cycles = 1500 if word == 16 else 500  # the wide form of synthesis simulates slowly
    assert await _run(dut, random.Random(cocotb.RANDOM_SEED), cycles, word, word) > 1000


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def small_pieces_in_large_out(dut: Any) -> None:
    assert await _run(dut, random.Random(cocotb.RANDOM_SEED), 1000, 3, 16) > 500


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def full_speed(dut: Any) -> None:
    """Every cycle moves a word in and a word out."""
    word = len(dut.data) // 8
    await start(dut, off=0, push_valid=1, push_data=0, push_cnt=word, push_zero=0, pop_cnt=0)
    for i in range(100):
        await Timer(1, unit="ns")
        dut.push_data.value = i
        dut.pop_cnt.value = word if int(dut.avail.value) >= word else 0
        await ReadOnly()
        assert dut.push_ready.value == 1, f"stall in cycle {i}"
        await RisingEdge(dut.clk)
