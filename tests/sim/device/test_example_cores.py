# SPDX-License-Identifier: Apache-2.0
"""A core of a user by `--rtl` alone: commands, tests and bench on the example cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ktls_cosim.cli import main
from ktls_cosim.paths import HW, ROOT
from ktls_cosim.scenarios import SCENARIOS, missing
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.own_rtl import OwnRtl
from support import Simulate

AXIS, BLOCK = (str(HW / "examples" / name) for name in ("axis_core", "block_core"))
# scenarios that depend on the core
_CORE = "tls13_hello_world|rekey_with_records_queued|every_suite|seal_and_open_mixed"


def _device(core: str) -> tuple[Build, OwnRtl]:
    own = OwnRtl.find([core])
    return Build.device(own=own), own


def _pytest(core: str, simulator: str, *args: str, timeout_s: float = 120) -> str:
    """Run tests on a core in a process of their own, and return their output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    done = subprocess.run(
        [*command, "--rtl", core],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=timeout_s,
        env={**os.environ, "SIM": simulator},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_foreign_core_in_the_device(simulate: Simulate) -> None:
    results = simulate(_device(AXIS)[0], "cocotb_device", testcase=rf"cocotb_device\.({_CORE})")
    assert len(results) == len(_CORE.split("|"))


def test_the_commands_on_a_core_that_seals_with_short_keys(
    simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("SIM", simulator)
    file = tmp_path / "file"
    file.write_bytes(bytes(range(200)))
    assert main(["demo", "--rtl", BLOCK, "--file", str(file)]) == 0
    assert "records verified: 4" in capsys.readouterr().out
    assert main(["vectors", "--rtl", BLOCK, "--sample", "3"]) == 0
    out = capsys.readouterr().out
    assert "left out: opening (open = false); AES-256 (key_sizes)" in out


def test_pytest_names_what_it_left_out(simulator: str) -> None:
    out = _pytest(
        BLOCK, simulator, "tests/sim/device/test_device.py", "-k", "small_device or lanes and 4"
    )
    assert "left out: opening (open = false); AES-256 (key_sizes); LANES=2 (lanes)" in out
    assert "1 passed, 1 skipped" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["demo", "--port", "model", "--rtl", BLOCK], "use --rtl with --port sim"),
        (["bench", "model", "--rtl", BLOCK], "--rtl is for bench rtl"),
        (["demo", "--rtl", "no/such/core"], "no such file or folder"),
    ],
)
def test_a_useless_rtl_option_is_an_error(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    assert message in capsys.readouterr().err


def test_lanes_that_the_core_lacks_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANES", "2")
    monkeypatch.setenv("KTLS_RTL", BLOCK)
    assert main(["demo"]) == 2
    assert "has lanes = [1]" in capsys.readouterr().err


def test_a_core_without_sealing_is_no_subject_of_the_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "core.v").write_text("module ktls_gcm; endmodule\n")
    (tmp_path / "capabilities.toml").write_text("seal = false\n")
    assert main(["demo", "--rtl", str(tmp_path)]) == 2
    assert "the demo seals" in capsys.readouterr().err


def test_systemverilog_is_accepted(simulate: Simulate, tmp_path: Path) -> None:
    """The block core with a SystemVerilog file in it, an include file and a macro."""
    for path in Path(BLOCK).iterdir():
        name = path.with_suffix(".sv").name if path.name == "gf128.v" else path.name
        (tmp_path / name).write_text(path.read_text())
    multiplier = (tmp_path / "gf128.sv").read_text().replace("always @*", "always_comb")
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "top.svh").write_text("`define NIBBLE logic [3:0]\n")
    multiplier = '`include "top.svh"\n`ifdef WITH_LOGIC\n' + multiplier + "`endif\n"
    (tmp_path / "gf128.sv").write_text(multiplier)
    listed = (tmp_path / "core.f").read_text().replace("gf128.v", "gf128.sv")
    (tmp_path / "core.f").write_text(f"+incdir+include +define+WITH_LOGIC\n{listed}")
    build = Build.block("ktls_gcm", OwnRtl.find([tmp_path]))
    assert len(simulate(build, "cocotb_gcm", testcase="a_reset_wipes_every_key")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("core", [AXIS, BLOCK])
def test_every_scenario_on_a_foreign_core(simulate: Simulate, core: str) -> None:
    build, own = _device(core)
    results = simulate(build, "cocotb_device", timeout_s=2400)
    assert len(results) == sum(not missing(name, own.can.suites) for name in SCENARIOS)


@pytest.mark.slow
@pytest.mark.parametrize("core", [AXIS, BLOCK])
def test_block_tests_of_a_foreign_core_by_option(verilator: str, core: str) -> None:
    out = _pytest(
        core, verilator, "tests/sim/blocks/test_blocks.py", "-k", "block[ktls_gcm", timeout_s=1800
    )
    assert "1 passed, 2 skipped" in out


@pytest.mark.slow
def test_bench_of_a_foreign_core(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "rtl", "--rtl", BLOCK]) == 0
    out = capsys.readouterr().out
    assert "LANES=1" in out
    assert "LANES=2, " not in out
    assert "(cycles_per_block = 47)" in out
