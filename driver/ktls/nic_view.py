# SPDX-License-Identifier: Apache-2.0
"""What the driver sees of its device: registers and rings, and why it completes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

from ktls.dma import DmaBuffers
from ktls.errors import DeviceError, DeviceIdle
from ktls.port import HostPort
from ktls.ring import RingPair
from ktls_hw import layout
from ktls_hw.layout import Reg

# a read of a device that is gone
ALL_ONES = 0xFFFFFFFF
# how long the driver waits for a device that works and completes nothing
_WAITS = 20_000
_WAIT_NS = 10_000_000


class DeviceView:
    """The registers of a device and the driver's view of its rings.

    Args:
        port: the device.
        pairs: its ring pairs.
        buffers: its DMA buffers.
    """

    def __init__(self, port: HostPort, pairs: list[RingPair], buffers: DmaBuffers) -> None:
        self._port = port
        self._pairs = pairs
        self._buffers = buffers

    @property
    def in_flight(self) -> int:
        """Number of descriptors that the device owns."""
        return sum(len(pair.posted) for pair in self._pairs)

    def rings(self) -> dict[str, int]:
        """Return the indices of the rings; the names of pair n > 0 start with `ringn_`."""
        view = {}
        for pair in self._pairs:
            ring = f"ring{pair.number}_" if pair.number else ""
            view[f"{ring}sq_prod"] = pair.sq.prod
            view[f"{ring}sq_cons"] = pair.sq.cons
            view[f"{ring}cq_cons"] = pair.cq.cons
        return {**view, "in_flight": self.in_flight, "free_buffers": self._buffers.available}

    async def registers(self) -> dict[str, int]:
        """Read every register; the result has their values by name."""
        values = {reg.name: await self._port.read32(reg) for reg in Reg}
        for pair in self._pairs[1:]:
            for reg in Reg:
                if reg.name.startswith("RING0_"):
                    name = reg.name.replace("RING0", f"RING{pair.number}")
                    values[name] = await self._port.read32(pair.reg(reg))
        return values

    async def error(self, what: str, kind: type[DeviceError] = DeviceError) -> DeviceError:
        """Return an error with a dump of registers and rings.

        Args:
            what: the message.
            kind: class of the error.
        """
        return kind(what, await self.registers(), self.rings())


class Stall:
    """Finds out why a device completes nothing, and when waiting longer is useless.

    Args:
        port: the device.
        view: for the dump in an error.
        events: counts the interrupts without a cause.
    """

    def __init__(self, port: HostPort, view: DeviceView, events: Counter[str]) -> None:
        self._port = port
        self._view = view
        self._events = events
        self._resets = 0
        self._waits = 0
        self._since = 0

    def restart(self, resets: int) -> None:
        """Start again after a reset; `resets` is the value of the register RESETS."""
        self._resets = resets
        self._waits = 0

    def progress(self) -> None:
        """Note that a descriptor has completed."""
        self._waits = 0

    async def look(
        self, interrupted: bool, poll: Callable[[], Awaitable[int]]
    ) -> DeviceError | None:
        """Find out why the device completes nothing.

        Args:
            interrupted: the interrupt line is high.
            poll: reaps; returns the number of completions.

        Returns:
            The failure of the device; None if it can still complete something.
        """
        if self._waits == 0:
            self._since = self._port.now()
        self._waits += 1
        status = await self._port.read32(Reg.STATUS)
        if status == ALL_ONES:
            # further accesses would tell nothing
            return DeviceError("the device is gone: its registers read as ones")
        what = await self._failure(status)
        if what is not None:
            return await self._view.error(what)
        if layout.STATUS_IDLE.get(status):
            # the last completion may have arrived during these reads
            if await poll():
                return None
            count = self._view.in_flight
            noun = "descriptor has" if count == 1 else "descriptors have"
            return await self._view.error(
                f"{count} {noun} no completion, and the device is idle", DeviceIdle
            )
        if self._waits > _WAITS or self._port.now() - self._since > _WAIT_NS:
            return await self._view.error(
                f"the device works without completing anything ({self._waits} waits)"
            )
        if interrupted:
            self._events["spurious_interrupts"] += 1
        return None

    async def _failure(self, status: int) -> str | None:
        """Return the failure that the registers report, None without one."""
        if layout.STATUS_CQ_ERROR.get(status):
            return "STATUS.cq_error: the device could not write a completion"
        if layout.STATUS_BUS_DEAD.get(status):
            return "STATUS.bus_dead: the bus does not answer the device"
        if await self._port.read32(Reg.RESETS) != self._resets:
            return "somebody else has reset the device"
        if layout.IRQ_STATUS_RING_ERROR.get(await self._port.read32(Reg.IRQ_STATUS)):
            return "the device has refused a register write of this driver: see ERRORS"
        return None
