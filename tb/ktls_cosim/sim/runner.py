# SPDX-License-Identifier: Apache-2.0
"""Compile a build once, run cocotb modules on it with a time limit, and read their results."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ktls_cosim.errors import SimulatorError
from ktls_cosim.paths import build_root
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.cocotb_env import command_and_env
from ktls_cosim.sim.dump import clean_log
from ktls_cosim.sim.simulators import find_simulator

_log = logging.getLogger("ktls.sim")


@dataclass(frozen=True)
class TestResult:
    """The outcome of one cocotb test.

    Attributes:
        name: Name of the test function.
        passed: Whether the test passed or was skipped.
        message: Exception and traceback of a failed test.
        seconds: Wall-clock time of the test.
        end_ns: Simulation time at its end, in nanoseconds.
        skipped: The core lacks a capability that the test needs.
    """

    __test__ = False  # pytest must not collect this class, despite its name

    name: str
    passed: bool
    message: str
    seconds: float
    end_ns: int
    skipped: bool = False


def compile_build(build: Build, simulator: str = "icarus", *, waves: bool = False) -> Path:
    """Compile a build unless an equal one is compiled already.

    Args:
        build: The build to compile.
        simulator: `icarus` or `verilator`.
        waves: Whether the simulation must be able to record waves.

    Returns:
        The folder of the compiled simulation.

    Raises:
        SimulatorMissing: The simulator is unknown or not installed.
        SimulatorError: The sources do not compile; the message ends with the compiler's output.
    """
    chosen = find_simulator(simulator)
    traced = waves and chosen.waves_need_a_build
    name = f"{build.toplevel}-{chosen.name}-{build.key()}{'-waves' if traced else ''}"
    folder = build_root() / "sim" / name
    if (folder / "done").exists():
        _log.debug("%s is compiled already", folder)
        return folder
    # compile into another folder and rename it: two processes may want the same build at once
    work = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    begin = time.monotonic()
    chosen.compile(build, work, waves=traced)
    _log.info(
        "%s compiled %s in %.1f s: %s",
        chosen.name, build.toplevel, time.monotonic() - begin, folder,
    )  # fmt: skip
    (work / "done").touch()
    try:
        work.rename(folder)
    except OSError:
        shutil.rmtree(work)  # another process was first
    return folder


def run_tests(
    build: Build,
    module: str,
    *,
    simulator: str = "icarus",
    seed: int = 1,
    testcase: str | None = None,
    waves: bool = False,
    timeout_s: float = 600,
    env: Mapping[str, str] | None = None,
    name: str | None = None,
) -> tuple[list[TestResult], Path]:
    """Run the cocotb tests of a module on a build in one simulation.

    Args:
        build: The build to simulate.
        module: Python module with the cocotb tests.
        simulator: `icarus` or `verilator`.
        seed: Seed of `cocotb.RANDOM_SEED`.
        testcase: Regular expression that selects tests; it matches the end of their full name.
        waves: Whether to record `waves.fst`.
        timeout_s: Wall-clock limit of the simulation in seconds.
        env: Variables to add to the simulator's environment.
        name: Name of the folder under `build/runs`.

    Returns:
        The results, never empty, and the folder that holds the log, the results and the waves.

    Raises:
        SimulatorMissing: The simulator is unknown or not installed.
        SimulatorError: The sources do not compile, no test ran, or the simulator ended without
            results or exceeded `timeout_s`.
    """
    folder = compile_build(build, simulator, waves=waves)
    out = build_root() / "runs" / (name or f"{module}-{folder.name}-{seed}")
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.xml"
    results.unlink(missing_ok=True)
    log = out / "run.log"
    command, full = command_and_env(
        find_simulator(simulator),
        folder,
        build.toplevel,
        module,
        seed=seed,
        results=results,
        testcase=testcase,
        waves=out / "waves.fst" if waves else None,
        env={**build.environment, **(env or {})},
    )
    _log.info("%s runs, seed %d, log %s", module, seed, log)
    _log.debug("%s", " ".join(command))
    with log.open("w") as f:
        try:
            subprocess.run(
                command,
                env=full,
                cwd=out,
                stdin=subprocess.DEVNULL,
                stdout=f,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SimulatorError(f"{module} ran for more than {timeout_s} s; log: {log}") from None
    if not results.exists():
        raise SimulatorError(f"{module} left no results:\n{log.read_text()[-3000:]}\nlog: {log}")
    if waves:
        clean_log(log)
    parsed = parse_results(results)
    if all(r.skipped for r in parsed):
        raise SimulatorError(f"{module} ran no test (filter {testcase!r}); log: {log}")
    return parsed, out


def parse_results(path: Path) -> list[TestResult]:
    """Read the JUnit file that cocotb writes."""
    out = []
    for case in ET.parse(path).iter("testcase"):
        bad = [e for tag in ("failure", "error") for e in case.iter(tag)]
        message = "\n".join(e.text or e.get("message") or "" for e in bad)
        properties = {p.get("name"): p.get("value", "") for p in case.iter("property")}
        out.append(
            TestResult(
                case.get("name", "?"),
                not bad,
                message.strip(),
                float(case.get("time", "0")),
                int(float(properties.get("sim_time_stop", "0"))),
                case.find("skipped") is not None,
            )
        )
    return out
