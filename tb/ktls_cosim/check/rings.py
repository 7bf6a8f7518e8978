# SPDX-License-Identifier: Apache-2.0
"""The registers that a driver has written, and the places that they give to rings and slots."""

from __future__ import annotations

from dataclasses import dataclass

from ktls_hw.layout import (
    RING0_CQ_SIZE_LOG2,
    RING0_SQ_SIZE_LOG2,
    RING_COUNT,
    RING_STRIDE,
    Cqe,
    Reg,
    SqeRecord,
    ring_of,
)

_SETUP = {
    Reg.RING0_SQ_BASE_LO,
    Reg.RING0_SQ_BASE_HI,
    Reg.RING0_SQ_SIZE,
    Reg.RING0_CQ_BASE_LO,
    Reg.RING0_CQ_BASE_HI,
    Reg.RING0_CQ_SIZE,
}


def register_name(addr: int) -> str:
    """Return the name of a register; a hexadecimal number if there is none."""
    ring, in_first = ring_of(addr)
    if in_first not in Reg.__members__.values():
        return f"{addr:#x}"
    return Reg(in_first).name.replace("RING0", f"RING{ring}", 1)


@dataclass(slots=True)
class _Place:
    """A ring pair in memory.

    Attributes:
        sq, cq: Bus addresses of the rings, 0 without one.
        sq_slots, cq_slots: Their numbers of slots.
    """

    sq: int = 0
    cq: int = 0
    sq_slots: int = 1
    cq_slots: int = 1


class Rings:
    """Register values by address, and the rings that they describe."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}
        self._places = [_Place() for _ in range(RING_COUNT)]

    def clear(self) -> None:
        """Forget everything, as a reset does."""
        self._values.clear()
        self._places = [_Place() for _ in range(RING_COUNT)]

    def write(self, addr: int, value: int) -> None:
        """Note the value of the register at byte offset `addr`."""
        self._values[addr] = value
        ring, in_first = ring_of(addr)
        if in_first in _SETUP:
            self._places[ring] = _Place(
                self.value(ring, Reg.RING0_SQ_BASE_HI) << 32
                | self.value(ring, Reg.RING0_SQ_BASE_LO),
                self.value(ring, Reg.RING0_CQ_BASE_HI) << 32
                | self.value(ring, Reg.RING0_CQ_BASE_LO),
                1 << RING0_SQ_SIZE_LOG2.get(self.value(ring, Reg.RING0_SQ_SIZE)),
                1 << RING0_CQ_SIZE_LOG2.get(self.value(ring, Reg.RING0_CQ_SIZE)),
            )

    def value(self, ring: int, reg: Reg) -> int:
        """Return a register of a ring; `reg` is the register of ring 0."""
        return self._values.get(reg + RING_STRIDE * ring, 0)

    def complete(self, ring: int) -> bool:
        """Return whether both rings of a pair have an address."""
        place = self._places[ring]
        return bool(place.sq and place.cq)

    def sq_slots(self, ring: int) -> int:
        """Return the number of slots of a submission ring."""
        return self._places[ring].sq_slots

    def descriptor(self, ring: int, index: int) -> int:
        """Return the bus address of the descriptor with a free-running index."""
        place = self._places[ring]
        return place.sq + index % place.sq_slots * SqeRecord.SIZE

    def completion(self, ring: int, index: int) -> int:
        """Return the bus address of the completion with a free-running index."""
        place = self._places[ring]
        return place.cq + index % place.cq_slots * Cqe.SIZE

    def phase(self, ring: int, index: int) -> int:
        """Return the phase bit of the completion with a free-running index."""
        return ~(index // self._places[ring].cq_slots) & 1
