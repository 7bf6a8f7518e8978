# SPDX-License-Identifier: Apache-2.0
"""Many seeds of the random scenarios on a slow and pausing memory: `make soak`."""

from __future__ import annotations

import pytest

from ktls_cosim.sim.runner import Build, run_tests

RANDOM = "any_alignment|many_connections|random_jobs|reset_with_records_under_way|bus_errors"
SEEDS = 100


@pytest.mark.slow
@pytest.mark.parametrize("offset", range(SEEDS))
def test_random_scenarios(simulator: None, seed: int, offset: int) -> None:
    results, out = run_tests(
        Build.device(), "cocotb_device", testcase=rf"cocotb_device\.({RANDOM})",
        seed=seed + offset, env={"KTLS_MOODY": "1"}, name=f"soak-{seed + offset}",
    )  # fmt: skip
    bad = [r for r in results if not r.passed]
    assert not bad, f"seed {seed + offset}: {bad[0].name}: {bad[0].message}\nlog: {out}"
    assert len(results) == len(RANDOM.split("|"))


@pytest.mark.slow
@pytest.mark.parametrize("moody", ["", "1"], ids=["fast-memory", "moody-memory"])
def test_thousands_of_random_jobs(simulator: None, seed: int, moody: str) -> None:
    """Every kind of job, mistake and bus error, in lockstep with the functional model."""
    results, out = run_tests(
        Build.device(), "cocotb_device", testcase="long_stress", seed=seed, timeout_s=1800,
        env={"KTLS_MOODY": moody, "KTLS_JOBS": "2000"}, name=f"stress-{seed}{moody}",
    )  # fmt: skip
    assert [r.passed for r in results] == [True], f"{results[0].message}\nlog: {out}"
