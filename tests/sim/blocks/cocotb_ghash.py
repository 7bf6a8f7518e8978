# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of GHASH (`ktls_ghash`), in each of its forms and with one or several lanes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from reference import gf_multiply, same_blocks


@dataclass
class Hash:
    """A GHASH key and the words of blocks to hash."""

    h: int
    words: list[list[int]]

    def result(self) -> int:
        """The hash (SP 800-38D section 6.4)."""
        y = 0
        for word in self.words:
            for block in word:
                y = gf_multiply(y ^ block, self.h)
        return y


def lanes(dut: Any) -> int:
    return len(dut.x_i) // 128


def pack(blocks: list[int], width: int) -> int:
    """Blocks side by side, the first one on the left; lanes without a block hold 0."""
    whole = 0
    for block in [*blocks, *[0] * (width - len(blocks))]:
        whole = whole << 128 | block
    return whole


def factors(hash_: Hash, word: list[int], width: int) -> int:
    """The input h_i of a word: H^k for the first of its k blocks, H for the last."""
    if width == 1:
        return hash_.h
    powers = [hash_.h]
    while len(powers) < len(word):
        powers.insert(0, gf_multiply(powers[0], hash_.h))
    return pack(powers[-len(word) :], width)


async def run(dut: Any, hashes: list[Hash], gaps: random.Random | None = None) -> list[int]:
    """Feed the words of all hashes, and return y after the last word of each.

    Args:
        dut: the module under test.
        hashes: hashes to compute, one after the other.
        gaps: where cycles without a word come from; None: there are none.
    """
    width = lanes(dut)
    latency = 1 if width == 1 else 2
    out: list[int] = []
    due: list[int] = []  # cycles left until the result of a last word is valid

    async def cycle() -> None:
        await RisingEdge(dut.clk)
        due[:] = [d - 1 for d in due]
        if due and due[0] < 0:  # the value before this edge
            due.pop(0)
            out.append(int(dut.y_o.value))

    dut.v_i.value = 0
    await cycle()
    for hash_ in hashes:
        for i, word in enumerate(hash_.words):
            while gaps and gaps.random() < 0.3:
                dut.v_i.value = 0
                dut.x_i.value = gaps.getrandbits(128 * width)
                await cycle()
            dut.v_i.value = 1
            dut.first_i.value = int(i == 0)
            dut.last_i.value = int(i == len(hash_.words) - 1)
            dut.h_i.value = factors(hash_, word, width)
            dut.x_i.value = pack(word, width)
            if i == len(hash_.words) - 1:
                due.append(latency)
            await cycle()
    dut.v_i.value = 0
    for _ in range(latency + 1):
        await cycle()
    return out


def random_hashes(dut: Any, rng: random.Random, count: int) -> list[Hash]:
    return [
        Hash(
            rng.getrandbits(128),
            [
                [rng.getrandbits(128) for _ in range(rng.randint(1, lanes(dut)))]
                for _ in range(rng.choice([1, 2, 3, 4, rng.randint(5, 20)]))
            ],
        )
        for _ in range(count)
    ]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def single_bits(dut: Any) -> None:
    """x^i * x^j for every i and j on a diagonal: covers each V_i and the reduction."""
    Clock(dut.clk, 4, unit="ns").start()
    jobs = [Hash(1 << (127 - i), [[1 << (127 - (i * 37) % 128)]]) for i in range(128)]
    jobs += [Hash(1, [[1 << i]]) for i in range(128)]
    same_blocks(await run(dut, jobs), [job.result() for job in jobs])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def single_bits_of_two_words(dut: Any) -> None:
    """The first of two words meets H^2 (or the loop) for every bit of H."""
    Clock(dut.clk, 4, unit="ns").start()
    jobs = [Hash(1 << i, [[1 << (127 - i)], [1 << (i * 37) % 128]]) for i in range(128)]
    same_blocks(await run(dut, jobs), [job.result() for job in jobs])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def hashes_back_to_back(dut: Any) -> None:
    """Hashes of 1 to 20 words with different keys follow each other without a gap."""
    Clock(dut.clk, 4, unit="ns").start()
    jobs = random_hashes(dut, random.Random(cocotb.RANDOM_SEED), 60)
    same_blocks(await run(dut, jobs), [job.result() for job in jobs])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def hashes_with_gaps(dut: Any) -> None:
    """A cycle without a word changes nothing, wherever it lies."""
    Clock(dut.clk, 4, unit="ns").start()
    rng = random.Random(cocotb.RANDOM_SEED)
    jobs = random_hashes(dut, rng, 60)
    same_blocks(await run(dut, jobs, gaps=rng), [job.result() for job in jobs])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def holds_its_value_without_valid(dut: Any) -> None:
    Clock(dut.clk, 4, unit="ns").start()
    (y,) = await run(dut, [Hash(3 << 100, [[5 << 90], [7 << 80]])])
    for _ in range(5):
        dut.x_i.value = 77
        await RisingEdge(dut.clk)
    assert int(dut.y_o.value) == y
