# SPDX-License-Identifier: Apache-2.0
"""The table of the demo says `yes` only for records that the device sealed rightly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

import ktls_cosim.demo as demo
from ktls_cosim.port import Port
from ktls_hw.layout import Opcode, Status
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
