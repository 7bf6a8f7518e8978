# SPDX-License-Identifier: Apache-2.0
"""The example cores of hw/examples, tested like the cores of users."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ktls_cosim.paths import HW
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.capabilities import VARIABLE
from ktls_cosim.sim.own_rtl import OwnRtl
from ktls_cosim.sim.runner import run_tests
from support import Simulate

CORES = HW / "examples"
# what takes long in Icarus is left to Verilator: the published cases and the random records
_QUICK = r"cocotb_gcm\.(output_blocked_for_long|long_records|a_wiped_key.*|a_reset_wipes.*)"


def _build(own: OwnRtl) -> tuple[Build, dict[str, str]]:
    build = Build("ktls_gcm", own.sources, {"LANES": own.can.lanes[0]}, own.defines)
    return build, {VARIABLE: str(own.capabilities)}


@pytest.mark.parametrize("core", ["axis_core", "block_core"])
def test_example_core(simulate: Simulate, core: str) -> None:
    build, env = _build(OwnRtl.find([CORES / core]))
    results = simulate(build, "cocotb_gcm", env=env, testcase=_QUICK)
    assert len(results) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("core", "tests"), [("axis_core", 8), ("block_core", 7)])
def test_every_test_of_an_example_core(simulate: Simulate, core: str, tests: int) -> None:
    """A core that declares 128-bit keys is spared the cases with 256-bit keys, and no more."""
    build, env = _build(OwnRtl.find([CORES / core]))
    results = simulate(build, "cocotb_gcm", env=env, timeout_s=1200)
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
    build, env = _build(OwnRtl.find([folder]))
    (result,), _ = run_tests(
        build, "cocotb_gcm", simulator=simulator, env=env, testcase=test, name=f"planted-{core}"
    )
    assert not result.passed
