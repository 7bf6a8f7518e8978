# SPDX-License-Identifier: Apache-2.0
"""Raw descriptors, registers and resets: the RTL and the functional model agree."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles

from ktls_cosim.sim.port import SimPort
from ktls_hw.layout import Status
from ktls_hw.model import ModelMemory, NicModel
from planted import PLANTED
from raw_fuzz import Difference, Generator, Player, Step, shrink


async def _player(dut: Any, model: NicModel) -> Player:
    host = dut.host
    host.err_resp.value = 2 + cocotb.RANDOM_SEED % 2
    rtl = SimPort(dut)
    await rtl.ready()

    def fail_bus(lo: int, hi: int, read: int, write: int) -> None:
        model.mem.heal()
        if lo != hi:
            model.mem.fail(lo, hi, read=bool(read), write=bool(write))
        host.err_lo.value, host.err_hi.value = lo, hi
        host.err_read.value, host.err_write.value = read, write

    async def pause(cycles: int) -> None:
        if cycles:
            await ClockCycles(dut.clk, cycles)

    return Player(rtl, model, fail_bus, pause)


def _model(dut: Any, kind: type[NicModel] = NicModel) -> NicModel:
    memory = ModelMemory(len(dut.host.mem) * 128)
    return kind(
        memory, contexts=int(dut.CONTEXTS.value), lanes=len(dut.m_wdata) // 128,
        rings=int(dut.RINGS.value),
    )  # fmt: skip


async def _fuzz(player: Player, rng: random.Random, rounds: int) -> tuple[list[list[Step]], str]:
    """Play rounds until the devices differ; return them and the difference."""
    model = player.model
    generator = Generator(rng, model.rings, model.contexts, model.mem.size)
    played = [generator.start()]
    await player.play(played[0])
    for _ in range(rounds):
        played.append(generator.round())
        try:
            await player.play_more(played[-1])
        except Difference as e:
            return played, str(e)
    return played, ""


@cocotb.test(timeout_time=5000, timeout_unit="ms")
async def model_and_rtl_agree(dut: Any) -> None:
    model = _model(dut)
    player = await _player(dut, model)
    rng = random.Random(cocotb.RANDOM_SEED)
    for run in range(int(os.environ["KTLS_FUZZ_RUNS"])):
        rounds, text = await _fuzz(player, rng, int(os.environ["KTLS_FUZZ_ROUNDS"]))
        if text:
            steps, again = await shrink(player, rounds)
            listing = "\n".join(f"  {s.kind} {s.args}"[:400] for s in steps)
            raise AssertionError(f"run {run}: {text}\nshrunk: {again}\n{listing}")
    seen = {Status(s).name for s in player.statuses}
    dut._log.info("RESULT compared %d times; statuses %s", player.compared, sorted(seen))
    assert player.compared > 20


def _planted(name: str, kind: type[NicModel]) -> object:
    async def test(dut: Any) -> None:
        player = await _player(dut, _model(dut, kind))
        rng = random.Random(cocotb.RANDOM_SEED)
        _, text = await _fuzz(player, rng, 150)
        assert text, "the planted difference was not found"
        dut._log.info("RESULT %s: %s", name, text)

    test.__name__ = test.__qualname__ = f"finds_{name}"
    return cocotb.test(timeout_time=1000, timeout_unit="ms")(test)


globals().update({f"finds_{name}": _planted(name, kind) for name, kind in PLANTED.items()})
