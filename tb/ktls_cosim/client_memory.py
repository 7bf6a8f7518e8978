# SPDX-License-Identifier: Apache-2.0
"""The memory that a client of the card has mapped for DMA.

A client maps files (memfd) at bus addresses. The device reads and writes them with `pread` and
`pwrite`, not through `mmap`: a client that truncates its file then causes a bus error of the card
and not a SIGBUS of this process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ktls_cosim.errors import CosimError


class MapError(CosimError):
    """A map that is not possible.

    Attributes:
        number: The errno that names the reason.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


@dataclass(frozen=True, slots=True)
class Area:
    """One map.

    Attributes:
        address: First bus address.
        size: Number of bytes.
        fd: Descriptor of the file; -1: the client shares no file, so every access fails.
        offset: Position of the first byte in the file.
        readable: The device may read.
        writable: The device may write.
    """

    address: int
    size: int
    fd: int
    offset: int
    readable: bool = True
    writable: bool = True

    @property
    def end(self) -> int:
        """First bus address after the map."""
        return self.address + self.size


class _Piece(NamedTuple):
    """A part of an access: the map, if any, and the range in the access."""

    area: Area | None
    at: int
    length: int


class ClientMemory:
    """All maps of one client; it owns their descriptors."""

    def __init__(self) -> None:
        self._areas: list[Area] = []  # sorted by address
        self._starts: list[int] = []

    def __len__(self) -> int:
        return len(self._areas)

    def __iter__(self) -> Iterator[Area]:
        return iter(self._areas)

    def has(self, address: int, size: int) -> bool:
        """Return whether there is a map with exactly this range."""
        return any((a.address, a.size) == (address, size) for a in self._areas)

    def add(self, area: Area) -> None:
        """Add a map, and take its descriptor if that succeeds.

        Raises:
            MapError: It overlaps another map, or the file is too short or refuses the access.
        """
        at = bisect_right(self._starts, area.address)
        before, after = self._areas[max(at - 1, 0) : at], self._areas[at : at + 1]
        if any(b.end > area.address for b in before) or any(a.address < area.end for a in after):
            raise MapError(errno.EEXIST, f"{area.size:#x} bytes at {area.address:#x} overlap a map")
        if area.fd >= 0:
            _check_file(area)
        self._areas.insert(at, area)
        self._starts.insert(at, area.address)

    def remove(self, address: int, size: int) -> Area:
        """Remove the map with exactly this range, close its file and return it.

        Raises:
            MapError: There is no such map.
        """
        at = bisect_right(self._starts, address) - 1
        if at < 0 or (self._areas[at].address, self._areas[at].size) != (address, size):
            raise MapError(errno.ENOENT, f"no map has {size:#x} bytes at {address:#x}")
        self._starts.pop(at)
        area = self._areas.pop(at)
        _close(area)
        return area

    def clear(self) -> None:
        """Remove all maps and close their files."""
        for area in self._areas:
            _close(area)
        self._areas.clear()
        self._starts.clear()

    def _pieces(self, address: int, length: int) -> list[_Piece]:
        out = []
        at = 0
        while at < length:
            here = address + at
            index = bisect_right(self._starts, here) - 1
            area = self._areas[index] if index >= 0 else None
            if area is not None and here < area.end:
                n = min(length - at, area.end - here)
            else:
                after = self._starts[index + 1 : index + 2]
                n = min(length - at, after[0] - here) if after else length - at
                area = None
            out.append(_Piece(area, at, n))
            at += n
        return out

    def writable(self, address: int, length: int) -> bool:
        """Return whether the device may write a whole range."""
        return all(
            area is not None and area.writable and area.fd >= 0
            for area, _, _ in self._pieces(address, length)
        )

    def read(self, address: int, length: int) -> bytes | None:
        """Read as the device does.

        Returns:
            The bytes; None if one of them is not mapped or cannot be read.
        """
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address + length <= (area := self._areas[index]).end:
            return _read(area, address, length)  # nearly every access
        data = b""
        for part, at, n in self._pieces(address, length):
            piece = None if part is None else _read(part, address + at, n)
            if piece is None:
                return None
            data += piece
        return data

    def write(self, address: int, data: bytes) -> bool:
        """Write as the device does; what is not mapped is lost.

        Returns:
            Whether all bytes were written.
        """
        good = True
        for area, at, n in self._pieces(address, len(data)):
            if area is None or not area.writable or area.fd < 0:
                good = False
                continue
            where = area.offset + address + at - area.address
            try:
                # pwrite would make a truncated file longer again
                short = os.fstat(area.fd).st_size < where + n
                good &= not short and os.pwrite(area.fd, data[at : at + n], where) == n
            except OSError:
                good = False
        return good


def _read(area: Area, address: int, length: int) -> bytes | None:
    """Read a part of one map; None if that fails."""
    if not area.readable or area.fd < 0:
        return None
    try:
        data = os.pread(area.fd, length, area.offset + address - area.address)
    except OSError:
        return None
    return data if len(data) == length else None


def _check_file(area: Area) -> None:
    try:
        status = os.fstat(area.fd)
        if not stat.S_ISREG(status.st_mode):
            raise MapError(errno.EINVAL, f"the map at {area.address:#x} is not of a regular file")
        if area.readable:
            os.pread(area.fd, 0, area.offset)
        if area.writable:
            os.pwrite(area.fd, b"", area.offset)
    except OSError as e:
        raise MapError(
            errno.EINVAL, f"the file of the map at {area.address:#x} refuses access: {e.strerror}"
        ) from e
    if status.st_size < area.offset + area.size:
        raise MapError(
            errno.EINVAL,
            f"the map at {area.address:#x} ends at byte {area.offset + area.size:#x} of a file of "
            f"{status.st_size:#x} bytes",
        )


def _close(area: Area) -> None:
    if area.fd >= 0:
        with contextlib.suppress(OSError):
            os.close(area.fd)
