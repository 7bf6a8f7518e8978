# SPDX-License-Identifier: Apache-2.0
"""Resets in every cycle of a job, fatal errors of the device, and a dead bus.

After each of them the device holds no key, no bus rule is broken (`ktls_axi_check`), and the next
record is correct.
"""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles

from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.check.rules import on_purpose
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.paths import ROOT
from ktls_cosim.reproduce import command_line
from ktls_cosim.scenarios.rig import Rig
from ktls_cosim.sim.port import SimPort
from ktls_hw import layout
from ktls_hw.layout import Opcode, Reg, SqeCtx, SqeRecord, Status

TEXT = bytes(range(1, 75))
CTX = 1


class Bench:
    """A device whose memory has a latency of 3 cycles, and handles of all its key storage."""

    port: CheckedPort
    rig: Rig
    contexts: range
    memories: list[Any]
    registers: list[Any]

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.scoreboard = Scoreboard(
            command_line("pytest", str(ROOT / "tests/sim/device/test_reset.py"))
        )
        self.rng = random.Random(cocotb.RANDOM_SEED)

    @classmethod
    async def create(cls, dut: Any) -> Bench:
        dut.host.latency.value = 3
        bench = cls(dut)
        port = SimPort(dut)
        await port.ready()
        bench.port = CheckedPort(port, bench.scoreboard, breach=on_purpose)
        bench.rig = Rig(bench.port)
        bench.contexts = range(int(dut.CONTEXTS.value))
        gcm = dut.nic.data.core.g_fast.gcm
        lanes = len(dut.m_wdata) // 128
        bench.memories = [gcm.h_mem, gcm.aes.key_mem]
        bench.memories += [gcm.aes.g_round[r].round.key_mem for r in range(1, 15)]
        bench.registers = [gcm.keyexp.win, gcm.keyexp.acc, dut.nic.exec.descriptor]
        if lanes > 1:
            pow_ = gcm.g_h.pow
            bench.registers += [pow_.powers, pow_.a, pow_.v, pow_.z]
        await bench.rig.reset()
        return bench

    def assert_no_key(self) -> None:
        for memory in self.memories:
            for c in self.contexts:
                assert memory[c].value == 0, f"{memory._path}[{c}] holds a key"
        for register in self.registers:
            assert register.value == 0, f"{register._path} holds a key"

    async def check_next_record(self, key: bytes) -> None:
        """Seal a record with another key in the same context."""
        self.rig.release()
        await self.rig.set_context(CTX, key)
        (cqe,) = await self.rig.run(self.rig.seal_descriptor(CTX, b"the next record")[0])
        assert (cqe.status, cqe.rec_seq) == (Status.OK, 0)


def _descriptor(rig: Rig, job: str, version: int, key: bytes) -> SqeCtx | SqeRecord:
    """The descriptor that the device processes when the reset arrives."""
    if job == "delete":
        return rig.delete_descriptor(CTX)
    if job == "set":
        cipher = 52 if len(key) == 32 else 51
        return SqeCtx(opcode=Opcode.CTX_SET, ctx=CTX, version=version, cipher=cipher, key=key)
    if job == "seal":
        return rig.seal_descriptor(CTX, TEXT)[0]
    keys = TrafficKeys(version, 52 if len(key) == 32 else 51, key, b"SALT", bytes(8), 0)
    record = seal_record(keys, 0, 23, TEXT).wire
    return rig.open_descriptor(CTX, record, tls13=version == 0x0304)[0]


