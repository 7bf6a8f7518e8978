# SPDX-License-Identifier: Apache-2.0
"""What pytest prints and writes when a cocotb test fails: a FIFO that is too small, on purpose."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ktls_cosim.paths import ROOT

TESTS = ROOT / "tests"
CONFTEST = "import runpy\nglobals().update(runpy.run_path({!r}))\n"
TEST = """
from ktls_cosim.sim.build import Build

def test_small_fifo(simulate):
    simulate(Build.block("ktls_fifo", LOG2=3), "cocotb_fifo")
    assert False, "for all tests only"
"""
FAILS = "holds_16_words_and_no_more"
PASSES = "random_pauses"


def run(folder: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the test in `folder` with the fixtures of this suite."""
    (folder / "sim").mkdir(exist_ok=True)
    (folder / "conftest.py").write_text(CONFTEST.format(str(TESTS / "conftest.py")))
    (folder / "sim/conftest.py").write_text(CONFTEST.format(str(TESTS / "sim/conftest.py")))
    (folder / "sim/test_fifo.py").write_text(TEST)
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "SIM", "LANES")}
    options = ("-p", "no:cacheprovider", "-c", "pyproject.toml", "--import-mode=importlib")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", ".", str(folder),
         "--junitxml", str(folder / "junit.xml"), *args],
        cwd=ROOT, env={**kept, "KTLS_BUILD": str(folder / "build"), **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_failure_explains_itself(
    processes: tuple[str, ...], simulator: str, tmp_path: Path
) -> None:
    done = run(tmp_path, "--rtl-seed", "5", *processes)
    assert done.returncode == 1
    out = done.stdout
    assert re.search(
        rf"cocotb_fifo\.{FAILS} failed at \d+ ns \(cycle \d+\): seed 5, icarus, ktls_fifo, LOG2=3",
        out,
    )
    repeat = re.search(r"^repeat: (.*)", out, re.MULTILINE)
    assert repeat
    assert repeat[1].endswith(f"--rtl-test={FAILS} --rtl-seed=5 --rtl-waves=always")
    waves = re.search(r"^waves: (.*)", out, re.MULTILINE)
    assert waves
    save_file = Path(waves[1]).with_suffix(".gtkw").read_text()
    moment = re.search(r"failed at (\d+) ns", out)
    assert moment
    assert f"*-9.000000 {moment[1]}000 " in save_file
    assert "@22\nktls_fifo.s_data[7:0]\n" in save_file
    commands = Path(waves[1]).with_suffix(".sucl").read_text()
    assert f"cursor_set {moment[1]}000\n" in commands
    check_junit(tmp_path / "junit.xml")


def check_junit(path: Path) -> None:
    suite = ET.parse(path).find("testsuite")
    assert suite is not None
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert {"test_small_fifo", FAILS, PASSES} <= cases.keys()
    assert suite.get("tests") == str(len(cases))
    assert suite.get("failures") == "2"  # the cocotb test, and the function
    failures = {name: case.findall("failure") for name, case in cases.items()}
    assert [len(failures[n]) for n in ("test_small_fifo", FAILS, PASSES)] == [1, 1, 0]
    assert (failures[FAILS][0].get("message") or "").startswith(f"cocotb_fifo.{FAILS} failed at")
    for name in (FAILS, PASSES):
        properties = {p.get("name"): p.get("value") for p in cases[name].iter("property")}
        assert properties == {
            "seed": "5", "simulator": "icarus", "toplevel": "ktls_fifo", "LOG2": "3",
        }  # fmt: skip


def test_one_cocotb_test_alone(simulator: str, tmp_path: Path) -> None:
    done = run(tmp_path, f"--rtl-test={PASSES}")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert FAILS not in (tmp_path / "junit.xml").read_text()
    done = run(tmp_path, "--rtl-test=no_such_test")
    assert done.returncode == 4
    assert "no cocotb test has the name no_such_test" in done.stdout + done.stderr


def test_a_random_seed_prints_itself(simulator: str, tmp_path: Path) -> None:
    done = run(tmp_path, "--rtl-seed=random", "--rtl-waves=never", "-n", "1")
    header = re.search(r"seed (\d+), Python", done.stdout)
    assert header
    assert f"--rtl-seed={header[1]} " in done.stdout
    assert run(tmp_path, "--rtl-seed=-1").returncode == 4


def test_a_missing_simulator_is_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, PATH="/nowhere")
    assert done.returncode == 1
    assert (
        "Icarus Verilog is not installed; install it with: apt-get install iverilog" in done.stdout
    )
    assert "1 failed" in done.stdout
    done = run(tmp_path, "--allow-missing", PATH="/nowhere")
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
