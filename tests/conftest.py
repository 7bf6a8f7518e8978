# SPDX-License-Identifier: Apache-2.0
"""Options and fixtures of the whole suite; tests/sim/conftest.py has those of the simulator."""

from __future__ import annotations

import os
import platform
import random

import pytest

from ktls_cosim.errors import SimulatorError
from ktls_cosim.target import Target


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ktls-cosim")
    group.addoption("--rtl-seed", type=int, default=1, help="seed of all random data (default: 1)")
    group.addoption(
        "--rtl-waves",
        choices=("fail", "always", "never"),
        default="fail",
        help="when to record FST waves; 'fail' (default) repeats each failing test with waves",
    )


def _target() -> Target:
    try:
        return Target.from_environment(os.environ)
    except SimulatorError as e:
        raise pytest.UsageError(str(e)) from e


def pytest_report_header(config: pytest.Config) -> str:
    target = _target()
    return (
        f"ktls-cosim: simulator {target.simulator}, lanes {target.lanes}, "
        f"seed {config.getoption('--rtl-seed')}, Python {platform.python_version()}"
    )


@pytest.fixture(scope="session")
def target() -> Target:
    """Simulator and lanes of this run: the environment variables `SIM` and `LANES`."""
    return _target()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The value of `--rtl-seed`."""
    return int(request.config.getoption("--rtl-seed"))


@pytest.fixture
def rng(seed: int) -> random.Random:
    """A random generator that starts from `--rtl-seed`."""
    return random.Random(seed)
