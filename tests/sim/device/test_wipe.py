# SPDX-License-Identifier: Apache-2.0
"""What is left of keys and texts in the device."""

from __future__ import annotations

from typing import Any

import pytest

from ktls_cosim.sim.build import Build
from ktls_cosim.target import Target
from support import Simulate


@pytest.mark.parametrize(
    "parameters", [{"LANES": 1}, {"LANES": 4}, {"SMALL_CORE": 1}], ids=["1", "4", "small"]
)
def test_nothing_is_left_of_a_secret(
    simulate: Simulate, target: Target, parameters: dict[str, Any]
) -> None:
    if target.rtl or target.simulator != "icarus":
        pytest.skip("the scan needs the registers of our own RTL in Icarus")
    lanes = parameters.get("LANES", 1)
    rest = {k: v for k, v in parameters.items() if k != "LANES"}
    simulate(Build.device(lanes=lanes, CONTEXTS=4, RINGS=1, **rest), "cocotb_wipe")
