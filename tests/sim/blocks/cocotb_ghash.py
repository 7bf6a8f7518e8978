# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the GHASH multiplier (`ktls_ghash`), in both of its forms."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from reference import gf_multiply, same_blocks


async def hash_blocks(dut: Any, blocks: list[tuple[int, int, int]]) -> list[int]:
    """Feed (first, h, x) back to back, and return y after each."""
    out: list[int] = []
    dut.v_i.value = 0
    for first, h, x in [*blocks, (0, 0, 0)]:
        await RisingEdge(dut.clk)
        dut.v_i.value = int(len(out) < len(blocks))
        dut.first_i.value = first
        dut.h_i.value = h
        dut.x_i.value = x
        out.append(dut.y_o.value)
    await RisingEdge(dut.clk)
    out.append(dut.y_o.value)
    return [int(y) for y in out[2 : 2 + len(blocks)]]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def single_bits(dut: Any) -> None:
    """x^i * x^j for every i and j on a diagonal: covers each V_i and the reduction."""
    Clock(dut.clk, 4, unit="ns").start()
    jobs = [(1, 1 << (127 - i), 1 << (127 - (i * 37) % 128)) for i in range(128)]
    jobs += [(1, 1, 1 << i) for i in range(128)]
    same_blocks(await hash_blocks(dut, jobs), [gf_multiply(x, h) for _, h, x in jobs])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def key_changes_between_hashes(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    Clock(dut.clk, 4, unit="ns").start()
    jobs, want, y = [], [], 0
    h = 0
    for i in range(300):
        first = i == 0 or rng.random() < 0.2
        if first:
            h, y = rng.getrandbits(128), 0
        x = rng.getrandbits(128)
        y = gf_multiply(y ^ x, h)
        jobs.append((int(first), h, x))
        want.append(y)
    same_blocks(await hash_blocks(dut, jobs), want)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def holds_its_value_without_valid(dut: Any) -> None:
    Clock(dut.clk, 4, unit="ns").start()
    (y,) = await hash_blocks(dut, [(1, 3 << 100, 5 << 90)])
    dut.v_i.value = 0
    for _ in range(5):
        dut.x_i.value = 77
        await RisingEdge(dut.clk)
    assert int(dut.y_o.value) == y
