# SPDX-License-Identifier: Apache-2.0
"""Recordings of real kernels; the RTL seals every AES-GCM record that it supports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ktls_cosim.cli import main
from ktls_cosim.conformance.run import run_scenarios
from ktls_cosim.conformance.scenario import load
from ktls_cosim.target import Target

RECORDINGS = Path(__file__).parents[2] / "oracle"


def test_a_sample_of_the_recordings_through_the_rtl(
    simulator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fixed seed selects scenarios in which the device seals, from every category."""
    out = tmp_path / "out.json"
    code = main(
        ["conformance", str(RECORDINGS), "--port", "sim", "--sample", "66", "--seed", "1",
         "--jobs", "1", "--json", str(out)]
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert json.loads(out.read_text())["passed"] == 66
    total = next(line for line in shown.splitlines() if line.startswith("total"))
    assert int(total.split()[-1]) > 100, total


def test_results_do_not_depend_on_how_long_the_device_takes(target: Target) -> None:
    """Behind the peer's close a send is answered by a reset, so the next one must know of it."""
    found = [s for s in load([RECORDINGS / "newer"]) if "closeb" in s.name]
    assert found
    results = list(run_scenarios(found, kernel=None, port="sim", jobs=1, target=target))
    assert [(r.name, r.differences) for r in results if not r.passed] == []
    assert sum(r.device_records for r in results) > 0
