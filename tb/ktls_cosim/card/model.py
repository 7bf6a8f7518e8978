# SPDX-License-Identifier: Apache-2.0
"""The functional model as the device of a card, with the client's memory."""

from __future__ import annotations

from collections.abc import Callable

from ktls import run_sync
from ktls_cosim.client_memory import Area, ClientMemory
from ktls_hw.layout import CTRL_RESET, Reg
from ktls_hw.memory import ModelMemory
from ktls_hw.model import NicModel


class BusMemory(ModelMemory):
    """The client's memory as the model's device sees it.

    Args:
        maps: The maps of the client.
        allowed: Whether the card may access memory.

    Attributes:
        did_read, did_write: See `ObservedDevice`.
    """

    def __init__(self, maps: ClientMemory, allowed: Callable[[], bool]) -> None:
        super().__init__(0)
        self._maps = maps
        self._allowed = allowed
        self.did_read: Callable[[int, bytes], None] = lambda _address, _data: None
        self.did_write: Callable[[int, bytes], None] = lambda _address, _data: None

    def device_read(self, addr: int, length: int, beat: int) -> tuple[bytes, bool]:
        """See `ModelMemory.device_read`; maps are pages, so no beat is part of two."""
        del beat
        data = self._maps.read(addr, length) if self._allowed() else None
        if data is None:
            return bytes(length), False
        self.did_read(addr, data)
        return data, True

    def device_write(self, addr: int, data: bytes, beat: int) -> bool:
        """See `ModelMemory.device_write`."""
        del beat
        if not self._allowed():
            return False
        if self._maps.writable(addr, len(data)):
            self.did_write(addr, data)
        return self._maps.write(addr, data)


class ModelDevice:
    """The functional model; a register access executes everything that it starts.

    Attributes:
        bus_master: Returns whether the card may access memory.
        interrupt: Called with the vector of each interrupt message.
        did_read, did_write, exact, maps: See `ObservedDevice`.
    """

    exact = True

    def __init__(self) -> None:
        self.bus_master: Callable[[], bool] = lambda: False
        self.interrupt: Callable[[int], None] = lambda _vector: None
        self.did_read: Callable[[int, bytes], None] = lambda _address, _data: None
        self.did_write: Callable[[int, bytes], None] = lambda _address, _data: None
        self.maps = ClientMemory()
        memory = BusMemory(self.maps, lambda: self.bus_master())
        memory.did_read = lambda address, data: self.did_read(address, data)
        memory.did_write = lambda address, data: self.did_write(address, data)
        self._nic = NicModel(memory=memory)

    def read_register(self, addr: int) -> int:
        """Return the register at byte offset `addr`."""
        value = run_sync(self._nic.read32(addr))
        self._send()
        return value

    def write_register(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`."""
        run_sync(self._nic.write32(addr, value))
        self._send()

    def _send(self) -> None:
        """Send the interrupt messages of the model."""
        while (vector := run_sync(self._nic.wait_message())) is not None:
            self.interrupt(vector)

    def reset(self) -> None:
        """Reset the device."""
        self.write_register(Reg.CTRL, CTRL_RESET.put(1))

    def add(self, area: Area) -> None:
        """Map memory of the client; raises `MapError`."""
        self.maps.add(area)

    def remove(self, address: int, size: int) -> None:
        """End one map; raises `MapError`."""
        self.maps.remove(address, size)

    def clear(self) -> None:
        """End all maps."""
        self.maps.clear()

    def fileno(self) -> int | None:
        """Descriptor to wait for; None: the model does nothing on its own."""
        return None

    def progress(self) -> None:
        """Handle what `fileno` announces."""

    def sync(self) -> None:
        """Handle what the device has done: it does nothing between register accesses."""

    def finish(self) -> str | None:
        """Return what is wrong with the device, None if nothing is."""
        return None
