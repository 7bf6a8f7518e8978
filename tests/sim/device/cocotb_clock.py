# SPDX-License-Identifier: Apache-2.0
"""The clock figures of the device: CQE.cycles, CQE.latency and CYCLES."""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.triggers import ClockCycles

from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.scenarios.rig import Rig
from ktls_cosim.sim.port import SimPort
from ktls_hw.layout import Opcode, Reg, SqeCtx, SqeRecord

_KEY = bytes(range(16))


async def _rig(dut: Any) -> Rig:
    dut.host.latency.value = 1
    port = SimPort(dut)
    await port.ready()
    rig = Rig(port)
    await rig.reset()
    return rig


def _words(dut: Any, length: int) -> int:
    return -(-length // (len(dut.m_wdata) // 8))


async def _least(rig: Rig, *descriptors: SqeRecord) -> int:
    """The cycles of the last of several records; those before it hide the latency of memory."""
    return (await rig.run(*descriptors))[-1].cycles


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def cycles_of_a_record_that_nothing_stalls(dut: Any) -> None:
    """n + 2 cycles for n words of text, n + 3 for OPEN (rtl/nic/ktls_record.v)."""
    rig = await _rig(dut)
    word = len(dut.m_wdata) // 8
    # long enough that the next record is there in time
    sizes = (20 * word, 20 * word + 1, 21 * word - 1, 24 * word - 17, 30 * word + 7)
    for version in (0x0303, 0x0304):
        for ctx, receive in ((0, False), (1, True)):
            await rig.set_context(ctx, _KEY, version=version, receive=receive)
        tls13 = version == 0x0304
        keys = TrafficKeys(version, 51, _KEY, b"SALT", bytes(8), 0)
        for n, size in enumerate(sizes):
            rig.release()
            text = size + tls13  # with the inner type
            got = await _least(rig, *(rig.seal_descriptor(0, bytes(size))[0] for _ in range(6)))
            assert got == _words(dut, text) + 2, ("seal", version, size, got)
            (c,) = await rig.run(rig.seal_descriptor(0, b"")[0])
            assert c.cycles == 2 + tls13
            records = [seal_record(keys, 6 * n + i, 23, bytes(size)).wire for i in range(6)]
            got = await _least(rig, *(rig.open_descriptor(1, r, tls13=tls13)[0] for r in records))
            assert got == _words(dut, text) + 3, ("open", version, size, got)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def cycles_of_plain_gcm(dut: Any) -> None:
    """The words of the AAD count as well; in TLS they are one."""
    rig = await _rig(dut)
    await rig.run(SqeCtx(opcode=Opcode.CTX_SET, ctx=0, cipher=51, key=_KEY))
    for aad, text in ((0, 1400), (20, 1400), (1400, 0), (1000, 0), (1600, 1)):
        rig.release()
        jobs = [
            rig.gcm_descriptor(0, Opcode.SEAL, bytes(12), bytes(aad), bytes(text))[0]
            for _ in range(6)
        ]
        got = await _least(rig, *jobs)
        law = _words(dut, aad) + _words(dut, text) + (2 if text else 1)
        assert got == law, (aad, text, got)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def latency_is_the_time_in_the_device(dut: Any) -> None:
    rig = await _rig(dut)
    await rig.set_context(0, _KEY)
    await rig.port.write32(Reg.IRQ_ENABLE, 1)
    for size in (0, 100, 1000, 5000):
        rig.release()
        await rig.post(rig.seal_descriptor(0, bytes(size))[0], bell=False)
        start = rig.port.now()
        await rig.port.write32(Reg.RING0_SQ_PROD, rig.sq_prod)
        assert await rig.port.wait_irq()
        passed = (rig.port.now() - start) // 4
        (c,) = await rig.reap(1)
        # before it are the doorbell and the fetch of the descriptor, behind it its own write
        assert passed - 50 <= c.latency < passed, (size, c.latency, passed)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def cycles_register_counts_each_cycle(dut: Any) -> None:
    rig = await _rig(dut)
    for wait in (1, 77, 1000):
        first, start = await rig.port.read32(Reg.CYCLES_LO), rig.port.now()
        await ClockCycles(dut.clk, wait)
        second, end = await rig.port.read32(Reg.CYCLES_LO), rig.port.now()
        assert (second - first) * 4 == end - start
