# SPDX-License-Identifier: Apache-2.0
"""The pipes and files of splice and sendfile (fs/pipe.c, fs/splice.c)."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from ktls.errors import KtlsOSError

PAGE = 4096
PIPE_BUFFERS = 16


@dataclass(slots=True)
class _Page:
    """One buffer of a pipe: bytes of a page, or of several contiguous ones, from `offset` on."""

    data: bytes
    offset: int
    can_merge: bool
    packet: bool


class Pipe:
    """A pipe; each of its buffers holds bytes of one page.

    Args:
        direct: opened with O_DIRECT: every write is a packet of its own.
        slots: number of buffers (F_SETPIPE_SZ).

    Attributes:
        write_closed: the write end is closed.
    """

    def __init__(self, direct: bool = False, slots: int = PIPE_BUFFERS) -> None:
        self.slots = slots
        self.direct = direct
        self.write_closed = False
        self._pages: deque[_Page] = deque()

    def __len__(self) -> int:
        return sum(len(p.data) for p in self._pages)

    @property
    def occupancy(self) -> int:
        """Number of buffers in use."""
        return len(self._pages)

    @property
    def pages(self) -> list[bytes]:
        """The bytes in the buffers, in order."""
        return [p.data for p in self._pages]

    def write(self, data: bytes) -> int:
        """write(2) without waiting.

        Returns:
            Number of written bytes.

        Raises:
            KtlsOSError: EAGAIN, the pipe is full.
        """
        at = 0
        odd = len(data) % PAGE
        if odd and self._pages:
            last = self._pages[-1]
            if last.can_merge and last.offset + len(last.data) + odd <= PAGE:
                last.data += data[:odd]
                at = odd
        while at < len(data) and len(self._pages) < self.slots:
            piece = data[at : at + PAGE]
            self._pages.append(_Page(piece, 0, not self.direct, self.direct))
            at += len(piece)
        if data and not at:
            raise KtlsOSError(errno.EAGAIN, "the pipe is full")
        return at

    def put_buffers(self, buffers: Sequence[memoryview]) -> int:
        """Add memory by reference, as splice does; returns how many bytes had room.

        Args:
            buffers: contiguous memory; each takes one buffer of the pipe, whatever its size.
        """
        taken = 0
        for buffer in buffers:
            if len(self._pages) >= self.slots:
                break
            self._pages.append(_Page(bytes(buffer), 0, False, False))
            taken += len(buffer)
        return taken

    def put_pages(self, data: memoryview) -> int:
        """Add bytes by reference, page by page; returns how many had room."""
        return self.put_buffers([data[at : at + PAGE] for at in range(0, len(data), PAGE)])

    def read(self, count: int) -> bytes:
        """read(2) without waiting.

        Returns:
            Up to `count` bytes; of a packet pipe, one packet.

        Raises:
            KtlsOSError: EAGAIN, the pipe is empty.
        """
        if count and not self._pages and not self.write_closed:
            raise KtlsOSError(errno.EAGAIN, "the pipe is empty")
        out = bytearray()
        while len(out) < count and self._pages:
            packet = self._pages[0].packet
            out += self.drop(min(count - len(out), len(self._pages[0].data)))
            if packet:
                break
        return bytes(out)

    def drop(self, count: int) -> bytes:
        """Remove and return the first `count` bytes."""
        out = bytearray()
        while count:
            page = self._pages[0]
            n = min(count, len(page.data))
            out += page.data[:n]
            page.data = page.data[n:]
            page.offset += n
            count -= n
            if not page.data:
                self._pages.popleft()
        return bytes(out)


class FileSource(Protocol):
    """A file that can be read at any offset."""

    def read(self, offset: int, count: int) -> bytes:
        """Read up to `count` bytes from `offset` on; fewer at the end of the file."""


class _Descriptor:
    """A file of the operating system."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, offset: int, count: int) -> bytes:
        return os.pread(self._fd, count, offset)


class _Object:
    """Any object with seek and read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, offset: int, count: int) -> bytes:
        back = self._file.tell()
        try:
            self._file.seek(offset)
            return self._file.read(count)
        finally:
            self._file.seek(back)


def file_source(file: BinaryIO) -> FileSource:
    """Return a way to read a file at any offset."""
    try:
        return _Descriptor(file.fileno())
    except (OSError, AttributeError):
        return _Object(file)
