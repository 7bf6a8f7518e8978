# SPDX-License-Identifier: Apache-2.0
"""`ktls_cosim.sim.cocotb_env` starts cocotb as `cocotb_tools.runner` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from cocotb_tools import runner as tools

from ktls_cosim.sim.build import Build
from ktls_cosim.sim.cocotb_env import command_and_env
from ktls_cosim.sim.runner import compile_build
from ktls_cosim.sim.simulators import SIMULATORS
from support import required

MODULE = "cocotb_fifo"
FILTER = "holds_16_words_and_no_more"


class Started(Exception):
    """Raised at the point where the runner would start the simulator."""


def by_the_runner(
    folder: Path, build: Build, results: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Sequence[str], dict[str, str]]:
    """Command and environment of cocotb's own runner for a compiled Icarus build."""
    runner = tools.get_runner("icarus")
    commands: list[Sequence[str]] = []

    def stop(cmds: Sequence[Sequence[str]], **_: object) -> None:
        commands.extend(cmds)
        raise Started

    monkeypatch.setattr(runner, "_execute", stop)
    with pytest.raises(Started):
        runner.test(
            test_module=MODULE,
            hdl_toplevel=build.toplevel,
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=folder,
            seed=7,
            test_filter=rf"{FILTER}$",
            results_xml=str(results),
        )
    return commands[0], dict(runner.env)


def test_command_and_environment_equal_those_of_the_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPI_USERS", raising=False)
    build = Build.block("ktls_fifo")
    folder = compile_build(build, required("icarus"))
    results = tmp_path / "results.xml"
    theirs, their_env = by_the_runner(folder, build, results, monkeypatch)
    ours, our_env = command_and_env(
        SIMULATORS["icarus"], folder, build.toplevel, MODULE,
        seed=7, results=results, testcase=FILTER,
    )  # fmt: skip
    assert ours == list(theirs)
    # the runner's own search for libpython may find another name of the same file
    for env in (our_env, their_env):
        libpython, entry = env["GPI_USERS"].split(";")
        env["GPI_USERS"] = f"{os.path.realpath(libpython)};{entry}"
    # we add two variables, and we omit the empty entries of sys.path
    for name in ("GPI_LOG_LEVEL", "COCOTB_LOG_LEVEL"):
        our_env.pop(name)
        their_env.pop(name, None)
    their_env["PYTHONPATH"] = os.pathsep.join(
        p for p in their_env["PYTHONPATH"].split(os.pathsep) if p
    )
    for name in our_env.keys() | their_env.keys():
        # the runner also sets unused options, to an empty string
        assert our_env.get(name, "") == their_env.get(name, ""), name
