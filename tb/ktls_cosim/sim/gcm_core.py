# SPDX-License-Identifier: Apache-2.0
"""A harness for the GCM core (`ktls_gcm`): streams, keys and expected results."""

from __future__ import annotations

from typing import Any

from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Cycles, Pause, StreamSink, StreamSource, never, start

CMD = ["ctx", "decrypt", "nonce", "aad_len", "len"]


def words(data: bytes, size: int) -> list[int]:
    """Split data into words for the core.

    Args:
        data: The bytes.
        size: Bytes of a word. Byte 0 is the leftmost; zeros pad the last word.
    """
    return [
        int.from_bytes(data[i : i + size].ljust(size, b"\0"), "big")
        for i in range(0, len(data), size)
    ]


class GcmCore:
    """The core with its streams, and the results that it must produce.

    Attributes:
        word: Bytes of a word.
        cmd: Commands, one per record.
        src: Words of AAD and text.
        sink: Words of output and tags.
        expected: The expected output: words with 0, tags with 1.
    """

    def __init__(self, dut: Any, cycles: Cycles, in_pause: Pause = never, out_pause: Pause = never):
        self.dut = dut
        self.cycles = cycles
        self.word = len(dut.s_data) // 8
        self.cmd = StreamSource(dut, "cmd", CMD, cycles)
        self.src = StreamSource(dut, "s", ["data"], cycles, in_pause)
        self.sink = StreamSink(dut, "m", ["data", "tag"], cycles, out_pause)
        self.expected: list[tuple[int, int]] = []

    @classmethod
    async def create(cls, dut: Any, **pauses: Pause) -> GcmCore:
        """Start the clock, reset the core, and wait until it accepts keys.

        Args:
            dut: The core.
            pauses: `in_pause` and `out_pause`, the pauses of input and output.
        """
        cycles = await start(dut, key_valid=0, key_clear=0, key_ctx=0, key_256=0, key=0)
        core = cls(dut, cycles, **pauses)
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
        raise TimeoutError("the key engine never became ready")

    async def set_key(self, ctx: int, key: bytes, clear: bool = False) -> None:
        """Install the key of a context, or overwrite it, and wait until that is done.

        Args:
            ctx: Number of the context.
            key: 16 or 32 bytes.
            clear: Whether to overwrite the key with zeros instead.
        """
        self.dut.key_ctx.value = ctx
        self.dut.key_256.value = int(len(key) == 32)
        self.dut.key.value = int.from_bytes(key.ljust(32, b"\0"), "big")
        self.dut.key_clear.value = int(clear)
        self.dut.key_valid.value = 1
        # a core may finish records before it accepts a key
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
        """Queue a record and its expected result.

        Args:
            ctx: Number of the context.
            nonce: 12 bytes.
            aad: The AAD.
            text: Plaintext, or ciphertext with `decrypt`.
            want: The expected output, as long as `text`.
            tag: The expected tag, 16 bytes.
            decrypt: Whether the core decrypts.
        """
        self.cmd.put(
            ctx=ctx,
            decrypt=int(decrypt),
            nonce=int.from_bytes(nonce, "big"),
            aad_len=len(aad),
            len=len(text),
        )
        # the core must ignore the padding of a last word: fill it with ones
        for part in (aad, text):
            padded = part + b"\xff" * (-len(part) % self.word)
            for w in words(padded, self.word):
                self.src.put(data=w)
        self.expected += [(w, 0) for w in words(want, self.word)]
        self.expected.append((words(tag, self.word)[0], 1))

    async def check(self, limit: int = 400_000) -> int:
        """Wait for all results and compare them.

        Args:
            limit: Clock cycles to wait.

        Returns:
            The number of records.

        Raises:
            AssertionError: A word or a tag is wrong.
            TimeoutError: Results are missing after `limit` cycles.
        """
        beats = await self.sink.wait_for(len(self.expected), limit)
        got = [(b.values["data"], b.values["tag"]) for b in beats]
        for i, (g, e) in enumerate(zip(got, self.expected, strict=True)):
            digits = 2 * self.word
            if g != e:  # `assert` would add both words in decimal
                raise AssertionError(
                    f"beat {i}: got {g[0]:0{digits}x} tag={g[1]}, "
                    f"expected {e[0]:0{digits}x} tag={e[1]}"
                )
        return sum(e[1] for e in self.expected)
