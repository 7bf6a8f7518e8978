# SPDX-License-Identifier: Apache-2.0
"""The description of a compilation: top level, sources, parameters, defines."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ktls_cosim.paths import HDL, HW, ROOT, RTL

INCLUDES = (RTL, HW / "include")
"""Folders with the files that the sources include."""


def rtl_sources() -> list[Path]:
    """The RTL of the device in compile order (`hw/rtl.f`)."""
    return [ROOT / line for line in (HW / "rtl.f").read_text().split()]


@dataclass(frozen=True)
class Build:
    """Everything that a simulator compiles.

    Attributes:
        toplevel: Name of the top-level module.
        sources: Verilog files.
        parameters: Parameters of the top level.
        defines: Preprocessor macros.
    """

    toplevel: str
    sources: tuple[Path, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)
    defines: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def block(cls, toplevel: str, **parameters: object) -> Build:
        """A build with one block of the RTL as the top level."""
        return cls(toplevel, tuple(rtl_sources()), parameters)

    @classmethod
    def device(
        cls, rtl: Iterable[Path] | None = None, *, lanes: int = 1, **parameters: object
    ) -> Build:
        """The device inside its test bench of host memory and register master (`ktls_tb`).

        Args:
            rtl: Verilog files with a top level `ktls_nic`; by default those of this project.
            lanes: 16-byte blocks per cycle (1, 2 or 4).
            parameters: Further parameters of `ktls_tb`.
        """
        sources = tuple(rtl if rtl is not None else rtl_sources())
        parameters = {"LANES": lanes, **parameters}
        return cls("ktls_tb", (*sources, *sorted(HDL.glob("*.v"))), parameters)

    def key(self) -> str:
        """A hash of everything that influences the result of the compilation."""
        h = hashlib.sha256()
        headers = [path for folder in INCLUDES for path in folder.rglob("*.vh")]
        for path in (*self.sources, *sorted(headers), *sorted(HDL.glob("*.vlt"))):
            h.update(str(path).encode())
            h.update(path.read_bytes())
        h.update(repr((self.toplevel, sorted(self.parameters.items()))).encode())
        h.update(repr((sorted(self.defines.items()), sys.version)).encode())
        return h.hexdigest()[:12]
