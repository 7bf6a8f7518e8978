# SPDX-License-Identifier: Apache-2.0
"""The whole device: every scenario in lockstep with the model, memory fast and stalling."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import replace

import pytest

from ktls import run_sync
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.errors import SimulatorError
from ktls_cosim.scenarios import SCENARIOS, Env, missing
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.remote import RemoteSim
from ktls_cosim.target import Target
from support import Simulate


def possible(target: Target, *names: str) -> list[str]:
    """The scenarios that the core can run; skip the test if there is none.

    Args:
        target: The core and its capabilities.
        *names: Scenarios to choose from; by default all.
    """
    if target.can.whole_blocks:
        pytest.skip("the text of TLS records has any length; the core declares whole_blocks = true")
    found = [n for n in names or SCENARIOS if not missing(n, target.can.suites)]
    if not found:
        pytest.skip(f"the core cannot run {', '.join(names)}")
    return found


def run_all(simulate: Simulate, target: Target, lanes: int, **env: str) -> None:
    """Run every scenario that the core can run."""
    names = possible(target)
    build = Build.device(lanes=lanes, own=target.rtl)
    results = simulate(build, "cocotb_device", env=env, timeout_s=600)
    assert len(results) == len(names)


def test_scenarios_in_lockstep(simulate: Simulate, target: Target) -> None:
    run_all(simulate, target, target.lanes)


def test_scenarios_with_a_slow_and_stalling_memory(simulate: Simulate, target: Target) -> None:
    run_all(simulate, target, target.lanes, KTLS_STALLING="1")


def test_scenarios_with_pushed_descriptors(simulate: Simulate, target: Target) -> None:
    run_all(simulate, target, target.lanes, KTLS_PUSH="1")


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_scenarios_with_several_lanes(simulate: Simulate, target: Target, lanes: int) -> None:
    """`LANES=4 pytest tests/sim` also runs all other tests with four lanes."""
    if lanes not in target.can.lanes:
        pytest.skip(f"the core declares lanes = {[*target.can.lanes]}")
    run_all(simulate, target, lanes, KTLS_STALLING="1" if lanes == 4 else "")


@pytest.mark.quick
def test_small_device(simulate: Simulate, target: Target) -> None:
    """The device has four contexts; the driver reads their number from CAPS."""
    names = possible(target, "hello_world", "contexts_run_out")
    simulate(
        Build.device(lanes=target.lanes, own=target.rtl, CONTEXTS=4),
        "cocotb_device",
        testcase=rf"cocotb_device\.({'|'.join(names)})",
    )


@pytest.mark.parametrize("lanes", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_device_as_synthesis_reads_it(simulate: Simulate, lanes: int) -> None:
    """S-boxes instead of tables, rotators instead of shifts, in the whole device."""
    build = replace(Build.device(lanes=lanes), defines={"KTLS_HW_STYLE": 1})
    names = "hello_world|pushed_descriptors"
    results = simulate(build, "cocotb_device", testcase=rf"cocotb_device\.({names})", timeout_s=600)
    assert len(results) == len(names.split("|"))


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
    possible(target, "many_connections")
    with RemoteSim(
        Build.device(lanes=target.lanes, own=target.rtl), simulator=simulator, name="test_remote"
    ) as port:

        def no_faults(lo: int, hi: int, read: bool, write: bool) -> None:
            raise AssertionError("not used")

        scoreboard = Scoreboard()
        env = Env(port, scoreboard, random.Random(seed), no_faults, suites=target.can.suites)
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


@pytest.mark.parametrize("lanes", [1, 4])
def test_clock_figures(simulate: Simulate, target: Target, lanes: int) -> None:
    if target.rtl:
        pytest.skip("an own core has figures of its own")
    simulate(Build.device(lanes=lanes, CONTEXTS=4, RINGS=1), "cocotb_clock")
