# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the GCM core (`ktls_gcm`) on its own stream interface.

A core that declares its capabilities (`ktls_cosim.capabilities`) is judged on those: a test
that needs more is skipped, the others choose keys, directions and lengths that it supports.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import cocotb
import pytest
from cocotb.triggers import RisingEdge
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_cosim import capabilities
from ktls_cosim.capabilities import Capabilities
from ktls_cosim.sim.bus import Pause, random_pause
from ktls_cosim.sim.gcm_core import GcmCore
from ktls_cosim.vectors.cases import cavp_encrypt

CAN = Capabilities.load(os.environ.get(capabilities.VARIABLE))
# limits of the core's port: the device never asks for more (docs/bring-your-own-engine.md)
LONGEST_AAD = 16384
LONGEST_TEXT = 16385


def _needs_full_throughput() -> None:
    """Skip the test unless the core seals a word per cycle."""
    if not CAN.fast or not CAN.seal:
        pytest.skip(
            "the throughput formula: cycles_per_block of the core is not 1, or it cannot seal"
        )


async def _cavp(dut: Any, key_bits: int) -> None:
    """Load eight keys at a time, so that neighbouring cases use different contexts."""
    if key_bits not in CAN.key_sizes:
        pytest.skip(f"AES-{key_bits} is not among the key_sizes of the core")
    core = await GcmCore.create(dut)
    cases = list(cavp_encrypt(key_bits))
    assert len(cases) == 375
    cases = [c for c in cases if CAN.allows(len(c.plaintext))]
    for first in range(0, len(cases), 8):
        for i, c in enumerate(cases[first : first + 8]):
            await core.set_key(i, c.key)
        for i, c in enumerate(cases[first : first + 8]):
            _record(core, i, c.nonce, c.aad, c.plaintext, c.ciphertext, c.tag, not CAN.seal)
        await core.check(CAN.patience(400_000))
    dut._log.info("CAVP AES-%d encrypt: %d cases passed", key_bits, len(cases))


@cocotb.test(timeout_time=CAN.patience(50), timeout_unit="ms")
async def cavp_aes128_encrypt(dut: Any) -> None:
    await _cavp(dut, 128)


@cocotb.test(timeout_time=CAN.patience(50), timeout_unit="ms")
async def cavp_aes256_encrypt(dut: Any) -> None:
    await _cavp(dut, 256)


def _golden(key: bytes, nonce: bytes, aad: bytes, text: bytes) -> tuple[bytes, bytes]:
    sealed = AESGCM(key).encrypt(nonce, text, aad)
    return sealed[:-16], sealed[-16:]


def _record(
    core: GcmCore,
    ctx: int,
    nonce: bytes,
    aad: bytes,
    text: bytes,
    sealed: bytes,
    tag: bytes,
    decrypt: bool,
) -> None:
    """Queue a record to seal, or to open (`decrypt`)."""
    into, out = (sealed, text) if decrypt else (text, sealed)
    core.record(ctx, nonce, aad, into, out, tag, decrypt=decrypt)


async def _random_records(dut: Any, rng: random.Random, count: int, **pauses: Pause) -> None:
    """Mix sealing and opening, both key sizes, contexts, and lengths around block boundaries."""
    core = await GcmCore.create(dut, **pauses)
    keys = {c: rng.randbytes(rng.choice(CAN.key_bytes)) for c in rng.sample(range(64), 12)}
    lengths = (0, 1, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64, 65, 100, 128)
    for c, key in keys.items():
        await core.set_key(c, key)
    for _ in range(count):
        c = rng.choice(list(keys))
        nonce = rng.randbytes(12)
        aad = rng.randbytes(rng.choice((0, 0, 5, 13, 13, 16, 17, 40)))
        text = rng.randbytes(rng.choice([n for n in lengths if CAN.allows(n)]))
        sealed, tag = _golden(keys[c], nonce, aad, text)
        _record(core, c, nonce, aad, text, sealed, tag, rng.choice(CAN.directions))
    assert await core.check(CAN.patience(400_000)) == count


@cocotb.test(timeout_time=CAN.patience(10), timeout_unit="ms")
async def seal_and_open_without_pauses(dut: Any) -> None:
    await _random_records(dut, random.Random(cocotb.RANDOM_SEED), 120)


@cocotb.test(timeout_time=CAN.patience(10), timeout_unit="ms")
async def seal_and_open_with_pauses_on_both_sides(dut: Any) -> None:
    rng = random.Random(cocotb.RANDOM_SEED)
    await _random_records(
        dut, rng, 80, in_pause=random_pause(rng, 0.4), out_pause=random_pause(rng, 0.6)
    )


@cocotb.test(timeout_time=CAN.patience(10), timeout_unit="ms")
async def output_blocked_for_long(dut: Any) -> None:
    """The sink stops for a long time: the input stops as well, and no word is lost."""
    rng = random.Random(cocotb.RANDOM_SEED)

    def mostly_blocked() -> Iterator[bool]:
        while True:
            yield from [True] * 150
            yield from [False] * 25

    await _random_records(dut, rng, 20, out_pause=mostly_blocked)


