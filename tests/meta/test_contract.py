# SPDX-License-Identifier: Apache-2.0
"""The generated files match their source and agree with each other."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ktls_cosim.paths import HW, ROOT
from ktls_hw import layout
from support import missing

PROGRAM = r"""
#include <stdio.h>
#include <stddef.h>
#include "ktls_nic.h"
int main(void)
{
    printf("%zu %zu %zu %zu\n", offsetof(struct ktls_sqe_ctx, key),
           offsetof(struct ktls_sqe_ctx, rec_seq), offsetof(struct ktls_sqe_record, dst_sg),
           offsetof(struct ktls_cqe, rec_seq));
    printf("%d %d %d\n", KTLS_REG_RING0_SQ_PROD, KTLS_OP_SEAL, KTLS_CPL_SQ_BUS_ERROR);
    return 0;
}
"""


def generator(hw: Path, *args: str) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("systemrdl") is None:
        missing("systemrdl-compiler", "pip install -e .[dev]")
    return subprocess.run(
        [sys.executable, hw / "generate.py", *args], capture_output=True, text=True, check=False
    )


def test_generated_files_are_up_to_date() -> None:
    done = generator(HW, "--check")
    assert done.returncode == 0, done.stderr


def test_drift_is_reported_with_its_remedy(tmp_path: Path) -> None:
    shutil.copytree(HW, tmp_path / "hw")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    path = tmp_path / "hw" / "include" / "ktls_nic.vh"
    path.write_text(path.read_text().replace("OP_SEAL = 8'd3", "OP_SEAL = 8'd4"))
    done = generator(tmp_path / "hw", "--check")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ktls_nic.vh" in done.stderr
    assert "make contract" in done.stderr


@pytest.mark.parametrize("standard", ["c99", "c11", "c++17"])
def test_c_header_compiles_and_agrees(standard: str, tmp_path: Path) -> None:
    cc = shutil.which("cc")
    if cc is None:
        missing("a C compiler", "apt-get install gcc libc6-dev")
    cpp = standard.startswith("c++")
    if cpp and shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler; the contract is the C header")
    source = tmp_path / ("main.cpp" if cpp else "main.c")
    source.write_text(PROGRAM)
    program = tmp_path / "main"
    subprocess.run(
        ["c++" if cpp else cc, f"-std={standard}", "-Wall", "-Wextra", "-Werror",
         f"-I{HW / 'include'}", source, "-o", program],
        check=True,
    )  # fmt: skip
    out = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    offsets, codes = out.splitlines()
    assert offsets == "32 24 24 16"
    assert codes == (
        f"{int(layout.Reg.RING0_SQ_PROD)} {int(layout.Opcode.SEAL)} "
        f"{int(layout.Status.SQ_BUS_ERROR)}"
    )
