# SPDX-License-Identifier: Apache-2.0
"""The machine as a driver needs it: registers, DMA memory, an interrupt, the time.

The driver is written once, `async`, against `HostPort`. `run_sync` runs it on a port that
never suspends, such as the functional model or a simulator in another process. Inside
cocotb the same coroutines are awaited.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from ktls.errors import PortSuspended

T = TypeVar("T")


class HostMemory(Protocol):
    """Memory that the device reaches by DMA, at bus addresses 0 to size - 1."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, addr: int, length: int) -> bytes:
        """Read `length` bytes at bus address `addr`."""

    def write(self, addr: int, data: bytes) -> None:
        """Write `data` at bus address `addr`."""


class HostPort(Protocol):
    """A device as its driver sees it."""

    @property
    def mem(self) -> HostMemory:
        """DMA memory."""

    async def read32(self, addr: int) -> int:
        """Read the register at byte offset `addr`."""

    async def write32(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`, after all earlier memory writes."""

    async def wait_irq(self) -> bool:
        """Wait until the interrupt line is high.

        Returns:
            False if the line is low and no activity of the device can raise it.
        """

    async def wait_message(self) -> int | None:
        """Take an interrupt message, or wait for one; several of a vector may arrive as one.

        Returns:
            Its vector; None if no activity of the device can send one.
        """

    def now(self) -> int:
        """Return the device's time in nanoseconds."""


def run_sync(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of the driver on a port that never suspends.

    Returns:
        The coroutine's result.

    Raises:
        PortSuspended: the port suspended; await the coroutine in an event loop or in cocotb.
    """
    try:
        coro.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    coro.close()
    raise PortSuspended("this port suspends: await the driver's coroutines inside cocotb")
