# SPDX-License-Identifier: Apache-2.0
"""Compile RTL for a simulator and run cocotb modules in it.

Compiling goes through `cocotb_tools.runner`; running is done here, because a
simulator also has to live as a child process beside a plain Python program
(`ktls_cosim.sim.remote`), with a wall-clock limit and without a shell.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

from ktls_cosim.errors import SimulatorError, SimulatorMissing
from ktls_cosim.paths import HDL, HW, ROOT, RTL, build_root
from ktls_cosim.sim.simulators import simulator


def rtl_sources() -> list[Path]:
    """The RTL of the device in compile order (`hw/rtl.f`)."""
    return [ROOT / line for line in (HW / "rtl.f").read_text().split()]


@dataclass(frozen=True)
class Build:
    """What is compiled: a top level with its sources, parameters and defines."""

    toplevel: str
    sources: tuple[Path, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)
    defines: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def block(cls, toplevel: str, **parameters: object) -> Build:
        """One block of the RTL as the top level."""
        return cls(toplevel, tuple(rtl_sources()), parameters)

    @classmethod
    def device(cls, rtl: Iterable[Path] | None = None, **parameters: object) -> Build:
        """The device with host memory and register master around it (`ktls_tb`).

        Its blocks per cycle are those of the environment variable `LANES` (1, 2 or 4), unless
        `parameters` say it.
        """
        sources = tuple(rtl if rtl is not None else rtl_sources())
        lanes = os.environ.get("LANES", "1")
        if lanes not in ("1", "2", "4"):
            raise SimulatorError(f"LANES={lanes}: the device has 1, 2 or 4 lanes")
        parameters = {"LANES": int(lanes), **parameters}
        return cls("ktls_tb", (*sources, *sorted(HDL.glob("*.v"))), parameters)

    def key(self) -> str:
        """A hash of everything that changes the result of compiling."""
        h = hashlib.sha256()
        includes = sorted([*RTL.glob("*.vh"), *(HW / "include").glob("*.vh"), *HDL.glob("*.vlt")])
        for path in (*self.sources, *includes):
            h.update(str(path).encode())
            h.update(path.read_bytes())
        h.update(repr((self.toplevel, sorted(self.parameters.items()))).encode())
        h.update(repr((sorted(self.defines.items()), sys.version)).encode())
        return h.hexdigest()[:12]


@dataclass(frozen=True)
class TestResult:
    """How one cocotb test ended."""

    name: str
    passed: bool
    message: str
    seconds: float


def compile_build(build: Build, *, waves: bool = False) -> Path:
    """Compile if nothing equal is compiled already.

    Returns:
        The folder of the compiled simulation.

    Raises:
        SimulatorMissing: the simulator is not installed.
        SimulatorError: the sources do not compile; the message ends with the compiler's output.
    """
    chosen = simulator()
    traced = waves and chosen.waves_need_a_build
    name = f"{build.toplevel}-{chosen.name}-{build.key()}{'-waves' if traced else ''}"
    folder = build_root() / "sim" / name
    if (folder / "done").exists():
        return folder
    # compile beside and rename: two processes may want the same build at once
    work = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    chosen.compile(build, work, waves=traced)
    (work / "done").touch()
    try:
        work.rename(folder)
    except OSError:
        shutil.rmtree(work)  # another process was first
    return folder


def command_and_env(
    folder: Path,
    toplevel: str,
    module: str,
    *,
    seed: int,
    results: Path,
    testcase: str | None = None,
    waves: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The command line and environment that run cocotb module `module` on a compiled build."""
    import cocotb_tools.config

    libpython = os.environ.get("LIBPYTHON_LOC") or _libpython()
    command = simulator().command(folder, waves)
    full = dict(os.environ)
    full.update(
        PATH=os.pathsep.join([os.environ["PATH"], str(cocotb_tools.config.libs_dir)]),
        PYTHONPATH=os.pathsep.join(p for p in sys.path if p),
        PYGPI_PYTHON_BIN=sys.executable,
        GPI_USERS=f"{libpython};{_cocotb_entry_point()}",
        COCOTB_TOPLEVEL=toplevel,
        COCOTB_TEST_MODULES=module,
        COCOTB_RESULTS_FILE=str(results),
        COCOTB_RANDOM_SEED=str(seed),
        TOPLEVEL_LANG="verilog",
    )
    full.setdefault("GPI_LOG_LEVEL", "ERROR")
    full.setdefault("COCOTB_LOG_LEVEL", "INFO")
    if testcase:
        full["COCOTB_TEST_FILTER"] = rf"{testcase}$"
    full.update(env or {})
    return command, full


def _cocotb_entry_point() -> str:
    """What cocotb's library loads in the simulator: its extension module and a function."""
    package = find_spec("cocotb")
    if package is not None and package.origin is not None:
        for suffix in EXTENSION_SUFFIXES:
            module = Path(package.origin).with_name("simulator" + suffix)
            if module.is_file():
                return f"{module.resolve()},initialize"
    # the same, but it imports cocotb, which takes longer than all the rest here
    import cocotb_tools.config

    entry: str = cocotb_tools.config.pygpi_entry_point()
    return entry


def _libpython() -> str:
    """The shared library of this Python, which a simulator loads.

    Raises:
        SimulatorMissing: there is none.
    """
    name = sysconfig.get_config_var("INSTSONAME") or ""
    usual = Path(sysconfig.get_config_var("LIBDIR") or "/nowhere") / name
    if ".so" in name and usual.is_file():
        return str(usual)  # the search below takes a tenth of a second
    import find_libpython

    found: str | None = find_libpython.find_libpython()
    if found is None:
        raise SimulatorMissing(
            "the shared library of Python is not installed; install it with: "
            f"apt-get install libpython3.{sys.version_info.minor}"
        )
    return found


def run_tests(
    build: Build,
    module: str,
    *,
    seed: int = 1,
    testcase: str | None = None,
    waves: bool = False,
    timeout_s: float = 600,
    env: Mapping[str, str] | None = None,
    name: str | None = None,
) -> tuple[list[TestResult], Path]:
    """Run the cocotb tests of `module` on `build` in one simulation.

    Returns:
        The results, never empty, and the folder with log, results and waves.

    Raises:
        SimulatorError: no test ran, the simulator ended early or outlived `timeout_s`.
    """
    folder = compile_build(build, waves=waves)
    out = build_root() / "runs" / (name or f"{module}-{folder.name}-{seed}")
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.xml"
    results.unlink(missing_ok=True)
    log = out / "run.log"
    command, full = command_and_env(
        folder,
        build.toplevel,
        module,
        seed=seed,
        results=results,
        testcase=testcase,
        waves=out / "waves.fst" if waves else None,
        env=env,
    )
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
    parsed = parse_results(results)
    if not parsed:
        raise SimulatorError(f"{module} ran no test (filter {testcase!r}); log: {log}")
    return parsed, out


def parse_results(path: Path) -> list[TestResult]:
    """Read cocotb's JUnit file."""
    out = []
    for case in ET.parse(path).iter("testcase"):
        bad = [e for tag in ("failure", "error") for e in case.iter(tag)]
        if case.find("skipped") is not None:
            continue
        message = "\n".join((e.get("message") or "") + (e.text or "") for e in bad)
        out.append(
            TestResult(
                case.get("name", "?"), not bad, message.strip(), float(case.get("time", "0"))
            )
        )
    return out
