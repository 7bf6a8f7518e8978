# SPDX-License-Identifier: Apache-2.0
"""The `simulate` fixture: run a cocotb module on a build, one subtest per cocotb test."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ktls_cosim.sim.build import Build
from ktls_cosim.sim.runner import TestResult, run_tests
from ktls_cosim.target import Target
from support import Simulate, usable


@pytest.fixture
def simulator(target: Target) -> str:
    """The name of the simulator, for tests that start it themselves."""
    return usable(target.simulator)


@pytest.fixture
def verilator() -> str:
    """The name of the fast simulator, regardless of `SIM`."""
    return usable("verilator")


@pytest.fixture
def simulate(
    target: Target, request: pytest.FixtureRequest, seed: int, subtests: pytest.Subtests
) -> Simulate:
    """Run cocotb tests; each failing test runs again, alone and with waves."""

    def run(
        build: Build,
        module: str,
        *,
        simulator: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 300,
        testcase: str | None = None,
    ) -> list[TestResult]:
        simulator = usable(simulator or target.simulator)
        waves = request.config.getoption("--rtl-waves")
        name = request.node.name.replace("/", "_")
        results, out = run_tests(
            build, module, simulator=simulator, seed=seed, env=env, timeout_s=timeout_s,
            name=name, waves=waves == "always", testcase=testcase,
        )  # fmt: skip
        for r in results:
            with subtests.test(r.name):
                if r.passed:
                    continue
                where = out
                if waves == "fail":
                    _, where = run_tests(
                        build, module, simulator=simulator, seed=seed, env=env,
                        timeout_s=timeout_s, name=f"{name}-{r.name}", waves=True, testcase=r.name,
                    )  # fmt: skip
                pytest.fail(
                    f"{r.message}\nlog and waves: {where}\n"
                    f"repeat: pytest '{request.node.nodeid}' --rtl-seed={seed} --rtl-waves=always",
                    pytrace=False,
                )
        return results

    return run
