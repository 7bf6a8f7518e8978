# SPDX-License-Identifier: Apache-2.0
"""A QEMU that can plug in the card: one with the device `vfio-user-pci`.

`python -m ktls_cosim.qemu` unpacks Debian's, and prints how to start it.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

from ktls_cosim import debian
from ktls_cosim.errors import CosimError

SUITE = "trixie-backports"
PACKAGES = ("qemu-system-x86",)
_PROGRAM = "qemu-system-x86_64"
_DEVICE = "vfio-user-pci"


class QemuMissing(CosimError):
    """There is no QEMU with `vfio-user-pci`; the message names the command that unpacks one."""


def find_qemu() -> list[str]:
    """Return the command of a QEMU with `vfio-user-pci`: the system's, or the unpacked one.

    Raises:
        QemuMissing: there is none.
    """
    if program := shutil.which(_PROGRAM):
        done = subprocess.run(
            [program, "-device", "help"], capture_output=True, text=True, check=False
        )
        if _DEVICE in done.stdout:
            return [program]
    unpacked = debian.find(SUITE, PACKAGES)
    if unpacked is None:
        raise QemuMissing(f"no QEMU has {_DEVICE}; make qemu unpacks one beside the system")
    share = unpacked.root / "usr" / "share"
    folders = [x for name in ("qemu", "seabios") for x in ("-L", str(share / name))]
    return [*unpacked.command(f"usr/bin/{_PROGRAM}"), *folders]


def machine(socket: Path, megabytes: int = 64) -> list[str]:
    """Return the options of a machine with the card.

    Args:
        socket: that of `ktls-cosim card`.
        megabytes: memory of the guest; the card maps it, so it is shared.
    """
    device = {"driver": _DEVICE, "id": "ktls", "socket": {"type": "unix", "path": str(socket)}}
    return [
        "-M", "q35,memory-backend=ram", "-m", f"{megabytes}M",
        "-object", f"memory-backend-memfd,id=ram,size={megabytes}M,share=on",
        "-accel", "tcg", "-nodefaults", "-display", "none", "-device", json.dumps(device),
    ]  # fmt: skip


def main() -> None:
    """Unpack a QEMU if there is none, and print the command for a machine with the card."""
    try:
        command = find_qemu()
    except QemuMissing:
        print(f"unpacking {' '.join(PACKAGES)} of {SUITE}", flush=True)
        try:
            debian.unpack(SUITE, PACKAGES)
            command = find_qemu()
        except CosimError as e:
            raise SystemExit(f"no QEMU: {e}") from e
    print(shlex.join([*command, *machine(Path("/tmp/card")), "-monitor", "stdio"]))


if __name__ == "__main__":
    main()
