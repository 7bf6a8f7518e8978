# SPDX-License-Identifier: Apache-2.0
"""Icarus and Verilator give the same outputs in every cycle; Verilator passes the scenarios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ktls_cosim.errors import SimulatorMissing
from ktls_cosim.scenarios import SCENARIOS
from ktls_cosim.sim.runner import Build, run_tests
from ktls_cosim.sim.simulators import SIMULATORS
from support import unavailable
from test_mutants import Mutant

SEEDS = 100


@pytest.fixture
def verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        SIMULATORS["verilator"].check()
    except SimulatorMissing as e:
        unavailable(str(e))
    monkeypatch.setenv("SIM", "verilator")


def _hashes(build: Build, seed: int, seeds: int, out: Path) -> list[dict[str, Any]]:
    results, folder = run_tests(
        build, "cocotb_agree", seed=seed, name=out.stem,
        env={"KTLS_HASHES": str(out), "KTLS_SEEDS": f"{seed} {seeds}"},
    )  # fmt: skip
    assert all(r.passed for r in results), f"{results[0].message}\nlog: {folder}"
    values: list[dict[str, Any]] = json.loads(out.read_text())
    assert len(values) == seeds
    return values


def test_two_simulators_agree_in_every_cycle(
    verilator: None, monkeypatch: pytest.MonkeyPatch, seed: int, tmp_path: Path
) -> None:
    build = Build.device(CONTEXTS=8)
    fast = _hashes(build, seed, SEEDS, tmp_path / "agree-verilator.json")
    monkeypatch.setenv("SIM", "icarus")
    reference = _hashes(build, seed, SEEDS, tmp_path / "agree-icarus.json")
    for a, b in zip(reference, fast, strict=True):
        assert a == b, f"seed {a['seed']} is the first that differs"
    assert len({v["hash"] for v in reference}) == SEEDS


def test_the_hash_sees_a_single_bit(simulator: None, seed: int, tmp_path: Path) -> None:
    """One address bit of one burst, which changes no result."""
    mutant = Mutant(
        "cache_bit", "ktls_dma_wr.v", "m_axi_awcache = 4'b0011", "m_axi_awcache = 4'b0010", ""
    )
    right = _hashes(Build.device(CONTEXTS=8), seed, 6, tmp_path / "right.json")
    wrong = _hashes(Build.device(mutant.sources(), CONTEXTS=8), seed, 6, tmp_path / "wrong.json")
    assert [v["cycles"] for v in right] == [v["cycles"] for v in wrong]
    assert right[0]["hash"] != wrong[0]["hash"]


def test_verilator_passes_every_scenario(verilator: None, simulate) -> None:
    results = simulate(Build.device(), "cocotb_device", env={"KTLS_MOODY": "1"})
    assert len(results) == len(SCENARIOS)
