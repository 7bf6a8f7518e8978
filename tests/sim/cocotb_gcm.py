# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the GCM core (`ktls_gcm`) on its own stream interface."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_cosim.sim.bus import Cycles, StreamSink, StreamSource, never, random_pause, start
from ktls_cosim.vectors import cavp_encrypt

CMD = ["ctx", "decrypt", "nonce", "aad_len", "len"]


def blocks(data: bytes) -> list[int]:
    return [
        int.from_bytes(data[i : i + 16].ljust(16, b"\0"), "big") for i in range(0, len(data), 16)
    ]


class Core:
    """The core with its streams; remembers what each record must give."""

    def __init__(self, dut, cycles: Cycles, in_pause=never, out_pause=never):
        self.dut = dut
        self.cycles = cycles
        self.cmd = StreamSource(dut, "cmd", CMD, cycles)
        self.src = StreamSource(dut, "s", ["data"], cycles, in_pause)
        self.sink = StreamSink(dut, "m", ["data", "tag"], cycles, out_pause)
        self.expected: list[tuple[int, int]] = []

    @classmethod
    async def create(cls, dut, **kw) -> Core:
        cycles = await start(dut, key_valid=0, key_clear=0, key_ctx=0, key_256=0, key=0)
        core = cls(dut, cycles, **kw)
        await core._key_ready()
        return core

    async def _key_ready(self) -> None:
        for _ in range(3000):
            await RisingEdge(self.dut.clk)
            if self.dut.key_ready.value == 1:
                return
        raise TimeoutError("key engine never ready")

    async def set_key(self, ctx: int, key: bytes, clear: bool = False) -> None:
        self.dut.key_ctx.value = ctx
        self.dut.key_256.value = int(len(key) == 32)
        self.dut.key.value = int.from_bytes(key.ljust(32, b"\0"), "big")
        self.dut.key_clear.value = int(clear)
        self.dut.key_valid.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.key_valid.value = 0
        await RisingEdge(self.dut.clk)
        await self._key_ready()

    def record(
        self, ctx: int, nonce: bytes, aad: bytes, text: bytes, want: bytes, tag: bytes,
        decrypt: bool = False,
    ) -> None:
        self.cmd.send(
            ctx=ctx, decrypt=int(decrypt), nonce=int.from_bytes(nonce, "big"),
            aad_len=len(aad), len=len(text),
        )
        # the padding of a last block is ignored by the core: fill it with ones
        for part in (aad, text):
            padded = part + b"\xff" * (-len(part) % 16)
            for b in blocks(padded):
                self.src.send(data=b)
        self.expected += [(b, 0) for b in blocks(want)]
        self.expected.append((int.from_bytes(tag, "big"), 1))

    async def check(self) -> int:
        """Wait for all results and compare; returns the number of records."""
        beats = await self.sink.wait_for(len(self.expected), self.dut.clk, 400_000)
        got = [(b.values["data"], b.values["tag"]) for b in beats]
        for i, (g, e) in enumerate(zip(got, self.expected, strict=True)):
            assert g == e, f"beat {i}: got {g[0]:032x} tag={g[1]}, expected {e[0]:032x} tag={e[1]}"
        return sum(e[1] for e in self.expected)


async def _cavp(dut, key_bits: int) -> None:
    """Eight keys are loaded at a time, so neighbouring cases use different contexts."""
    core = await Core.create(dut)
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
async def cavp_aes128_encrypt(dut):
    await _cavp(dut, 128)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def cavp_aes256_encrypt(dut):
    await _cavp(dut, 256)


def _golden(key: bytes, nonce: bytes, aad: bytes, text: bytes) -> tuple[bytes, bytes]:
    sealed = AESGCM(key).encrypt(nonce, text, aad)
    return sealed[:-16], sealed[-16:]


