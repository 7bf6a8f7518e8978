# SPDX-License-Identifier: Apache-2.0
"""Recordings of real kernels with the RTL sealing every AES-GCM record it can."""

from __future__ import annotations

import json
from pathlib import Path

from ktls_cosim.cli import main

RECORDINGS = Path(__file__).parents[2] / "oracle"


def test_a_sample_of_the_recordings_through_the_rtl(tmp_path: Path, capsys) -> None:
    """Chosen by a fixed seed from every category whose scenarios make the device seal."""
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
