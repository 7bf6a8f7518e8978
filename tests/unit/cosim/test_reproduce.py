# SPDX-License-Identifier: Apache-2.0
"""The line "reproduce:" repeats the run in the environment that it came from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ktls_cosim.paths import ROOT
from ktls_cosim.reproduce import command_line, this_command

SCRIPT = Path(sys.executable).with_name("ktls-cosim")


def failing_demo(cwd: Path, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ktls_cosim", "demo", "--port", "model", *args],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (line,) = (x for x in done.stdout.splitlines() if x.startswith("reproduce: "))
    return line.removeprefix("reproduce: ")


def test_the_line_repeats_the_run(tmp_path: Path) -> None:
    (tmp_path / "two words").write_bytes(b"text" * 9)
    command = failing_demo(tmp_path, "--file", "two words", "--fault", "COUNTER_START")
    assert "--file 'two words'" in command
    again = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert f"reproduce: {command}" in again.stdout


def test_the_target_is_part_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIM", "verilator")
    monkeypatch.setenv("LANES", "4")
    assert command_line("pytest", "a b").startswith("SIM=verilator LANES=4 ")
    assert command_line("pytest", "a b").endswith("pytest 'a b'")


def test_the_program_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SIM", "LANES", "KTLS_RTL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir("/")
    if SCRIPT.is_file():
        assert command_line("ktls-cosim", "demo") == f"{str(SCRIPT)[1:]} demo"
    monkeypatch.setenv("PATH", str(SCRIPT.parent))
    monkeypatch.chdir(ROOT)
    if SCRIPT.is_file():
        assert command_line("ktls-cosim", "demo") == "ktls-cosim demo"
    monkeypatch.setattr(sys, "executable", "/usr/bin/no-python")
    assert command_line("ktls-cosim", "demo") == "/usr/bin/no-python -m ktls_cosim demo"


def test_a_script_of_the_user_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["my_test.py", "--seed", "5"])
    assert this_command() == f"{sys.executable} my_test.py --seed 5"
