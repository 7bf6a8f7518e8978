# SPDX-License-Identifier: Apache-2.0
"""The messages between a plain Python program and its simulator process.

A request is `op, addr, n` (struct `HEAD`), followed by n bytes for WRITE_MEM. The answer to
READ32, READ_MEM, WAIT_IRQ, WAIT_MESSAGE and NOW is the bare value. The other requests have no
answer, so a burst of writes costs one context switch. All integers are little-endian.
"""

from __future__ import annotations

import struct
from enum import IntEnum

FD_VARIABLE = "KTLS_SIM_FD"
"""Environment variable with the simulator's end of the socket pair."""

BENCH_VARIABLE = "KTLS_BENCH_OUT"
"""Environment variable with the path of the JSON file that a measurement writes."""

LINE = 128
"""Bytes of a line of `ktls_host_mem`: long, because Python needs one call per line."""

HEAD = struct.Struct("<BQI")
ANSWER = struct.Struct("<BI")
"""What a simulation behind a card sends: kind and value."""
VALUE, DONE, INTERRUPT, WROTE, READ = range(5)
"""Kinds of `ANSWER`: the value of READ32, the end of another request, an interrupt message (its
vector), a write and a read of the device.

Eight bytes of address and as many bytes as the value says follow WROTE and READ.
"""
NO_MESSAGE = 255
"""Answer to WAIT_MESSAGE of an idle device."""
AREA = struct.Struct("<QQ??")
"""Behind MAP and UNMAP: size, offset in the file, readable, writable."""

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")


class Op(IntEnum):
    """The kinds of requests."""

    READ32 = 1
    WRITE32 = 2  # n is the value
    READ_MEM = 3  # answered with n bytes
    WRITE_MEM = 4
    WAIT_IRQ = 5  # answered with one byte
    WAIT_MESSAGE = 14  # answered with one byte: the vector, or NO_MESSAGE
    NOW = 6
    KNOB = 7  # addr is an index into KNOBS, n the value
    END = 8
    # of a card only; memory is outside of the simulation
    MAP = 9  # addr is the bus address; AREA and a descriptor follow
    UNMAP = 10  # the same without descriptor
    UNMAP_ALL = 11
    ALLOW = 12  # n: whether the device may access memory
    LOG_REGISTERS = 13  # to `register_log.NAME` in the folder of the run
    RESET = 15  # of the device, not by its driver; answered when it has begun
    SYNC = 16  # answered at once


KNOBS = (
    "latency",
    "stall_ar",
    "stall_r",
    "stall_aw",
    "stall_w",
    "stall_b",
    "stall_seed",
    "err_lo",
    "err_hi",
    "err_resp",
    "err_read",
    "err_write",
    "dead",
)
"""Registers of `ktls_host_mem` that a test may set with `Op.KNOB`."""


def check_range(addr: int, length: int, size: int) -> None:
    """Check that a host access stays inside the memory.

    Raises:
        ValueError: The access reaches outside.
    """
    if addr < 0 or addr + length > size:
        raise ValueError(f"host access {addr:#x}..{addr + length:#x} is outside {size:#x} bytes")
