# SPDX-License-Identifier: Apache-2.0
"""The command line as a user sees it, on the functional model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ktls_cosim.commands import COMMANDS
from ktls_hw.model import Fault
from support import ENV

LAST_LINE = re.compile(r"records verified: (\d+), bytes: (\d+), mismatches: (\d+)\n\Z")


def ktls_cosim(
    *args: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ktls_cosim", *args],
        capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env=env or ENV,
    )  # fmt: skip


def test_demo_on_the_model_verifies_every_record(tmp_path: Path) -> None:
    done = ktls_cosim("demo", "--port", "model", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    match = LAST_LINE.search(done.stdout)
    assert match
    records, size, mismatches = map(int, match.groups())
    assert (records >= 8, size >= 65536 + 40, mismatches) == (True, True, 0)
    assert done.stdout.count(" yes\n") == records
    assert "alert" in done.stdout
    assert list(tmp_path.iterdir()) == [], "the demo left files behind"


def test_demo_sends_the_named_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100_000))
    done = ktls_cosim("demo", "--port", "model", "--file", str(file))
    match = LAST_LINE.search(done.stdout)
    assert match
    assert int(match[2]) == 100_000 + 11 + 27 + 2


@pytest.mark.parametrize("fault", [f.name for f in Fault])
def test_demo_exits_1_on_every_fault(fault: str) -> None:
    done = ktls_cosim("demo", "--port", "model", "--fault", fault)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("demo", "--port", "model", "--file", "/no/such/file"),
        ("demo", "--port", "nonsense"),
        ("serve", "/no/such/folder"),
        ("serve", ".", "--listen", "nonsense"),
        ("serve", ".", "--listen", "127.0.0.1:99999"),
        ("serve", ".", "--cert", "/no/such/file", "--listen", "127.0.0.1:0"),
        ("fetch", "http://localhost/"),
        ("fetch", "https://localhost/", "--cafile", "/no/such/file"),
        ("run",),
        ("demo", "--fault", "nonsense"),
        ("nonsense",),
        (),
    ],
)
def test_bad_usage_exits_2_with_a_message(args: tuple[str, ...]) -> None:
    done = ktls_cosim(*args)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_help_names_every_command_and_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom ktls_cosim.cli import main\n"
        "try:\n    main(['--help'])\nfinally:\n"
        "    heavy = {'ktls', 'rich', 'cryptography'} & set(sys.modules)\n"
        "    print(*heavy, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
        env=ENV,
    )  # fmt: skip
    assert done.stderr.strip() == ""
    for command in COMMANDS:
        assert re.search(rf"^ +{command.name}\b", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", [c.name for c in COMMANDS])
def test_every_command_has_help(command: str) -> None:
    done = ktls_cosim(command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: ktls-cosim {command} ")


def test_invalid_lanes_are_reported() -> None:
    done = ktls_cosim("demo", "--port", "sim", env={**ENV, "LANES": "3"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "LANES=3: the device has 1, 2, 4 or 8 lanes" in done.stderr


def test_unknown_simulator_is_reported() -> None:
    env = {**ENV, "SIM": "nonsense"}
    assert ktls_cosim("demo", "--port", "model", env=env).returncode == 0
    done = ktls_cosim("demo", "--port", "sim", env=env)
    assert done.returncode == 2
    assert "use SIM=icarus or SIM=verilator" in done.stderr


def test_doctor_lists_requirements() -> None:
    done = ktls_cosim("doctor")
    assert "Icarus Verilog" in done.stdout
    assert "ok       Python" in done.stdout


def test_missing_simulator_is_reported_with_its_remedy(tmp_path: Path) -> None:
    empty = {"PATH": str(tmp_path), "PYTHONPATH": ENV["PYTHONPATH"]}
    done = ktls_cosim("demo", "--port", "sim", env=empty)
    assert done.returncode == 2
    assert "apt-get install iverilog" in done.stderr
