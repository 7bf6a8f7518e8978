# SPDX-License-Identifier: Apache-2.0
"""The device as checkers and scenarios see it.

`Port` and `Memory` have the members of `ktls.port.HostPort` and `HostMemory`. They are
declared again here so that the checkers do not import the driver that they check.
"""

from __future__ import annotations

from typing import Protocol

NS_PER_CYCLE = 4
"""Clock period of the test bench (`ktls_tb`) and of the functional model."""


def moment(time_ns: int) -> str:
    """Name a time of the device, as a wave viewer and as a cycle counter show it."""
    return f"{time_ns} ns (cycle {time_ns // NS_PER_CYCLE})"


class Memory(Protocol):
    """Host memory that the device accesses by DMA, at bus addresses 0 to `size` - 1."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    def read(self, addr: int, length: int) -> bytes:
        """Return `length` bytes from bus address `addr`."""

    def write(self, addr: int, data: bytes) -> None:
        """Write `data` at bus address `addr`."""


class Port(Protocol):
    """Registers, DMA memory, interrupts and clock of one device."""

    @property
    def mem(self) -> Memory:
        """Host memory."""

    async def read32(self, addr: int) -> int:
        """Return the 32-bit register at byte offset `addr`."""

    async def write32(self, addr: int, value: int) -> None:
        """Write the 32-bit register at byte offset `addr`, after all earlier memory writes."""

    async def wait_irq(self) -> bool:
        """Wait for the interrupt line.

        Returns:
            True once the line is high; False if it is low and the device is idle.
        """

    async def wait_message(self) -> int | None:
        """Take an interrupt message, or wait for one; several of a vector may arrive as one.

        Returns:
            Its vector; None if none has come and the device is idle.
        """

    def now(self) -> int:
        """Return the device's time in nanoseconds."""
