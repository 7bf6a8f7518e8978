# SPDX-License-Identifier: Apache-2.0
"""The log of register accesses, and the moment that `ktls-cosim card --mark` finds in it."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest

from ktls_cosim.card import cli
from ktls_cosim.errors import CosimError
from ktls_cosim.sim.register_log import Mark, RegisterLog, find
from ktls_hw.layout import Reg, ring_reg


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "registers.log"
    path.write_text("left over")
    writer = RegisterLog(path)
    writer.note(100, "read", Reg.ID, 0x4B544C53)
    writer.note(203, "write", ring_reg(2, Reg.RING0_SQ_PROD), 2)
    writer.note(300, "write", ring_reg(2, Reg.RING0_SQ_PROD), 3)
    writer.note(12_345_678, "read", 0x3FC, 0)
    return path


@pytest.mark.parametrize(
    ("mark", "found"),
    [
        ("", "read 0x3fc 0x0 at 12345678 ns (cycle 3086419)"),
        ("RING2_SQ_PROD", "write RING2_SQ_PROD 0x3 at 300 ns (cycle 75)"),
        ("RING2_SQ_PROD=0x2", "write RING2_SQ_PROD 0x2 at 203 ns (cycle 50)"),
        ("ID=0x4b544c53", "read ID 0x4b544c53 at 100 ns (cycle 25)"),
        ("RING2_SQ_PROD=4", "None"),
        ("RING0_SQ_PROD", "None"),
    ],
)
def test_the_last_access_that_matches(log: Path, mark: str, found: str) -> None:
    assert str(find(log, Mark.parse(mark) if mark else Mark())) == found


def test_a_line_that_was_cut_off_is_ignored(log: Path) -> None:
    with log.open("a") as file:
        file.write("  99 ns  cycle 9  wri")
    assert str(find(log, Mark())).startswith("read 0x3fc")


@pytest.mark.parametrize("text", ["SQ_PROD", "RING8_SQ_PROD", "ID=", "ID=x", ""])
def test_impossible_marks(text: str) -> None:
    with pytest.raises(ValueError, match=r"no register|invalid literal"):
        Mark.parse(text)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--mark", "ID"], "add --port sim --waves"),
        (["--waves"], "records no waves"),
        (["--waves", "--port", "sim", "--mark", "NO"], "--mark: no register NO"),
    ],
)
def test_impossible_options(tmp_path: Path, options: list[str], why: str) -> None:
    parser = ArgumentParser()
    cli.add_options(parser)
    args = parser.parse_args(["--socket", str(tmp_path / "s"), *options])
    args.verbose = 0
    with pytest.raises(CosimError, match=why):
        args.run(args)
