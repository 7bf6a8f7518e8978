# SPDX-License-Identifier: Apache-2.0
"""The `simulate` fixture: run a cocotb module on a build, one subtest per cocotb test."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from ktls_cosim.errors import SimulatorMissing
from ktls_cosim.sim import simulators
from ktls_cosim.sim.runner import Build, TestResult, run_tests
from support import unavailable

Simulate = Callable[..., list[TestResult]]


@pytest.fixture
def simulator() -> None:
    """For tests that start the simulator themselves."""
    try:
        simulators.simulator()
    except SimulatorMissing as e:
        unavailable(str(e))


@pytest.fixture
def simulate(
    simulator: None, request: pytest.FixtureRequest, seed: int, subtests: pytest.Subtests
) -> Simulate:
    """Run cocotb tests; a failing one is repeated alone with waves and its command shown."""

    def run(
        build: Build,
        module: str,
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 300,
        testcase: str | None = None,
    ) -> list[TestResult]:
        waves = request.config.getoption("--rtl-waves")
        name = f"{request.node.name}".replace("/", "_")
        results, out = run_tests(
            build, module, seed=seed, env=env, timeout_s=timeout_s, name=name,
            waves=waves == "always", testcase=testcase,
        )  # fmt: skip
        for r in results:
            with subtests.test(r.name):
                if r.passed:
                    continue
                where = out
                if waves == "fail":
                    _, where = run_tests(
                        build, module, seed=seed, env=env, timeout_s=timeout_s,
                        name=f"{name}-{r.name}", waves=True, testcase=r.name,
                    )  # fmt: skip
                pytest.fail(
                    f"{r.message}\nlog and waves: {where}\n"
                    f"repeat: pytest '{request.node.nodeid}' --rtl-seed={seed} --rtl-waves=always",
                    pytrace=False,
                )
        return results

    return run
