# SPDX-License-Identifier: Apache-2.0
"""The description of a compilation: top level, sources, parameters, defines."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ktls_cosim.capabilities import VARIABLE
from ktls_cosim.paths import HDL, HW, ROOT, RTL
from ktls_cosim.sim.own_rtl import OwnRtl

INCLUDES = (RTL, HW / "include")
"""Folders with the files that the sources include."""
INCLUDED = (".v", ".vh", ".sv", ".svh", ".h", ".inc")
"""Suffixes of the files that the sources of a user may include."""


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
        includes: Further folders for `include files, searched after `INCLUDES`.
        capabilities: Declaration of the core's capabilities, for the cocotb modules.
    """

    toplevel: str
    sources: tuple[Path, ...]
    parameters: Mapping[str, object] = field(default_factory=dict)
    defines: Mapping[str, object] = field(default_factory=dict)
    includes: tuple[Path, ...] = ()
    capabilities: Path | None = None

    @classmethod
    def block(cls, toplevel: str, own: OwnRtl | None = None, **parameters: object) -> Build:
        """A build with one block of the RTL as the top level.

        Args:
            toplevel: Name of the block.
            own: RTL of the user; used if it contains this block.
            parameters: Parameters of the block.
        """
        if own is None or toplevel not in own.modules():
            return cls(toplevel, tuple(rtl_sources()), parameters)
        sources = own.in_place_of(rtl_sources())
        return cls(toplevel, sources, parameters, own.defines, own.includes, own.capabilities)

    @classmethod
    def device(
        cls,
        rtl: Iterable[Path] | None = None,
        *,
        lanes: int = 1,
        own: OwnRtl | None = None,
        **parameters: object,
    ) -> Build:
        """The device inside its test bench of host memory and register master (`ktls_tb`).

        Args:
            rtl: Verilog files with a top level `ktls_nic`; by default those of this project.
            lanes: 16-byte blocks per cycle (1, 2, 4 or 8).
            own: RTL of the user in place of our modules.
            parameters: Further parameters of `ktls_tb`.
        """
        sources = tuple(rtl if rtl is not None else rtl_sources())
        bench = tuple(sorted(HDL.glob("*.v")))
        parameters = {"LANES": lanes, **parameters}
        if own is None:
            return cls("ktls_tb", (*sources, *bench), parameters)
        parameters = {"SUITES": own.can.suites, **parameters}
        sources = (*own.in_place_of(sources), *bench)
        return cls("ktls_tb", sources, parameters, own.defines, own.includes, own.capabilities)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the simulator's process."""
        return {VARIABLE: str(self.capabilities)} if self.capabilities else {}

    @property
    def systemverilog(self) -> bool:
        """True if any source is SystemVerilog; the simulator then reads all as SystemVerilog."""
        return any(p.suffix == ".sv" for p in self.sources)

    def key(self) -> str:
        """A hash of everything that influences the result of the compilation."""
        h = hashlib.sha256()
        headers = [path for folder in INCLUDES for path in folder.rglob("*.vh")]
        headers += [p for d in self.includes for p in d.glob("*") if p.suffix in INCLUDED]
        for path in (*self.sources, *sorted(headers), *sorted(HDL.glob("*.vlt"))):
            h.update(str(path).encode())
            h.update(path.read_bytes())
        h.update(repr((self.toplevel, sorted(self.parameters.items()))).encode())
        h.update(repr((sorted(self.defines.items()), self.includes, sys.version)).encode())
        return h.hexdigest()[:12]
