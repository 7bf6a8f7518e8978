# SPDX-License-Identifier: Apache-2.0
"""The system call numbers of `run` equal those of the kernel headers."""

from __future__ import annotations

import platform
import shutil
import subprocess

import pytest

from ktls_cosim.run import seccomp
from support import missing

# arm64 uses the generic table, which every machine with kernel headers has
GENERIC = ("aarch64", "asm-generic/unistd.h")
OWN = (platform.machine(), "asm/unistd.h")


def numbers(header: str, names: list[str]) -> dict[str, int]:
    """Let the preprocessor expand `__NR_*`."""
    cc = shutil.which("cc")
    if cc is None:
        missing("a C compiler", "apt-get install gcc libc6-dev")
    source = f"#include <{header}>\n" + "".join(f"value {n} __NR_{n}\n" for n in names)
    done = subprocess.run(
        [cc, "-E", "-P", "-"], input=source, capture_output=True, text=True, check=False
    )
    if done.returncode:
        missing(f"the header {header}", "apt-get install linux-libc-dev")
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("value ")]
    return {name: int(number) for _, name, number in lines}


@pytest.mark.parametrize(("machine", "header"), sorted({GENERIC, OWN}))
def test_system_call_numbers(machine: str, header: str) -> None:
    arch = seccomp.ARCHS[machine]
    expected = {"seccomp": arch.seccomp, "pidfd_getfd": seccomp.PIDFD_GETFD, **arch.calls}
    assert numbers(header, list(expected)) == expected


def test_every_architecture_has_the_trapped_calls() -> None:
    for arch in seccomp.ARCHS.values():
        assert {"sendmsg", "recvmsg", "setsockopt", "getsockopt", "ioctl"} <= arch.calls.keys()
