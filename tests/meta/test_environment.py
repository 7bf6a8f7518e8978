# SPDX-License-Identifier: Apache-2.0
"""Only the edges of the program read environment variables; all other code takes arguments."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ktls_cosim.errors import SimulatorError
from ktls_cosim.paths import ROOT
from ktls_cosim.target import Target

EDGES = {
    # the command line and the program that `bench sim` times: SIM, LANES
    "tb/ktls_cosim/cli.py",
    "tb/ktls_cosim/bench/first_record.py",
    # the line that repeats a run names the variables that select its target: SIM, LANES, KTLS_RTL
    "tb/ktls_cosim/reproduce.py",
    # the folder for all output: KTLS_BUILD
    "tb/ktls_cosim/paths.py",
    # entries of the simulator process, which receives its arguments in variables
    "tb/ktls_cosim/sim/card_server.py",
    "tb/ktls_cosim/sim/server.py",
    "tb/ktls_cosim/sim/measure_core.py",
    "tb/ktls_cosim/sim/measure_record.py",
}


def reads_a_variable(node: ast.AST, parent: ast.AST) -> bool:
    """Whether `node` is an access to `os.environ` other than a copy of all of it."""
    if not isinstance(node, ast.Attribute) or ast.unparse(node) not in ("os.environ", "os.getenv"):
        return False
    copied = (isinstance(parent, ast.Call) and ast.unparse(parent.func) == "dict") or isinstance(
        parent, ast.Dict
    )
    return not copied


def readers(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return any(
        reads_a_variable(node, parent)
        for parent in ast.walk(tree)
        for node in ast.iter_child_nodes(parent)
    )


def test_only_the_edges_read_the_environment() -> None:
    """A copy of the whole environment for a child process is allowed everywhere."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("driver", "hw/ktls_hw", "tb")
        for path in (ROOT / folder).rglob("*.py")
        if readers(path)
    }
    assert found == EDGES


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("os.environ['SIM']", True),
        ("os.environ.get('SIM')", True),
        ("os.getenv('SIM')", True),
        ("'SIM' in os.environ", True),
        ("f(os.environ)", True),
        ("dict(os.environ)", False),
        ("{**os.environ, 'A': 'b'}", False),
    ],
)
def test_the_search_finds_every_form(source: str, found: bool, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    assert readers(path) == found


def test_the_target_follows_sim_and_lanes() -> None:
    assert Target.from_environment({}) == Target("icarus", 1)
    assert Target.from_environment({"SIM": "verilator", "LANES": "4"}) == Target("verilator", 4)
    for lanes in ("3", "", "four"):
        with pytest.raises(
            SimulatorError, match=f"LANES={lanes}: the device has 1, 2, 4 or 8 lanes"
        ):
            Target.from_environment({"LANES": lanes})
