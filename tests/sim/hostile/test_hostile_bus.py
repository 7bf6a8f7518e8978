# SPDX-License-Identifier: Apache-2.0
"""The device behind a bus that does what no bus should."""

from __future__ import annotations

import pytest

from ktls_cosim.sim.build import Build
from ktls_cosim.target import Target
from support import Simulate


def _build(target: Target, lanes: int) -> Build:
    if target.rtl:
        pytest.skip("the attacks look at registers of our own RTL")
    return Build.block("ktls_nic", LANES=lanes, CONTEXTS=4, RINGS=2)


def test_attacks(simulate: Simulate, target: Target) -> None:
    simulate(_build(target, 1), "cocotb_attacks", timeout_s=500)


@pytest.mark.parametrize(("lanes", "count"), [(1, 40), (4, 20)])
def test_random_faults(simulate: Simulate, target: Target, lanes: int, count: int) -> None:
    simulate(_build(target, lanes), "cocotb_faults", env={"KTLS_FAULTS": str(count)})


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_two_thousand_faults(simulate: Simulate, target: Target, part: int) -> None:
    """Four parts, because a machine with other work takes half an hour for one."""
    env = {"KTLS_FAULTS": "500", "KTLS_PART": str(part)}
    simulate(_build(target, 1), "cocotb_faults", env=env, timeout_s=1800)
