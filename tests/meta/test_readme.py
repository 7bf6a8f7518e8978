# SPDX-License-Identifier: Apache-2.0
"""The README shows true output and working commands; test_docs.py checks all other pages."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from ktls_cosim.paths import ROOT
from support import ENV, have_simulator

README = (ROOT / "README.md").read_text()
NUMBER = re.compile(r"\d+(\.\d+)?")


def shape(text: str) -> list[str]:
    """Lines with paths and numbers masked: cycle counts depend on the size of the demo's file."""
    text = re.sub(r"file: \S+", "file: PATH", text)
    return [" ".join(NUMBER.sub("N", line).split()) for line in text.strip().splitlines()]


def console(command: str) -> str:
    match = re.search(rf"```console\n\$ {re.escape(command)}\n(.*?)```", README, re.DOTALL)
    assert match, f"the README no longer shows {command!r}"
    return match[1]


def recipe(target: str) -> str:
    """The command that make would run, without the set-up and independent of an outer make."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "TEST_ARGS"))}
    done = subprocess.run(
        ["make", "-n", "--no-print-directory",
         "-o", ".venv/ready-run", "-o", ".venv/ready-dev", target],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_readme_shows_the_output_of_make_demo() -> None:
    have_simulator()
    line = recipe("demo")
    assert line == ".venv/bin/python -m ktls_cosim demo"
    done = subprocess.run(
        [sys.executable, *line.split()[1:]], cwd=ROOT, env=ENV, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert shape(done.stdout) == shape(console("make demo"))
    assert done.stdout.endswith("mismatches: 0\n")


def test_make_test_runs_this_suite() -> None:
    assert recipe("test") == ".venv/bin/python -m pytest -n 2 tests"
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^=+ \d+ passed.* in \S+s", console("make test"), re.MULTILINE)


def everyday() -> list[str]:
    section = README[README.index("## Everyday commands") :]
    block = section[section.index("```sh\n") + 6 :]
    lines = block[: block.index("```")].splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip()]


@pytest.mark.parametrize("command", everyday())
def test_everyday_command(command: str) -> None:
    settings = [w for w in command.split() if "=" in w.split("/")[0] and not w.startswith("-")]
    words = [w.removeprefix(".venv/bin/") for w in command.split() if w not in settings]
    if words[0] == "pytest":
        # this is the suite itself: check only that the selection exists
        argv = ["-m", "pytest", "--collect-only", "-q", *words[1:]]
    else:
        argv = ["-m", "ktls_cosim", *words[1:]]
        if "model" not in words and words[1] != "doctor":
            have_simulator()
    done = subprocess.run(
        [sys.executable, *argv], cwd=ROOT, env={**ENV, **dict(w.split("=") for w in settings)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    wanted = 1 if "--fault" in words else 0
    assert done.returncode == wanted, done.stdout[-2000:] + done.stderr[-2000:]
    if "--waves" in words:
        waves = ROOT / "build" / "runs" / "demo" / "waves.fst"
        assert f"waves: {waves}" in done.stdout or "KTLS_BUILD" in os.environ
        assert waves.stat().st_size > 10_000 or "KTLS_BUILD" in os.environ


def test_library_example(capsys: pytest.CaptureFixture[str]) -> None:
    have_simulator()
    block = README[README.index("```python\n") + 10 :]
    code = block[: block.index("```")]
    comment = re.search(r"print\(wire.hex\(\)\)\s+# ([0-9a-f]+)", code)
    assert comment
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() == comment[1]


def test_names_in_the_verification_plan_exist() -> None:
    """A test that is renamed must be renamed in the plan as well."""
    sources = "".join(
        p.read_text()
        for folder in (ROOT / "tests", ROOT / "tb")
        for p in folder.rglob("*")
        if p.suffix in (".py", ".v")
    )
    plan = (ROOT / "docs" / "verification-plan.md").read_text()
    names = re.findall(r"`([a-z0-9]+_[a-z0-9_]+)`", plan)
    assert len(names) > 20
    stems = {p.stem for p in (ROOT / "tests").rglob("*.py")}
    for name in names:
        assert name in stems or f"def {name}(" in sources, name
