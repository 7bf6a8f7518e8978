# SPDX-License-Identifier: Apache-2.0
"""cocotb test of the sum of products in GF(2^128) (`ktls_gfdot`)."""

from __future__ import annotations

import os
import random
from functools import reduce
from operator import xor
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from reference import gf_multiply


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sums_of_products(dut: Any) -> None:
    """Single bits at the borders of the halves, then random factors; `en` low holds the sum."""
    rng = random.Random(cocotb.RANDOM_SEED)
    count = len(dut.a) // 128
    bits = [1 << i for i in (0, 15, 16, 31, 32, 63, 64, 127)]
    pairs = [(a, b) for a in bits for b in bits] + [(2**128 - 1, 2**128 - 1)]
    pairs += [(rng.getrandbits(128), rng.getrandbits(128)) for _ in range(40)]
    pairs = pairs[-int(os.environ.get("KTLS_PAIRS", "0")) :]
    Clock(dut.clk, 4, unit="ns").start()
    for turn in range(len(pairs)):
        chosen = [pairs[(turn + n) % len(pairs)] for n in range(count)]
        dut.en.value = 1
        dut.a.value = sum(a << 128 * n for n, (a, _) in enumerate(chosen))
        dut.b.value = sum(b << 128 * n for n, (_, b) in enumerate(chosen))
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        want = reduce(xor, (gf_multiply(a, b) for a, b in chosen))
        assert int(dut.z.value) == want, f"sum of {chosen}"
        dut.en.value = 0
        dut.a.value = 0
        await FallingEdge(dut.clk)
        assert int(dut.z.value) == want, "the sum changed while en was low"
