# SPDX-License-Identifier: Apache-2.0
"""The device of a card: what the PCI function and the loop need of a model or a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ktls_cosim.client_memory import Area, ClientMemory


class Device(Protocol):
    """A device with access to the memory of one client.

    Attributes:
        bus_master: Returns whether the card may access memory.
        interrupt: Called with the vector of each interrupt message.
    """

    bus_master: Callable[[], bool]
    interrupt: Callable[[int], None]

    def read_register(self, addr: int) -> int:
        """Return the register at byte offset `addr`."""

    def write_register(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`."""

    def reset(self) -> None:
        """Reset the device."""

    def add(self, area: Area) -> None:
        """Map memory of the client and take its descriptor; raises `MapError`."""

    def remove(self, address: int, size: int) -> None:
        """End one map; raises `MapError`."""

    def clear(self) -> None:
        """End all maps."""

    def fileno(self) -> int | None:
        """Descriptor that is readable when the device wants `progress`; None: it never does."""

    def progress(self) -> None:
        """Handle what the device has done on its own."""

    def finish(self) -> str | None:
        """Return what is wrong with the device, None if nothing is."""


class ObservedDevice(Device, Protocol):
    """A device whose accesses to memory can be observed.

    Attributes:
        did_read, did_write: Called with bus address and bytes of each access that succeeds.
        exact: `did_write` is called before the bytes are in memory, so before the client can see
            them.
        maps: The memory of the client.
    """

    did_read: Callable[[int, bytes], None]
    did_write: Callable[[int, bytes], None]
    exact: bool
    maps: ClientMemory

    def sync(self) -> None:
        """Handle everything that the device has done until now."""
