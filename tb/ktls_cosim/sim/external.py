# SPDX-License-Identifier: Apache-2.0
"""Host memory outside of the simulation: Python serves each AXI burst of the device once.

`ktls_host_mem` with EXTERNAL = 1 holds a burst in a slot while it is under way. Nothing else is
copied, and nothing runs per beat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cocotb.handle import Immediate

from ktls_cosim.client_memory import ClientMemory
from ktls_cosim.sim.port import SimMemory
from ktls_cosim.sim.wire import LINE

_SLOT = 4096
_SLOTS = 256
_MASK64 = (1 << 64) - 1


class ExternalMemory:
    """Serves the bursts of the device from the maps of a client.

    Args:
        host: Handle of `ktls_host_mem`.
        beat: Bytes of a beat.
        maps: The memory.
        read, wrote: Called with address and bytes of each access, in the order of the bus.

    Attributes:
        allowed: Whether the device may access memory; otherwise each burst ends with DECERR.
        bursts: Number of bursts served.
    """

    def __init__(
        self,
        host: Any,
        beat: int,
        maps: ClientMemory,
        read: Callable[[int, bytes], None],
        wrote: Callable[[int, bytes], None],
    ) -> None:
        self._host = host
        self._beat = beat
        self._maps = maps
        self._read = read
        self._wrote = wrote
        self._lines = SimMemory(host)
        self._bad = {"ext_ar_bad": 0, "ext_b_bad": 0}
        self.allowed = False
        self.bursts = 0

    def _answer(self, name: str, slot: int, good: bool) -> None:
        bad = self._bad[name] & ~(1 << slot) | int(not good) << slot
        if bad != self._bad[name]:
            self._bad[name] = bad
            getattr(self._host, name).value = Immediate(bad)

    def _burst(self, value: int) -> tuple[int, int, int]:
        """Split the description of a burst into slot, address and bytes."""
        self.bursts += 1
        return value >> 72, value & _MASK64, ((value >> 64 & 255) + 1) * self._beat

    async def serve_reads(self) -> None:
        """Put the bytes of every read into its slot, before its first beat is due."""
        host = self._host
        while True:
            await host.ext_ar.value_change
            slot, address, length = self._burst(int(str(host.ext_ar_burst.value), 2))
            data = self._maps.read(address, length) if self.allowed else None
            self._answer("ext_ar_bad", slot, data is not None)
            if data is not None:
                self._read(address, data)
                first, offset = divmod(slot * _SLOT + address % _SLOT, LINE)
                data = bytes(offset) + data
                for at in range(0, len(data), LINE):
                    self._lines.put_line(first + at // LINE, data[at : at + LINE])

    async def serve_writes(self) -> None:
        """Write the bytes of every write that have their strobe."""
        host = self._host
        while True:
            await host.ext_w.value_change
            slot, address, length = self._burst(int(str(host.ext_w_burst.value), 2))
            first, offset = divmod((_SLOTS + slot) * _SLOT + address % _SLOT, LINE)
            numbers = range(first, first + (offset + length - 1) // LINE + 1)
            data = b"".join(self._lines.get_line(n) for n in numbers)
            data = data[offset : offset + length]
            pieces = [(0, length)]
            if str(host.ext_w_whole.value) != "1":
                base = first - _SLOTS * _SLOT // LINE
                strobes = 0
                for n in reversed(range(base, base + len(numbers))):
                    strobes = strobes << LINE | int(str(host.strobes[n].value), 2)
                pieces = _runs(strobes >> offset & (1 << length) - 1)
            good = self.allowed
            for at, end in pieces:
                piece = data[at:end]
                good = good and self._maps.write(address + at, piece)
                if good:
                    self._wrote(address + at, piece)
            self._answer("ext_b_bad", slot, good)


def _runs(bits: int) -> list[tuple[int, int]]:
    """Return first and end of every run of ones."""
    out = []
    at = 0
    while bits:
        zeros = (bits & -bits).bit_length() - 1
        bits >>= zeros
        ones = (~bits & -~bits).bit_length() - 1
        out.append((at + zeros, at + zeros + ones))
        bits >>= ones
        at += zeros + ones
    return out
