# SPDX-License-Identifier: Apache-2.0
"""Every scenario on the RTL in lockstep with the functional model, inside one simulation."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
import pytest

from ktls_cosim import capabilities
from ktls_cosim.capabilities import Capabilities
from ktls_cosim.check.lockstep import LockstepPort
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.paths import ROOT
from ktls_cosim.reproduce import command_line
from ktls_cosim.scenarios import SCENARIOS, Env, Scenario, missing
from ktls_cosim.scenarios.stress import stress
from ktls_cosim.sim.port import SimPort
from ktls_hw.model import ModelMemory, NicModel

SUITES = Capabilities.load(os.environ.get(capabilities.VARIABLE)).suites
# the memory in the simulation outlives a scenario, so the memory of the model must as well
MEMORY = ModelMemory()
# a slow and randomly stalling memory: latency in cycles, stalled cycles of 256
STALLING = {
    "latency": 50, "stall_ar": 60, "stall_r": 60, "stall_aw": 60, "stall_w": 60, "stall_b": 60,
}  # fmt: skip


async def _run(dut: Any, name: str, scenario: Scenario) -> None:
    if lacking := missing(name, SUITES):
        pytest.skip(f"the core lacks {', '.join(lacking)}")
    stalling = bool(os.environ.get("KTLS_STALLING"))
    host = dut.host
    for knob, value in STALLING.items():
        getattr(host, knob).value = value if stalling else int(knob == "latency")
    host.err_resp.value = 2 + (cocotb.RANDOM_SEED >> 32 & 1)  # SLVERR or DECERR
    host.stall_seed.value = cocotb.RANDOM_SEED & 0xFFFFFFFF
    port = SimPort(dut)
    await port.ready()
    port.watch()
    model = NicModel(
        MEMORY, contexts=int(dut.CONTEXTS.value), lanes=len(dut.m_wdata) // 128,
        rings=int(dut.RINGS.value), suites=SUITES,
    )  # fmt: skip
    MEMORY.heal()

    def fail_bus(lo: int, hi: int, read: bool, write: bool) -> None:
        MEMORY.heal()
        if lo != hi:
            MEMORY.fail(lo, hi, read=read, write=write)
        host.err_lo.value = lo
        host.err_hi.value = hi
        host.err_read.value = int(read)
        host.err_write.value = int(write)

    lockstep = LockstepPort(port, model)
    scoreboard = Scoreboard(
        command_line(
            "pytest", str(ROOT / "tests/sim/device/test_device.py"), f"--rtl-test={name}",
            f"--rtl-seed={cocotb.RANDOM_SEED}",
        )
    )  # fmt: skip
    env = Env(
        lockstep, scoreboard, random.Random(cocotb.RANDOM_SEED), fail_bus, lockstep=True,
        suites=SUITES, push="KTLS_PUSH" in os.environ,
    )  # fmt: skip
    await scenario(env)
    scoreboard.finish()
    await lockstep.compare_quiet()
    assert lockstep.compared > 10
    dut._log.info(
        "%s: %d records checked at the device, %d on the wire, %d refused, %d comparisons",
        name, scoreboard.device_records, scoreboard.wire_records, scoreboard.device_refused,
        lockstep.compared,
    )  # fmt: skip


async def _long_stress(env: Env) -> None:
    await stress(env, int(os.environ["KTLS_JOBS"]))


def _test(name: str, scenario: Scenario) -> object:
    async def run(dut: Any) -> None:
        await _run(dut, name, scenario)

    run.__name__ = run.__qualname__ = name
    return cocotb.test(timeout_time=60, timeout_unit="ms")(run)


globals().update({name: _test(name, scenario) for name, scenario in SCENARIOS.items()})
if "KTLS_JOBS" in os.environ:
    long_stress = _test("long_stress", _long_stress)
