# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the powers of a GHASH key (`ktls_gfpow`)."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import start
from reference import gf_multiply, same_blocks


async def powers_of(dut: Any, h: int) -> list[int]:
    count = len(dut.powers) // 128
    dut.h.value = h
    dut.start.value = 1
    await RisingEdge(dut.clk)
    dut.start.value = 0
    dut.h.value = 0
    for _ in range(16 * (count - 1) + 2):
        await RisingEdge(dut.clk)
        if dut.done.value == 1:
            break
    else:
        raise TimeoutError("no powers")
    found = int(dut.powers.value)
    return [found >> 128 * n & (1 << 128) - 1 for n in range(count)]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def powers_are_correct_and_registers_are_cleared(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut, start=0, h=0)
    for h in (1 << 127, 1, (1 << 128) - 1, *(rng.getrandbits(128) for _ in range(20))):
        want = [h]
        while len(want) < len(dut.powers) // 128:
            want.append(gf_multiply(want[-1], h))
        same_blocks(await powers_of(dut, h), want)
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        for register in (dut.powers, dut.a, dut.v, dut.z):
            assert register.value == 0, register._name
