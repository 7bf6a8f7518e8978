# SPDX-License-Identifier: Apache-2.0
"""Icarus and Verilator agree on all outputs in every cycle; Verilator passes the scenarios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ktls_cosim.scenarios import SCENARIOS
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.runner import run_tests
from ktls_cosim.target import Target
from support import Simulate
from test_mutants import Mutant

SEEDS = 100


def _hashes(build: Build, simulator: str, seed: int, seeds: int, out: Path) -> list[dict[str, Any]]:
    results, folder = run_tests(
        build, "cocotb_agree", simulator=simulator, seed=seed, name=out.stem,
        env={"KTLS_HASHES": str(out), "KTLS_SEEDS": f"{seed} {seeds}"},
    )  # fmt: skip
    assert all(r.passed for r in results), f"{results[0].message}\nlog: {folder}"
    values: list[dict[str, Any]] = json.loads(out.read_text())
    assert len(values) == seeds
    return values


def test_two_simulators_agree_in_every_cycle(
    verilator: str, target: Target, seed: int, tmp_path: Path
) -> None:
    build = Build.device(lanes=target.lanes, CONTEXTS=8)
    fast = _hashes(build, verilator, seed, SEEDS, tmp_path / "agree-verilator.json")
    reference = _hashes(build, "icarus", seed, SEEDS, tmp_path / "agree-icarus.json")
    for a, b in zip(reference, fast, strict=True):
        assert a == b, f"seed {a['seed']} is the first that differs"
    assert len({v["hash"] for v in reference}) == SEEDS


def test_the_hash_sees_a_single_bit(
    simulator: str, target: Target, seed: int, tmp_path: Path
) -> None:
    """A mutant that changes one output bit and no result changes the hash."""
    mutant = Mutant(
        "resp_bit", "ktls_csr.v", "assign s_axil_rresp   = 2'b00;",
        "assign s_axil_rresp   = 2'b01;", "",
    )  # fmt: skip
    good = Build.device(lanes=target.lanes, CONTEXTS=8)
    bad = Build.device(mutant.sources(), lanes=target.lanes, CONTEXTS=8)
    right = _hashes(good, simulator, seed, 6, tmp_path / "right.json")
    wrong = _hashes(bad, simulator, seed, 6, tmp_path / "wrong.json")
    assert [v["cycles"] for v in right] == [v["cycles"] for v in wrong]
    assert right[0]["hash"] != wrong[0]["hash"]


def test_verilator_passes_every_scenario(
    verilator: str, target: Target, simulate: Simulate
) -> None:
    results = simulate(
        Build.device(lanes=target.lanes), "cocotb_device", simulator=verilator,
        env={"KTLS_STALLING": "1"},
    )  # fmt: skip
    assert len(results) == len(SCENARIOS)
