# SPDX-License-Identifier: Apache-2.0
"""A scan of all registers, memories and wires of the device for what is left of secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cocotb.handle import (
    ArrayObject,
    HierarchyArrayObject,
    HierarchyObject,
    LogicArrayObject,
    PackedObject,
)

WINDOW = 8  # bytes; shorter parts of a secret occur by chance


def _leaves(handle: Any) -> Iterator[Any]:
    if isinstance(handle, HierarchyObject | HierarchyArrayObject | ArrayObject):
        for child in handle:
            yield from _leaves(child)
    elif isinstance(handle, PackedObject | LogicArrayObject) and len(handle) >= 8 * WINDOW:
        yield handle


def windows(name: str, secret: bytes) -> dict[str, str]:
    """All runs of `WINDOW` bytes of a secret as bits, in both byte orders, with a name each."""
    return {
        f"{int.from_bytes(part, order):0{8 * WINDOW}b}": f"{name}[{i}:{i + WINDOW}]"
        for i in range(len(secret) - WINDOW + 1)
        for part in [secret[i : i + WINDOW]]
        for order in ("big", "little")
    }


class Scan:
    """The values of a device that are at least `WINDOW` bytes wide.

    Args:
        nic: Handle of `ktls_nic`.
    """

    def __init__(self, nic: Any) -> None:
        self._handles = list(_leaves(nic))
        # Values in which nothing was found. A secret is random, so a value that is older than the
        # secret cannot contain it.
        self._clean: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._handles)

    def hits(self, needles: dict[str, str]) -> dict[str, str]:
        """Return what holds a window of a secret, at any bit, and which window.

        Args:
            needles: Windows (`windows`).
        """
        found = {}
        size = 8 * WINDOW
        for handle in self._handles:
            bits = str(handle.value)
            path = handle._path
            if bits == self._clean.get(path):
                continue
            parts = (bits[at : at + size] for at in range(len(bits) - size + 1))
            hit = next(filter(None, map(needles.get, parts)), None)
            if hit:
                found[path] = hit
            else:
                self._clean[path] = bits
        return found
