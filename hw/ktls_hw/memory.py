# SPDX-License-Identifier: Apache-2.0
"""Host memory of the functional model, and the device's scatter-gather access to it."""

from __future__ import annotations

from typing import NamedTuple

from ktls_hw.layout import Sge


class BusHung(Exception):
    """The bus does not answer the device; see `ModelMemory.hang`."""


class Access(NamedTuple):
    """The errors of the device's access to one scatter-gather list.

    Attributes:
        bus_error: the bus answered a read with an error.
        short: the entries of the list hold fewer bytes than requested.
        lost: the bus answered a write with an error.
    """

    bus_error: bool
    short: bool
    lost: bool = False


class ModelMemory:
    """Host memory with bus addresses 0 to size - 1.

    Args:
        size: number of bytes.
    """

    def __init__(self, size: int = 4 << 20) -> None:
        self._size = size
        # a slice of a view is no copy
        self._data = memoryview(bytearray(size))
        self._bad: list[tuple[int, int, bool, bool]] = []
        self._accesses_left: int | None = None  # until the bus hangs; None: never

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._size

    def read(self, addr: int, length: int) -> bytes:
        """Read as the host does.

        Raises:
            ValueError: the range exceeds the memory.
        """
        self._check_host(addr, length)
        return bytes(self._data[addr : addr + length])

    def write(self, addr: int, data: bytes) -> None:
        """Write as the host does.

        Raises:
            ValueError: the range exceeds the memory.
        """
        self._check_host(addr, len(data))
        self._data[addr : addr + len(data)] = data

    def _check_host(self, addr: int, length: int) -> None:
        if addr < 0 or addr + length > self._size:
            raise ValueError(
                f"host access to {addr:#x}..{addr + length:#x} outside of {self.size:#x} bytes"
            )

    def fail(self, lo: int, hi: int, *, read: bool = True, write: bool = True) -> None:
        """Answer the device's accesses to [lo, hi) with a bus error from now on.

        Args:
            lo: first address of the range.
            hi: first address after the range.
            read: fail reads.
            write: fail writes.
        """
        self._bad.append((lo, hi, read, write))

    def hang(self, after: int = 0) -> None:
        """Stop answering the device.

        Args:
            after: the number of bus accesses that are still answered.
        """
        self._accesses_left = after

    @property
    def hung(self) -> bool:
        """Whether the bus answers the device no more."""
        return self._accesses_left == 0

    def heal(self) -> None:
        """Remove all `fail` ranges and answer the device again."""
        self._bad.clear()
        self._accesses_left = None

    def _count_access(self) -> None:
        """Count one access of the device.

        Raises:
            BusHung: the bus does not answer it.
        """
        if self._accesses_left is not None:
            if self._accesses_left == 0:
                raise BusHung
            self._accesses_left -= 1

    def faulty(self, addr: int, beat: int, write: bool) -> bool:
        """Return whether a beat gets a bus error.

        Args:
            addr: address of the beat, aligned to `beat` bytes.
            beat: bytes per beat.
            write: the access is a write.
        """
        if addr + beat > self._size:
            return True
        return any(
            addr + beat > lo and addr < hi and (w if write else r) for lo, hi, r, w in self._bad
        )

    def _all_good(self, addr: int, length: int, beat: int) -> bool:
        """Return whether no beat can fail, so that the slow check can be skipped."""
        return not self._bad and addr + length + beat <= self._size

    def device_read(self, addr: int, length: int, beat: int) -> tuple[bytes, bool]:
        """Read as the device does.

        Args:
            addr: bus address of the first byte.
            length: number of bytes.
            beat: bytes per beat of the device's bus.

        Returns:
            The bytes (zeros if a beat failed), and whether all beats succeeded.

        Raises:
            BusHung: the bus does not answer.
        """
        self._count_access()
        first = addr - addr % beat
        if self._all_good(addr, length, beat):
            return bytes(self._data[addr : addr + length]), True
        good = not any(self.faulty(a, beat, False) for a in range(first, addr + length, beat))
        if not good:
            return bytes(length), False
        return bytes(self._data[addr : addr + length]), True

    def device_write(self, addr: int, data: bytes, beat: int) -> bool:
        """Write as the device does, beat by beat; a failed beat leaves the memory unchanged.

        Args:
            addr: bus address of the first byte.
            data: the bytes.
            beat: bytes per beat of the device's bus.

        Returns:
            Whether all beats succeeded.

        Raises:
            BusHung: the bus does not answer.
        """
        self._count_access()
        if self._all_good(addr, len(data), beat):
            self._data[addr : addr + len(data)] = data
            return True
        good = True
        at = 0
        while at < len(data):
            n = min(len(data) - at, beat - (addr + at) % beat)
            here = addr + at
            if self.faulty(here - here % beat, beat, True):
                good = False
            else:
                self._data[here : here + n] = data[at : at + n]
            at += n
        return good

    def _list(self, addr: int, count: int, beat: int) -> tuple[list[Sge], bool]:
        """Read a scatter-gather list; an entry that cannot be read counts as empty."""
        entries = []
        bad = False
        for i in range(count):
            raw, good = self.device_read(addr + Sge.SIZE * i, Sge.SIZE, beat)
            bad |= not good
            entries.append(Sge.unpack(raw) if good else Sge())
        return entries, bad

    def gather(self, addr: int, count: int | None, length: int, beat: int) -> tuple[bytes, Access]:
        """Read the bytes that a source list describes.

        Args:
            addr: bus address of the list, or of the only buffer.
            count: number of entries; None: there is no list.
            length: number of bytes to read.
            beat: bytes per beat of the device's bus.

        Returns:
            `length` bytes, padded with zeros if the list is short, and the errors.
        """
        if count is None:
            data, good = self.device_read(addr, length, beat) if length else (b"", True)
            return data, Access(not good, False)
        entries, bad = self._list(addr, count, beat)
        data = b""
        for e in entries:
            n = min(e.len, length - len(data))
            piece, good = self.device_read(e.addr, n, beat) if n else (b"", True)
            bad |= not good
            data += piece
        return data.ljust(length, b"\0"), Access(bad, len(data) < length)

    def scatter(self, addr: int, count: int | None, data: bytes, beat: int) -> Access:
        """Write bytes to the buffers that a destination list describes.

        Args:
            addr: bus address of the list, or of the only buffer.
            count: number of entries; None: there is no list.
            data: the bytes.
            beat: bytes per beat of the device's bus.

        Returns:
            The errors.
        """
        if count is None:
            good = self.device_write(addr, data, beat) if data else True
            return Access(False, False, not good)
        entries, bad = self._list(addr, count, beat)
        lost = False
        at = 0
        for e in entries:
            n = min(e.len, len(data) - at)
            if n:
                lost |= not self.device_write(e.addr, data[at : at + n], beat)
            at += n
        return Access(bad, at < len(data), lost)
