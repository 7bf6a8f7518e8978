# SPDX-License-Identifier: Apache-2.0
"""The table of the demo says `yes` only for records that the device sealed rightly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

import ktls_cosim.demo as demo
from ktls import KtlsNic
from ktls.nic_contexts import DeviceContext
from ktls.nic_record import RECORD_OVERHEAD
from ktls.ring import Done
from ktls_cosim.port import Port
from ktls_hw.layout import Opcode, SqeRecord, Status
from ktls_hw.model import NicModel
from liar import Liar


@pytest.mark.parametrize("status", [Status.OK, Status.DST_SHORT])
def test_a_record_that_software_sealed_is_not_verified(
    status: Status, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an error of the device the driver seals the record itself, without a fault."""

    @contextmanager
    def lying(*_args: object, **_kw: object) -> Iterator[Port]:
        yield Liar(
            NicModel(),
            completion=lambda c: replace(c, status=int(status)) if c.opcode == Opcode.SEAL else c,
        )

    monkeypatch.setattr(demo, "open_port", lying)
    result = demo.run_demo("model", file=None, waves=False, fault=None)
    rows = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if " data " in line]
    assert set(rows) == {"yes" if status == Status.OK else "NO"}
    assert result == (status != Status.OK)


def test_a_destination_that_is_too_short_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ktls.nic_record.RECORD_OVERHEAD", RECORD_OVERHEAD - 1)
    assert demo.run_demo("model", file=None, waves=False, fault=None) == 1
    out = capsys.readouterr().out
    assert (
        "first refused: context 0, descriptor 1, record 1\n  status DST_SHORT: "
        "the result needs 40 bytes, dst_len is 39, the destination list has 39 bytes"
    ) in out
    assert "reproduce: " in out


def test_text_that_the_driver_did_not_write_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    post = KtlsNic.post_record

    async def forgetful(
        nic: KtlsNic,
        context: DeviceContext,
        descriptor: SqeRecord,
        source: bytes,
        out_len: int,
        done: Done,
    ) -> None:
        await post(nic, context, descriptor, bytes(len(source)), out_len, done)

    monkeypatch.setattr(KtlsNic, "post_record", forgetful)
    assert demo.run_demo("model", file=None, waves=False, fault=None) == 1
    assert "the driver did not write the text to the source" in capsys.readouterr().out
