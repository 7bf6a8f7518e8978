# SPDX-License-Identifier: Apache-2.0
"""The stable interface of the package: complete, documented, and imported on first use."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ktls_cosim

SOURCE = ast.parse(Path(ktls_cosim.__file__).read_text())


def fresh(code: str) -> str:
    """Run code in a new interpreter; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ktls_cosim.__all__)
def test_public_name(name: str) -> None:
    value = getattr(ktls_cosim, name)
    if name == "SCENARIOS":
        assert len(value) > 30
        return
    assert value.__doc__, f"{name} has no docstring"
    # `_MODULES` names the module that defines the name, not one that imports it
    home = f"ktls_cosim.{ktls_cosim._MODULES[name]}"
    assert value.__module__ == home or value.__module__.startswith(home + ".")


def test_type_checkers_see_the_run_time_names() -> None:
    (block,) = (n for n in SOURCE.body if isinstance(n, ast.If))
    declared = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == {n: f"ktls_cosim.{m}" for n, m in ktls_cosim._MODULES.items()}
    assert sorted(declared) == sorted(ktls_cosim.__all__) == sorted(dir(ktls_cosim))


def test_importing_the_package_imports_nothing_else() -> None:
    code = "before = set(sys.modules); import ktls_cosim, json"
    loaded = json.loads(fresh(f"{code}; print(json.dumps(sorted(set(sys.modules) - before)))"))
    assert [m for m in loaded if m.startswith("ktls")] == ["ktls_cosim"]
    heavy = {"cocotb", "cocotb_tools", "cryptography", "rich", "pytest", "asyncio"}
    assert not {m.split(".")[0] for m in loaded} & heavy


def test_using_the_checkers_needs_no_cocotb() -> None:
    code = "from ktls_cosim import *\nprint('cocotb' in sys.modules)"
    assert fresh(code) == "False\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ktls_cosim.nothing
