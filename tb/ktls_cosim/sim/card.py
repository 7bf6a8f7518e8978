# SPDX-License-Identifier: Apache-2.0
"""A simulation as the device of a card: its memory is that of the card's client.

The child process maps the client's files itself. It simulates while the device works and answers
register accesses meanwhile; it sends interrupts when they happen.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from ktls_cosim.client_memory import Area, ClientMemory
from ktls_cosim.sim import register_log
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.remote import RemoteSim
from ktls_cosim.sim.wire import ANSWER, AREA, DONE, INTERRUPT, READ, VALUE, WROTE, Op
from ktls_hw.fields import register_address


class CardSim(RemoteSim):
    """A simulation as `card.device.Device`; build it with the parameter EXTERNAL = 1.

    The methods of `HostPort` are not for a card; use `read_register` and `write_register`.

    Attributes:
        maps: The memory of the client.
        did_read, did_write: Called with address and bytes of each access of the device.
        registers: The log of register accesses, which exists with waves (`register_log`).
        interrupt: Called with the vector of each interrupt message.
        bus_master: Returns whether the device may access memory.
    """

    MODULE = "ktls_cosim.sim.card_server"
    exact = False  # the simulation reports an access behind it

    def __init__(self, build: Build, *, simulator: str, name: str, waves: bool) -> None:
        super().__init__(build, simulator=simulator, name=name, waves=waves)
        self.maps = ClientMemory()
        self.bus_master: Callable[[], bool] = lambda: False
        self.interrupt: Callable[[int], None] = lambda _vector: None
        self.did_read: Callable[[int, bytes], None] = lambda _address, _data: None
        self.did_write: Callable[[int, bytes], None] = lambda _address, _data: None
        self._allowed = False
        self.registers = self.out / register_log.NAME
        if waves:
            self.tell(Op.LOG_REGISTERS)

    def _next(self, wanted: int) -> int:
        """Handle messages until an answer of the wanted kind; returns its value."""
        while True:
            kind, value = self._message()
            if kind == wanted:
                return value

    def _message(self) -> tuple[int, int]:
        """Receive and handle one message; returns its kind and value."""
        kind, value = ANSWER.unpack(self.receive(ANSWER.size))
        if kind == INTERRUPT:
            self.interrupt(value)
        elif kind in (READ, WROTE):
            raw = self.receive(8 + value)
            addr, data = int.from_bytes(raw[:8], "little"), raw[8:]
            if kind == WROTE:
                self._wrote(addr, data)
            else:
                self.did_read(addr, data)
        return kind, value

    def _wrote(self, addr: int, data: bytes) -> None:
        """Handle a write of the device."""
        self.did_write(addr, data)

    def _allow(self) -> None:
        allowed = self.bus_master()
        if allowed != self._allowed:
            self._allowed = allowed
            self.tell(Op.ALLOW, 0, int(allowed))

    def read_register(self, addr: int) -> int:
        """Return the register at byte offset `addr`; the device works on meanwhile."""
        self._allow()
        self.tell(Op.READ32, register_address(addr))
        self.flush()
        return self._next(VALUE)

    def write_register(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`; the write is posted."""
        self._allow()
        self.tell(Op.WRITE32, register_address(addr), value & 0xFFFFFFFF)
        self.flush()

    def reset(self) -> None:
        """Reset the device; the register log does not have it, because it is not the driver's."""
        self._finish(Op.RESET)

    def _finish(self, op: Op) -> None:
        """Send a request and handle messages until it has ended."""
        self.tell(op)
        self.flush()
        self._next(DONE)

    def add(self, area: Area) -> None:
        """Map memory of the client and take its descriptor; raises `MapError`."""
        self.maps.add(area)
        raw = AREA.pack(area.size, area.offset, area.readable, area.writable)
        self.tell(Op.MAP, area.address, 0)
        self.flush()
        socket.send_fds(self.socket, [raw], [area.fd] if area.fd >= 0 else [])

    def remove(self, address: int, size: int) -> None:
        """End one map, also for the device; raises `MapError`."""
        self.maps.remove(address, size)
        self.tell(Op.UNMAP, address, 0, AREA.pack(size, 0, False, False))
        self.flush()
        self._next(DONE)

    def clear(self) -> None:
        """End all maps."""
        self.maps.clear()
        self._finish(Op.UNMAP_ALL)

    def fileno(self) -> int:
        """Descriptor that is readable when the simulation has sent something."""
        return self.socket.fileno()

    def progress(self) -> None:
        """Handle one message of the simulation, if there is one.

        A register read may have handled the message that made `fileno` readable.
        """
        if select.select([self.socket], [], [], 0)[0]:
            self._message()

    def sync(self) -> None:
        """Handle everything that the device has done until now."""
        self._finish(Op.SYNC)

    def finish(self) -> str | None:
        """Return what is wrong with the device; this one is compared with nothing."""
        return None
