# SPDX-License-Identifier: Apache-2.0
"""Run the kernel's own test of kTLS on the model (`selftest.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

import selftest
from support import unavailable

# This case expects both ends of a connection to see EAGAIN while 100 kB pass a tiny send buffer.
# Usually the TCP connection acknowledges the bytes before the supervisor handles the next call.
EXPECTED = {"nonblocking"}


def program(quick: bool) -> Path:
    try:
        return selftest.build(selftest.obtain(), quick)
    except selftest.Unobtainable as e:
        unavailable(f"the kernel's test is not available here: {e}")


def check(quick: bool, at_least: int) -> None:
    passed, failed, errors = selftest.run(program(quick), "7.x", 1500)
    print(f"passed {len(passed)} of {len(passed) + len(failed)}")
    assert {name.rpartition(".")[2] for name in failed} <= EXPECTED, errors[-2000:]
    assert len(passed) >= at_least
    assert "mismatches: 0" in errors


def test_kernel_selftest() -> None:
    check(quick=True, at_least=278)


@pytest.mark.slow
def test_kernel_selftest_with_many_processes() -> None:
    check(quick=False, at_least=303)
