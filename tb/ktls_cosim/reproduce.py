# SPDX-License-Identifier: Apache-2.0
"""The line that repeats a run exactly, for the reader to paste into a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

_VARIABLES = ("SIM", "LANES", "KTLS_RTL")


def program(name: str) -> str:
    """The shell word that starts a program of this Python environment.

    Args:
        name: Name of the console script: `ktls-cosim` or `pytest`.
    """
    script = Path(sys.executable).with_name(name)
    if not script.is_file():
        return f"{shlex.quote(sys.executable)} -m {name.replace('-', '_')}"
    found = shutil.which(name)
    if found and Path(found).samefile(script):
        return name
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))


def command_line(name: str, *args: str) -> str:
    """A command with the variables that select simulator, lanes and RTL."""
    variables = [f"{v}={shlex.quote(os.environ[v])}" for v in _VARIABLES if v in os.environ]
    return " ".join((*variables, program(name), *map(shlex.quote, args)))


def this_command() -> str:
    """The command that started this process, with all its arguments."""
    script = Path(sys.argv[0])
    if script.name == "ktls-cosim" or script.parts[-2:] == ("ktls_cosim", "__main__.py"):
        return command_line("ktls-cosim", *sys.argv[1:])
    return shlex.join((sys.executable, *sys.argv))
