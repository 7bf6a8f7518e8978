# SPDX-License-Identifier: Apache-2.0
"""The names of the signals in an FST wave file.

An FST file is a sequence of blocks: one byte for the type, eight bytes (big-endian) for the length
without the type, then the contents. One block holds the hierarchy, compressed: a sequence of
scopes and variables (the format of GTKWave's `fstapi`).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

_HIERARCHY_GZIP, _HIERARCHY_LZ4, _HIERARCHY_LZ4_TWICE = 4, 6, 7
_ATTRIBUTE_END, _ATTRIBUTE, _SCOPE, _UP = 253, 252, 254, 255
_LAST_VARIABLE = 29


class _Reader:
    """Reads bytes, strings and LEB128 numbers one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def text(self) -> str:
        end = self._data.index(0, self._at)
        text = self._data[self._at : end].decode("utf-8", "replace")
        self._at = end + 1
        return text

    def number(self) -> int:
        value = shift = 0
        while True:
            b = self.byte()
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                return value


def _lz4(data: bytes) -> bytes:
    """Decompress one LZ4 block."""
    r, out = _Reader(data), bytearray()

    def length(nibble: int) -> int:
        more = 255 if nibble == 15 else 0
        while more == 255:
            more = r.byte()
            nibble += more
        return nibble

    while r:
        token = r.byte()
        out += r.take(length(token >> 4))
        if not r:
            break
        start = len(out) - int.from_bytes(r.take(2), "little")
        for i in range(length(token & 15) + 4):
            out.append(out[start + i])
    return bytes(out)


def _hierarchy(path: Path) -> bytes:
    r = _Reader(path.read_bytes())
    while r:
        kind = r.byte()
        block = r.take(int.from_bytes(r.take(8), "big") - 8)
        if kind == _HIERARCHY_GZIP:
            return gzip.decompress(block[8:])
        if kind == _HIERARCHY_LZ4:
            return _lz4(block[8:])
        if kind == _HIERARCHY_LZ4_TWICE:
            return _lz4(_lz4(block[16:]))
    return b""


def end_time(path: Path) -> int:
    """Return the time of the last change, in the time unit of the file."""
    with path.open("rb") as f:
        return int.from_bytes(f.read(25)[17:], "big")  # after the type, length and start time


def signals(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the full name of each signal, such as `ktls_tb.nic.irq` or `ktls_tb.m_wdata[127:0]`.

    Args:
        path: A complete FST file.

    Yields:
        Name and width in bits.
    """
    r = _Reader(_hierarchy(path))
    scopes: list[str] = []
    while r:
        kind = r.byte()
        if kind == _SCOPE:
            r.byte()
            scopes.append(r.text())
            r.text()
        elif kind == _UP:
            scopes.pop()
        elif kind == _ATTRIBUTE:
            r.take(2)
            r.text()
            r.number()
        elif kind <= _LAST_VARIABLE:
            r.byte()
            name = r.text().replace(" [", "[")
            width = r.number()
            r.number()
            yield ".".join((*scopes, name)), width