async def _every_cycle(dut: Any, job: str, version: int, key_size: int) -> None:
    bench = await Bench.create(dut)
    rig, port = bench.rig, bench.port
    key = bytes(range(1, key_size + 1))
    every = int(os.environ.get("KTLS_RESET_EVERY", "1"))

    async def begin() -> None:
        """Set rings and context to their state before the job."""
        await rig.reset()
        rig.release()
        await rig.set_context(CTX, key, version=version, receive=job == "open")
        await rig.post(_descriptor(rig, job, version, key), bell=False)

    await begin()
    start = port.now()
    await port.write32(Reg.RING0_SQ_PROD, rig.sq_prod)
    assert await port.wait_irq()
    cycles = (port.now() - start) // 4
    (cqe,) = await rig.reap(1)
    assert cqe.status == Status.OK
    tried = 0
    for cycle in range(bench.rng.randrange(every), cycles + 1, every):
        await begin()
        await port.write32(Reg.RING0_SQ_PROD, rig.sq_prod)
        if cycle:
            await ClockCycles(dut.clk, cycle)
        await rig.reset()
        bench.assert_no_key()
        (refused,) = await rig.run(rig.seal_descriptor(CTX, b"this context is empty")[0])
        assert refused.status == Status.BAD_CTX
        await bench.check_next_record(bytes(reversed(key)))
        tried += 1
    bench.scoreboard.finish()
    dut._log.info("%s %#x %d: %d resets within %d cycles", job, version, key_size, tried, cycles)
    assert tried > cycles // every - 2


def _test(job: str, version: int, key_size: int) -> tuple[str, object]:
    async def run(dut: Any) -> None:
        await _every_cycle(dut, job, version, key_size)

    suffix = "" if version == 0x0303 else "_tls13"
    run.__name__ = run.__qualname__ = f"reset_during_{job}_{8 * key_size}{suffix}"
    return run.__name__, cocotb.test(timeout_time=60, timeout_unit="ms")(run)


globals().update(
    _test(job, version, size)
    for job in ("seal", "open", "set", "delete")
    for version in ((0x0303, 0x0304) if job in ("seal", "open") else (0x0303,))
    for size in (16, 32)
)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def completion_ring_error_wipes_the_keys(dut: Any) -> None:
    bench = await Bench.create(dut)
    rig = bench.rig
    for cycle in range(0, 120, 9):
        await rig.reset()
        rig.release()
        await rig.set_context(CTX, bytes(range(32)))
        await rig.post(*(rig.seal_descriptor(CTX, TEXT)[0] for _ in range(3)), bell=False)
        dut.host.err_lo.value = rig.cq_base
        dut.host.err_hi.value = rig.cq_base + 4096
        dut.host.err_write.value = 1
        await bench.port.write32(Reg.RING0_SQ_PROD, rig.sq_prod)
        await ClockCycles(dut.clk, 1 + cycle)
        assert await bench.port.wait_irq()
        status = await bench.port.read32(Reg.STATUS)
        assert (layout.STATUS_CQ_ERROR.get(status), layout.STATUS_READY.get(status)) == (1, 0)
        await ClockCycles(dut.clk, 100)
        bench.assert_no_key()
        dut.host.err_write.value = 0
        await rig.reset()
        await bench.check_next_record(bytes(16))
    bench.scoreboard.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def dead_bus_is_reported_and_reset_recovers(dut: Any) -> None:
    """The bus dies at every stage of a job; the reset also resets the bus."""
    bench = await Bench.create(dut)
    rig, port = bench.rig, bench.port
    text = TEXT * (len(dut.m_wdata) // 128)  # takes the same time for every number of lanes
    for cycle in range(0, 84, 4):
        await rig.reset()
        rig.release()
        await rig.set_context(CTX, bytes(range(32)))
        await rig.post(*(rig.seal_descriptor(CTX, text)[0] for _ in range(3)), bell=False)
        await port.write32(Reg.WATCHDOG, 500)
        await port.write32(Reg.RING0_IRQ_MOD, layout.RING0_IRQ_MOD_COUNT.put(100))
        await port.write32(Reg.RING0_SQ_PROD, rig.sq_prod)
        await ClockCycles(dut.clk, 1 + cycle)
        dut.host.dead.value = 1
        assert await port.wait_irq(), cycle
        assert await port.read32(Reg.IRQ_STATUS) & 2
        status = await port.read32(Reg.STATUS)
        assert (layout.STATUS_BUS_DEAD.get(status), layout.STATUS_READY.get(status)) == (1, 0)
        await ClockCycles(dut.clk, 100)
        bench.assert_no_key()
        dut.host.dead.value = 0
        await rig.reset()
        assert not layout.STATUS_BUS_DEAD.get(await port.read32(Reg.STATUS))
        await bench.check_next_record(bytes(16))
    bench.scoreboard.finish()
