# SPDX-License-Identifier: Apache-2.0
"""Random jobs, and a hash over all outputs of the device in every cycle."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge
from cocotb.utils import get_sim_time

from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.check.rules import on_purpose
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.paths import ROOT
from ktls_cosim.reproduce import command_line
from ktls_cosim.scenarios.rig import Rig
from ktls_cosim.sim.port import SimPort
from ktls_hw.layout import SqeCtx, SqeRecord


async def _work(rig: Rig, rng: random.Random) -> None:
    """A few records in both directions, some invalid or forged, and sometimes a reset."""
    await rig.reset()
    rig.release()
    for c in range(3):
        key = rng.randbytes(rng.choice((16, 32)))
        version = rng.choice((0x0303, 0x0304))
        await rig.set_context(c, key, version=version, iv=rng.randbytes(8), receive=c == 2)
    keys = TrafficKeys(version, 52 if len(key) == 32 else 51, key, b"SALT", bytes(8), 0)
    jobs: list[SqeCtx | SqeRecord] = []
    for _ in range(rng.randint(2, 8)):
        text = rng.randbytes(rng.choice((0, 1, 16, 40, 200)))
        if rng.random() < 0.3:
            record = bytearray(seal_record(keys, 0, 23, text).wire)
            record[-1] ^= rng.choice((0, 0, 1))
            jobs.append(rig.open_descriptor(2, bytes(record), tls13=version == 0x0304)[0])
        else:
            jobs.append(rig.seal_descriptor(rng.choice((0, 1, 7)), text)[0])
    if rng.random() < 0.3:
        jobs.insert(1, rig.delete_descriptor(rng.randrange(3)))
    await rig.post(*jobs)
    if rng.random() < 0.8:
        await rig.drain()
    else:
        await rig.reset()


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def hash_of_every_output_in_every_cycle(dut: Any) -> None:
    host = dut.host
    port = SimPort(dut)
    await port.ready()
    scoreboard = Scoreboard(
        command_line("pytest", str(ROOT / "tests/sim/device/test_agreement.py"))
    )
    rig = Rig(CheckedPort(port, scoreboard, breach=on_purpose))
    out = []
    # between clock edges the order of events in a simulator is not visible
    await FallingEdge(dut.clk)
    dut.outputs.on.value = 1
    first, count = map(int, os.environ["KTLS_SEEDS"].split())
    for seed in range(first, first + count):
        rng = random.Random(seed)
        host.latency.value = rng.choice((1, 2, 20, 50))
        for channel in ("ar", "r", "aw", "w", "b"):
            getattr(host, f"stall_{channel}").value = rng.choice((0, 0, 30, 120))
        host.stall_seed.value = seed + 1
        await _work(rig, rng)
        await FallingEdge(dut.clk)
        cycles = get_sim_time("ns") // 4
        out.append({"seed": seed, "cycles": cycles, "hash": f"{int(dut.outputs.hash.value):016x}"})
    scoreboard.finish()
    Path(os.environ["KTLS_HASHES"]).write_text(json.dumps(out))
