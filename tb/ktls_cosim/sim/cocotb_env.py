# SPDX-License-Identifier: Apache-2.0
"""The command and the environment that start cocotb in a compiled simulation.

`cocotb_tools.runner` can only run a simulation to its end. Here a simulator also runs as a child
process of a plain Python program (`sim.remote`). It also starts faster: in the runner, the search
for libpython and the import of cocotb take longer than everything else. The price is a dependency
on names inside cocotb 2.1; `tests/sim/test_cocotb_env.py` compares all of them with
the runner's own.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

from ktls_cosim.errors import SimulatorMissing
from ktls_cosim.sim.simulators import Simulator


def command_and_env(
    simulator: Simulator,
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
    """The command line and the environment that run a cocotb module.

    Args:
        simulator: The simulator that compiled the build.
        folder: Folder of the compiled build.
        toplevel: Name of the top-level module.
        module: Python module with the cocotb tests.
        seed: Seed of `cocotb.RANDOM_SEED`.
        results: JUnit file that cocotb writes.
        testcase: Regular expression that selects tests by their full name.
        waves: FST file to record.
        env: Variables to add to the environment of this process.
    """
    import cocotb_tools.config

    full = dict(os.environ)
    libpython = full.get("LIBPYTHON_LOC") or _libpython()
    full.update(
        PATH=os.pathsep.join([full["PATH"], str(cocotb_tools.config.libs_dir)]),
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
    return simulator.command(folder, waves), full


def _cocotb_entry_point() -> str:
    """The entry for cocotb's GPI library: path of an extension module, and a function in it."""
    package = find_spec("cocotb")
    if package is not None and package.origin is not None:
        for suffix in EXTENSION_SUFFIXES:
            module = Path(package.origin).with_name("simulator" + suffix)
            if module.is_file():
                return f"{module.resolve()},initialize"
    # the same result, but slower: this imports cocotb
    import cocotb_tools.config

    entry: str = cocotb_tools.config.pygpi_entry_point()
    return entry


def _libpython() -> str:
    """The shared library of this Python, which the simulator loads.

    Raises:
        SimulatorMissing: The library is not installed.
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
