# SPDX-License-Identifier: Apache-2.0
"""Options and fixtures of the whole suite; tests/sim/conftest.py has those of the simulator."""

from __future__ import annotations

import os
import platform
import random

import pytest

from ktls_cosim.errors import CosimError
from ktls_cosim.target import Target
from support import LEFT_OUT


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ktls-cosim")
    group.addoption("--rtl-seed", type=int, default=1, help="seed of all random data (default: 1)")
    group.addoption(
        "--rtl", action="append", default=[], metavar="PATH",
        help="file, file list (*.f) or folder with RTL in place of ours; may be repeated",
    )  # fmt: skip
    group.addoption(
        "--rtl-waves",
        choices=("fail", "always", "never"),
        default="fail",
        help="when to record FST waves; 'fail' (default) repeats each failing test with waves",
    )


def _target(config: pytest.Config) -> Target:
    try:
        return Target.from_environment(os.environ, rtl=config.getoption("--rtl"))
    except CosimError as e:
        raise pytest.UsageError(str(e)) from e


def pytest_report_header(config: pytest.Config) -> str:
    target = _target(config)
    return (
        f"ktls-cosim: simulator {target.simulator}, lanes {target.lanes}, "
        f"seed {config.getoption('--rtl-seed')}, Python {platform.python_version()}"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List everything that the tests of the user's core left out."""
    config = terminalreporter.config
    if (own := _target(config).rtl) is None:
        return
    terminalreporter.section("RTL of the user")
    for source in own.sources:
        terminalreporter.line(str(source))
    terminalreporter.line("left out: " + ("; ".join(own.can.left_out()) or "nothing"))
    reports = [r for rs in terminalreporter.stats.values() for r in rs]
    properties = [p for r in reports for p in getattr(r, "user_properties", ())]
    if names := sorted({str(value) for key, value in properties if key == LEFT_OUT}):
        terminalreporter.line(f"cocotb tests left out: {', '.join(names)}")


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> Target:
    """Simulator and lanes of this run: the environment variables `SIM` and `LANES`."""
    return _target(pytestconfig)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The value of `--rtl-seed`."""
    return int(request.config.getoption("--rtl-seed"))


@pytest.fixture
def rng(seed: int) -> random.Random:
    """A random generator that starts from `--rtl-seed`."""
    return random.Random(seed)
