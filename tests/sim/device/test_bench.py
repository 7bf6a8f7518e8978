# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run and check every record; no test depends on their figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ktls_cosim.bench.sim import Alone, run_bench_sim
from support import have_simulator


@pytest.mark.slow
def test_bench_sim(simulator: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert run_bench_sim(out, rounds=1) == 0
    ratios = json.loads(out.read_text())["ratios"]
    assert all(value > 0 for value in ratios.values())
    assert "textbook bench / Icarus" in capsys.readouterr().out


def test_a_record_without_python(monkeypatch: pytest.MonkeyPatch) -> None:
    have_simulator()
    monkeypatch.setattr(Alone, "LIMIT_S", 60)
    assert Alone(lanes=1).run(records=1) > 0
