# SPDX-License-Identifier: Apache-2.0
"""The whole device: every scenario in lockstep with the model, memory fast and stalling."""

from __future__ import annotations

import os
import random
import signal

import pytest

from ktls import run_sync
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.errors import SimulatorError
from ktls_cosim.scenarios import SCENARIOS, Env
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.remote import RemoteSim
from ktls_cosim.target import Target
from support import Simulate


def test_scenarios_in_lockstep(simulate: Simulate, target: Target) -> None:
    results = simulate(Build.device(lanes=target.lanes), "cocotb_device")
    assert len(results) == len(SCENARIOS)


def test_scenarios_with_a_slow_and_stalling_memory(simulate: Simulate, target: Target) -> None:
    results = simulate(
        Build.device(lanes=target.lanes), "cocotb_device", env={"KTLS_STALLING": "1"}
    )
    assert len(results) == len(SCENARIOS)


@pytest.mark.parametrize("lanes", [2, 4])
def test_scenarios_with_several_lanes(simulate: Simulate, lanes: int) -> None:
    """`LANES=4 pytest tests/sim` also runs all other tests with four lanes."""
    stalling = "1" if lanes == 4 else ""
    build = Build.device(lanes=lanes)
    results = simulate(build, "cocotb_device", env={"KTLS_STALLING": stalling})
    assert len(results) == len(SCENARIOS)


@pytest.mark.quick
def test_small_device(simulate: Simulate, target: Target) -> None:
    """The device has four contexts; the driver reads their number from CAPS."""
    simulate(
        Build.device(lanes=target.lanes, CONTEXTS=4),
        "cocotb_device",
        testcase=r"cocotb_device\.(hello_world|contexts_run_out)",
    )


# scenarios that depend on the core; `make soak` runs all of them on the small core
_CORE = (
    "hello_world|aes256_hello_world|tls13_hello_world|many_connections|resync|bus_errors|"
    "rekey_with_records_queued|reset_with_records_in_flight|seal_and_open_mixed|random_stress|"
    "open_rejects_forged_records"
)


def test_small_core_in_the_device(simulate: Simulate) -> None:
    """The small core in the same device, with the same driver and checks."""
    results = simulate(
        Build.device(SMALL_CORE=1), "cocotb_device", testcase=rf"cocotb_device\.({_CORE})"
    )
    assert len(results) == len(_CORE.split("|"))


@pytest.mark.slow
def test_every_scenario_on_the_small_core(simulate: Simulate) -> None:
    results = simulate(Build.device(SMALL_CORE=1), "cocotb_device", timeout_s=1200)
    assert len(results) == len(SCENARIOS)


@pytest.mark.quick
def test_simulator_as_a_child_process(simulator: str, target: Target, seed: int) -> None:
    """Plain Python uses the RTL like a plugged-in card."""
    with RemoteSim(
        Build.device(lanes=target.lanes), simulator=simulator, name="test_remote"
    ) as port:

        def no_faults(lo: int, hi: int, read: bool, write: bool) -> None:
            raise AssertionError("not used")

        scoreboard = Scoreboard()
        env = Env(port, scoreboard, random.Random(seed), no_faults)
        run_sync(SCENARIOS["many_connections"](env))
        scoreboard.finish()
        assert scoreboard.device_records == scoreboard.wire_records > 20
        with pytest.raises(ValueError, match="outside"):
            port.mem.read(port.mem.size - 4, 8)


def test_a_dead_simulator_is_an_error_with_its_log(simulator: str) -> None:
    with RemoteSim(simulator=simulator, name="test_dead") as port:
        run_sync(port.read32(0))
        os.kill(port.pid, signal.SIGKILL)
        with pytest.raises(SimulatorError, match=r"run\.log"):
            run_sync(port.read32(0))
