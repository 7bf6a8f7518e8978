# SPDX-License-Identifier: Apache-2.0
"""A harness around the GCM core (`ktls_gcm`): streams, keys, expected results."""

from __future__ import annotations

from typing import Any

from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Cycles, Pause, StreamSink, StreamSource, never, start

CMD = ["ctx", "decrypt", "nonce", "aad_len", "len"]


def words(data: bytes, size: int) -> list[int]:
    """Words of `size` bytes as the core takes them: byte 0 on the left, zeros behind the end."""
    return [
        int.from_bytes(data[i : i + size].ljust(size, b"\0"), "big")
        for i in range(0, len(data), size)
    ]


class GcmCore:
    """The core with its streams; remembers what each record must give."""

    def __init__(self, dut: Any, cycles: Cycles, in_pause: Pause = never, out_pause: Pause = never):
        self.dut = dut
        self.cycles = cycles
        self.word = len(dut.s_data) // 8  # bytes
        self.cmd = StreamSource(dut, "cmd", CMD, cycles)
        self.src = StreamSource(dut, "s", ["data"], cycles, in_pause)
        self.sink = StreamSink(dut, "m", ["data", "tag"], cycles, out_pause)
        self.expected: list[tuple[int, int]] = []

    @classmethod
    async def create(cls, dut: Any, **kw: Pause) -> GcmCore:
        cycles = await start(dut, key_valid=0, key_clear=0, key_ctx=0, key_256=0, key=0)
        core = cls(dut, cycles, **kw)
        await core._key_ready()
        return core

    async def reset(self) -> None:
        """Reset the core for four cycles and wait until it takes keys; nothing may be under way."""
        self.dut.rst.value = 1
        for _ in range(4):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await self._key_ready()

    async def _key_ready(self) -> None:
        for _ in range(30_000):
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
        # a core may finish records before it takes a key
        await self._key_ready()
        self.dut.key_valid.value = 0
        await RisingEdge(self.dut.clk)
        await self._key_ready()

    def record(
        self,
        ctx: int,
        nonce: bytes,
        aad: bytes,
        text: bytes,
        want: bytes,
        tag: bytes,
        decrypt: bool = False,
    ) -> None:
        """Queue a record and what it must give; text in, `want` and `tag` out."""
        self.cmd.send(
            ctx=ctx,
            decrypt=int(decrypt),
            nonce=int.from_bytes(nonce, "big"),
            aad_len=len(aad),
            len=len(text),
        )
        # the padding of a last word is ignored by the core: fill it with ones
        for part in (aad, text):
            padded = part + b"\xff" * (-len(part) % self.word)
            for w in words(padded, self.word):
                self.src.send(data=w)
        self.expected += [(w, 0) for w in words(want, self.word)]
        self.expected.append((words(tag, self.word)[0], 1))

    async def check(self, limit: int = 400_000) -> int:
        """Wait up to `limit` cycles for all results and compare; returns the number of records."""
        beats = await self.sink.wait_for(len(self.expected), self.dut.clk, limit)
        got = [(b.values["data"], b.values["tag"]) for b in beats]
        for i, (g, e) in enumerate(zip(got, self.expected, strict=True)):
            digits = 2 * self.word
            assert g == e, (
                f"beat {i}: got {g[0]:0{digits}x} tag={g[1]}, expected {e[0]:0{digits}x} tag={e[1]}"
            )
        return sum(e[1] for e in self.expected)
