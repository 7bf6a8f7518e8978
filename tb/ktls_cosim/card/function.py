# SPDX-License-Identifier: Apache-2.0
"""The card as a PCI function: configuration space, BAR 0, MSI-X and reset.

It is a function of vfio regions: region 0 is BAR 0, region 7 the configuration space. BAR 0 holds
the registers of the device, the MSI-X table and the pending bits. The device sends interrupt
messages; the table decides whether a vector is masked, and the pending bits keep what was masked.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
from typing import Protocol

from ktls_cosim.card.protocol import BadMessage, IrqAction, IrqData, SetIrqs
from ktls_hw.layout import CAPS_RINGS, Reg

VENDOR, DEVICE = 0x1234, 0x7E15
"""IDs of the card. No vendor owns 0x1234; QEMU uses it for devices without hardware."""
CLASS = 0x100000
"""Network and computing encryption controller (PCI Code and ID Assignment 1.11, class 10h)."""

BAR, CONFIG = 0, 7
"""Numbers of the regions (`VFIO_PCI_BAR0_REGION_INDEX`, `VFIO_PCI_CONFIG_REGION_INDEX`)."""
REGIONS = 9
"""Number of regions of a PCI device (`VFIO_PCI_NUM_REGIONS`)."""
MSIX = 2
"""Number of the kind of interrupts (`VFIO_PCI_MSIX_IRQ_INDEX`)."""
IRQS = 5
"""Number of kinds of interrupts (`VFIO_PCI_NUM_IRQS`)."""

BAR_SIZE = 0x4000
REGISTERS = 0x1000
"""Bytes of BAR 0 that are registers of the device."""
TABLE, PENDING = 0x2000, 0x3000
"""Offsets in BAR 0 of the MSI-X table and of the pending bits."""
CONFIG_SIZE = 256

_ENTRY = 16  # bytes of an entry of the MSI-X table; its last word has the mask bit
_COMMAND = 0x04
_BUS_MASTER = 1 << 2
_MSIX_CAP = 0x40
_MSIX_CONTROL = _MSIX_CAP + 2
_MSIX_FUNCTION_MASK = 1 << 14
_ONE_EVENT = (1).to_bytes(8, "little")


class Registers(Protocol):
    """The device behind BAR 0."""

    def read_register(self, addr: int) -> int:
        """Return the register at byte offset `addr`."""

    def write_register(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`."""

    def reset(self) -> None:
        """Reset the device."""


def _power_on(vectors: int) -> bytearray:
    c = bytearray(CONFIG_SIZE)

    def put(offset: int, value: int, size: int) -> None:
        c[offset : offset + size] = value.to_bytes(size, "little")

    put(0x00, VENDOR, 2)
    put(0x02, DEVICE, 2)
    put(0x06, 1 << 4, 2)  # status: there is a list of capabilities
    put(0x08, 1 | CLASS << 8, 4)  # revision 1
    put(0x10, 1 << 2, 4)  # BAR 0: memory, 64 bits wide
    put(0x2C, VENDOR, 2)
    put(0x2E, 1, 2)
    put(0x34, _MSIX_CAP, 1)
    put(_MSIX_CAP, 0x11, 1)
    put(_MSIX_CONTROL, vectors - 1, 2)
    put(_MSIX_CAP + 4, TABLE | BAR, 4)
    put(_MSIX_CAP + 8, PENDING | BAR, 4)
    return c


def _writable() -> bytes:
    """The bits of the configuration space that a client can change."""
    w = bytearray(CONFIG_SIZE)
    w[_COMMAND : _COMMAND + 2] = (0x0406).to_bytes(2, "little")  # memory, bus master, INTx off
    w[0x0C] = 0xFF  # cache line size
    w[0x10:0x18] = ((1 << 64) - BAR_SIZE).to_bytes(8, "little")
    w[0x3C] = 0xFF  # interrupt line
    w[_MSIX_CONTROL : _MSIX_CONTROL + 2] = (0xC000).to_bytes(2, "little")
    return bytes(w)


_WRITABLE = _writable()


