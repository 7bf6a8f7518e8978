# SPDX-License-Identifier: Apache-2.0
"""Buffers in DMA memory, their scatter-gather entries, and the secrets in it."""

from __future__ import annotations

from collections import deque

from ktls.port import HostPort
from ktls_hw.layout import Sge

PAGE = 4096


class DmaBuffers:
    """Equal buffers in DMA memory, one per record in flight.

    Each buffer holds the source, the destination and both scatter-gather lists. Source and
    destination have five pages, because a sealed record of 16384 bytes of plaintext exceeds
    four.

    Args:
        base: bus address of the first buffer, page aligned.
        size: bytes of DMA memory, `base` included.
        wanted: number of buffers, if the memory holds them.

    Attributes:
        count: number of buffers.
    """

    SRC = 0
    """Offset of the source in a buffer."""
    DST = PAGE * 5
    """Offset of the destination in a buffer."""
    SRC_LIST = DST + PAGE * 5
    """Offset of the source list in a buffer."""
    DST_LIST = SRC_LIST + 256
    """Offset of the destination list in a buffer."""
    SIZE = DST_LIST + 256
    """Bytes of a buffer."""

    def __init__(self, base: int, size: int, wanted: int) -> None:
        self.base = base
        self.count = min(wanted, max(0, (size - base) // self.SIZE))
        self._free = deque(range(self.count))

    @property
    def available(self) -> int:
        """Number of free buffers."""
        return len(self._free)

    def take(self) -> int:
        """Allocate a buffer and return its number.

        Raises:
            IndexError: no buffer is free.
        """
        return self._free.popleft()

    def give_back(self, number: int) -> None:
        """Free a buffer."""
        self._free.append(number)

    def reset(self) -> None:
        """Free all buffers."""
        self._free = deque(range(self.count))

    def address(self, number: int) -> int:
        """Return the bus address of a buffer."""
        return self.base + number * self.SIZE


class Secrets:
    """Places in DMA memory that hold keys or text until zeros overwrite them.

    Args:
        port: the device whose DMA memory it is.
    """

    def __init__(self, port: HostPort) -> None:
        self._port = port
        self._places: list[tuple[int, int]] = []

    def add(self, addr: int, length: int) -> None:
        """Note a secret.

        Args:
            addr: bus address of its first byte.
            length: number of bytes.
        """
        self._places.append((addr, length))

    def wipe(self) -> None:
        """Overwrite all secrets with zeros; what fails is left for the next call.

        Raises:
            OSError: a memory access failed.
            MemoryError: a memory access failed.
        """
        while self._places:
            addr, length = self._places[-1]
            if length:
                self._port.mem.write(addr, bytes(length))
            self._places.pop()


def page_entries(addr: int, length: int) -> list[Sge]:
    """Return the entries of a buffer, split at page boundaries like a DMA mapping of pages.

    Args:
        addr: bus address of the first byte.
        length: number of bytes.
    """
    out = []
    while length:
        n = min(length, PAGE - addr % PAGE)
        out.append(Sge(addr=addr, len=n))
        addr += n
        length -= n
    return out


def whole_entry(addr: int, length: int) -> list[Sge]:
    """Return the entry of a contiguous buffer.

    Args:
        addr: bus address of the first byte.
        length: number of bytes.
    """
    return [Sge(addr=addr, len=length)]


def page_align(addr: int) -> int:
    """Return the first page boundary at or after a bus address."""
    return (addr + PAGE - 1) // PAGE * PAGE
