# SPDX-License-Identifier: Apache-2.0
"""The target of a simulation: the simulator, and the width of the device."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ktls_cosim.capabilities import Capabilities
from ktls_cosim.errors import SimulatorError
from ktls_cosim.sim.own_rtl import OwnRtl

LANES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Target:
    """The simulator and the device of `--port sim`.

    Attributes:
        simulator: `icarus` or `verilator`; checked when a simulation is compiled.
        lanes: 16-byte blocks that the device moves per cycle (1, 2, 4 or 8).
        rtl: RTL of the user in place of ours.
    """

    simulator: str = "icarus"
    lanes: int = 1
    rtl: OwnRtl | None = None

    @property
    def can(self) -> Capabilities:
        """The declared capabilities of the core; our core has all."""
        return self.rtl.can if self.rtl else Capabilities()

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str],
        *,
        simulator: str | None = None,
        lanes: int | None = None,
        rtl: Sequence[str] = (),
    ) -> Target:
        """The target that the variables `SIM`, `LANES` and `KTLS_RTL` select.

        Only entry points (the command line, pytest's conftest) call this; everything else
        receives the target as an argument.

        Args:
            environ: The environment.
            simulator: Value of `--sim`, which replaces `SIM`.
            lanes: Value of `--lanes`, which replaces `LANES`.
            rtl: Values of `--rtl`, which replace `KTLS_RTL`.

        Raises:
            SimulatorError: `LANES` is not 1, 2, 4 or 8, or the core does not support it.
            RtlError, CapabilitiesError: `rtl` cannot be used.
        """
        names = rtl or [n for n in environ.get("KTLS_RTL", "").split(os.pathsep) if n]
        own = OwnRtl.find(names) if names else None
        possible = own.can.lanes if own else LANES
        width = environ.get("LANES", str(possible[0])) if lanes is None else str(lanes)
        if width not in map(str, LANES):
            raise SimulatorError(f"LANES={width}: the device has 1, 2, 4 or 8 lanes")
        if own and int(width) not in possible:
            raise SimulatorError(f"LANES={width}: {own.capabilities} has lanes = {[*possible]}")
        return cls(simulator or environ.get("SIM", "icarus"), int(width), own)
