# SPDX-License-Identifier: Apache-2.0
"""The whole device: every scenario in lockstep with the model, fast and moody memory."""

from __future__ import annotations

import random

import pytest

from ktls import run_sync
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.errors import SimulatorError
from ktls_cosim.scenarios import SCENARIOS, Env
from ktls_cosim.sim.runner import Build


def test_scenarios_in_lockstep(simulate) -> None:
    results = simulate(Build.device(), "cocotb_device")
    assert len(results) == len(SCENARIOS)


def test_scenarios_with_a_slow_and_pausing_memory(simulate) -> None:
    results = simulate(Build.device(), "cocotb_device", env={"KTLS_MOODY": "1"})
    assert len(results) == len(SCENARIOS)


@pytest.mark.parametrize("lanes", [2, 4])
def test_scenarios_with_several_lanes(simulate, lanes: int) -> None:
    """All of `tests/sim` passes with them: `LANES=4 pytest tests/sim`."""
    moody = "1" if lanes == 4 else ""
    build = Build.device(LANES=lanes)
    results = simulate(build, "cocotb_device", env={"KTLS_MOODY": moody})
    assert len(results) == len(SCENARIOS)


def test_small_device(simulate) -> None:
    """Another number of contexts: the driver reads it from CAPS."""
    simulate(
        Build.device(CONTEXTS=4),
        "cocotb_device",
        testcase=r"cocotb_device\.(hello_world|contexts_run_out)",
    )


# what a core could get wrong; all scenarios run on the small core in `make soak`
_CORE = (
    "hello_world|aes256_hello_world|tls13_hello_world|many_connections|resync|bus_errors|"
    "rekey_with_records_queued|reset_with_records_under_way|seal_and_open_mixed|random_stress|"
    "open_refuses_what_is_not_authentic"
)


def test_another_core_in_the_same_place(simulate) -> None:
    """The small core under the same device, driver and checks."""
    results = simulate(
        Build.device(SMALL_CORE=1, LANES=1), "cocotb_device", testcase=rf"cocotb_device\.({_CORE})"
    )
    assert len(results) == len(_CORE.split("|"))


@pytest.mark.slow
def test_every_scenario_on_the_small_core(simulate) -> None:
    results = simulate(Build.device(SMALL_CORE=1, LANES=1), "cocotb_device", timeout_s=1200)
    assert len(results) == len(SCENARIOS)


def test_simulator_as_a_child_process(simulator: None, seed: int) -> None:
    """Plain Python uses the RTL as if it were a card."""
    from ktls_cosim.sim.remote import RemoteSim

    with RemoteSim(name="test_remote") as port:

        def no_faults(lo: int, hi: int, read: bool, write: bool) -> None:
            raise AssertionError("not used")

        scoreboard = Scoreboard()
        env = Env(port, scoreboard, random.Random(seed), no_faults)
        run_sync(SCENARIOS["many_connections"](env))
        scoreboard.finish()
        assert scoreboard.device_records == scoreboard.wire_records > 20
        with pytest.raises(ValueError, match="outside"):
            port.mem.read(port.mem.size - 4, 8)


def test_a_dead_simulator_is_an_error_with_its_log(simulator: None) -> None:
    from ktls_cosim.sim.remote import RemoteSim

    with RemoteSim(name="test_dead") as port:
        run_sync(port.read32(0))
        port._process.kill()
        with pytest.raises(SimulatorError, match=r"run\.log"):
            run_sync(port.read32(0))
