# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the release of opened text (`ktls_release`)."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Cycles, Pause, StreamSink, StreamSource, never, random_pause, start

FIELDS = ["data", "cnt", "open", "tag", "slot", "len", "tag_len", "tls13", "rtype", "poison"]
TAG = bytes(range(0xE0, 0xF0))


class Bench:
    """Drives the words of the core, the received tags and the results, and collects the text."""

    def __init__(self, dut: Any, cycles: Cycles, pause: Pause) -> None:
        self.dut = dut
        self.word = len(dut.a_data) // 8  # bytes
        self.cycles = cycles
        self.a = StreamSource(dut, "a", FIELDS, cycles, pause)
        self.out = StreamSink(dut, "out", ["data", "cnt"], cycles, pause)

    @classmethod
    async def create(cls, dut: Any, share: float = 0.0) -> Bench:
        idle = dict.fromkeys(("tag_valid", "tag_slot", "tag_data", "res_slot", "res_take"), 0)
        cycles = await start(dut, a_valid=0, out_ready=1, **idle)
        pause = random_pause(random.Random(cocotb.RANDOM_SEED), share) if share else never
        return cls(dut, cycles, pause)

    def left(self, piece: bytes) -> int:
        """A piece as a word, with byte 0 on the left."""
        return int.from_bytes(piece.ljust(self.word, b"\0"), "big")

    async def receive(self, slot: int, tag: bytes = TAG) -> None:
        """Deliver the received tag of a record."""
        self.dut.tag_valid.value = 1
        self.dut.tag_slot.value = slot
        self.dut.tag_data.value = int.from_bytes(tag, "big")
        await RisingEdge(self.dut.clk)
        self.dut.tag_valid.value = 0

    def send(
        self, slot: int, inner: bytes, *, tls13: bool, poison: bool = False, tag_len: int = 16
    ) -> None:
        """Send an opened record."""
        fields = {
            "slot": slot, "len": len(inner), "tag_len": tag_len, "tls13": int(tls13), "rtype": 22,
            "poison": int(poison), "open": 1,
        }  # fmt: skip
        for i in range(0, len(inner), self.word):
            piece = inner[i : i + self.word]
            self.a.put(data=self.left(piece), cnt=len(piece), tag=0, **fields)
        self.a.put(data=self.left(TAG), cnt=16, tag=1, **fields)

    def send_sealed(self, slot: int, pieces: list[bytes]) -> None:
        """Send a sealed record, which must leave completely, with its tag."""
        for i, piece in enumerate(pieces):
            self.a.put(
                data=self.left(piece), cnt=len(piece), tag=int(i == len(pieces) - 1), open=0,
                slot=slot, len=99, tag_len=16, tls13=0, rtype=23, poison=0,
            )  # fmt: skip

    async def result(self, slot: int) -> tuple[int, int, int]:
        self.dut.res_slot.value = slot
        for _ in range(3000):
            await RisingEdge(self.dut.clk)
            if int(self.dut.res_valid.value):
                break
        else:
            raise AssertionError("no result")
        found = int(self.dut.res_ok.value), int(self.dut.res_rtype.value)
        length = int(self.dut.res_len.value)
        self.dut.res_take.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.res_take.value = 0
        await RisingEdge(self.dut.clk)
        assert not int(self.dut.res_valid.value)
        return (*found, length)

    async def text(self, length: int) -> bytes:
        pieces = -(-length // self.word)
        await self.out.wait_for(pieces)
        out = b""
        for beat in self.out.beats[:pieces]:
            out += beat.values["data"].to_bytes(self.word, "little")[: beat.values["cnt"]]
        del self.out.beats[:pieces]
        return out


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def text_of_every_length(dut: Any) -> None:
    bench = await Bench.create(dut, 0.3)
    for n in (*range(35), 255, 256):
        slot = n % 8
        text = bytes(1 + i % 255 for i in range(n))
        bench.send(slot, text, tls13=False)
        await bench.receive(slot)
        assert await bench.text(n) == text
        assert await bench.result(slot) == (1, 22, n)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def tls13_type_and_padding(dut: Any) -> None:
    bench = await Bench.create(dut, 0.2)
    for n, padding in ((0, 0), (0, 40), (1, 0), (15, 0), (15, 1), (16, 15), (16, 16), (70, 33)):
        # zeros at the end of the text are part of it
        text = bytes(n)
        inner = text + b"\x15" + bytes(padding)
        bench.send(3, inner, tls13=True)
        await bench.receive(3)
        assert await bench.text(len(inner)) == inner
        assert await bench.result(3) == (1, 0x15, n)
    bench.send(3, bytes(50), tls13=True)
    await bench.receive(3)
    await bench.text(50)
    assert (await bench.result(3))[0] == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def no_text_leaves_before_the_tag_arrives(dut: Any) -> None:
    bench = await Bench.create(dut)
    bench.send(1, b"\x55" * 64, tls13=False)
    for _ in range(50):
        await RisingEdge(dut.clk)
        assert not int(dut.out_valid.value)
        assert not int(dut.res_valid.value)
    await bench.receive(1)
    assert await bench.text(64) == b"\x55" * 64


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def wrong_tag_yields_zeros_in_constant_time(dut: Any) -> None:
    """A wrong bit anywhere, a correct tag and a source error take the same time."""
    bench = await Bench.create(dut)
    spans = set()
    length = 2 * bench.word + 8
    for case in (None, *range(16), "poison"):
        tag = bytearray(TAG)
        if isinstance(case, int):
            tag[case] ^= 0x10
        await bench.receive(2, bytes(tag))
        begin = bench.cycles.now
        bench.send(2, b"\xaa" * length, tls13=False, poison=case == "poison")
        await bench.out.wait_for(3)
        spans.add(bench.out.beats[2].cycle - begin)
        good = case is None
        assert await bench.text(length) == (b"\xaa" * length if good else bytes(length))
        assert (await bench.result(2))[0] == int(good)
    assert len(spans) == 1, spans


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def records_back_to_back_keep_one_piece_per_cycle(dut: Any) -> None:
    bench = await Bench.create(dut)
    for slot in range(4):
        await bench.receive(slot)
    for slot in range(4):
        bench.send(slot, bytes([slot + 1]) * 40 * bench.word, tls13=False)
    await bench.out.wait_for(160)
    beats = bench.out.beats
    # a record of 40 words enters in 41 cycles, so it must also leave in 41
    assert beats[159].cycle - beats[0].cycle <= 3 * 41 + 39
    for slot in range(4):
        assert await bench.text(40 * bench.word) == bytes([slot + 1]) * 40 * bench.word


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sealed_records_keep_their_place(dut: Any) -> None:
    """No later record overtakes a record that waits for its tag; the order is kept."""
    bench = await Bench.create(dut)
    header, tag = b"\x17\x03\x03\x00\x25", bytes(range(16))
    bench.send_sealed(0, [header, b"A" * 16, b"B" * 4, tag])
    bench.send(1, b"\x77" * (bench.word + 4), tls13=False)
    bench.send_sealed(2, [header, b"C" * 16, tag])
    await bench.out.wait_for(4)
    for _ in range(40):
        await RisingEdge(dut.clk)
        assert not int(dut.out_valid.value)
    await bench.receive(1)
    await bench.out.wait_for(4 + 2 + 3)
    out = b""
    for beat in bench.out.beats:
        out += beat.values["data"].to_bytes(bench.word, "little")[: beat.values["cnt"]]
    text = b"\x77" * (bench.word + 4)
    first = header + b"A" * 16 + b"BBBB" + tag
    assert out == first + text + header + b"C" * 16 + tag
