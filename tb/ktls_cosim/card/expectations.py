# SPDX-License-Identifier: Apache-2.0
"""Compares the writes of one device with those that another, which is ahead, has foretold.

The driver's memory belongs to the primary device (the RTL) alone. The shadow (the model) executes a
doorbell at once, and what it would write is kept here: the bytes of each record and its completion.
Every write of the primary is compared when it happens, because the driver may use a buffer for
something else right after the completion.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ktls_cosim.check.lockstep import completion_fields, untimed
from ktls_hw.layout import Cqe, Status


@dataclass(slots=True)
class _Chunk:
    """Bytes that the primary must write; `seen` has a 1 for each that it has written."""

    address: int
    data: bytes
    seen: bytearray

    def holds(self, address: int) -> bool:
        return self.address <= address < self.address + len(self.data)


@dataclass(slots=True)
class _Record:
    """What one descriptor writes: bytes, and at last its completion."""

    chunks: list[_Chunk] = field(default_factory=list)
    completion: _Chunk | None = None

    @property
    def defined(self) -> bool:
        """Whether the contract defines the bytes: only those of a record that succeeds."""
        assert self.completion is not None
        return Cqe.unpack(self.completion.data).status == Status.OK


class Expectations:
    """The writes of the shadow that the primary has not made yet.

    Attributes:
        compared: Number of bytes of records and completions that were compared.
    """

    def __init__(self) -> None:
        self.compared = 0
        self._records: deque[_Record] = deque()
        self._open = _Record()

    def __len__(self) -> int:
        return len(self._records)

    def clear(self) -> None:
        """Forget everything, as a reset does."""
        self._records.clear()
        self._open = _Record()

    def foretell(self, address: int, data: bytes, *, completion: bool) -> None:
        """Note a write of the shadow; a completion ends its record."""
        chunk = _Chunk(address, data, bytearray(len(data)))
        if completion:
            self._open.completion = chunk
            self._records.append(self._open)
            self._open = _Record()
        else:
            self._open.chunks.append(chunk)

    def overlay(self, address: int, data: bytes) -> bytes:
        """Return the bytes at an address as the shadow sees them: with its own writes."""
        out = bytearray(data)
        for record in (*self._records, self._open):
            for chunk in record.chunks:
                lo = max(address, chunk.address)
                hi = min(address + len(data), chunk.address + len(chunk.data))
                if lo < hi:
                    out[lo - address : hi - address] = chunk.data[
                        lo - chunk.address : hi - chunk.address
                    ]
        return bytes(out)

    def check(self, address: int, data: bytes, *, completion: bool) -> str | None:
        """Compare a write of the primary.

        Returns:
            What differs, None if nothing does.
        """
        return self._completion(address, data) if completion else self._bytes(address, data)

    def _completion(self, address: int, data: bytes) -> str | None:
        for record in self._records:
            want = record.completion
            if want is not None and want.address == address:
                break
        else:
            return f"the RTL writes a completion at {address:#x}, the model does not"
        self._records.remove(record)
        self.compared += len(data)
        got, expected = untimed(Cqe.unpack(data)), untimed(Cqe.unpack(want.data))
        if got != expected:
            return f"completion at {address:#x} differs\n{completion_fields(got, expected)}"
        if record.defined:
            for chunk in record.chunks:
                missing = len(chunk.seen) - sum(chunk.seen)
                if missing:
                    return (
                        f"completion at {address:#x}: the RTL has not written {missing} of "
                        f"{len(chunk.data)} bytes at {chunk.address:#x}"
                    )
        return None

    def _bytes(self, address: int, data: bytes) -> str | None:
        for record in self._records:
            for chunk in record.chunks:
                at = address - chunk.address
                n = min(len(data), len(chunk.data) - at)
                if not chunk.holds(address) or any(chunk.seen[at : at + n]):
                    continue
                chunk.seen[at : at + n] = b"\1" * n
                self.compared += n
                if record.defined and chunk.data[at : at + n] != data[:n]:
                    wrong = next(i for i in range(n) if chunk.data[at + i] != data[i])
                    lo = wrong - wrong % 16
                    return (
                        f"memory at {address + wrong:#x} differs\n"
                        f"  RTL   {data[lo : lo + 16].hex(' ')}\n"
                        f"  model {chunk.data[at + lo : at + lo + 16].hex(' ')}"
                    )
                return self._bytes(address + n, data[n:]) if n < len(data) else None
        if all(record.defined for record in self._records):
            return f"the RTL writes {len(data)} bytes at {address:#x}, the model does not"
        return None  # part of a failed record
