# SPDX-License-Identifier: Apache-2.0
"""Who may import what (docs/architecture.md), tried with the forbidden modules blocked."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from ktls_cosim.paths import ROOT

TRY = """
import importlib, pkgutil, sys
blocked = set(sys.argv[2].split(","))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocker())
for name in list(sys.modules):
    if name.split(".")[0] in blocked:
        del sys.modules[name]
package = importlib.import_module(sys.argv[1])
for m in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    if not m.name.endswith("__main__") and not m.ispkg:
        importlib.import_module(m.name)
"""

SIMULATOR = "cocotb,cocotb_bus,cocotb_tools"


@pytest.mark.parametrize(
    ("package", "blocked"),
    [
        ("ktls_hw", f"{SIMULATOR},ktls,ktls_cosim,rich,pytest,asyncio,socket,threading"),
        ("ktls", f"{SIMULATOR},ktls_cosim,rich,pytest,asyncio,socket,threading"),
        ("ktls_cosim", SIMULATOR),
    ],
)
def test_package_works_without(package: str, blocked: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRY, package, blocked],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]


def imports(path: Path) -> set[str]:
    out: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            out.add(node.module)
    return out


def test_only_sim_imports_cocotb() -> None:
    for path in (ROOT / "tb").rglob("*.py"):
        if "/sim/" in str(path):
            continue
        assert not {i for i in imports(path) if i.split(".")[0].startswith("cocotb")}, path


def test_cocotb_bus_stands_behind_one_module() -> None:
    users = [
        p.relative_to(ROOT).as_posix()
        for folder in ("tb", "tests")
        for p in (ROOT / folder).rglob("*.py")
        if any(i.startswith("cocotb_bus") for i in imports(p))
    ]
    assert users == ["tb/ktls_cosim/sim/bus.py"]


def test_golden_and_scoreboard_are_independent_of_the_driver() -> None:
    """What is checked and what checks are written twice."""
    folder = ROOT / "tb" / "ktls_cosim" / "check"
    assert not {i for i in imports(folder / "golden.py") if i.startswith("ktls")}
    used = {i for i in imports(folder / "device.py") if i.startswith("ktls")}
    assert used == {"ktls_cosim.check.golden", "ktls_hw.layout"}


def test_model_and_driver_do_not_share_code() -> None:
    for path in (ROOT / "hw" / "ktls_hw").glob("*.py"):
        assert not {i for i in imports(path) if i.split(".")[0] in ("ktls", "ktls_cosim")}, path
    for path in (ROOT / "driver" / "ktls").glob("*.py"):
        used = {i for i in imports(path) if i.startswith("ktls_hw")}
        assert used <= {"ktls_hw", "ktls_hw.layout"}, path


def tracked_top_level() -> set[str]:
    """Names at the top of the tree; in a tarball, those that .gitignore does not name."""
    if shutil.which("git"):
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.splitlines()
        if listed:
            return {name.split("/")[0] for name in listed}
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    names = {path.name for path in ROOT.iterdir()}
    return {name for name in names if not any(fnmatch(name, rule) for rule in ignored)}


def test_top_level_is_as_agreed() -> None:
    visible = {name for name in tracked_top_level() if not name.startswith(".")}
    assert visible == {
        "LICENSE", "Makefile", "README.md", "docs", "driver", "hw", "pyproject.toml", "rtl", "tb",
        "tests",
    }  # fmt: skip
