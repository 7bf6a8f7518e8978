# SPDX-License-Identifier: Apache-2.0
"""The capabilities of a GCM core, declared in `capabilities.toml` beside its sources.

The tests check the declared capabilities and report all others as left out. A core without the
file must have all of them. The defaults are:

    seal = true             # encrypts
    open = true             # decrypts
    key_sizes = [128, 256]  # bits
    whole_blocks = false    # true: text must be a multiple of 16 bytes; AAD is free
    lanes = [1, 2, 4, 8]       # values of the parameter LANES
    cycles_per_block = 1    # clock cycles between two words of text; 1: the throughput formula
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ktls_cosim.errors import CosimError
from ktls_hw import layout

FILE = "capabilities.toml"
VARIABLE = "KTLS_CAPABILITIES"
"""Environment variable with the path of the file, for cocotb in the simulator's process."""

BLOCK = 16
_KEY_SIZES = (128, 256)
_LANES = (1, 2, 4, 8)
_SLOWEST = 10_000
# bits of SUITES by key size
_TX = {
    128: layout.SUITES_TX_TLS12_GCM128.put(1) | layout.SUITES_TX_TLS13_GCM128.put(1),
    256: layout.SUITES_TX_TLS12_GCM256.put(1) | layout.SUITES_TX_TLS13_GCM256.put(1),
}
_RX = {
    128: layout.SUITES_RX_TLS12_GCM128.put(1) | layout.SUITES_RX_TLS13_GCM128.put(1),
    256: layout.SUITES_RX_TLS12_GCM256.put(1) | layout.SUITES_RX_TLS13_GCM256.put(1),
}
_RAW = {128: layout.SUITES_RAW_GCM128.put(1), 256: layout.SUITES_RAW_GCM256.put(1)}


class CapabilitiesError(CosimError):
    """The declaration of a core is invalid; the message names the file, the entry and the rule."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capabilities of a core; by default all.

    Attributes:
        seal: The core encrypts.
        open: The core decrypts.
        key_sizes: Sizes of AES keys in bits, of 128 and 256.
        whole_blocks: Text must be a multiple of 16 bytes.
        lanes: Values of the parameter LANES, of 1, 2, 4 and 8.
        cycles_per_block: Clock cycles between two words of text, rounded up. A core with 1 must
            meet the throughput formula; for other values the time limits grow.
    """

    seal: bool = True
    open: bool = True
    key_sizes: tuple[int, ...] = _KEY_SIZES
    whole_blocks: bool = False
    lanes: tuple[int, ...] = _LANES
    cycles_per_block: int = 1

    @classmethod
    def load(cls, path: Path | str | None) -> Capabilities:
        """Read a declaration.

        Args:
            path: The file; None means that the core has all capabilities.

        Raises:
            CapabilitiesError: The file is missing, is not TOML, or has an invalid entry.
        """
        if path is None:
            return cls()
        # imported here: a run without a declaration starts faster
        import tomllib

        try:
            entries = tomllib.loads(Path(path).read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
            raise CapabilitiesError(f"{path}: {e}") from e
        try:
            return cls._checked(entries)
        except ValueError as e:
            raise CapabilitiesError(f"{path}: {e}") from None

    @classmethod
    def _checked(cls, entries: dict[str, Any]) -> Capabilities:
        known = [f.name for f in fields(cls)]
        for name in entries:
            if name not in known:
                raise ValueError(f"unknown entry {name!r}; known are {', '.join(known)}")
        can = cls(
            seal=_flag(entries, "seal", True),
            open=_flag(entries, "open", True),
            key_sizes=_choice(entries, "key_sizes", _KEY_SIZES),
            whole_blocks=_flag(entries, "whole_blocks", False),
            lanes=_choice(entries, "lanes", _LANES),
            cycles_per_block=_count(entries, "cycles_per_block", 1, _SLOWEST),
        )
        if not can.seal and not can.open:
            raise ValueError("seal and open are both false: nothing is left to judge")
        return can

    @property
    def fast(self) -> bool:
        """True if the core must meet the throughput formula."""
        return self.cycles_per_block == 1

    @property
    def directions(self) -> tuple[bool, ...]:
        """Values of `cmd_decrypt` that the core supports."""
        return (*((False,) if self.seal else ()), *((True,) if self.open else ()))

    @property
    def key_bytes(self) -> tuple[int, ...]:
        """Lengths of keys in bytes."""
        return tuple(size // 8 for size in self.key_sizes)

    @property
    def suites(self) -> int:
        """The value of the register SUITES of a device with this core.

        The bits of plain AES-GCM apply to the directions of the TLS suites.
        """
        value = 0
        for size in self.key_sizes:
            value |= _RAW[size]
            value |= _TX[size] if self.seal else 0
            value |= _RX[size] if self.open else 0
        return value

    def allows(self, length: int) -> bool:
        """True if a text may have this many bytes."""
        return not self.whole_blocks or length % BLOCK == 0

    def patience(self, cycles: int) -> int:
        """Scale a time limit, made for a core with 32 cycles per block, to this core."""
        return cycles * max(1, -(-self.cycles_per_block // 32))

    def left_out(self) -> tuple[str, ...]:
        """Everything that the tests leave out, each with the entry that excludes it."""
        out = []
        if not self.seal:
            out.append("sealing (seal = false)")
        if not self.open:
            out.append("opening (open = false)")
        out += [f"AES-{size} (key_sizes)" for size in _KEY_SIZES if size not in self.key_sizes]
        if self.whole_blocks:
            out.append("text that ends within a block (whole_blocks = true)")
        out += [f"LANES={n} (lanes)" for n in _LANES if n not in self.lanes]
        if not self.fast:
            out.append(f"the throughput formula (cycles_per_block = {self.cycles_per_block})")
        return tuple(out)


def _flag(entries: dict[str, Any], name: str, default: bool) -> bool:
    value = entries.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} = {value!r} must be true or false")
    return value


def _choice(entries: dict[str, Any], name: str, possible: tuple[int, ...]) -> tuple[int, ...]:
    value = entries.get(name, list(possible))
    numbers = isinstance(value, list) and all(type(v) is int and v in possible for v in value)
    if not value or not numbers:
        raise ValueError(f"{name} = {value!r} must be a list of some of {list(possible)}")
    return tuple(p for p in possible if p in value)


def _count(entries: dict[str, Any], name: str, default: int, most: int) -> int:
    value = entries.get(name, default)
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name} = {value!r} must be a number from 1 to {most}")
    return value