@cocotb.test(timeout_time=CAN.patience(10), timeout_unit="ms")
async def long_records(dut: Any) -> None:
    """The longest records of the device, so every counter of blocks has to be wide enough.

    A counter of 8 bits wraps at the 255th block, one of 10 bits at the 1023rd. A short
    record of another key follows each long one.
    """
    rng = random.Random(cocotb.RANDOM_SEED)
    core = await GcmCore.create(dut)
    keys = [rng.randbytes(CAN.key_bytes[0]), rng.randbytes(CAN.key_bytes[-1])]
    for c, key in enumerate(keys):
        await core.set_key(c, key)
    longest = LONGEST_TEXT if CAN.allows(LONGEST_TEXT) else LONGEST_TEXT // 16 * 16 + 16
    for decrypt in CAN.directions:
        for aad_len, length in ((13, longest), (LONGEST_AAD, 0), (260 * 16 + 5, 48), (0, 16)):
            for c, key in enumerate(keys):
                nonce, aad = rng.randbytes(12), rng.randbytes(aad_len if c == 0 else 13)
                text = rng.randbytes(length if c == 0 else 16)
                _record(core, c, nonce, aad, text, *_golden(key, nonce, aad, text), decrypt)
    await core.check(CAN.patience(400_000))


@cocotb.test(timeout_time=CAN.patience(10), timeout_unit="ms")
async def a_key_is_set_while_records_of_others_flow(dut: Any) -> None:
    _needs_full_throughput()
    rng = random.Random(cocotb.RANDOM_SEED)
    core = await GcmCore.create(dut)
    first, second = rng.randbytes(CAN.key_bytes[-1]), rng.randbytes(CAN.key_bytes[0])
    await core.set_key(1, first)
    text = rng.randbytes(core.word * 200)
    sealed, tag = _golden(first, b"n" * 12, b"aad", text)
    core.record(1, b"n" * 12, b"aad", text, sealed, tag)
    for _ in range(20):
        await RisingEdge(dut.clk)
    await core.set_key(2, second)
    assert len(core.sink.beats) < 200, "the record ended before the key was installed"
    short = text[: 50 if CAN.allows(50) else 48]
    sealed, tag = _golden(second, b"m" * 12, b"", short)
    core.record(2, b"m" * 12, b"", short, sealed, tag)
    await core.check()


async def _beats_of_a_record(core: GcmCore, ctx: int) -> list[tuple[int, int]]:
    """The words and tag of a fixed record, right or not."""
    text = bytes(range(32))
    core.sink.beats.clear()
    core.record(ctx, b"n" * 12, b"aad", text, b"", bytes(16), decrypt=not CAN.seal)
    count = -(-len(text) // core.word) + 1
    beats = await core.sink.wait_for(count, CAN.patience(100_000))
    return [(b.values["data"], b.values["tag"]) for b in beats]


@cocotb.test(timeout_time=CAN.patience(10), timeout_unit="ms")
async def a_wiped_key_is_gone(dut: Any) -> None:
    """No bit of a record depends on a key that was wiped, so it is the same after any key.

    A core may wipe to any state: zeros in the key, in the key schedule, in H.
    """
    core = await GcmCore.create(dut)
    for size in CAN.key_bytes:
        after = []
        for key in (bytes(range(1, size + 1)), bytes(range(101, size + 101))):
            await core.set_key(7, key)
            real = await _beats_of_a_record(core, 7)
            await core.set_key(7, bytes(size), clear=True)
            after.append(await _beats_of_a_record(core, 7))
            assert not set(real) & set(after[-1]), "a word of the record is as with the key"
        assert after[0] == after[1], "the record depends on the key that was wiped"


@cocotb.test(timeout_time=CAN.patience(10), timeout_unit="ms")
async def a_reset_wipes_every_key(dut: Any) -> None:
    """The same rule for the keys of all contexts at a reset."""
    core = await GcmCore.create(dut)
    size = CAN.key_bytes[-1]
    contexts = (0, 5, 63)
    after = []
    for first in (1, 101):
        for c in contexts:
            await core.set_key(c, bytes(range(first + c, first + c + size)))
        await core.reset()
        after.append([await _beats_of_a_record(core, c) for c in contexts])
    assert after[0] == after[1], "a record depends on a key from before the reset"


@cocotb.test(timeout_time=CAN.patience(10), timeout_unit="ms")
async def throughput_and_latency(dut: Any) -> None:
    """A record of a AAD words and n text words takes a + n + 1 cycles, with any change of key."""
    _needs_full_throughput()
    rng = random.Random(cocotb.RANDOM_SEED)
    core = await GcmCore.create(dut)
    for c in (0, 1):
        await core.set_key(c, rng.randbytes(CAN.key_bytes[-1 if c else 0]))
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
