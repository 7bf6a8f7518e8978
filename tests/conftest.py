# SPDX-License-Identifier: Apache-2.0
"""Options and fixtures of the whole suite; tests/sim/conftest.py has those of the simulator."""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import secrets
from pathlib import Path
from typing import Any

import pytest

import support
from junit import CocotbCases
from ktls_cosim.errors import CosimError
from ktls_cosim.scenarios import SCENARIOS
from ktls_cosim.target import Target
from support import LEFT_OUT

_FOLDER = Path(__file__).parent
# what the tests of a folder are, for `-m`
_MARKERS = {"unit": "quick", "sim": "rtl", "textbook": "rtl", "live": "live", "kernel": "live"}


def _seed(text: str) -> int:
    if text == "random":
        return secrets.randbelow(1 << 32)
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number from 0 nor 'random'")
    return int(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ktls-cosim")
    group.addoption(
        "--rtl-seed",
        type=_seed,
        default=1,
        metavar="N|random",
        help="seed of all random data (default: 1); the header shows a random one",
    )
    group.addoption(
        "--rtl-test", metavar="NAME", help="run only the cocotb test with this name, waves included"
    )
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
    group.addoption(
        "--allow-missing",
        action="store_true",
        help="skip tests whose simulator is not installed; without it they fail",
    )


def pytest_configure(config: pytest.Config) -> None:
    support.allow_missing = config.getoption("--allow-missing")
    if names := config.getoption("--rtl"):
        # simulators and the commands that repeat a failure take it from here
        os.environ["KTLS_RTL"] = os.pathsep.join(names)
    if getattr(config.option, "maxschedchunk", 0) is None:
        # xdist: in large batches one worker ends with all the long tests
        config.option.maxschedchunk = 4
    worker = getattr(config, "workerinput", None)
    if worker:
        config.option.rtl_seed = worker["rtl_seed"]
    elif path := config.getoption("xmlpath", None):
        config.pluginmanager.register(CocotbCases(Path(path)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give the workers of xdist the seed; a random one would differ in each of them."""
    node.workerinput["rtl_seed"] = node.config.getoption("--rtl-seed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if name := config.getoption("--rtl-test"):
        if not _exists(name):
            raise pytest.UsageError(f"no cocotb test has the name {name}")
        others = [i for i in items if "simulate" not in getattr(i, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [i for i in items if i not in others]
    for item in items:
        if item.path.is_relative_to(_FOLDER):
            marker = _MARKERS.get(item.path.relative_to(_FOLDER).parts[0])
            if marker:
                item.add_marker(marker)


def _exists(name: str) -> bool:
    word = re.compile(rf"\b{re.escape(name)}\b")
    files = (_FOLDER / "sim").rglob("cocotb_*.py")
    return name in SCENARIOS or any(word.search(f.read_text()) for f in files)


def _target() -> Target:
    try:
        return Target.from_environment(os.environ)
    except CosimError as e:
        raise pytest.UsageError(str(e)) from e


def pytest_report_header(config: pytest.Config) -> str:
    target = _target()
    return (
        f"ktls-cosim: simulator {target.simulator}, lanes {target.lanes}, "
        f"seed {config.getoption('--rtl-seed')}, Python {platform.python_version()}"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List everything that the tests of the user's core left out."""
    if (own := _target().rtl) is None:
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
