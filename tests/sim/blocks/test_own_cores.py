# SPDX-License-Identifier: Apache-2.0
"""The example cores of hw/examples, tested like the cores of users."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ktls_cosim.paths import HW
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.own_rtl import OwnRtl
from ktls_cosim.sim.runner import run_tests
from support import Simulate

CORES = HW / "examples"
# the published cases, the random records and the long records of axis_core are slow in Icarus
_QUICK = {
    "axis_core": ("output_blocked_for_long", "a_wiped_key_is_gone", "a_reset_wipes_every_key"),
    "block_core": ("long_records", "a_wiped_key_is_gone", "a_reset_wipes_every_key"),
}


def _build(folder: Path) -> Build:
    own = OwnRtl.find([folder])
    return Build.block("ktls_gcm", own, LANES=own.can.lanes[0])


@pytest.mark.parametrize("core", _QUICK)
def test_example_core(simulate: Simulate, core: str) -> None:
    build = _build(CORES / core)
    names = _QUICK[core]
    results = simulate(build, "cocotb_gcm", testcase=rf"cocotb_gcm\.({'|'.join(names)})")
    assert len(results) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize(("core", "tests"), [("axis_core", 8), ("block_core", 7)])
def test_every_test_of_an_example_core(simulate: Simulate, core: str, tests: int) -> None:
    """A core that declares 128-bit keys is spared the cases with 256-bit keys, and no more."""
    build = _build(CORES / core)
    results = simulate(build, "cocotb_gcm", timeout_s=1200)
    assert len(results) == tests


@pytest.mark.parametrize(
    ("core", "file", "old", "new", "test"),
    [
        ("axis_core", "axis_aes.v", "637c777b", "627c777b", "output_blocked_for_long"),
        pytest.param(
            "axis_core", "axis_gcm.v", "counter <= counter + 32'd1;",
            "counter <= {counter[31:8], counter[7:0] + 8'd1};", "long_records",
            marks=pytest.mark.slow,
        ),
        # a register inside the core keeps the key although the adapter wipes its memory
        ("axis_core", "ktls_gcm.v", "state <= ST_LOAD;\n        end else if (take_cmd)",
         "state <= key_clear ? ST_IDLE : ST_LOAD;\n        end else if (take_cmd)",
         "a_wiped_key_is_gone"),
        ("block_core", "aes128.v", "637c777b", "627c777b", "output_blocked_for_long"),
        ("block_core", "block_gcm.v", "counter   <= counter + 32'd1;",
         "counter   <= {counter[31:8], counter[7:0] + 8'd1};", "long_records"),
    ],
)  # fmt: skip
def test_a_bug_planted_in_a_foreign_core_is_caught(
    simulator: str, tmp_path: Path, core: str, file: str, old: str, new: str, test: str
) -> None:
    """One bit of the S-box, an 8-bit block counter, a key that stays in the core."""
    folder = tmp_path / core
    shutil.copytree(CORES / core, folder)
    text = (folder / file).read_text()
    assert text.count(old) == 1, f"{file} no longer has one {old!r}"
    (folder / file).write_text(text.replace(old, new))
    build = _build(folder)
    (result,), _ = run_tests(
        build, "cocotb_gcm", simulator=simulator, testcase=test, name=f"planted-{core}"
    )
    assert not result.passed
