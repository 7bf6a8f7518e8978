# SPDX-License-Identifier: Apache-2.0
"""The generated Python layout: round trips, and errors for values that do not fit."""

from __future__ import annotations

import random

import pytest

from ktls_hw import layout
from ktls_hw.layout import Cqe, Sge, SqeCtx, SqeRecord


@pytest.mark.parametrize("cls", [SqeCtx, SqeRecord, Sge, Cqe])
def test_round_trip(cls: type[SqeCtx | SqeRecord | Sge | Cqe], rng: random.Random) -> None:
    for _ in range(50):
        raw = rng.randbytes(cls.SIZE)
        value = cls.unpack(raw)
        assert cls.unpack(value.pack()) == value
    with pytest.raises(ValueError, match="bytes"):
        cls.unpack(b"short")


def test_values_that_do_not_fit_are_refused() -> None:
    for bad in (SqeRecord(ctx=65536), SqeRecord(len=-1), Sge(addr=1 << 64), SqeCtx(key=bytes(33))):
        with pytest.raises(ValueError, match="fit"):
            bad.pack()
    with pytest.raises(ValueError, match="fit"):
        layout.CTRL_ENABLE.put(2)


def test_seal_descriptor_bytes() -> None:
    """A descriptor written by hand from docs/registers.md."""
    raw = SqeRecord(
        opcode=3, cookie=0x1234, ctx=0x0506, rtype=0x17, len=0x4000, dst_len=0x401D,
        src_sg=0x1122334455667780, dst_sg=0x90, src_cnt=2, dst_cnt=3,
    ).pack()  # fmt: skip
    assert raw[:36].hex() == (
        "0300341206051700004000001d4000008077665544332211900000000000000002000300"
    )
    assert not any(raw[36:])
