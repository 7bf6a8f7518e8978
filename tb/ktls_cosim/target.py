# SPDX-License-Identifier: Apache-2.0
"""The target of a simulation: the simulator, and the width of the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ktls_cosim.errors import SimulatorError


@dataclass(frozen=True, slots=True)
class Target:
    """The simulator and the device of `--port sim`.

    Attributes:
        simulator: `icarus` or `verilator`; checked when a simulation is compiled.
        lanes: 16-byte blocks that the device moves per cycle (1, 2 or 4).
    """

    simulator: str = "icarus"
    lanes: int = 1

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Target:
        """The target that the variables `SIM` and `LANES` select.

        Only entry points (the command line, pytest's conftest) call this; everything else
        receives the target as an argument.

        Raises:
            SimulatorError: `LANES` is not 1, 2 or 4.
        """
        lanes = environ.get("LANES", "1")
        if lanes not in ("1", "2", "4"):
            raise SimulatorError(f"LANES={lanes}: the device has 1, 2 or 4 lanes")
        return cls(environ.get("SIM", "icarus"), int(lanes))
