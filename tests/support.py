# SPDX-License-Identifier: Apache-2.0
"""Helpers of several test modules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from ktls import KtlsOSError
from ktls_cosim.errors import SimulatorMissing
from ktls_cosim.paths import ROOT
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.runner import TestResult
from ktls_cosim.sim.simulators import find_simulator

LEFT_OUT = "left out"
"""Property of a test: the name of a cocotb test that the user's core cannot run."""
allow_missing = False
"""The value of `--allow-missing`."""
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
"""Environment of a child process that imports the same packages as this one."""


def missing(what: str, install: str) -> NoReturn:
    """Skip the test and name the command that installs `what`; in CI fail it."""
    unavailable(f"{what} is not installed; install it with: {install}")


def unavailable(text: str) -> NoReturn:
    """Skip the test for the reason `text`; in CI fail it."""
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def have_simulator() -> None:
    """Fail the test if Icarus is missing; see `required`."""
    required("icarus")


def fails(number: int, call: Callable[..., object], *args: object) -> None:
    """Check that the call fails with the errno `number`, as the call of Linux does."""
    with pytest.raises(OSError) as e:  # noqa: PT011  (the number decides)
        call(*args)
    assert isinstance(e.value, KtlsOSError)
    assert e.value.errno == number, str(e.value)


class Simulate(Protocol):
    """The type of the `simulate` fixture."""

    def __call__(
        self,
        build: Build,
        module: str,
        *,
        simulator: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 300,
        testcase: str | None = None,
    ) -> list[TestResult]:
        """Run cocotb tests; see `ktls_cosim.sim.runner.run_tests`.

        Args:
            build: The build to simulate.
            module: Python module with the cocotb tests.
            simulator: By default that of the environment variable `SIM`.
            env: Variables to add to the simulator's environment.
            timeout_s: Wall-clock limit in seconds.
            testcase: Regular expression that selects tests.
        """


def usable(simulator: str) -> str:
    """Return the name of a simulator; skip the test if it is not installed, or fail it in CI."""
    try:
        return find_simulator(simulator).name
    except SimulatorMissing as e:
        unavailable(str(e))


def required(simulator: str) -> str:
    """The name of an installed simulator; fails the test if it is not installed.

    Without the simulator nothing of the RTL is tested, so only `--allow-missing` skips.
    """
    try:
        return find_simulator(simulator).name
    except SimulatorMissing as e:
        if allow_missing:
            pytest.skip(str(e))
        pytest.fail(f"{e}\n(--allow-missing skips the tests that need it)", pytrace=False)


def project_files() -> list[str]:
    """Return the project's files relative to its root.

    Git lists them. In a tarball, or without git, they are all files that .gitignore does not name.
    """
    if shutil.which("git"):
        done = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.stdout:
            return done.stdout.splitlines()
    rules = [".git", *(r.strip("/") for r in (ROOT / ".gitignore").read_text().split())]

    def kept(names: list[str]) -> list[str]:
        return [name for name in names if not any(fnmatch(name, rule) for rule in rules)]

    found: list[str] = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = kept(folders)
        found += [str(Path(folder, name).relative_to(ROOT)) for name in kept(files)]
    return found
