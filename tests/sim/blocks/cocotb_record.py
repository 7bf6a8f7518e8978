# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of record framing (`ktls_record`), with the core modelled in Python."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Cycles, StreamSink, StreamSource, random_pause, start

# fields and bits of a job, from the lowest bit on (`rtl/ktls_job.vh`, part of ktls_record)
JOB = {
    "seq": 64, "iv": 64, "salt": 32, "tag_len": 5, "aad_len": 15, "inner": 15, "len": 15,
    "raw": 1, "tls13": 1, "open": 1, "rtype": 8, "slot": 3, "ctx": 6,
}  # fmt: skip


def job(**values: int) -> int:
    """One job as it travels on `job_data`."""
    packed, at = 0, 0
    for name, bits in JOB.items():
        packed |= values.pop(name) << at
        at += bits
    assert not values
    return packed


class Bench:
    """Drives jobs and plaintext, and acts as a core that adds 1 to every block."""

    def __init__(self, dut: Any, cycles: Cycles, rng: random.Random, share: float) -> None:
        pause = random_pause(rng, share)
        self.dut = dut
        self.word = len(dut.src_data) // 8  # bytes
        self.jobs = StreamSource(dut, "job", ["data"], cycles)
        self.src = StreamSource(dut, "src", ["data", "err"], cycles, pause)
        self.cmd = StreamSink(
            dut, "cmd", ["ctx", "decrypt", "nonce", "aad_len", "len"], cycles, pause
        )
        self.core_in = StreamSink(dut, "s", ["data"], cycles, pause)
        self.core_out = StreamSource(dut, "m", ["data", "tag"], cycles, pause)
        self.out = StreamSink(dut, "out", ["data", "cnt"], cycles, pause)

    @classmethod
    async def create(cls, dut: Any, share: float = 0.0) -> Bench:
        rng = random.Random(cocotb.RANDOM_SEED)
        cycles = await start(dut, cycles_slot=0, res_take=0, src_valid=0, m_valid=0, job_valid=0)
        return cls(dut, cycles, rng, share)

    def send_tag(self) -> None:
        """Send the tag, the last word of the core."""
        tag = bytes(range(16)).ljust(self.word, b"\0")
        self.core_out.put(data=int.from_bytes(tag, "big"), tag=1)

    def record_bytes(self, pieces: int) -> bytes:
        """Remove the next record, `pieces` words of the output, and return its bytes."""
        out = b""
        for beat in self.out.beats[:pieces]:
            out += beat.values["data"].to_bytes(self.word, "little")[: beat.values["cnt"]]
        del self.out.beats[:pieces]
        return out


