# SPDX-License-Identifier: Apache-2.0
"""The Verilog as the device of a card."""

from __future__ import annotations

from collections.abc import Callable

from ktls_cosim.client_memory import Area
from ktls_cosim.sim.card import CardSim


class SimDevice:
    """A simulation that works on its own; register reads are answered meanwhile.

    Args:
        sim: The simulation.

    Attributes:
        bus_master: Returns whether the card may access memory.
        interrupt: Called when the device asks for service.
    """

    def __init__(self, sim: CardSim) -> None:
        self.bus_master: Callable[[], bool] = lambda: False
        self.interrupt: Callable[[], None] = lambda: None
        self._sim = sim
        sim.bus_master = lambda: self.bus_master()
        sim.interrupt = lambda: self.interrupt()

    def read32(self, addr: int) -> int:
        """Return the register at byte offset `addr`."""
        return self._sim.read_register(addr)

    def write32(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`."""
        self._sim.write_register(addr, value)

    def reset(self) -> None:
        """Reset the device."""
        self._sim.reset()

    def add(self, area: Area) -> None:
        """Map memory of the client; raises `MapError`."""
        self._sim.add(area)

    def remove(self, address: int, size: int) -> None:
        """End one map; raises `MapError`."""
        self._sim.remove(address, size)

    def clear(self) -> None:
        """End all maps."""
        self._sim.clear()

    def fileno(self) -> int | None:
        """Descriptor that is readable when the simulation has sent something."""
        return self._sim.fileno()

    def progress(self) -> None:
        """Handle what the simulation has sent."""
        self._sim.progress()

    def finish(self) -> str | None:
        """Return what is wrong with the device; the card compares nothing."""
        return None
