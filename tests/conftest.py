# SPDX-License-Identifier: Apache-2.0
"""Options and fixtures of the whole suite; the simulator itself is in tests/sim/conftest.py."""

from __future__ import annotations

import os
import platform
import random
import shutil

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ktls-cosim")
    group.addoption("--rtl-seed", type=int, default=1, help="seed of all randomness (default 1)")
    group.addoption(
        "--rtl-waves",
        choices=("fail", "always", "never"),
        default="fail",
        help="when to record FST waves; fail repeats the failing test alone with waves",
    )


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.getoption("--rtl-seed")
    sim = os.environ.get("SIM", "icarus") if shutil.which("iverilog") else "no simulator"
    return f"ktls-cosim: {sim}, Python {platform.python_version()}, seed {seed}"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rtl-seed"))


@pytest.fixture
def rng(seed: int) -> random.Random:
    return random.Random(seed)