async def seal(
    bench: Bench,
    slot: int,
    data: bytes,
    err_word: int | None = None,
    tls13: bool = False,
    pad: int = 0,
) -> bytes:
    word = bench.word
    # the bytes after the text in its last word must have no effect
    words = [data[i : i + word].ljust(word, b"\xa5") for i in range(0, len(data), word)]
    bench.jobs.put(data=job(
        slot=slot, ctx=slot + 3, rtype=0x16, open=0, tls13=int(tls13), raw=0, len=len(data),
        inner=len(data) + (1 + pad if tls13 else 0), aad_len=0, tag_len=16,
        salt=0xA1A2A3A4, iv=0x1122334455667788, seq=0x0102030405060708,
    ))  # fmt: skip
    for i, w in enumerate(words):
        bench.src.put(data=int.from_bytes(w, "little"), err=int(i == err_word))
    inner = data + b"\x16" + bytes(pad) if tls13 else data
    count = -(-len(inner) // word)
    seen = len(bench.core_in.beats)
    commands = len(bench.cmd.beats)
    await bench.core_in.wait_for(seen + 1 + count)
    beats = bench.core_in.beats[seen:]
    aad = beats[0].values["data"].to_bytes(bench.word, "big")
    if tls13:
        want = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
    else:
        want = bytes.fromhex("0102030405060708 16 0303") + len(data).to_bytes(2, "big")
    assert aad[: len(want)] == want
    got = b"".join(b.values["data"].to_bytes(bench.word, "big") for b in beats[1:])
    assert got[: len(inner)] == inner
    cmd = (await bench.cmd.wait_for(commands + 1))[-1].values
    nonce = 0xA1A2A3A4 << 64 | 0x1122334455667788 ^ (0x0102030405060708 if tls13 else 0)
    assert cmd == {
        "ctx": slot + 3, "decrypt": 0, "nonce": nonce, "aad_len": len(want), "len": len(inner),
    }  # fmt: skip
    for i in range(0, word * count, word):
        flipped = bytes(x ^ 0xFF for x in got[i : i + word])
        bench.core_out.put(data=int.from_bytes(flipped, "big"), tag=0)
    bench.send_tag()
    pieces = count + 2
    await bench.out.wait_for(pieces)
    return bench.record_bytes(pieces)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def frames_records_of_every_tail(dut: Any) -> None:
    bench = await Bench.create(dut, 0.3)
    for n in (0, 1, 15, 16, 17, 32, 63, 64, 65, 100, 128):
        data = bytes(range(n))
        record = await seal(bench, n % 8, data)
        assert record[:5] == b"\x16\x03\x03" + (n + 24).to_bytes(2, "big")
        assert record[5:13].hex() == "1122334455667788"
        assert record[13:-16] == bytes(x ^ 0xFF for x in data)
        assert record[-16:] == bytes(range(16))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def tls13_appends_the_type_to_the_text(dut: Any) -> None:
    bench = await Bench.create(dut, 0.3)
    for n in (*range(18), 31, 32, 33, 63, 64, 65, 100):
        data = bytes(range(n))
        record = await seal(bench, n % 8, data, tls13=True)
        assert record[:5] == b"\x17\x03\x03" + (n + 17).to_bytes(2, "big")
        assert record[5:-16] == bytes(x ^ 0xFF for x in data + b"\x16")
        assert record[-16:] == bytes(range(16))
        plain = await seal(bench, (n + 1) % 8, data)
        assert plain[:5] == b"\x16\x03\x03" + (n + 24).to_bytes(2, "big")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def tls13_padding_follows_the_type(dut: Any) -> None:
    bench = await Bench.create(dut, 0.3)
    for n in (0, 1, 14, 15, 16, 17, 33, 63, 64):
        for pad in (0, 1, 14, 15, 16, 17, 40):
            data = bytes(range(1, n + 1))
            record = await seal(bench, n % 8, data, tls13=True, pad=pad)
            inner = data + b"\x16" + bytes(pad)
            assert record[:5] == b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
            assert record[5:-16] == bytes(x ^ 0xFF for x in inner)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def plain_gcm_takes_nonce_and_aad_from_the_job(dut: Any) -> None:
    """Plain AES-GCM: AAD and text from the source, no header, a tag of any length."""
    bench = await Bench.create(dut, 0.3)
    word = bench.word
    for number, (aad_len, n, tag_len) in enumerate(
        ((0, 0, 16), (0, 5, 12), (1, 0, 4), (16, 16, 8), (17, 33, 13), (40, 3, 15))
    ):
        aad, text = bytes(range(aad_len)), bytes(range(100, 100 + n))
        bench.jobs.put(data=job(
            slot=number, ctx=5, rtype=1, open=0, tls13=0, raw=1, len=n, inner=n, aad_len=aad_len,
            tag_len=tag_len, salt=0xA1A2A3A4, iv=0x1122334455667788, seq=77,
        ))  # fmt: skip
        words = [x[i : i + word] for x in (aad, text) for i in range(0, len(x), word)]
        for w in words:
            bench.src.put(data=int.from_bytes(w.ljust(word, b"\0"), "little"), err=0)
        seen = len(bench.core_in.beats)
        if words:
            await bench.core_in.wait_for(seen + len(words))
        got = [b.values["data"].to_bytes(word, "big") for b in bench.core_in.beats[seen:]]
        assert [g[: len(w)] for g, w in zip(got, words, strict=True)] == words
        cmd = (await bench.cmd.wait_for(number + 1))[-1].values
        assert cmd == {
            "ctx": 5, "decrypt": 0, "nonce": 0xA1A2A3A41122334455667788,
            "aad_len": aad_len, "len": n,
        }  # fmt: skip
        for i in range(0, n, word):
            out = text[i : i + word].ljust(word)
            bench.core_out.put(data=int.from_bytes(out, "big"), tag=0)
        bench.send_tag()
        pieces = -(-n // word) + 1
        await bench.out.wait_for(pieces)
        assert bench.record_bytes(pieces) == text + bytes(range(tag_len))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_source_error_turns_the_rest_into_zeros(dut: Any) -> None:
    """Zeros from the bad word to the end: no keystream, no tag. Other records are intact."""
    bench = await Bench.create(dut)
    data = b"\x55" * 4 * bench.word
    record = await seal(bench, 2, data, err_word=1)
    assert record[13 + bench.word :] == bytes(3 * bench.word + 16)
    clean = await seal(bench, 3, data)
    assert clean[13:-16] == b"\xaa" * 4 * bench.word
    again = await seal(bench, 2, data)
    assert again[13:-16] == b"\xaa" * 4 * bench.word


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def cycles_of_a_record_without_stalls(dut: Any) -> None:
    bench = await Bench.create(dut)
    for slot, tls13, cycles in ((4, False, 12), (5, True, 13)):
        await seal(bench, slot, bytes(10 * bench.word), tls13=tls13)
        dut.cycles_slot.value = slot
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert int(dut.cycles.value) == cycles


async def unseal(bench: Bench, slot: int, text: bytes, tag: bytes, *, tls13: bool) -> bytes:
    """Send ciphertext and tag, and take the text; the modelled core inverts every bit."""
    body = bytes(x ^ 0xFF for x in text) + tag
    bench.jobs.put(data=job(
        slot=slot, ctx=slot, rtype=0x16, open=1, tls13=int(tls13), raw=0, len=len(text),
        inner=len(text), aad_len=0, tag_len=16,
        salt=0xA1A2A3A4, iv=0x1122334455667788, seq=0x0102030405060708,
    ))  # fmt: skip
    word = bench.word
    for i in range(0, len(body), word):
        # ktls_gather pads the last word with zeros
        bench.src.put(data=int.from_bytes(body[i : i + word], "little"), err=0)
    seen, commands = len(bench.core_in.beats), len(bench.cmd.beats)
    count = -(-len(text) // word)
    await bench.core_in.wait_for(seen + 1 + count)
    beats = bench.core_in.beats[seen:]
    aad = beats[0].values["data"].to_bytes(bench.word, "big")
    if tls13:
        assert aad[:5] == b"\x17\x03\x03" + (len(text) + 16).to_bytes(2, "big")
    else:
        want = bytes.fromhex("0102030405060708 16 0303") + len(text).to_bytes(2, "big")
        assert aad[:13] == want
    got = b"".join(b.values["data"].to_bytes(bench.word, "big") for b in beats[1:])[: len(text)]
    assert got == body[: len(text)]
    cmd = (await bench.cmd.wait_for(commands + 1))[-1].values
    assert (cmd["decrypt"], cmd["len"]) == (1, len(text))
    for i in range(0, len(text), word):
        out = text[i : i + word].ljust(word, b"\0")
        bench.core_out.put(data=int.from_bytes(out, "big"), tag=0)
    bench.send_tag()
    await bench.out.wait_for(count)
    return bench.record_bytes(count)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def opens_records_of_every_tail(dut: Any) -> None:
    """The tag is found for every length of text; interleaved sealed records are intact."""
    bench = await Bench.create(dut, 0.3)
    good, bad = bytes(range(16)), bytes(15) + b"\x0f"
    for n in (1, 2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 100, 120):
        text = bytes(range(1, n + 1))
        for tls13 in (False, True):
            assert await unseal(bench, n % 8, text, good, tls13=tls13) == text
            assert await unseal(bench, (n + 1) % 8, text, bad, tls13=tls13) == bytes(n)
        record = await seal(bench, (n + 2) % 8, text)
        assert record[13:-16] == bytes(x ^ 0xFF for x in text)
