# SPDX-License-Identifier: Apache-2.0
"""Resets, errors that end the device, and a dead bus."""

from __future__ import annotations

import pytest

from ktls_cosim.sim.runner import Build


def test_resets_and_dead_ends(simulate) -> None:
    """A share of all cycles, chosen by the seed; `make soak` tries every cycle."""
    simulate(Build.device(CONTEXTS=2), "cocotb_reset", env={"KTLS_RESET_EVERY": "12"})


@pytest.mark.slow
def test_a_reset_at_every_cycle(simulate) -> None:
    simulate(Build.device(CONTEXTS=2), "cocotb_reset", timeout_s=1200)
