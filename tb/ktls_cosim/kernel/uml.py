# SPDX-License-Identifier: Apache-2.0
"""Run scripts on a real Linux kernel: User-Mode Linux as an ordinary process.

Debian's package `user-mode-linux` contains the kernel and its tls.ko. The root file system
is that of the host, so the agent runs with the host's Python.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ktls_cosim.errors import CosimError
from ktls_cosim.kernel import agent
from ktls_cosim.paths import build_root

MODULES = Path("/usr/lib/uml/modules")
BOOT_SECONDS = 20.0
SECONDS_PER_SCRIPT = 1.0


class KernelMissing(CosimError):
    """User-Mode Linux is not installed."""


class KernelUnusable(CosimError):
    """The kernel is installed, but does not boot on this machine."""


class KernelFailed(CosimError):
    """The kernel did not play all scripts."""


def find_kernel() -> tuple[str, Path]:
    """Return the executable of the kernel and the folder of its modules.

    Raises:
        KernelMissing: The package is not installed.
    """
    program = shutil.which("linux.uml")
    folders = [p for p in MODULES.glob("*") if (p / "kernel/net/tls/tls.ko").is_file()]
    if program is None or not folders:
        raise KernelMissing(
            "User-Mode Linux is missing; install Debian's package: apt-get install user-mode-linux"
        )
    return program, max(folders)


def kernel_release() -> str:
    """Return the version of the installed kernel, such as 6.1.176.

    Raises:
        KernelMissing: The package is not installed.
    """
    release = find_kernel()[1].name
    match = re.match(r"\d+\.\d+\.\d+", release)
    return match.group() if match else release


def run_on_kernel(scripts: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]] | None]:
    """Boot the kernel, play all scripts and power it off.

    Args:
        scripts: Steps of each script.

    Returns:
        The observations of each script; None for a script that the agent cannot play.

    Raises:
        KernelMissing: The package is not installed.
        KernelUnusable: The kernel does not boot on this machine.
        KernelFailed: The kernel did not play all scripts.
    """
    program, modules = find_kernel()
    env = {**os.environ, **_preload()}
    with tempfile.TemporaryDirectory(prefix="ktls-uml-") as folder:
        given, results = Path(folder, "scripts"), Path(folder, "results")
        given.write_text("".join(json.dumps(s) + "\n" for s in scripts), encoding="ascii")
        command = [
            program, "mem=192M", "rootfstype=hostfs", "rootflags=/", "rw", "quiet",
            "con=null", "con0=null,fd:1", f"init={os.path.realpath(sys.executable)}",
            # settings of glibc in the environment of init: page faults are slow in this kernel
            "MALLOC_MMAP_THRESHOLD_=1073741824", "MALLOC_TRIM_THRESHOLD_=1073741824",
            "--", "-I", "-S", str(Path(agent.__file__).resolve()), str(modules), str(given),
            str(results),
        ]  # fmt: skip
        limit = BOOT_SECONDS + SECONDS_PER_SCRIPT * len(scripts)
        console = Path(folder, "console")
        ended = _run(command, console, {**env, "TMPDIR": folder, "HOME": folder}, limit)
        tail = console.read_text(encoding="utf-8", errors="replace")[-800:]
        if not results.exists():
            raise KernelUnusable(f"User-Mode Linux does not boot here:\n{tail}")
        if not ended:
            raise KernelFailed(f"the kernel did not finish within {limit:.0f} s:\n{tail}")
        out = [json.loads(line) for line in results.read_text(encoding="ascii").splitlines()]
    if len(out) != len(scripts):
        last = out[-1] if out and isinstance(out[-1], dict) else {}
        raise KernelFailed(
            f"the kernel played {len(out)} of {len(scripts)} scripts\n{last.get('broken', tail)}"
        )
    return [None if isinstance(result, dict) else result for result in out]


def _preload() -> dict[str, str]:
    """Return the variables that preload `xstate.c`, which the kernel needs on a CPU with AMX.

    Raises:
        KernelUnusable: The library cannot be compiled.
    """
    cpu = Path("/proc/cpuinfo")
    if not cpu.is_file() or " amx_tile" not in cpu.read_text(encoding="ascii", errors="replace"):
        return {}
    source = Path(__file__).with_name("xstate.c")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    library = build_root() / "kernel" / f"xstate-{digest}.so"
    if not library.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            raise KernelUnusable(
                "User-Mode Linux needs a C compiler on a CPU with AMX; install it with: "
                "apt-get install gcc libc6-dev"
            )
        library.parent.mkdir(parents=True, exist_ok=True)
        # compiled under another name: two processes may need it at the same time
        work = library.with_suffix(f".{os.getpid()}")
        command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(work), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KernelUnusable(f"{source} does not compile:\n{done.stderr[-800:]}")
        work.replace(library)
    return {"LD_PRELOAD": str(library)}


def _run(command: list[str], console: Path, env: dict[str, str], limit: float) -> bool:
    """Run the kernel; return False if it exceeded the limit (in seconds) and was killed."""
    with console.open("wb") as out:
        kernel = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
        )
        try:
            kernel.wait(limit)
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(kernel.pid, signal.SIGKILL)
            kernel.wait()
    return True
