# SPDX-License-Identifier: Apache-2.0
"""The import rules of docs/architecture.md, tested with the forbidden modules blocked."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from ktls_cosim.paths import ROOT
from support import ENV, project_files

# `logging`, which imports `threading`, is allowed
TRY = """
import importlib, logging, pkgutil, sys
blocked = set(sys.argv[2].split(","))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocker())
for name in list(sys.modules):
    if name.split(".")[0] in blocked:
        del sys.modules[name]
def visit(package):
    for m in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if m.name.endswith(".__main__") or m.name == "ktls_cosim.sim":
            continue
        module = importlib.import_module(m.name)
        if m.ispkg:
            visit(module)
visit(importlib.import_module(sys.argv[1]))
"""

SIMULATOR = "cocotb,cocotb_bus,cocotb_tools"


@pytest.mark.parametrize(
    ("package", "blocked"),
    [
        ("ktls_hw", f"{SIMULATOR},ktls,ktls_cosim,rich,pytest,asyncio,socket,threading"),
        ("ktls", f"{SIMULATOR},ktls_cosim,rich,pytest,asyncio,socket"),
        ("ktls_cosim", SIMULATOR),
    ],
)
def test_package_works_without(package: str, blocked: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRY, package, blocked],
        capture_output=True, text=True, check=False,
        env=ENV,
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


def test_driver_takes_one_lock_and_no_thread() -> None:
    taken = [
        (path.name, alias.name)
        for path in (ROOT / "driver").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if "threading" in (alias.name, getattr(node, "module", None))
    ]
    assert taken == [("stack.py", "RLock")]


def test_one_module_imports_cocotb_bus() -> None:
    users = [
        p.relative_to(ROOT).as_posix()
        for folder in ("tb", "tests")
        for p in (ROOT / folder).rglob("*.py")
        if any(i.startswith("cocotb_bus") for i in imports(p))
    ]
    assert users == ["tb/ktls_cosim/sim/bus.py"]


# ------------------------------------------------------------------- the import graph

ROOTS = {"ktls": "driver", "ktls_hw": "hw", "ktls_cosim": "tb"}


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Imports of every module, including those inside functions and under TYPE_CHECKING."""
    files = {
        module_name(path, ROOT / root): path
        for package, root in ROOTS.items()
        for path in (ROOT / root / package).rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        used: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.module, f"{path}: relative import"
                assert node.level == 0, f"{path}: relative import"
                for alias in node.names:
                    sub = f"{node.module}.{alias.name}"
                    used.add(sub if sub in files else node.module)
        graph[name] = (used & files.keys()) - {name}
    return graph


GRAPH = import_graph()


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Kosaraju)."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(node: str, edges: dict[str, set[str]], out: list[str]) -> None:
        seen.add(node)
        for other in sorted(edges[node]):
            if other not in seen:
                visit(other, edges, out)
        out.append(node)

    for node in sorted(graph):
        if node not in seen:
            visit(node, graph, order)
    reverse: dict[str, set[str]] = {node: set() for node in graph}
    for node, used in graph.items():
        for other in used:
            reverse[other].add(node)
    seen.clear()
    components: list[list[str]] = []
    for node in reversed(order):
        if node not in seen:
            component: list[str] = []
            visit(node, reverse, component)
            components.append(sorted(component))
    return [c for c in components if len(c) > 1]


def test_a_cycle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert cycles(graph) == [["b", "c"]]


def test_no_import_cycle() -> None:
    assert not cycles(GRAPH)


# rooms of tb/ktls_cosim, and the rooms that each may import
ROOMS = {
    "check": set(),
    "scenarios": {"check"},
    "sim": {"check"},
    "capture": {"check"},
    "https": {"check", "capture"},
    "run": {"capture"},
    "card": {"capture", "check", "sim"},
    "conformance": {"check"},
    "kernel": {"conformance"},
    "vectors": {"check"},
    "bench": {"check", "https", "scenarios", "sim"},
}
# modules outside the rooms that import rooms; no room may import them
COMMANDS = {"__main__", "cli", "commands", "demo", "doctor"}


def place(module: str) -> str:
    """The room of a module; the name of the module if it is in no room."""
    return module.split(".")[1] if module.count(".") else "__init__"


def test_every_room_is_in_the_table() -> None:
    folder = ROOT / "tb" / "ktls_cosim"
    assert {p.parent.name for p in folder.glob("*/__init__.py")} == ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_room_follows_the_table(room: str) -> None:
    for module, used in GRAPH.items():
        if module.startswith("ktls_cosim.") and place(module) == room:
            places = {place(u) for u in used if u.split(".")[0] == "ktls_cosim"} - {room}
            assert places & ROOMS.keys() <= ROOMS[room], module
            assert not places & (COMMANDS | {"__init__"}), module


def test_checkers_are_independent_of_the_driver() -> None:
    """A checker that shared code with the driver would share its mistakes."""
    rest = {m for m in GRAPH if m.startswith("ktls_cosim.check.")}
    reached: set[str] = set()
    while rest:
        module = rest.pop()
        reached.add(module)
        rest |= GRAPH[module] - reached
    others = {m for m in reached if not m.startswith("ktls_cosim.check.")}
    # the layout is the contract; ktls_hw.fields holds its helpers
    shared = {"ktls_cosim.port", "ktls_cosim.errors"}  # neither knows the driver
    assert others <= {*shared, "ktls_hw.layout", "ktls_hw.fields"}
    assert GRAPH["ktls_cosim.check.golden"] == set()
    assert GRAPH["ktls_cosim.check.wire"] == {
        f"ktls_cosim.check.{name}" for name in ("diagnosis", "golden", "mismatch")
    }


def test_model_and_driver_do_not_share_code() -> None:
    for path in (ROOT / "hw" / "ktls_hw").glob("*.py"):
        assert not {i for i in imports(path) if i.split(".")[0] in ("ktls", "ktls_cosim")}, path
    for path in (ROOT / "driver" / "ktls").glob("*.py"):
        used = {i for i in imports(path) if i.startswith("ktls_hw")}
        assert used <= {"ktls_hw", "ktls_hw.layout"}, path


def test_top_level_entries() -> None:
    top = {name.split("/")[0] for name in project_files()}
    visible = {name for name in top if not name.startswith(".")}
    assert visible == {
        "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
        "docs", "driver", "hw", "ktls_nic.core", "pyproject.toml", "rtl", "tb", "tests",
    }  # fmt: skip
