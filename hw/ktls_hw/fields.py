# SPDX-License-Identifier: Apache-2.0
"""Bit fields: the hand-written helpers of the generated `ktls_hw.layout`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a 32-bit register.

    Attributes:
        lsb: position of the least significant bit.
        width: number of bits.
    """

    lsb: int
    width: int

    def get(self, word: int) -> int:
        """Return the field's value in the register value `word`."""
        return (word >> self.lsb) & ((1 << self.width) - 1)

    def put(self, value: int) -> int:
        """Return `value` at the field's position.

        Raises:
            ValueError: the value does not fit into the field.
        """
        if value >> self.width:
            raise ValueError(f"{value:#x} does not fit into {self.width} bits")
        return value << self.lsb


REGISTER_SPACE = 4096
"""Bytes of the register space."""


def register_address(addr: int) -> int:
    """Return the word-aligned register address of a byte offset.

    Raises:
        ValueError: the offset is outside of the register space.
    """
    if not 0 <= addr < REGISTER_SPACE:
        raise ValueError(
            f"register access at {addr:#x}: the registers occupy 0x0 to {REGISTER_SPACE - 1:#x}"
        )
    return addr & ~3


def put_int(value: int, lsb: int, width: int, name: str) -> int:
    """Return an integer field at its position in a word.

    Args:
        value: the field's value.
        lsb: position of its least significant bit.
        width: number of bits.
        name: name of the field, for the error.

    Raises:
        ValueError: the value does not fit into the field.
    """
    if value < 0 or value >> width:
        raise ValueError(f"{name}={value:#x} does not fit into {width} bits")
    return value << lsb


def fit_bytes(value: bytes, size: int, name: str) -> bytes:
    """Return the value of a field of bytes, after a check of its length.

    Args:
        value: the bytes; the structure pads a shorter value with zeros at its end.
        size: bytes of the field.
        name: name of the field, for the error.

    Raises:
        ValueError: the bytes do not fit into the field.
    """
    if len(value) > size:
        raise ValueError(f"{name} holds {len(value)} bytes, at most {size} fit")
    return value


def check_size(data: bytes, size: int, name: str) -> None:
    """Check the length of a structure's bytes.

    Args:
        data: the bytes.
        size: bytes of the structure.
        name: name of the structure, for the error.

    Raises:
        ValueError: `data` is not `size` bytes long.
    """
    if len(data) != size:
        raise ValueError(f"{name} is {size} bytes, got {len(data)}")
