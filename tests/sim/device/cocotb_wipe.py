# SPDX-License-Identifier: Apache-2.0
"""No key, IV or opened text outlives its context, a reset or a fatal error."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles

from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.scenarios.rig import HEAP, Rig
from ktls_cosim.sim.port import SimPort
from ktls_hw import layout
from ktls_hw.layout import Opcode, Reg, SqeCtx, Status
from reference import aes_block, round_keys
from residue import Scan, windows

SEALING, OPENING = 0, 1  # contexts
_LIMIT = 3000  # cycles until everything is overwritten, also the longest queue


class Bench:
    """A device with one context per direction, and the scan for their secrets.

    Attributes:
        needles: Windows of keys, round keys, hash keys, IVs and texts.
    """

    rig: Rig
    port: SimPort
    scan: Scan

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.rng = random.Random(cocotb.RANDOM_SEED)
        self.needles: dict[str, str] = {}

    @classmethod
    async def create(cls, dut: Any) -> Bench:
        bench = cls(dut)
        dut.host.latency.value = 3
        dut.host.dead.value = 0
        bench.port = SimPort(dut)
        await bench.port.ready()
        bench.rig = Rig(bench.port)
        bench.scan = Scan(dut.nic)
        await bench.rig.reset()
        return bench

    def new_keys(self, version: int) -> TrafficKeys:
        """Random keys, which the scan looks for from now on."""
        key = self.rng.randbytes(self.rng.choice((16, 32)))
        salt, iv = self.rng.randbytes(4), self.rng.randbytes(8)
        self.needles |= windows("salt and IV", salt + iv) | windows("key", key)
        for number, round_key in enumerate(round_keys(key)):
            self.needles |= windows(f"round key {number}", round_key)
        self.needles |= windows("hash key", aes_block(key, bytes(16)))
        return TrafficKeys(version, 52 if len(key) == 32 else 51, key, salt, iv, 0)

    async def install(self, version: int) -> tuple[TrafficKeys, TrafficKeys]:
        out = []
        for ctx in (SEALING, OPENING):
            k = self.new_keys(version)
            # one key comes through the push window, one from memory
            self.rig.push = ctx == SEALING
            await self.rig.set_context(
                ctx, k.key, salt=k.salt, iv=k.iv, version=version, receive=ctx == OPENING
            )
            out.append(k)
        return out[0], out[1]

    def records(self, keys: TrafficKeys, seq: int, size: int) -> tuple[Any, Any]:
        """A SEAL and an OPEN of new texts of `size` bytes."""
        texts = self.rng.randbytes(size), self.rng.randbytes(size)
        for text in texts:
            self.needles |= windows("text", text)
        seal = self.rig.seal_descriptor(SEALING, texts[0])[0]
        record = seal_record(keys, seq, 23, texts[1]).wire
        return seal, self.rig.open_descriptor(OPENING, record, tls13=keys.version == 0x0304)[0]

    def forget(self) -> None:
        """Remove the secrets from what is outside of the device: descriptors, buffers, the bus."""
        rig = self.rig
        self.port.mem.write(rig.sq_base, bytes(64 << rig.sq_log2))
        self.port.mem.write(HEAP, bytes(rig.mark() - HEAP))
        if self.dut.m_rvalid.value == 0:
            self.dut.host.rdata.value = 0

    def live(self) -> dict[str, str]:
        return self.scan.hits(self.needles)

    async def assert_clean(self, after: str) -> None:
        self.forget()
        await ClockCycles(self.dut.clk, 2)
        found = self.live()
        if self.dut.m_wvalid.value == 1:
            # AXI forbids a change of a beat that the bus has not taken
            for path in ("nic.m_axi_wdata", "nic.dma_wr.m_axi_wdata"):
                found.pop(f"{self.dut._path}.{path}", None)
        assert not found, f"after {after}: {found}"

    async def ready(self) -> None:
        for _ in range(10_000):
            if layout.STATUS_READY.get(await self.port.read32(Reg.STATUS)):
                return
        raise AssertionError("STATUS.ready stays 0")

    async def until_halted(self) -> None:
        assert await self.port.wait_irq()
        assert not layout.STATUS_READY.get(await self.port.read32(Reg.STATUS))

    async def in_the_middle(self, version: int, cycles: int | None = None) -> None:
        """Install keys and start six records, then let a random number of cycles pass."""
        await self.rig.reset()
        self.rig.release()
        _, receive = await self.install(version)
        jobs = [
            d for n in range(3) for d in self.records(receive, n, self.rng.choice((2000, 5000)))
        ]
        await self.rig.post(*reversed(jobs), bell=False)  # OPEN before SEAL
        await self.port.write32(Reg.RING0_IRQ_MOD, layout.RING0_IRQ_MOD_COUNT.put(100))
        await self.port.write32(Reg.RING0_SQ_PROD, self.rig.sq_prod)
        await ClockCycles(self.dut.clk, self.rng.randrange(20, 200) if cycles is None else cycles)


def _versions() -> list[int]:
    return [0x0303, 0x0304]


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def the_scan_sees_what_is_alive(dut: Any) -> None:
    bench = await Bench.create(dut)
    assert len(bench.scan) > 2000
    await bench.install(0x0304)
    found = set(bench.live().values())
    for kind in ("round key 0", "round key 9", "hash key", "salt and IV"):
        assert any(name.startswith(kind) for name in found), f"the scan misses the {kind}"
    await bench.in_the_middle(0x0303, 150)
    assert any(name.startswith("text") for name in bench.live().values())


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_deleted_context_leaves_nothing(dut: Any) -> None:
    bench = await Bench.create(dut)
    rig = bench.rig
    for version in _versions():
        for used in (True, False):
            rig.release()
            send, receive = await bench.install(version)
            if used:
                for n in range(4):
                    pair = bench.records(receive, n, bench.rng.choice((8, 33, 100, 3000)))
                    assert [c.status for c in await rig.run(*pair)] == [Status.OK] * 2
            for ctx, k in ((SEALING, send), (OPENING, receive)):
                # a driver may build the deletion from the descriptor that installed the keys
                delete = replace(rig.delete_descriptor(ctx), salt=k.salt, iv=k.iv)
                (c,) = await rig.run(delete)
                assert c.status == Status.OK
            await bench.assert_clean(f"CTX_DEL, {version:#x}, used: {used}")
    # the deletion waits until the text of the records right before it is overwritten
    rig.release()
    _, receive = await bench.install(0x0303)
    jobs = [bench.records(receive, n, 5000)[1] for n in range(3)]
    for c in await rig.run(*jobs, rig.delete_descriptor(OPENING), rig.delete_descriptor(SEALING)):
        assert c.status == Status.OK
    await bench.assert_clean("CTX_DEL right behind records")


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def text_vanishes_while_its_context_lives(dut: Any) -> None:
    """Opened text is overwritten as soon as it has left, not only with the context."""
    bench = await Bench.create(dut)
    _, receive = await bench.install(0x0303)
    bench.needles.clear()
    for n in range(3):
        await bench.rig.run(bench.records(receive, n, 5000)[1])
    await ClockCycles(dut.clk, _LIMIT)
    await bench.assert_clean("three records")


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def a_reset_leaves_nothing(dut: Any) -> None:
    bench = await Bench.create(dut)
    for version in _versions():
        for started in (False, True, True):
            if started:
                await bench.in_the_middle(version)
            else:
                await bench.rig.reset()
                await bench.install(version)
            await bench.port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
            await bench.ready()
            await bench.assert_clean("CTRL.reset")


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def a_reset_empties_the_push_window(dut: Any) -> None:
    """A descriptor with a key was written into the window, and its doorbell never came."""
    bench = await Bench.create(dut)
    await bench.rig.reset()
    k = bench.new_keys(0x0303)
    await bench.rig.post(bench.rig.context_descriptor(0, k.key, salt=k.salt, iv=k.iv), bell=False)
    await bench.rig.fill_window()
    bench.forget()
    assert bench.live(), "the scan does not see the window"
    await bench.port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
    await bench.ready()
    await bench.assert_clean("CTRL.reset")


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def the_reset_pin_leaves_nothing(dut: Any) -> None:
    bench = await Bench.create(dut)
    for cycles in (1, 2, 5):
        await bench.in_the_middle(0x0304)
        dut.rst.value = 1
        await ClockCycles(dut.clk, cycles)
        dut.rst.value = 0
        await bench.ready()
        await bench.assert_clean("the reset pin")


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def a_completion_ring_error_leaves_nothing(dut: Any) -> None:
    bench = await Bench.create(dut)
    for watchdog in (0, 5000):
        for latency in (3, 7, 30):
            dut.host.latency.value = latency
            await bench.in_the_middle(bench.rng.choice(_versions()), 1)
            await bench.port.write32(Reg.WATCHDOG, watchdog)
            dut.host.err_lo.value = bench.rig.cq_base
            dut.host.err_hi.value = bench.rig.cq_base + 4096
            dut.host.err_write.value = 1
            await bench.until_halted()
            await ClockCycles(dut.clk, _LIMIT)
            await bench.assert_clean("cq_error")
            dut.host.err_write.value = 0


@cocotb.test(timeout_time=30, timeout_unit="ms")
async def a_dead_bus_leaves_nothing(dut: Any) -> None:
    """With a watchdog at once; without one as soon as the driver resets the device."""
    bench = await Bench.create(dut)
    for watchdog in (0, 300):
        for version in _versions():
            for _ in range(3):
                await bench.in_the_middle(version)
                await bench.port.write32(Reg.WATCHDOG, watchdog)
                dut.host.dead.value = 1
                if watchdog:
                    await bench.until_halted()
                else:
                    await ClockCycles(dut.clk, 1000)
                    await bench.port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
                await ClockCycles(dut.clk, _LIMIT)
                await bench.assert_clean(f"a dead bus with WATCHDOG {watchdog}")
                if not watchdog:
                    await bench.port.write32(Reg.WATCHDOG, 100)
                    await bench.ready()
                dut.host.dead.value = 0


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def half_a_descriptor_leaves_nothing(dut: Any) -> None:
    """The bus dies while the device fetches a key."""
    bench = await Bench.create(dut)
    for cycles in range(2, 18):
        await bench.rig.reset()
        await bench.port.write32(Reg.WATCHDOG, 100)
        k = bench.new_keys(0x0303)
        await bench.rig.post(
            SqeCtx(opcode=Opcode.CTX_SET, ctx=SEALING, version=k.version, cipher=k.cipher,
                   key=k.key, salt=k.salt, iv=k.iv)
        )  # fmt: skip
        await ClockCycles(dut.clk, cycles)
        dut.host.dead.value = 1
        await bench.until_halted()
        await ClockCycles(dut.clk, _LIMIT // 10)
        await bench.assert_clean(f"a dead bus after {cycles} cycles")
        dut.host.dead.value = 0
