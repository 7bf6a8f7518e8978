# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the key engine (`ktls_keyexp`)."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import start
from reference import round_keys, stage_of


async def begin(dut: Any) -> None:
    await start(dut, valid=0, clear=0, ctx=0, k256=0, key=0, h_done=0, flush_done=1)


async def collect(dut: Any, cycles: int) -> list[tuple[int, int, int]]:
    """The round keys written within `cycles` cycles, as (stage, context, key)."""
    out = []
    for _ in range(cycles):
        await RisingEdge(dut.clk)
        if dut.kw_en.value == 1:
            out.append((int(dut.kw_stage.value), int(dut.kw_ctx.value), int(dut.kw_data.value)))
    return out


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_wipes_every_context(dut: Any) -> None:
    await begin(dut)
    assert dut.ready.value == 0
    writes = await collect(dut, 70)
    assert [w[1] for w in writes] == list(range(64 - len(writes), 64))
    assert len(writes) >= 60
    assert {(w[0], w[2]) for w in writes} == {(15, 0)}
    assert dut.ready.value == 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def schedules_match_fips197(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    await begin(dut)
    await collect(dut, 70)
    keys = [bytes(range(16)), bytes(range(32)), *(rng.randbytes(n) for n in (16, 32, 16, 32))]
    for n, key in enumerate(keys):
        dut.valid.value = 1
        dut.ctx.value = n
        dut.k256.value = int(len(key) == 32)
        dut.key.value = int.from_bytes(key.ljust(32, b"\xff"), "big")
        await RisingEdge(dut.clk)
        dut.valid.value = 0
        writes = await collect(dut, 70)
        want = [
            (stage_of(i, len(key)), n, int.from_bytes(rk, "big"))
            for i, rk in enumerate(round_keys(key))
        ]
        assert writes == want
        assert dut.h_req.value == 1
        assert dut.ready.value == 0
        dut.h_done.value = 1
        await RisingEdge(dut.clk)
        dut.h_done.value = 0
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert dut.ready.value == 1
        # the engine holds no part of the key
        assert int(dut.win.value) == 0
        assert int(dut.kw_data.value) == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def clear_writes_zeros(dut: Any) -> None:
    await begin(dut)
    await collect(dut, 70)
    dut.valid.value = 1
    dut.clear.value = 1
    dut.ctx.value = 9
    dut.key.value = (1 << 256) - 1
    await RisingEdge(dut.clk)
    dut.valid.value = 0
    assert await collect(dut, 4) == [(15, 9, 0)]
    assert dut.ready.value == 1
