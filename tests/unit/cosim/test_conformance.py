# SPDX-License-Identifier: Apache-2.0
"""The model agrees with all recordings of real kernels, and the comparison finds differences."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ktls import KERNELS, tls_rx, tls_tx
from ktls.record import BadRecord
from ktls_cosim.cli import main
from ktls_cosim.conformance import run
from ktls_cosim.conformance.scenario import ScenarioError, Step, load, parse_scenario

RECORDINGS = Path(__file__).parents[2] / "oracle"
# of 6.12.117 and 6.1.192; those in the folder `newer` have a kernel each
FILES = sorted(RECORDINGS.glob("*.jsonl"))
COUNT = 458
NEWER = 1148


def outcome(kernel: str = "6.12", port: str = "software") -> list[run.Result]:
    return list(run.run_scenarios(list(load(FILES)), kernel=kernel, port=port, jobs=1))


def failed(results: list[run.Result]) -> set[str]:
    return {r.category for r in results if r.differences}


@pytest.mark.parametrize("port", ["software", "model"])
@pytest.mark.parametrize("kernel", ["6.12", "6.1"])
def test_every_recording(kernel: str, port: str) -> None:
    results = outcome(kernel, port)
    assert [(r.name, r.differences or r.skipped) for r in results if not r.passed] == []
    assert len(results) == COUNT
    sealed = sum(r.device_records for r in results)
    assert sealed > 1000 if port == "model" else sealed == 0


@pytest.mark.parametrize("port", ["software", "model"])
def test_every_newer_recording(port: str) -> None:
    """Recordings of 7.2.7, 6.12.113 and 6.1.176, each played by the kernel that it names."""
    scenarios = list(load([RECORDINGS / "newer"]))
    results = list(run.run_scenarios(scenarios, kernel=None, port=port, jobs=1))
    assert [(r.name, r.differences or r.skipped) for r in results if not r.passed] == []
    assert {s.personality for s in scenarios} == {"6.1.176", "6.12.113", "7.2.7"}
    assert len(results) == NEWER


# ---------------------------------------------------------------------- the comparison


def test_rules_of_another_kernel_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of 6.12 differ from a model of 6.1 where the kernels differ."""
    monkeypatch.setitem(KERNELS, "6.12", KERNELS["6.1"])
    categories = failed(outcome("6.12"))
    assert {"flags", "more", "rx_poll", "rx_errors", "splice", "fuzz_tx"} <= categories


def test_wrong_record_size_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_tx, "MAX_FRAGS", 16)
    assert failed(outcome()) == {"splice"}


def test_lost_counter_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BadRecord, "__init__", lambda *_: None)
    original = tls_rx.TlsRx._open_one

    def quiet(self: tls_rx.TlsRx, *args: Any) -> Any:
        before = self._stat["TlsDecryptError"]
        try:
            return original(self, *args)
        finally:
            self._stat["TlsDecryptError"] = before

    monkeypatch.setattr(tls_rx.TlsRx, "_open_one", quiet)
    assert {"rx_errors", "rx_flags", "rx13"} <= failed(outcome())


def test_changed_observation_is_detected() -> None:
    """Change every field of every observation of some scenarios, one at a time."""
    changed = 0
    for scenario in run.pick(list(load(FILES)), 24, seed=5):
        if scenario.timing:
            continue
        for number, obs in enumerate(scenario.observed):
            for field, value in obs.items():
                other = copy.deepcopy(scenario)
                other.observed[number][field] = _other(value)
                for variant in other.variants.values():
                    variant.pop(number, None)
                result = run.play(other, "6.12", None)
                assert result.differences, f"{scenario.name} step {number} {field}"
                assert f"step {number} " in result.differences[0]
                changed += 1
    assert changed > 300


def _other(value: object) -> object:
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "00"
    if isinstance(value, dict):
        return {**value, "len": 1} if "len" in value else {**value, "TlsTxSw": 77}
    return [[1, 2, 3, "00"]]


def test_observations_do_not_influence_the_run() -> None:
    """The model plays a scenario the same way without its observations."""
    for scenario in run.pick(list(load(FILES)), 20, seed=2):
        blind = copy.deepcopy(scenario)
        for number in range(len(blind.observed)):
            blind.observed[number] = {}
        blind.variants.clear()
        with_ = run.play(scenario, "6.12", None)
        without = run.play(blind, "6.12", None)
        assert with_.passed
        assert without.differences


# ------------------------------------------------------------------------ the command


def write(path: Path, *steps: Step) -> Path:
    line = {"name": "t/one", "category": "t", "kernel": "x", "steps": steps}
    path.write_text(json.dumps(line) + "\n", encoding="ascii")
    return path


PAIR: Step = {"op": "pair", "obs": {"rc": 0}}
GOOD: Step = {"op": "send", "fd": "a", "n": 3, "seed": 1, "flags": 0, "obs": {"rc": 3}}
BAD: Step = {**GOOD, "obs": {"rc": -1, "err": "EPIPE"}}
UNKNOWN: Step = {"op": "teleport", "obs": {"rc": 0}}


@pytest.mark.parametrize(
    ("step", "code", "passed", "failures", "skipped"),
    [(GOOD, 0, 1, 0, 0), (BAD, 1, 0, 1, 0), (UNKNOWN, 1, 0, 0, 1)],
)
def test_exit_status_and_json(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    step: Step,
    code: int,
    passed: int,
    failures: int,
    skipped: int,
) -> None:
    out = tmp_path / "out.json"
    path = write(tmp_path / "s.jsonl", PAIR, step)
    assert main(["conformance", str(path), "--json", str(out), "--jobs", "1"]) == code
    result = json.loads(out.read_text())
    assert result["scenarios"] == 1
    assert result["passed"] == passed
    assert result["failed"] == ["t/one"] * failures
    assert [s["name"] for s in result["skipped"]] == ["t/one"] * skipped
    shown = capsys.readouterr().out
    if failures:
        assert "t/one: step 1 (send): err: kernel EPIPE, model nothing" in shown
    if skipped:
        assert "t/one: skipped: step 1: operation 'teleport' is unknown" in shown
        assert "teleport" in result["skipped"][0]["why"]


@pytest.mark.parametrize("text", ["", "nonsense", "{}", '{"name": "x", "steps": [{"op": 1}]}'])
def test_invalid_files(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="ascii")
    assert main(["conformance", str(path)]) == 2
    assert "scenario" in capsys.readouterr().err
    assert main(["conformance", str(tmp_path / "missing")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_invalid_step_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", PAIR, {"op": "send", "fd": "zz", "n": 1, "obs": {}})
    (scenario,) = load([path])
    result = run.play(scenario, "6.12", None)
    assert "step 1 (send) is invalid" in result.differences[0]
    with pytest.raises(ScenarioError, match="here:1 is not a scenario"):
        parse_scenario("[]", "here:1")


def test_one_scenario_by_file_and_line() -> None:
    file = RECORDINGS / "cmsg.jsonl"
    (one,) = load([Path(f"{file}:3")])
    assert one.source == f"{file}:3"
    with pytest.raises(ScenarioError, match="no scenario found"):
        list(load([Path(f"{file}:99999")]))
