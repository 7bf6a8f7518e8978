# SPDX-License-Identifier: Apache-2.0
"""The memory that the device owns: what the descriptors in flight name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

_PAGE = 14  # log2 of the bytes of a bucket: a record touches one or two


class Use(Enum):
    """What the device does with a range."""

    DESCRIPTOR = auto()
    LIST = auto()
    SOURCE = auto()
    DESTINATION = auto()
    COMPLETION = auto()


@dataclass(eq=False, slots=True)
class Range:
    """Memory that a descriptor names.

    Attributes:
        use: What the device does with it.
        lo: Bus address of the first byte.
        hi: First bus address behind it.
        ring: Ring of the descriptor.
        index: Index of the descriptor.
        data: The bytes at the time of the doorbell; empty if nobody may compare them.
    """

    use: Use
    lo: int
    hi: int
    ring: int
    index: int
    data: bytes = field(default=b"", repr=False)


class OwnedMemory:
    """Finds the ranges that an access touches."""

    def __init__(self) -> None:
        self._pages: dict[int, list[Range]] = {}

    def __bool__(self) -> bool:
        """Whether the device owns anything."""
        return bool(self._pages)

    def add(self, r: Range) -> None:
        """The device owns a range from now on."""
        for page in range(r.lo >> _PAGE, (r.hi - 1 >> _PAGE) + 1):
            self._pages.setdefault(page, []).append(r)

    def remove(self, r: Range) -> None:
        """Give a range back to the driver."""
        for page in range(r.lo >> _PAGE, (r.hi - 1 >> _PAGE) + 1):
            ranges = self._pages[page]
            ranges.remove(r)
            if not ranges:
                del self._pages[page]

    def touched(self, lo: int, hi: int) -> Iterator[Range]:
        """Yield each range that has a byte in [lo, hi) once."""
        if not self._pages:
            return
        first = lo >> _PAGE
        for page in range(first, (hi - 1 >> _PAGE) + 1):
            for r in self._pages.get(page, ()):
                # a range of several pages counts in the first one that the access touches
                if r.lo < hi and lo < r.hi and page == max(first, r.lo >> _PAGE):
                    yield r
