# SPDX-License-Identifier: Apache-2.0
"""Options of the command line that need a simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def demo(simulator: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo on RTL in a process of its own, as its log is global."""
    return subprocess.run(
        [sys.executable, "-m", "ktls_cosim", "demo", "--sim", simulator, *options],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip


def test_the_demo_prints_its_waves_and_logs_the_simulation(simulator: str) -> None:
    done = demo(simulator, "--waves", "-v")
    assert done.returncode == 0, done.stderr
    (waves,) = [line for line in done.stdout.splitlines() if line.startswith("waves: ")]
    assert Path(waves.removeprefix("waves: ")).stat().st_size > 10_000
    assert f"ktls.sim: {simulator} runs as process " in done.stderr


def test_model_and_rtl_see_the_same_driver(simulator: str, tmp_path: Path) -> None:
    """The writes are equal up to the doorbell of the first record; then the timing differs."""

    def writes(*options: str) -> list[dict[str, object]]:
        file = tmp_path / "trace.jsonl"
        done = demo(simulator, "--trace", str(file), *options)
        assert done.returncode == 0, done.stderr
        accesses = [json.loads(line) for line in file.read_text().splitlines()]
        assert any(a["op"] == "irq" for a in accesses) == ("sim" in options)
        out = []
        for access in accesses:
            del access["ns"]
            if access["op"] in ("write32", "mem_write"):
                out.append(access)
            if access.get("reg") == "RING0_SQ_PROD" and access["value"] == 2:
                return out
        raise AssertionError("no record was posted")

    model = writes("--port", "model")
    assert len(model) > 15
    assert writes("--port", "sim") == model
