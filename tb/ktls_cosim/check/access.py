# SPDX-License-Identifier: Apache-2.0
"""The access check: the device touches only what rings, descriptors and lists name.

An IOMMU does the same. `CheckedPort` allows ranges when the driver rings a doorbell, and checks the
bursts of the device when the driver has consumed completions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


class Burst(NamedTuple):
    """A burst of the device.

    Attributes:
        write: It writes.
        addr: Bus address of its first beat.
        length: Bytes of all its beats.
    """

    write: bool
    addr: int
    length: int


@runtime_checkable
class Observed(Protocol):
    """A port whose bursts can be observed.

    Attributes:
        beat: Bytes of a beat of the device's bus.
    """

    beat: int

    def bursts(self) -> list[Burst]:
        """Return the bursts since the last call, in order."""


class Accesses:
    """The ranges that the device may touch.

    A burst covers whole beats, so a range allows the rest of the beats at its ends, too; the bytes
    there are the subject of other checks.

    Args:
        beat: Bytes of a beat of the device's bus.
    """

    def __init__(self, beat: int) -> None:
        self._beat = beat
        self._allowed: dict[bool, set[int]] = {False: set(), True: set()}

    def forget(self) -> None:
        """Allow nothing."""
        for beats in self._allowed.values():
            beats.clear()

    def allow(self, write: bool, addr: int, length: int) -> None:
        """Allow accesses to `length` bytes at bus address `addr`."""
        self._allowed[write].update(self._beats(addr, length))

    def _beats(self, addr: int, length: int) -> range:
        return range(addr // self._beat, -(-(addr + length) // self._beat))

    def stray(self, burst: Burst) -> int | None:
        """Return the bus address of the first beat of a burst that nothing names, or None."""
        allowed = self._allowed[burst.write]
        for number in self._beats(burst.addr, burst.length):
            if number not in allowed:
                return number * self._beat
        return None