async def _random_records(dut, rng, count: int, **pauses) -> None:
    """Seal and open, both key sizes, all contexts, lengths around block boundaries, all mixed."""
    core = await Core.create(dut, **pauses)
    keys = {c: rng.randbytes(rng.choice((16, 32))) for c in rng.sample(range(64), 12)}
    for c, key in keys.items():
        await core.set_key(c, key)
    for _ in range(count):
        c = rng.choice(list(keys))
        nonce = rng.randbytes(12)
        aad = rng.randbytes(rng.choice((0, 0, 5, 13, 13, 16, 17, 40)))
        text = rng.randbytes(rng.choice((0, 1, 15, 16, 17, 31, 32, 33, 64, 100)))
        sealed, tag = _golden(keys[c], nonce, aad, text)
        if rng.random() < 0.5:
            core.record(c, nonce, aad, text, sealed, tag)
        else:
            core.record(c, nonce, aad, sealed, text, tag, decrypt=True)
    assert await core.check() == count


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def seal_and_open_without_pauses(dut):
    await _random_records(dut, random.Random(cocotb.RANDOM_SEED), 120)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def seal_and_open_with_pauses_on_both_sides(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    await _random_records(
        dut, rng, 80, in_pause=random_pause(rng, 0.4), out_pause=random_pause(rng, 0.6)
    )


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def output_blocked_for_long(dut):
    """A sink that stops: nothing is lost, and input stops too."""
    rng = random.Random(cocotb.RANDOM_SEED)

    def mostly_blocked():
        while True:
            yield from [True] * 150
            yield from [False] * 25

    await _random_records(dut, rng, 20, out_pause=mostly_blocked)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_key_is_set_while_records_of_others_flow(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    core = await Core.create(dut)
    first, second = rng.randbytes(32), rng.randbytes(16)
    await core.set_key(1, first)
    text = rng.randbytes(16 * 200)
    sealed, tag = _golden(first, b"n" * 12, b"aad", text)
    core.record(1, b"n" * 12, b"aad", text, sealed, tag)
    for _ in range(20):
        await RisingEdge(dut.clk)
    await core.set_key(2, second)
    assert len(core.sink.beats) < 200, "the record was over before the key was set"
    sealed, tag = _golden(second, b"m" * 12, b"", text[:50])
    core.record(2, b"m" * 12, b"", text[:50], sealed, tag)
    await core.check()


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_wiped_key_is_gone(dut):
    core = await Core.create(dut)
    key = bytes(range(1, 17))
    await core.set_key(7, key)
    await core.set_key(7, bytes(16), clear=True)
    sealed, tag = _golden(key, b"n" * 12, b"", b"secret")
    core.record(7, b"n" * 12, b"", b"secret", sealed, tag)
    beats = await core.sink.wait_for(2, dut.clk)
    assert beats[0].values["data"] != core.expected[0][0]
    # H is wiped as well, so the tag is E(0-key schedule, J0) alone: any text gives the same
    core.record(7, b"n" * 12, b"", b"other!", sealed, tag)
    beats = await core.sink.wait_for(4, dut.clk)
    assert beats[1].values["data"] == beats[3].values["data"]


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def throughput_and_latency(dut):
    """The throughput law: a + n + 1 cycles per record, a key change costs nothing."""
    rng = random.Random(cocotb.RANDOM_SEED)
    core = await Core.create(dut)
    for c in (0, 1):
        await core.set_key(c, rng.randbytes((16, 32)[c]))
    n, records = 64, 6
    for i in range(records):
        core.record(i % 2, bytes(12), bytes(13), bytes(16 * n), b"", bytes(16))
        core.expected = []
    beats = await core.sink.wait_for(records * (n + 1), dut.clk)
    tags = [b.cycle for b in beats if b.values["tag"]]
    assert [b - a for a, b in zip(tags, tags[1:], strict=False)] == [n + 2] * (records - 1)
    text = [b.cycle for b in beats[:n]]
    assert text == list(range(text[0], text[0] + n)), "one block per cycle inside a record"
    # sent[0] is the AAD block, sent[1] the first text block
    latency = text[0] - core.src.sent[1].cycle
    assert latency <= 40, latency
    assert tags[0] - text[-1] <= 10
    dut._log.info("first ciphertext after %d cycles, tag %d after the last block",
                  latency, tags[0] - text[-1])
