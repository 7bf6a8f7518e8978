# SPDX-License-Identifier: Apache-2.0
"""Index arithmetic of the rings; no I/O."""

from __future__ import annotations

from dataclasses import dataclass

_MASK32 = 0xFFFFFFFF


@dataclass(slots=True)
class Ring:
    """A ring in DMA memory with free-running 32-bit producer and consumer indices.

    Attributes:
        base: bus address of entry 0.
        log2: log2 of the number of entries.
        entry_size: bytes.
    """

    base: int
    log2: int
    entry_size: int
    prod: int = 0
    cons: int = 0

    @property
    def entries(self) -> int:
        return 1 << self.log2

    @property
    def used(self) -> int:
        return (self.prod - self.cons) & _MASK32

    @property
    def full(self) -> bool:
        return self.used == self.entries

    def place(self, index: int) -> int:
        """Which entry of the ring the free-running index `index` means."""
        return index & (self.entries - 1)

    def address(self, index: int) -> int:
        """Bus address of the entry with free-running index `index`."""
        return self.base + self.place(index) * self.entry_size

    def produce(self) -> int:
        """Take the next place; returns its address."""
        addr = self.address(self.prod)
        self.prod = (self.prod + 1) & _MASK32
        return addr

    def consume(self) -> None:
        self.cons = (self.cons + 1) & _MASK32

    def phase(self) -> int:
        """The phase bit of a new entry at the consumer: 1 in the first round."""
        return (~(self.cons >> self.log2)) & 1
