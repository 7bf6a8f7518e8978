# SPDX-License-Identifier: Apache-2.0
"""Connections on the RTL while device, bus and driver fail at random."""

from __future__ import annotations

import pytest

from chaos import chaos, gone, lost_completion, repair_port, reset_by_somebody
from faulty import FaultyPort
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.remote import RemoteSim
from ktls_cosim.target import Target
from ktls_hw.layout import Reg


class _Port(FaultyPort):
    """A port whose device has a short watchdog, because Icarus is slow."""

    async def write32(self, addr: int, value: int) -> None:
        await super().write32(addr, value)
        if addr == Reg.CTRL and not self.gone:
            await self.device.write32(Reg.WATCHDOG, 2000)


def _sim(port: FaultyPort) -> RemoteSim:
    assert isinstance(port.device, RemoteSim)
    return port.device


def dead_bus(port: FaultyPort) -> None:
    """No channel of the bus moves any more."""
    _sim(port).knob("dead", 1)


def completions_not_writable(port: FaultyPort) -> None:
    """Writes to the completion ring fail."""
    sim = _sim(port)
    for name, value in (("err_lo", 0x2000), ("err_hi", 0x3000), ("err_write", 1)):
        sim.knob(name, value)


def repair(port: FaultyPort) -> None:
    """Undo all faults."""
    repair_port(port)
    for name in ("dead", "err_lo", "err_hi", "err_write"):
        _sim(port).knob(name, 0)


FAULTS = (gone, reset_by_somebody, lost_completion, dead_bus, completions_not_writable)


def _run(seed: int, connections: int, simulator: str, target: Target) -> None:
    if target.rtl:
        pytest.skip("an own core may lack suites of these connections")
    with RemoteSim(Build.device(), simulator=simulator, name=f"test_chaos_{seed}") as sim:
        chaos(seed, connections, _Port(sim), FAULTS, repair)


def test_random_faults_of_the_rtl(simulator: str, target: Target, seed: int) -> None:
    _run(seed, 15, simulator, target)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_a_thousand_connections_on_the_rtl(seed: int, simulator: str, target: Target) -> None:
    _run(seed, 100, simulator, target)
