# SPDX-License-Identifier: Apache-2.0
"""The target of a simulation: the simulator, and the width of the device."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ktls_cosim.capabilities import Capabilities
from ktls_cosim.errors import SimulatorError
from ktls_cosim.sim.own_rtl import OwnRtl


@dataclass(frozen=True, slots=True)
class Target:
    """The simulator and the device of `--port sim`.

    Attributes:
        simulator: `icarus` or `verilator`; checked when a simulation is compiled.
        lanes: 16-byte blocks that the device moves per cycle (1, 2 or 4).
        rtl: RTL of the user in place of ours.
    """

    simulator: str = "icarus"
    lanes: int = 1
    rtl: OwnRtl | None = None

    @property
    def can(self) -> Capabilities:
        """The declared capabilities of the core; our core has all."""
        return self.rtl.can if self.rtl else Capabilities()

    @property
    def options(self) -> str:
        """The command-line options that select this core again, with a space before each."""
        return self.rtl.options if self.rtl else ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], rtl: Sequence[str] = ()) -> Target:
        """The target that the variables `SIM`, `LANES` and `KTLS_RTL` select.

        Only entry points (the command line, pytest's conftest) call this; everything else
        receives the target as an argument.

        Args:
            environ: The environment.
            rtl: Values of the option `--rtl`, which override `KTLS_RTL`.

        Raises:
            SimulatorError: `LANES` is not 1, 2 or 4, or the core does not support it.
            RtlError, CapabilitiesError: `rtl` cannot be used.
        """
        names = rtl or [n for n in environ.get("KTLS_RTL", "").split(os.pathsep) if n]
        own = OwnRtl.find(names) if names else None
        lanes = environ.get("LANES", str(own.can.lanes[0] if own else 1))
        if lanes not in ("1", "2", "4"):
            raise SimulatorError(f"LANES={lanes}: the device has 1, 2 or 4 lanes")
        if own and int(lanes) not in own.can.lanes:
            raise SimulatorError(
                f"LANES={lanes}: {own.capabilities} has lanes = {[*own.can.lanes]}"
            )
        return cls(environ.get("SIM", "icarus"), int(lanes), own)
