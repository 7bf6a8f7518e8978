# SPDX-License-Identifier: Apache-2.0
"""cocotb test of the GF(2^128) multiplier (`ktls_gfmul`)."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from cocotb.triggers import Timer

from reference import gf_multiply


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def products(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    bits = [1 << i for i in (0, 1, 63, 64, 119, 120, 126, 127)]
    pairs = [(a, b) for a in bits[:3] for b in bits] + [(2**128 - 1, 2**128 - 1)]
    pairs += [(rng.getrandbits(128), rng.getrandbits(128)) for _ in range(20)]
    for a, b in pairs[-int(os.environ.get("KTLS_PAIRS", "0")) :]:
        dut.a.value = a
        dut.b.value = b
        await Timer(1, unit="ns")
        assert int(dut.z.value) == gf_multiply(a, b), f"{a:032x} * {b:032x}"
