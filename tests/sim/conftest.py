# SPDX-License-Identifier: Apache-2.0
"""The `simulate` fixture: run a cocotb module on a build, one subtest per cocotb test."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from junit import add_result
from ktls_cosim.port import moment
from ktls_cosim.reproduce import command_line
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.runner import TestResult, run_tests
from ktls_cosim.sim.waves import view_lines
from ktls_cosim.target import Target
from support import LEFT_OUT, Simulate, required, usable


class SelectedTestRan(Exception):
    """The test of `--rtl-test` has run; the rest of its test function is for all tests."""


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """End a test function after the test that `--rtl-test` selects."""
    try:
        return (yield)
    except SelectedTestRan:
        return True


@pytest.fixture
def simulator(target: Target) -> str:
    """The name of the simulator, for tests that start it themselves."""
    return required(target.simulator)


@pytest.fixture
def verilator() -> str:
    """The name of the fast simulator, regardless of `SIM`."""
    return usable("verilator")


@dataclass
class _Run:
    """One call of `simulate`."""

    build: Build
    module: str
    simulator: str
    env: Mapping[str, str] | None
    timeout_s: float
    item: pytest.Item
    seed: int
    waves: str

    def tests(
        self, testcase: str | None, name: str, *, waves: bool
    ) -> tuple[list[TestResult], Path]:
        return run_tests(
            self.build, self.module, simulator=self.simulator, seed=self.seed, env=self.env,
            timeout_s=self.timeout_s, name=name, waves=waves, testcase=testcase,
        )  # fmt: skip

    def only(self, name: str) -> str:
        """The filter that selects one test."""
        return rf"^{re.escape(self.module)}\.{re.escape(name)}"

    def failure(self, result: TestResult, out: Path) -> str:
        """The text for the reader of a failed test."""
        waves = self.waves == "always"
        note = ""
        if self.waves == "fail":
            name = re.sub(r"\W+", "-", f"{out.name}-{result.name}")
            (alone,), again = self.tests(self.only(result.name), name, waves=True)
            if alone.passed:
                note = "alone it passes: it depends on the tests before it (see --rtl-waves=always)"
            else:
                result, out, waves = alone, again, True
        found = re.search(r"\bat (\d+) ns \(cycle", result.message)
        when = int(found[1]) if found else result.end_ns
        parameters = "".join(f", {k}={v}" for k, v in self.build.parameters.items())
        lines = [
            f"{self.module}.{result.name} failed at {moment(when)}: seed {self.seed}, "
            f"{self.simulator}, {self.build.toplevel}{parameters}",
            result.message,
            f"log: {out / 'run.log'}",
            *(view_lines(out / "waves.fst", when) if waves else ()),
            f"repeat: {self.command(result.name)}",
            note,
        ]
        return "\n".join(filter(None, lines))

    def command(self, name: str) -> str:
        return command_line(
            "pytest", self.item.nodeid, f"--rtl-test={name}", f"--rtl-seed={self.seed}",
            "--rtl-waves=always",
        )  # fmt: skip


@pytest.fixture
def simulate(
    target: Target, request: pytest.FixtureRequest, seed: int, subtests: pytest.Subtests
) -> Simulate:
    """Run cocotb tests; each failing test runs again, alone and with waves."""
    selected = request.config.getoption("--rtl-test")
    ran = 0

    def run(
        build: Build,
        module: str,
        *,
        simulator: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 300,
        testcase: str | None = None,
    ) -> list[TestResult]:
        nonlocal ran
        simulator = usable(simulator) if simulator else required(target.simulator)
        waves = request.config.getoption("--rtl-waves")
        this = _Run(build, module, simulator, env, timeout_s, request.node, seed, waves)
        if selected:
            if not _names(module, selected, testcase):
                pytest.skip(f"{module} has no test {selected}")
            testcase = this.only(selected)
        name = request.node.name.replace("/", "_") + (f"-{ran}" if ran else "")
        ran += 1
        results, out = this.tests(testcase, name, waves=waves == "always")
        request.node.user_properties.extend((LEFT_OUT, r.name) for r in results if r.skipped)
        results = [r for r in results if not r.skipped]
        for r in results:
            message = "" if r.passed else this.failure(r, out)
            add_result(
                request.node, module, r, message, seed=seed, simulator=simulator,
                toplevel=build.toplevel, **{**build.parameters, **(env or {})},
            )  # fmt: skip
            with subtests.test(r.name):
                if message:
                    pytest.fail(message, pytrace=False)
        if selected:
            raise SelectedTestRan
        return results

    return run


def _names(module: str, name: str, testcase: str | None) -> bool:
    """Whether a module has a test of this name, and the filter of the test function admits it."""
    from importlib.util import find_spec

    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    if testcase and not re.search(rf"{testcase}$", f"{module}.{name}"):
        return False
    text = Path(spec.origin).read_text()
    if "SCENARIOS" in text:
        from ktls_cosim.scenarios import SCENARIOS

        return name in SCENARIOS or name in text
    return re.search(rf"\b{re.escape(name)}\b", text) is not None
