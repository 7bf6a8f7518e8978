# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the AES pipeline (`ktls_aes`) and the key engine (`ktls_keyexp`)."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import start
from reference import SBOX, aes_block, round_keys, same_blocks, stage_of

LATENCY = 16


async def load_key(dut: Any, ctx: int, key: bytes) -> None:
    for i, rk in enumerate(round_keys(key)):
        dut.kw_en.value = 1
        dut.kw_stage.value = stage_of(i, len(key))
        dut.kw_ctx.value = ctx
        dut.kw_data.value = int.from_bytes(rk, "big")
        await RisingEdge(dut.clk)
    dut.kw_en.value = 0


async def encrypt(dut: Any, jobs: list[tuple[int, bytes, bytes]]) -> list[int]:
    """Feed one block per cycle, to each lane in turn, and return the output blocks."""
    lanes = len(dut.v_i)
    out: list[int] = []
    for i in range(len(jobs) + LATENCY + 2):
        if i < len(jobs):
            ctx, key, block = jobs[i]
            dut.ctx_i.value = ctx
            dut.k256_i.value = int(len(key) == 32)
            # the other lanes get another block, which does not count
            word = [bytes(b ^ 1 for b in block)] * lanes
            word[i % lanes] = block
            dut.blk_i.value = int.from_bytes(b"".join(reversed(word)), "big")
        dut.v_i.value = int(i < len(jobs)) << i % lanes
        await RisingEdge(dut.clk)
        if dut.v_o.value != 0:
            # a block that enters at edge n leaves at edge n + LATENCY
            n = len(out)
            assert i == n + LATENCY, f"block {n} left in cycle {i}"
            assert dut.v_o.value == 1 << n % lanes
            low = 128 * (n % lanes)
            out.append(int(dut.blk_o.value[low + 127 : low]))
    return out


async def begin(dut: Any) -> None:
    await start(dut, kw_en=0, kw_stage=0, kw_ctx=0, kw_data=0, v_i=0, ctx_i=0, k256_i=0, blk_i=0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def fips197_examples(dut: Any) -> None:
    await begin(dut)
    plain = bytes.fromhex("00112233445566778899aabbccddeeff")
    for size, want in (
        (16, "69c4e0d86a7b0430d8cdb78070b4c55a"),
        (32, "8ea2b7ca516745bfeafc49904b496089"),
    ):
        key = bytes(range(size))
        await load_key(dut, 5, key)
        same_blocks(await encrypt(dut, [(5, key, plain)]), [int(want, 16)])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def key_and_size_change_with_every_block(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    await begin(dut)
    keys = {c: rng.randbytes(rng.choice((16, 32))) for c in range(64)}
    for c, key in keys.items():
        await load_key(dut, c, key)
    jobs = []
    for _ in range(300):
        c = rng.randrange(64)
        jobs.append((c, keys[c], rng.randbytes(16)))
    want = [int.from_bytes(aes_block(k, b), "big") for _, k, b in jobs]
    same_blocks(await encrypt(dut, jobs), want)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stage_15_wipes_a_context(dut: Any) -> None:
    await begin(dut)
    key, block = bytes(range(32)), bytes(16)
    await load_key(dut, 1, key)
    dut.kw_en.value = 1
    dut.kw_stage.value = 15
    dut.kw_ctx.value = 1
    dut.kw_data.value = 0
    await RisingEdge(dut.clk)
    dut.kw_en.value = 0
    await RisingEdge(dut.clk)
    got = await encrypt(dut, [(1, key, block)])
    # with zero round keys a zero state stays uniform, so only the 14 SubBytes change it
    b = 0
    for _ in range(14):
        b = SBOX[b]
    same_blocks(got, [int.from_bytes(bytes([b]) * 16, "big")])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_new_key_of_the_same_context_is_used(dut: Any) -> None:
    """A stage keeps its round key while the context is unchanged; a key write ends this."""
    await begin(dut)
    block = bytes(16)
    for key in (bytes(range(16)), bytes(range(1, 33)), bytes(range(2, 18))):
        await load_key(dut, 3, key)
        want = int.from_bytes(aes_block(key, block), "big")
        same_blocks(await encrypt(dut, [(3, key, block)] * 3), [want] * 3)
