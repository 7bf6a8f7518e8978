# SPDX-License-Identifier: Apache-2.0
"""A log of register accesses with their times, which finds the place in a wave file.

One line per access: time in nanoseconds, cycle, `read` or `write`, register, value. It is written
while the simulation runs, so it also shows where a driver waits that a debugger has stopped.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ktls_cosim.check.rings import register_name
from ktls_cosim.port import NS_PER_CYCLE, moment
from ktls_hw.layout import RING_COUNT, Reg

NAME = "registers.log"
"""Name of the log, beside the waves."""
_LINE = re.compile(r" *(\d+) ns +cycle (\d+) +(read|write) +(\S+) +(0x[0-9a-f]+)\n")
_NAMES = {reg.name.replace("RING0", f"RING{ring}", 1) for reg in Reg for ring in range(RING_COUNT)}


class Mark(NamedTuple):
    """The accesses of interest: those of a register, or of one value; by default all."""

    register: str | None = None
    value: int | None = None

    @classmethod
    def parse(cls, text: str) -> Mark:
        """Read REGISTER or REGISTER=VALUE.

        Raises:
            ValueError: There is no such register, or the value is no number.
        """
        name, given, value = text.partition("=")
        if name not in _NAMES:
            raise ValueError(f"no register {name}; the names are those of docs/registers.md")
        return cls(name, int(value, 0) if given else None)

    def __str__(self) -> str:
        name = self.register or "any register"
        return name if self.value is None else f"{name}={self.value:#x}"


class Access(NamedTuple):
    """One access to a register; `time_ns` is the time at which it begins."""

    time_ns: int
    kind: str
    register: str
    value: int

    def __str__(self) -> str:
        return f"{self.kind} {self.register} {self.value:#x} at {moment(self.time_ns)}"


class RegisterLog:
    """Writes the log.

    Args:
        path: The file; it is emptied, and has each line at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text("")

    def note(self, time_ns: int, kind: str, addr: int, value: int) -> None:
        """Note a `read` or `write` that has begun at a time in nanoseconds."""
        cycle = time_ns // NS_PER_CYCLE
        name = register_name(addr)
        line = f"{time_ns:>10} ns  cycle {cycle:<9}  {kind:<5}  {name:<18}  {value:#010x}"
        with self._path.open("a", encoding="ascii") as file:
            print(line, file=file)


def find(log: Path, mark: Mark) -> Access | None:
    """Return the last access that a mark names, None without one."""
    found = None
    with log.open(encoding="ascii") as file:
        for line in file:
            m = _LINE.fullmatch(line)
            if m is None:
                continue  # cut off: the simulator was killed
            access = Access(int(m[1]), m[3], m[4], int(m[5], 16))
            if mark.register in (None, access.register) and mark.value in (None, access.value):
                found = access
    return found
