#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the area tables of docs/performance.md from the JSON files of `synth.py`.

    python hw/synth/tables.py

The page marks the place of a table by `<!-- area NAME -->` and `<!-- end of area -->`; NAME.json
in hw/synth/tables has its figures and the hash of the RTL that was measured.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "hw" / "synth" / "tables"
PAGE = ROOT / "docs" / "performance.md"
_MARK = re.compile(r"(<!-- area (\S+) -->\n).*?(<!-- end of area -->\n)", re.DOTALL)
_COLUMNS = {
    "block": "block", "count": "instances", "luts": "LUTs", "ffs": "FFs", "lutrams": "LUT RAMs",
    "brams": "block RAMs", "depth": "depth",
}  # fmt: skip


def table(measured: dict[str, Any]) -> str:
    """Return the Markdown table of one measurement, with its total and its origin."""
    lines = [f"| {' | '.join(_COLUMNS.values())} |", "|---|" + "--:|" * (len(_COLUMNS) - 1)]
    for b in measured["blocks"]:
        figures = (b["count"], b["luts"], b["ffs"], b["lutrams"], b["brams"], b["depth"])
        lines.append(f"| `{b['name']}` | " + " | ".join(map(str, figures)) + " |")
    total = [sum(b[key] for b in measured["blocks"]) for key in ("luts", "ffs", "lutrams", "brams")]
    lines.append("| **total** | | " + " | ".join(map(str, total)) + " | |")
    return "\n".join(lines) + f"\n\nMeasured on the RTL with the hash `{measured['rtl']}`.\n"


def render(page: str) -> str:
    """Return a page with the tables of all its marks."""

    def put(mark: re.Match[str]) -> str:
        measured = json.loads((TABLES / f"{mark[2]}.json").read_text())
        return f"{mark[1]}\n{table(measured)}\n{mark[3]}"

    return _MARK.sub(put, page)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
