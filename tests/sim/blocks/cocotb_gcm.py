# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the GCM core (`ktls_gcm`) on its own stream interface."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_cosim.sim.bus import Pause, random_pause
from ktls_cosim.sim.gcm_core import GcmCore
from ktls_cosim.vectors.cases import cavp_encrypt


async def _cavp(dut: Any, key_bits: int) -> None:
    """Load eight keys at a time, so that neighbouring cases use different contexts."""
    core = await GcmCore.create(dut)
    cases = list(cavp_encrypt(key_bits))
    assert len(cases) == 375
    for first in range(0, len(cases), 8):
        for i, c in enumerate(cases[first : first + 8]):
            await core.set_key(i, c.key)
        for i, c in enumerate(cases[first : first + 8]):
            core.record(i, c.nonce, c.aad, c.plaintext, c.ciphertext, c.tag)
        await core.check()
    dut._log.info("CAVP AES-%d encrypt: %d cases passed", key_bits, len(cases))


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def cavp_aes128_encrypt(dut: Any) -> None:
    await _cavp(dut, 128)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def cavp_aes256_encrypt(dut: Any) -> None:
    await _cavp(dut, 256)


def _golden(key: bytes, nonce: bytes, aad: bytes, text: bytes) -> tuple[bytes, bytes]:
    sealed = AESGCM(key).encrypt(nonce, text, aad)
    return sealed[:-16], sealed[-16:]


async def _random_records(dut: Any, rng: random.Random, count: int, **pauses: Pause) -> None:
    """Mix sealing and opening, both key sizes, contexts, and lengths around block boundaries."""
    core = await GcmCore.create(dut, **pauses)
    keys = {c: rng.randbytes(rng.choice((16, 32))) for c in rng.sample(range(64), 12)}
    for c, key in keys.items():
        await core.set_key(c, key)
    for _ in range(count):
        c = rng.choice(list(keys))
        nonce = rng.randbytes(12)
        aad = rng.randbytes(rng.choice((0, 0, 5, 13, 13, 16, 17, 40)))
        text = rng.randbytes(
            rng.choice((0, 1, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64, 65, 100, 128))
        )
        sealed, tag = _golden(keys[c], nonce, aad, text)
        if rng.random() < 0.5:
            core.record(c, nonce, aad, text, sealed, tag)
        else:
            core.record(c, nonce, aad, sealed, text, tag, decrypt=True)
    assert await core.check() == count


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def seal_and_open_without_pauses(dut: Any) -> None:
    await _random_records(dut, random.Random(cocotb.RANDOM_SEED), 120)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def seal_and_open_with_pauses_on_both_sides(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    await _random_records(
        dut, rng, 80, in_pause=random_pause(rng, 0.4), out_pause=random_pause(rng, 0.6)
    )


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def output_blocked_for_long(dut: Any) -> None:
    """The sink stops for a long time: the input stops as well, and no word is lost."""
    rng = random.Random(cocotb.RANDOM_SEED)

    def mostly_blocked() -> Iterator[bool]:
        while True:
            yield from [True] * 150
            yield from [False] * 25

    await _random_records(dut, rng, 20, out_pause=mostly_blocked)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_key_is_set_while_records_of_others_flow(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    core = await GcmCore.create(dut)
    first, second = rng.randbytes(32), rng.randbytes(16)
    await core.set_key(1, first)
    text = rng.randbytes(core.word * 200)
    sealed, tag = _golden(first, b"n" * 12, b"aad", text)
    core.record(1, b"n" * 12, b"aad", text, sealed, tag)
    for _ in range(20):
        await RisingEdge(dut.clk)
    await core.set_key(2, second)
    assert len(core.sink.beats) < 200, "the record ended before the key was installed"
    sealed, tag = _golden(second, b"m" * 12, b"", text[:50])
    core.record(2, b"m" * 12, b"", text[:50], sealed, tag)
    await core.check()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_wiped_key_is_gone(dut: Any) -> None:
    core = await GcmCore.create(dut)
    key = bytes(range(1, 17))
    await core.set_key(7, key)
    await core.set_key(7, bytes(16), clear=True)
    sealed, tag = _golden(key, b"n" * 12, b"", b"secret")
    core.record(7, b"n" * 12, b"", b"secret", sealed, tag)
    beats = await core.sink.wait_for(2)
    assert beats[0].values["data"] != core.expected[0][0]
    # H is zero as well: the tag is E(zero key schedule, J0) alone and does not depend on the text
    core.record(7, b"n" * 12, b"", b"other!", sealed, tag)
    beats = await core.sink.wait_for(4)
    assert beats[1].values["data"] == beats[3].values["data"]


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def throughput_and_latency(dut: Any) -> None:
    """A record of a AAD words and n text words takes a + n + 1 cycles, with any change of key."""
    rng = random.Random(cocotb.RANDOM_SEED)
    core = await GcmCore.create(dut)
    for c in (0, 1):
        await core.set_key(c, rng.randbytes((16, 32)[c]))
    n, records = 64, 6
    for i in range(records):
        core.record(i % 2, bytes(12), bytes(13), bytes(core.word * n), b"", bytes(16))
        core.expected = []
    beats = await core.sink.wait_for(records * (n + 1))
    tags = [b.cycle for b in beats if b.values["tag"]]
    assert [b - a for a, b in pairwise(tags)] == [n + 2] * (records - 1)
    text = [b.cycle for b in beats[:n]]
    assert text == list(range(text[0], text[0] + n)), "one word per cycle inside a record"
    # sent[0] is the AAD, sent[1] the first text word
    latency = text[0] - core.src.sent[1].cycle
    assert latency <= 40, latency
    assert tags[0] - text[-1] <= 10
    dut._log.info(
        "first ciphertext after %d cycles, tag %d after the last block", latency, tags[0] - text[-1]
    )
