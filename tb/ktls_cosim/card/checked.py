# SPDX-License-Identifier: Apache-2.0
"""The device of a card with the checks beside it: golden model, scoreboard and audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ktls import run_sync
from ktls_cosim.card.device import ObservedDevice
from ktls_cosim.check.device import CheckedPort, RecordObserver
from ktls_cosim.check.owned import Use
from ktls_cosim.check.rules import Breach
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.client_memory import Area, ClientMemory
from ktls_cosim.errors import CosimError
from ktls_hw.layout import Cqe, Reg, ring_of

_KEPT = 8192  # writes of the device that are remembered while records are in flight
_NEED_ORDER = (Reg.RING0_SQ_PROD, Reg.RING0_SQ_PUSH, Reg.RING0_CQ_CONS)


class _Write(NamedTuple):
    """A write of the device."""

    addr: int
    data: bytes


class _Memory:
    """The client's memory as it is now; zeros where no memory is mapped.

    Attributes:
        size: First address behind the memory.
    """

    size = 1 << 64

    def __init__(self, maps: ClientMemory) -> None:
        self._maps = maps

    def read(self, addr: int, length: int) -> bytes:
        """Return `length` bytes from bus address `addr`."""
        return self._maps.read(addr, length) or bytes(length)

    def write(self, addr: int, data: bytes) -> None:
        """Write as the client does, which the card never wants."""
        raise CosimError(f"{len(data)} bytes for {addr:#x}: the memory is the client's")


class _Results(_Memory):
    """The client's memory as the device has left it.

    Attributes:
        writes: Writes of the device, the oldest first.
    """

    def __init__(self, maps: ClientMemory) -> None:
        super().__init__(maps)
        self.writes: list[_Write] = []

    def read(self, addr: int, length: int) -> bytes:
        """Return `length` bytes from bus address `addr`."""
        data = super().read(addr, length)
        end = addr + length
        for at, written in self.writes:
            if at < end and addr < at + len(written):
                lo, hi = max(addr, at), min(end, at + len(written))
                data = data[: lo - addr] + written[lo - at : hi - at] + data[hi - addr :]
        return data


class _Registers:
    """The registers and the memory of a card's device as `ktls_cosim.port.Port`."""

    def __init__(self, device: ObservedDevice, memory: _Memory) -> None:
        self._device = device
        self.mem = memory

    async def read32(self, addr: int) -> int:
        """Return the register at byte offset `addr`."""
        return self._device.read_register(addr)

    async def write32(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`."""
        self._device.write_register(addr, value)

    async def wait_irq(self) -> bool:
        """Never wait: the client does."""
        return False

    async def wait_message(self) -> int | None:
        """Never wait: the client does."""
        return None

    def now(self) -> int:
        """There is no clock that is cheap to read."""
        raise CosimError("a card has no clock")


class CheckedDevice:
    """A device whose every record is compared with pyca, and whose driver is audited.

    Args:
        device: The device.
        scoreboard: Receives findings about the device.
        breach: Receives what the driver does wrong.
        records: Learns of all good records.
    """

    def __init__(
        self,
        device: ObservedDevice,
        scoreboard: Scoreboard,
        breach: Callable[[Breach], None],
        records: RecordObserver | None = None,
    ) -> None:
        self._device = device
        self._memory = _Memory(device.maps)
        self._results = _Results(device.maps)
        self._checked = CheckedPort(
            _Registers(device, self._memory), scoreboard,
            breach=breach, results=self._results, records=records,
        )  # fmt: skip
        if not device.exact:
            # an exact device is compared at the completion, which is cheaper
            device.did_read = self._checked.device_read
        device.did_write = self._wrote

    @property
    def bus_master(self) -> Callable[[], bool]:
        """See `Device`."""
        return self._device.bus_master

    @bus_master.setter
    def bus_master(self, allowed: Callable[[], bool]) -> None:
        self._device.bus_master = allowed

    @property
    def interrupt(self) -> Callable[[int], None]:
        """See `Device`."""
        return self._device.interrupt

    @interrupt.setter
    def interrupt(self, send: Callable[[int], None]) -> None:
        self._device.interrupt = send

    def _wrote(self, addr: int, data: bytes) -> None:
        exact, writes = self._device.exact, self._results.writes
        if exact and len(data) == Cqe.SIZE:
            self._compare()
        completion = self._checked.device_wrote(addr, data, exact=exact)
        writes.append(_Write(addr, data))
        if completion and (exact or not self._checked.in_flight):
            writes.clear()
        del writes[:-_KEPT]

    def _compare(self) -> None:
        """Look for bytes that the client has changed behind the device."""
        for addr, data in self._results.writes:
            if self._memory.read(addr, len(data)) != self._results.read(addr, len(data)):
                self._checked.audit.changed(addr, addr + len(data), Use.DESTINATION)

    def read_register(self, addr: int) -> int:
        """Return the register at byte offset `addr`."""
        return run_sync(self._checked.read32(addr))

    def write_register(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`."""
        if ring_of(addr)[1] in _NEED_ORDER and self._checked.in_flight:
            # the client may have seen completions of which we have not heard yet
            self._device.sync()
        run_sync(self._checked.write32(addr, value))

    def reset(self) -> None:
        """Reset the device."""
        self._device.reset()
        self._checked.forget()
        self._results.writes.clear()

    def add(self, area: Area) -> None:
        """Map memory of the client; raises `MapError`."""
        self._device.add(area)
        self._checked.audit.mapped(area.address, area.size)

    def remove(self, address: int, size: int) -> None:
        """End one map; raises `MapError`."""
        self._device.sync()
        if self._device.maps.has(address, size):
            self._checked.audit.unmapped(address, size)
        self._device.remove(address, size)

    def clear(self) -> None:
        """End all maps."""
        self._device.sync()
        for area in self._device.maps:
            self._checked.audit.unmapped(area.address, area.size)
        self._device.clear()

    def client_gone(self) -> None:
        """The client has gone: end the audit of its driver."""
        self._device.sync()
        self._checked.audit.end(gone=True)

    def fileno(self) -> int | None:
        """See `Device`."""
        return self._device.fileno()

    def progress(self) -> None:
        """See `Device`."""
        self._device.progress()

    def finish(self) -> str | None:
        """Return what is wrong with the device, None if nothing is."""
        return self._device.finish()
