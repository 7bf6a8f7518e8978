# SPDX-License-Identifier: Apache-2.0
"""The target of a simulation: the simulator, and the width of the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ktls_cosim.errors import SimulatorError

LANES = (1, 2, 4)


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
    def from_environment(
        cls, environ: Mapping[str, str], *, simulator: str | None = None, lanes: int | None = None
    ) -> Target:
        """The target that the variables `SIM` and `LANES` select.

        Only entry points (the command line, pytest's conftest) call this; everything else
        receives the target as an argument.

        Args:
            environ: The environment.
            simulator: Value of `--sim`, which replaces `SIM`.
            lanes: Value of `--lanes`, which replaces `LANES`.

        Raises:
            SimulatorError: `LANES` is not 1, 2 or 4.
        """
        width = environ.get("LANES", "1") if lanes is None else str(lanes)
        if width not in map(str, LANES):
            raise SimulatorError(f"LANES={width}: the device has 1, 2 or 4 lanes")
        return cls(simulator or environ.get("SIM", "icarus"), int(width))
