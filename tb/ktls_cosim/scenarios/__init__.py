# SPDX-License-Identifier: Apache-2.0
"""Scenarios: one list that runs on the model, on the RTL, and on both in lockstep.

A scenario is a coroutine function with an `Env` as its argument. It asserts the details of its
subject; the scoreboard checks every sealed and opened byte. Importing this package registers all
scenarios in `SCENARIOS`. Register one of your own with the decorator `scenario`;
its arguments name the capabilities of the device that the scenario needs.
"""

from ktls_cosim.scenarios import (  # noqa: F401  (each module registers its scenarios)
    contexts,
    errors,
    latency,
    open,  # noqa: A004
    plain_gcm,
    rings,
    seal,
    sockets,
    stress,
)
from ktls_cosim.scenarios.env import SCENARIOS, Env, Scenario, missing, scenario

__all__ = ["SCENARIOS", "Env", "Scenario", "missing", "scenario"]
