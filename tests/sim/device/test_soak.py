# SPDX-License-Identifier: Apache-2.0
"""Many seeds of the random scenarios, with a slow and randomly stalling memory: `make soak`."""

from __future__ import annotations

import pytest

from ktls_cosim.sim.build import Build
from ktls_cosim.sim.runner import run_tests
from ktls_cosim.target import Target

RANDOM = "any_alignment|many_connections|random_jobs|reset_with_records_in_flight|bus_errors"
SEEDS = 100


@pytest.mark.slow
@pytest.mark.parametrize("offset", range(SEEDS))
def test_random_scenarios(simulator: str, target: Target, seed: int, offset: int) -> None:
    results, out = run_tests(
        Build.device(lanes=target.lanes), "cocotb_device", simulator=simulator,
        testcase=rf"cocotb_device\.({RANDOM})",
        seed=seed + offset, env={"KTLS_STALLING": "1"}, name=f"soak-{seed + offset}",
    )  # fmt: skip
    bad = [r for r in results if not r.passed]
    assert not bad, f"seed {seed + offset}: {bad[0].name}: {bad[0].message}\nlog: {out}"
    assert len(results) == len(RANDOM.split("|"))


@pytest.mark.slow
@pytest.mark.parametrize("stalling", ["", "1"], ids=["fast-memory", "stalling-memory"])
def test_thousands_of_random_jobs(simulator: str, target: Target, seed: int, stalling: str) -> None:
    """Valid and invalid descriptors and bus errors, in lockstep with the functional model."""
    results, out = run_tests(
        Build.device(lanes=target.lanes), "cocotb_device", simulator=simulator,
        testcase="long_stress", seed=seed, timeout_s=1800,
        env={"KTLS_STALLING": stalling, "KTLS_JOBS": "2000"}, name=f"stress-{seed}{stalling}",
    )  # fmt: skip
    assert [r.passed for r in results] == [True], f"{results[0].message}\nlog: {out}"
