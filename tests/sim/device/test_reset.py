# SPDX-License-Identifier: Apache-2.0
"""Resets, fatal errors of the device, and a dead bus."""

from __future__ import annotations

import pytest

from ktls_cosim.sim.build import Build
from ktls_cosim.target import Target
from support import Simulate


def test_resets_and_dead_ends(simulate: Simulate, target: Target) -> None:
    """The seed selects one cycle in twelve; `make soak` tries every cycle."""
    simulate(
        Build.device(lanes=target.lanes, CONTEXTS=2), "cocotb_reset", env={"KTLS_RESET_EVERY": "12"}
    )


@pytest.mark.slow
def test_a_reset_at_every_cycle(simulate: Simulate, target: Target) -> None:
    simulate(Build.device(lanes=target.lanes, CONTEXTS=2), "cocotb_reset", timeout_s=1200)
