# SPDX-License-Identifier: Apache-2.0
"""Every scenario on the functional model, with several seeds."""

from __future__ import annotations

import random
import re

import pytest

from ktls import run_sync
from ktls_cosim.check.lockstep import LockstepError, LockstepPort
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.port import Port
from ktls_cosim.reproduce import command_line
from ktls_cosim.scenarios import SCENARIOS, Env, missing
from ktls_hw.layout import CTRL_RESET, Reg
from ktls_hw.memory import Access, ModelMemory
from ktls_hw.model import Fault, NicModel


def run(
    name: str, seed: int, port: Port, *models: NicModel, lockstep: bool = False, suites: int = 0x3FF
) -> Scoreboard:
    def fail_bus(lo: int, hi: int, read: bool, write: bool) -> None:
        for m in models:
            m.mem.heal()
            if lo != hi:
                m.mem.fail(lo, hi, read=read, write=write)

    scoreboard = Scoreboard(command_line("pytest", __file__, "-k", name, f"--rtl-seed={seed}"))
    env = Env(port, scoreboard, random.Random(seed), fail_bus, lockstep, suites)
    run_sync(SCENARIOS[name](env))
    scoreboard.finish()
    return scoreboard


@pytest.mark.parametrize("offset", range(5))
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_on_the_model(name: str, offset: int, seed: int) -> None:
    model = NicModel()
    scoreboard = run(name, seed + offset, model, model)
    assert scoreboard.device_records > 0


SEAL, OPEN, AES_128, AES_256 = 0x30F, 0x3F0, 0x155, 0x2AA


@pytest.mark.parametrize("direction", [SEAL, OPEN, SEAL | OPEN])
@pytest.mark.parametrize("keys", [AES_128, AES_256, AES_128 | AES_256])
def test_a_device_with_some_suites_passes_every_scenario_that_it_can_run(
    direction: int, keys: int, seed: int
) -> None:
    suites = direction & keys
    possible = [name for name in SCENARIOS if not missing(name, suites)]
    assert len(possible) >= 5
    for name in possible:
        model = NicModel(suites=suites)
        run(name, seed, model, model, suites=suites)


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_models_in_lockstep(name: str, seed: int) -> None:
    a, b = NicModel(), NicModel()
    run(name, seed, LockstepPort(a, b), a, b, lockstep=True)


class BrokenAfterReset(NicModel):
    """A model that breaks the fourth record after each reset."""

    fault: Fault

    async def write32(self, addr: int, value: int) -> None:
        await super().write32(addr, value)
        if addr == Reg.CTRL and CTRL_RESET.get(value):
            self.inject(self.fault, record=3)


@pytest.mark.parametrize("fault", [Fault.FLIPPED_CIPHERTEXT_BIT, Fault.SWAPPED_TAG_BYTES])
def test_lockstep_finds_a_difference(fault: Fault, seed: int) -> None:
    good, broken = NicModel(), BrokenAfterReset()
    broken.fault = fault
    with pytest.raises(LockstepError, match=r"memory at 0x\w+ differs at \d+ ns \(cycle") as e:
        run("sizes_around_blocks", seed, LockstepPort(good, broken), good, broken, lockstep=True)
    record = r"context \d+, descriptor \d+: .*record \d+"
    assert re.search(rf"primary: {record}: right\n", str(e.value))
    assert re.search(rf"shadow: {record}: wrong\n  first wrong", str(e.value))
    cause = {
        Fault.FLIPPED_CIPHERTEXT_BIT: "single wrong byte",
        Fault.SWAPPED_TAG_BYTES: "tag in reverse byte order",
    }[fault]
    assert f"likely cause: {cause}" in str(e.value)


@pytest.mark.parametrize("name", ["hello_world", "open_every_tail", "plain_gcm"])
def test_lockstep_asks_the_golden_model(name: str, seed: int) -> None:
    """The primary writes a wrong byte; the shadow is right."""
    broken, good = Spoiler(), NicModel()
    with pytest.raises(LockstepError) as e:
        run(name, seed, LockstepPort(broken, good), broken, good, lockstep=True)
    assert re.search(r"golden model on the primary: .*: wrong\n  first wrong byte", str(e.value))
    assert re.search(r"golden model on the shadow: .*: right", str(e.value))


class Spoiler(NicModel):
    """A model whose memory flips a bit of each record that the device writes."""

    def __init__(self) -> None:
        super().__init__(Flipping())


class Flipping(ModelMemory):
    def scatter(self, sg: int, count: int | None, data: bytes, beat: int) -> Access:
        return super().scatter(sg, count, bytes((data[0] ^ 1, *data[1:])) if data else data, beat)