class PciFunction:
    """One PCI function.

    Args:
        registers: The device.

    Attributes:
        vectors: Number of MSI-X vectors: one for each ring pair, the last one for errors.
    """

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        self.vectors = CAPS_RINGS.get(registers.read_register(Reg.CAPS)) + 1
        self._events: dict[int, int] = {}  # eventfd of a vector
        self._clear()

    def _clear(self) -> None:
        self._config = _power_on(self.vectors)
        self._table = bytearray(_ENTRY * self.vectors)
        for vector in range(self.vectors):
            self._mask(vector, True)
        self._pending = 0

    def reset(self) -> None:
        """Reset function and device; the eventfds of the client stay, masked."""
        self._registers.reset()
        self._clear()
        for vector in self._events:
            self._mask(vector, False)

    def close(self) -> None:
        """Forget the client: reset, and close its eventfds."""
        for vector in list(self._events):
            self._assign(vector, None)
        self.reset()

    @property
    def bus_master(self) -> bool:
        """Whether the client has allowed the card to access memory."""
        return bool(self._config[_COMMAND] & _BUS_MASTER)

    # ------------------------------------------------------------------------ regions

    @staticmethod
    def region_size(index: int) -> int:
        """Return the bytes of a region, 0 if the card does not have it.

        Raises:
            BadMessage: PCI devices have no such region.
        """
        if index >= REGIONS:
            raise BadMessage(errno.EINVAL, f"region {index} does not exist")
        return {BAR: BAR_SIZE, CONFIG: CONFIG_SIZE}.get(index, 0)

    def _check(self, region: int, offset: int, count: int) -> None:
        size = self.region_size(region)
        if offset + count > size or not count:
            raise BadMessage(
                errno.EINVAL, f"{count} bytes at {offset:#x} are not in region {region}, {size:#x}"
            )

    def read(self, region: int, offset: int, count: int) -> bytes:
        """Read bytes of a region.

        Raises:
            BadMessage: The range is not in the region.
        """
        self._check(region, offset, count)
        if region == CONFIG:
            return bytes(self._config[offset : offset + count])
        first = offset & ~3
        words = range(first, offset + count, 4)
        data = b"".join(self._read_word(at).to_bytes(4, "little") for at in words)
        return data[offset - first : offset - first + count]

    def _read_word(self, at: int) -> int:
        if at < REGISTERS:
            return self._registers.read_register(at)
        if TABLE <= at < TABLE + len(self._table):
            return int.from_bytes(self._table[at - TABLE : at - TABLE + 4], "little")
        if at == PENDING:
            return self._pending
        return 0

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Write bytes of a region.

        Raises:
            BadMessage: The range is not in the region, or a write to BAR 0 is not of whole words.
        """
        self._check(region, offset, len(data))
        if region == CONFIG:
            self._write_config(offset, data)
            return
        if offset % 4 or len(data) % 4:
            raise BadMessage(
                errno.EINVAL, f"a write of {len(data)} bytes at {offset:#x} of BAR 0: use words"
            )
        for at in range(0, len(data), 4):
            self._write_word(offset + at, data[at : at + 4])

    def _write_word(self, at: int, word: bytes) -> None:
        if at < REGISTERS:
            self._registers.write_register(at, int.from_bytes(word, "little"))
        elif TABLE <= at < TABLE + len(self._table):
            self._table[at - TABLE : at - TABLE + 4] = word
            self._deliver()

    def _write_config(self, offset: int, data: bytes) -> None:
        for at, new in enumerate(data, offset):
            mask = _WRITABLE[at]
            self._config[at] = self._config[at] & ~mask | new & mask
        self._deliver()

    # --------------------------------------------------------------------- interrupts

    def interrupt(self, vector: int) -> None:
        """Send a message of the device, or keep it pending."""
        self._pending |= 1 << vector
        self._deliver()

    def _mask(self, vector: int, masked: bool) -> None:
        at = _ENTRY * vector + _ENTRY - 4
        self._table[at] = self._table[at] & ~1 | int(masked)

    def _masked(self, vector: int) -> bool:
        # A client of vfio enables MSI-X with its eventfd; it need not write the capability.
        control = int.from_bytes(self._config[_MSIX_CONTROL : _MSIX_CONTROL + 2], "little")
        function_mask = control & _MSIX_FUNCTION_MASK
        return bool(function_mask or self._table[_ENTRY * vector + _ENTRY - 4] & 1)

    def _deliver(self) -> None:
        """Send every pending message that is not masked."""
        for vector in range(self.vectors):
            if self._pending >> vector & 1 and vector in self._events and not self._masked(vector):
                self._pending &= ~(1 << vector)
                _signal(self._events[vector])

    def irq_count(self, index: int) -> int:
        """Return the number of interrupts of a kind.

        Raises:
            BadMessage: PCI devices have no such kind.
        """
        if index >= IRQS:
            raise BadMessage(errno.EINVAL, f"interrupts of kind {index} do not exist")
        return self.vectors if index == MSIX else 0

    def set_irqs(self, request: SetIrqs, fds: list[int]) -> None:
        """Execute DEVICE_SET_IRQS.

        Args:
            request: The action.
            fds: Descriptors of the message; the function removes those that it keeps.

        Raises:
            BadMessage: The card does not have these interrupts.
        """
        have = self.irq_count(request.index)
        if request.start + request.count > have:
            raise BadMessage(
                errno.EINVAL,
                f"interrupts {request.start} to {request.start + request.count - 1} of kind "
                f"{request.index}: there are {have}",
            )
        if len(fds) > (request.count if request.data is IrqData.EVENTFD else 0):
            raise BadMessage(errno.EINVAL, f"{len(fds)} descriptors for {request.count} interrupts")
        chosen = range(request.start, request.start + request.count)
        if request.data is IrqData.BOOL:
            chosen_now = [v for v, on in zip(chosen, request.flags, strict=True) if on]
        else:
            chosen_now = list(chosen)
        if request.data is IrqData.EVENTFD:
            # fewer descriptors than interrupts: the others lose theirs
            for vector in chosen_now:
                self._assign(vector, fds.pop(0) if fds else None)
        elif request.action is IrqAction.TRIGGER:
            if request.count == 0:
                for vector in list(self._events):
                    self._assign(vector, None)
            self._pending |= sum(1 << v for v in chosen_now)
        else:
            for vector in chosen_now:
                self._mask(vector, request.action is IrqAction.MASK)
        self._deliver()

    def _assign(self, vector: int, fd: int | None) -> None:
        old = self._events.pop(vector, None)
        if old is not None:
            with contextlib.suppress(OSError):
                os.close(old)
        if fd is not None:
            self._events[vector] = fd
        # as the vfio driver of Linux does
        self._mask(vector, fd is None)


def _signal(fd: int) -> None:
    """Add 1 to an eventfd; a full one has an event already, and a broken one is its owner's."""
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [fd], [], 0)[1]:
            os.write(fd, _ONE_EVENT)
