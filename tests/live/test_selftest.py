# SPDX-License-Identifier: Apache-2.0
"""Run the kernel's own test of kTLS on the model (`selftest.py`)."""

from __future__ import annotations

import pytest

import selftest
from support import unavailable


def check(quick: bool, suite: str | None = None) -> None:
    """Run the test: it must report each case of its source, and only known cases may fail."""
    try:
        folder = selftest.obtain(suite)
        wanted = selftest.cases(folder, quick)
        program = selftest.build(folder, quick)
    except selftest.Unobtainable as e:
        unavailable(f"the kernel's test is not available here: {e}")
    outcome = selftest.run(program, "7.x", 1500)
    print(f"{folder.name}: passed {len(outcome.passed)} of {len(wanted)}")
    assert not outcome.unexpected(), outcome.errors[-2000:]
    assert outcome.passed | outcome.failed == wanted
    assert "mismatches: 0" in outcome.errors


def test_kernel_selftest() -> None:
    check(quick=True)


@pytest.mark.slow
def test_kernel_selftest_with_many_processes() -> None:
    check(quick=False)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["bookworm", "sid"])
def test_kernel_selftest_of_other_kernels(suite: str) -> None:
    """The oldest and the newest test that Debian packages: of 6.1.176 and of 7.2 at present."""
    check(quick=True, suite=suite)
