# SPDX-License-Identifier: Apache-2.0
"""The differential fuzzer of raw descriptors, registers and resets."""

from __future__ import annotations

import pytest

from ktls_cosim.sim.build import Build
from ktls_cosim.target import Target
from support import Simulate


def _build(target: Target, lanes: int, rings: int) -> Build:
    if target.rtl:
        pytest.skip("an own core may lack suites that the fuzzer uses")
    return Build.device(lanes=lanes, CONTEXTS=8, RINGS=rings, LINES=1024)


@pytest.mark.parametrize(("lanes", "rings"), [(1, 2), (4, 3)])
def test_model_and_rtl_agree(simulate: Simulate, target: Target, lanes: int, rings: int) -> None:
    """Some seconds; `make soak` runs for minutes."""
    simulate(
        _build(target, lanes, rings), "cocotb_fuzz", testcase="model_and_rtl_agree",
        env={"KTLS_FUZZ_RUNS": "3", "KTLS_FUZZ_ROUNDS": "40"},
    )  # fmt: skip


def test_planted_differences_are_found(simulate: Simulate, target: Target) -> None:
    simulate(_build(target, 1, 2), "cocotb_fuzz", testcase="finds_.*")


@pytest.mark.slow
@pytest.mark.parametrize(("lanes", "rings"), [(1, 4), (2, 1), (4, 2)])
def test_model_and_rtl_agree_for_long(
    simulate: Simulate, target: Target, lanes: int, rings: int
) -> None:
    simulate(
        _build(target, lanes, rings), "cocotb_fuzz", testcase="model_and_rtl_agree",
        env={"KTLS_FUZZ_RUNS": "40", "KTLS_FUZZ_ROUNDS": "60"}, timeout_s=1500,
    )  # fmt: skip
