# SPDX-License-Identifier: Apache-2.0
"""CPU time of a record through the C driver, the card and memory outside the simulator."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.errors import CompilerMissing, CosimError
from ktls_cosim.paths import ROOT, build_root

_SIZE = 16384
_KEYS = TrafficKeys(0x0303, 52, bytes(range(32)), b"SALT", bytes(8), 0)
_FEW, _MANY = 2, 26
_LIMIT_S = 300


class CDriver:
    """Seals records of 16 KiB with `driver/c/ktls_play` on `ktls-cosim card --port sim`.

    Args:
        lanes: 16-byte blocks per cycle of the device.

    Raises:
        CompilerMissing: make or the compiler is not installed.
        CosimError: The driver does not compile.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._folder = build_root() / "bench-c"
        self._folder.mkdir(exist_ok=True)
        for program in ("make", "cc"):
            if shutil.which(program) is None:
                raise CompilerMissing(f"{program} is not installed: apt-get install make gcc")
        done = subprocess.run(
            ["make", "-C", str(ROOT / "driver" / "c"), f"OUT={self._folder}", "CC=cc"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CosimError(f"the C driver does not compile:\n{done.stdout}{done.stderr}")

    def record(self) -> float:
        """CPU seconds of a record in all processes: the slope between a short and a long run."""
        return (self._run(_MANY) - self._run(_FEW)) / (_MANY - _FEW)

    def _run(self, records: int) -> float:
        """CPU seconds of client, card and simulator for so many records."""
        socket = self._folder / "card"
        command = [sys.executable, "-m", "ktls_cosim", "card", "--socket", str(socket)]
        command += ["--port", "sim", "--lanes", str(self._lanes)]
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as card:
            try:
                assert card.stdout is not None
                if not card.stdout.readline().startswith("card at "):
                    raise CosimError("the card does not start")
                self._seal(socket, records)
            finally:
                card.send_signal(signal.SIGINT)
                card.communicate(timeout=_LIMIT_S)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime

    def _seal(self, socket: Path, records: int) -> None:
        """Seal records one by one, and compare each with the golden model."""
        texts = [bytes((number + i) & 255 for i in range(_SIZE)) for number in range(records)]
        commands = [
            f"add 0 0 0 {_KEYS.version} {_KEYS.cipher} {_KEYS.salt.hex()} {_KEYS.iv.hex()} "
            f"{bytes(8).hex()} {_KEYS.key.hex()}"
        ]
        for text in texts:
            commands += [f"seal 0 23 0 1 {text.hex()}", "wait"]
        commands.append("del 0")
        done = subprocess.run(
            [str(self._folder / "ktls_play"), str(socket), "1", "5"],
            input="".join(f"{command}\n" for command in commands),
            capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
        sealed = [line.split()[-1] for line in done.stdout.splitlines()[1:-1]]
        wanted = [seal_record(_KEYS, n, 23, text).wire.hex() for n, text in enumerate(texts)]
        if sealed != wanted:
            raise CosimError(f"the C driver sealed wrong records, or none:\n{done.stderr}")
