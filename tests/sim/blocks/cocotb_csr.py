# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of the registers (`ktls_csr`) on AXI4-Lite, against the generated contract."""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.handle import Immediate
from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import Cycles, StreamSink, StreamSource, start
from ktls_hw import layout
from ktls_hw.fields import Field
from ktls_hw.layout import Reg, Status, ring_reg

WRITABLE = {
    Reg.CTRL: 0x5,
    Reg.IRQ_ENABLE: 0x7,
    Reg.KEY_WARN: 0xFFFFFFFF,
    Reg.KEY_LIMIT: 0xFFFFFFFF,
    Reg.WATCHDOG: 0xFFFFFFFF,
    Reg.ERROR_MSG: 0x1,
    Reg.RING0_SQ_BASE_HI: 0xFFFFFFFF,
    Reg.RING0_SQ_SIZE: 0xF,
    Reg.RING0_CQ_BASE_HI: 0xFFFFFFFF,
    Reg.RING0_CQ_SIZE: 0xF,
    Reg.RING0_IRQ_MOD: 0xFFFFFFFF,
    Reg.RING0_MSG: 0x1,
}
# the registers that refuse some values; `wrong_ring_writes_are_refused` writes them
CHECKED = (
    Reg.RING0_SQ_BASE_LO,
    Reg.RING0_SQ_PROD,
    Reg.RING0_CQ_BASE_LO,
    Reg.RING0_CQ_CONS,
    Reg.RING0_ERRORS,
)
RESET = {
    Reg.ID: layout.ID_VALUE_RESET,
    Reg.VERSION: layout.VERSION_MAJOR.put(layout.VERSION_MAJOR_RESET)
    | layout.VERSION_MINOR.put(layout.VERSION_MINOR_RESET),
    Reg.CAPS: layout.CAPS_LANES.put(1) | layout.CAPS_MESSAGES.put(1) | layout.CAPS_CONTEXTS.put(64),
    Reg.SUITES: 1023,
    Reg.WATCHDOG: layout.WATCHDOG_CYCLES_RESET,
    Reg.STATUS: 3,
    Reg.RING0_IRQ_MOD: layout.RING0_IRQ_MOD_COUNT_RESET,
}


def registers(dut: Any) -> dict[int, Reg]:
    """All registers by address; a register of a later ring maps to that of ring 0."""
    out: dict[int, Reg] = {int(reg): reg for reg in Reg}
    for reg in Reg:
        if reg >= Reg.RING0_SQ_BASE_LO:
            out |= {ring_reg(n, reg): reg for n in range(_rings(dut))}
    return out


def _rings(dut: Any) -> int:
    return len(dut.sq_prod) // 32


class Csr:
    def __init__(self, dut: Any, cycles: Cycles) -> None:
        self.dut = dut
        self.aw = StreamSource(dut, "s_axil_aw", ["addr"], cycles, separator="")
        self.w = StreamSource(dut, "s_axil_w", ["data", "strb"], cycles, separator="")
        self.b = StreamSink(dut, "s_axil_b", ["resp"], cycles, separator="")
        self.ar = StreamSource(dut, "s_axil_ar", ["addr"], cycles, separator="")
        self.r = StreamSink(dut, "s_axil_r", ["data", "resp"], cycles, separator="")
        self._messages: list[int] = []

    async def _collect(self) -> None:
        """Collect the messages that are taken."""
        while True:
            await RisingEdge(self.dut.clk)
            if self.dut.msg_valid.value == 1 and self.dut.msg_ready.value == 1:
                self._messages.append(int(self.dut.msg_vector.value))

    async def messages(self, cycles: int = 20) -> list[int]:
        """Return the vectors of the messages since the last call, after some cycles."""
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
        messages, self._messages = self._messages, []
        return messages

    @classmethod
    async def create(cls, dut: Any) -> Csr:
        cycles = await start(
            dut, masters_idle=1, keys_ready=1, msg_ready=1, idle=1, cq_failed=0, bus_dead=0,
            sq_cons=0, cq_prod=0, cq_written=0, done=0, done_status=0, done_record=0, done_len=0,
            s_axil_awvalid=0, s_axil_wvalid=0, s_axil_arvalid=0, s_axil_bready=0, s_axil_rready=0,
        )  # fmt: skip
        csr = cls(dut, cycles)
        cocotb.start_soon(csr._collect())
        assert await csr.read(Reg.STATUS) == 3  # the device takes writes from now on
        return csr

    async def write(self, addr: int, data: int, strb: int = 15) -> None:
        self.aw.put(addr=addr)
        self.w.put(data=data, strb=strb)
        beats = await self.b.wait_for(len(self.b.beats) + 1)
        assert beats[-1].values["resp"] == 0

    async def read(self, addr: int) -> int:
        self.ar.put(addr=addr)
        beats = await self.r.wait_for(len(self.r.beats) + 1)
        assert beats[-1].values["resp"] == 0
        return beats[-1].values["data"]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_values_and_holes(dut: Any) -> None:
    csr = await Csr.create(dut)
    known = registers(dut)
    reset = dict(RESET)
    reset[Reg.CAPS] |= layout.CAPS_RINGS.put(_rings(dut))
    for addr in range(0, 0x400, 4):
        value = await csr.read(addr)
        if addr == Reg.CYCLES_LO:
            assert value > 0
        elif addr in known:
            assert value == reset.get(known[addr], 0), hex(addr)
        else:
            assert value == 0, f"hole {addr:#x}"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def writable_bits_and_strobes(dut: Any) -> None:
    csr = await Csr.create(dut)
    for addr, reg in registers(dut).items():
        before = await csr.read(addr)
        if reg == Reg.CYCLES_LO or reg in CHECKED:
            continue
        await csr.write(addr, 0xFFFFFFFD)  # not CTRL.reset
        after = await csr.read(addr)
        if reg in WRITABLE:
            assert after == WRITABLE[reg] & 0xFFFFFFFD, hex(addr)
            await csr.write(addr, 0, 0b0001)
            assert await csr.read(addr) == after & ~0xFF, hex(addr)
            await csr.write(addr, 0)
            assert await csr.read(addr) == 0, hex(addr)
        elif reg not in (Reg.IRQ_STATUS,):
            assert after == before, hex(addr)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def wrong_ring_writes_are_refused(dut: Any) -> None:
    csr = await Csr.create(dut)
    every = sum(1 << (32 * n) for n in range(_rings(dut)))
    for n in range(_rings(dut)):

        def reg(name: Reg, ring: int = n) -> int:
            return ring_reg(ring, name)

        async def refused(name: Reg, value: int, field: Field, ring: int = n) -> None:
            addr, errors = reg(name, ring), reg(Reg.RING0_ERRORS, ring)
            old, count = await csr.read(addr), field.get(await csr.read(errors))
            await csr.write(addr, value)
            assert await csr.read(addr) == old
            assert field.get(await csr.read(errors)) == count + 1
            assert layout.IRQ_STATUS_RING_ERROR.get(await csr.read(Reg.IRQ_STATUS))

        async def taken(name: Reg, value: int, ring: int = n) -> None:
            await csr.write(reg(name, ring), value)
            assert await csr.read(reg(name, ring)) == value

        prod, cons = layout.RING0_ERRORS_SQ_PROD, layout.RING0_ERRORS_CQ_CONS
        await taken(Reg.RING0_SQ_SIZE, 2)
        await refused(Reg.RING0_SQ_PROD, 1, prod)  # no addresses yet
        for base in (Reg.RING0_SQ_BASE_LO, Reg.RING0_CQ_BASE_LO):
            await refused(base, 0x1020, layout.RING0_ERRORS_BASE)
            await refused(Reg.RING0_SQ_PROD, 1, prod)
            await taken(base, 0x1040)
        await taken(Reg.RING0_SQ_PROD, 3)
        await refused(Reg.RING0_SQ_PROD, 2, prod)
        await refused(Reg.RING0_SQ_PROD, 5, prod)
        await taken(Reg.RING0_SQ_PROD, 4)
        dut.sq_cons.value = 4 * every
        await taken(Reg.RING0_SQ_PROD, 8)
        dut.cq_written.value = 3 * every
        await taken(Reg.RING0_CQ_CONS, 2)
        await refused(Reg.RING0_CQ_CONS, 1, cons)
        await refused(Reg.RING0_CQ_CONS, 4, cons)
        await taken(Reg.RING0_CQ_CONS, 3)
        dut.sq_cons.value = 0
        errors = reg(Reg.RING0_ERRORS)
        for _ in range(300):
            await csr.write(reg(Reg.RING0_CQ_CONS), 9)
        assert cons.get(await csr.read(errors)) == 255
        await csr.write(Reg.IRQ_ENABLE, layout.IRQ_ENABLE_RING_ERROR.put(1))
        assert dut.irq.value == 1
        await csr.write(errors, 0)
        assert await csr.read(errors) == 0
        assert not layout.IRQ_STATUS_RING_ERROR.get(await csr.read(Reg.IRQ_STATUS))
        assert dut.irq.value == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_doorbell_offers_the_push_window(dut: Any) -> None:
    """SQ_PUSH offers the window if it publishes one descriptor, and clears it in any case."""
    csr = await Csr.create(dut)
    at = layout.RING_STRIDE * (_rings(dut) - 1)  # the last ring
    await csr.write(Reg.RING0_SQ_BASE_LO + at, 64)
    await csr.write(Reg.RING0_CQ_BASE_LO + at, 64)
    await csr.write(Reg.RING0_SQ_SIZE + at, 5)
    offers = []

    async def watch() -> None:
        while True:
            await RisingEdge(dut.clk)
            if dut.push_valid.value == 1:
                offers.append((int(dut.push_ring.value), int(dut.push_data.value)))

    cocotb.start_soon(watch())
    words = [0x01020304 * (n + 1) & 0xFFFFFFFF for n in range(16)]
    data = sum(w << 32 * n for n, w in enumerate(words))
    for doorbell, index, offered in (
        (Reg.RING0_SQ_PUSH, 1, True),
        (Reg.RING0_SQ_PROD, 2, False),
        (Reg.RING0_SQ_PUSH, 2, False),  # nothing new
        (Reg.RING0_SQ_PUSH, 4, False),  # two
        (Reg.RING0_SQ_PUSH, 0x10005, False),  # refused: more than the ring holds
        (Reg.RING0_SQ_PUSH, 5, True),
    ):
        for n, word in enumerate(words):
            await csr.write(Reg.PUSH0_WORD + 4 * n, word)
        assert dut.push_data.value == data
        await csr.write(doorbell + at, index)
        assert offers == ([(_rings(dut) - 1, data)] if offered else []), (doorbell, index)
        offers.clear()
        await RisingEdge(dut.clk)
        assert dut.push_data.value == (0 if doorbell == Reg.RING0_SQ_PUSH else data)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def writes_before_ready_are_ignored(dut: Any) -> None:
    csr = await Csr.create(dut)
    for resets in (1, 2):
        dut.keys_ready.value = 0
        await csr.write(Reg.CTRL, layout.CTRL_RESET.put(1))
        for _ in range(6):
            await csr.write(Reg.KEY_LIMIT, 9)
            assert await csr.read(Reg.STATUS) & 1 == 0
        await csr.write(Reg.WATCHDOG, 77)
        dut.keys_ready.value = 1
        await csr.write(Reg.CTRL, layout.CTRL_ENABLE.put(1))
        await csr.write(Reg.KEY_WARN, 9)
        assert await csr.read(Reg.STATUS) & 1 == 1
        got = [await csr.read(r) for r in (Reg.CTRL, Reg.KEY_LIMIT, Reg.KEY_WARN, Reg.WATCHDOG)]
        assert got == [0, 0, 0, 77]
        assert await csr.read(Reg.RESETS) == resets
        await csr.write(Reg.KEY_LIMIT, 9)
        assert await csr.read(Reg.KEY_LIMIT) == 9


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counters_follow_completions(dut: Any) -> None:
    csr = await Csr.create(dut)
    events = [
        (Status.OK, 1, 16384), (Status.OK, 1, 1), (Status.OK, 0, 0), (Status.BAD_CTX, 0, 0),
        (Status.SEQ_EXHAUSTED, 0, 0), (Status.SRC_SHORT, 0, 9), (Status.DST_BUS_ERROR, 0, 9),
        (Status.SQ_BUS_ERROR, 0, 0), (Status.AUTH_FAILED, 0, 0),
    ]  # fmt: skip
    for status, record, length in events:
        dut.done.value = 1
        dut.done_status.value = int(status)
        dut.done_record.value = record
        dut.done_len.value = length
        await RisingEdge(dut.clk)
    dut.done.value = 0
    got = {r: await csr.read(r) for r in Reg if r.name.startswith("CNT_")}
    assert got == {
        Reg.CNT_DESCRIPTORS: 9, Reg.CNT_RECORDS: 2, Reg.CNT_BYTES_LO: 16385,
        Reg.CNT_BYTES_HI: 0, Reg.CNT_ERR_REFUSED: 2, Reg.CNT_ERR_SHORT: 1, Reg.CNT_ERR_BUS: 2,
        Reg.CNT_ERR_AUTH: 1,
    }  # fmt: skip


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def interrupt_is_a_level(dut: Any) -> None:
    csr = await Csr.create(dut)
    dut.cq_prod.value = 2
    dut.cq_written.value = 3
    for _ in range(3):
        await RisingEdge(dut.clk)
    assert dut.irq.value == 0, "not enabled yet"
    await csr.write(Reg.IRQ_ENABLE, 1)
    await RisingEdge(dut.clk)
    assert dut.irq.value == 1
    assert await csr.read(Reg.IRQ_STATUS) == 0x101
    await csr.write(Reg.RING0_CQ_CONS, 1)
    await RisingEdge(dut.clk)
    assert dut.irq.value == 1
    await csr.write(Reg.RING0_CQ_CONS, 2)
    await RisingEdge(dut.clk)
    assert dut.irq.value == 0
    # the driver may see an entry in memory before the device receives the write response
    await csr.write(Reg.RING0_CQ_CONS, 3)
    await RisingEdge(dut.clk)
    assert dut.irq.value == 0
    for cause in (dut.cq_failed, dut.bus_dead):
        await csr.write(Reg.IRQ_ENABLE, 1)
        cause.value = 1
        await RisingEdge(dut.clk)
        assert dut.irq.value == 0
        await csr.write(Reg.IRQ_ENABLE, 2)
        await RisingEdge(dut.clk)
        assert dut.irq.value == 1
        cause.value = 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def irq_status_names_the_rings(dut: Any) -> None:
    csr = await Csr.create(dut)
    await csr.write(Reg.IRQ_ENABLE, 1)
    for ring in range(_rings(dut)):
        dut.cq_prod.value = dut.cq_written.value = 3 << (32 * ring)
        await csr.write(ring_reg(ring, Reg.RING0_IRQ_MOD), 4)
        await RisingEdge(dut.clk)
        assert (await csr.read(Reg.IRQ_STATUS), int(dut.irq.value)) == (0, 0)
        await csr.write(ring_reg(ring, Reg.RING0_IRQ_MOD), 3)
        await RisingEdge(dut.clk)
        assert (await csr.read(Reg.IRQ_STATUS), int(dut.irq.value)) == (0x100 << ring | 1, 1)
        await csr.write(ring_reg(ring, Reg.RING0_CQ_CONS), 1)
        await RisingEdge(dut.clk)
        assert dut.irq.value == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def fatal_error_wipes_once(dut: Any) -> None:
    """Keys and text are wiped at once, even if the bus never answers; registers stay."""
    csr = await Csr.create(dut)
    await csr.write(Reg.KEY_WARN, 77)
    dut.masters_idle.value = 0
    dut.cq_failed.value = 1
    seen = []
    for i in range(40):
        if i == 20:
            dut.masters_idle.value = 1
        await RisingEdge(dut.clk)
        if dut.data_rst.value == 1:
            seen.append(i)
        assert dut.core_rst.value == 0
    assert seen == [1, 2]
    assert dut.flush.value == 1
    assert await csr.read(Reg.STATUS) & 5 == 4
    assert await csr.read(Reg.KEY_WARN) == 77


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_wipes_at_once_and_ends_when_the_bus_masters_are_idle(dut: Any) -> None:
    csr = await Csr.create(dut)
    await csr.write(Reg.KEY_WARN, 77)
    await csr.write(Reg.CTRL, 1)
    dut.masters_idle.value = 0
    write = cocotb.start_soon(csr.write(Reg.CTRL, layout.CTRL_RESET.put(1)))
    wiped: list[int] = []
    while len(wiped) < 10:
        await RisingEdge(dut.clk)
        if wiped or dut.flush.value == 1:
            wiped.append(int(dut.data_rst.value))
            assert dut.flush.value == 1
            assert dut.core_rst.value == 0
    assert wiped == [0, 1, 1] + [0] * 7
    await write
    assert await csr.read(Reg.STATUS) & 1 == 0
    dut.masters_idle.value = 1
    for _ in range(5):
        await RisingEdge(dut.clk)
    assert dut.flush.value == 0
    assert await csr.read(Reg.KEY_WARN) == 0
    assert await csr.read(Reg.CTRL) == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def moderation_uses_all_bits(dut: Any) -> None:
    """No interrupt before `count` completions or `timer` cycles, also beyond 255."""
    csr = await Csr.create(dut)
    await csr.write(Reg.IRQ_ENABLE, 1)
    mod = layout.RING0_IRQ_MOD_COUNT, layout.RING0_IRQ_MOD_TIMER
    await csr.write(Reg.RING0_IRQ_MOD, mod[0].put(300))
    for unread, irq in ((1, 0), (44, 0), (299, 0), (300, 1), (65_000, 1)):
        dut.cq_prod.value = dut.cq_written.value = unread
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert dut.irq.value == irq, unread
    dut.cq_prod.value = 0
    for timer in (1, 44, 300, 1000):
        await csr.write(Reg.RING0_IRQ_MOD, mod[0].put(60_000) | mod[1].put(timer))
        assert dut.irq.value == 0
        dut.cq_prod.value = 1
        waited = 0
        while dut.irq.value == 0:
            await RisingEdge(dut.clk)
            waited += 1
            assert waited < timer + 10
        # the count starts a cycle after the completion, and the interrupt follows its cause by one
        assert waited == timer + 2, (timer, waited)
        dut.cq_prod.value = 0
        for _ in range(3):
            await RisingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counters_carry(dut: Any) -> None:
    """CNT_BYTES and CYCLES have 64 bits; the upper half is the one that belongs to the lower."""
    csr = await Csr.create(dut)
    dut.cnt_bytes.value = Immediate((7 << 32) - 5)
    dut.cycles.value = Immediate((9 << 32) - 40)
    assert await csr.read(Reg.CNT_BYTES_LO) == (1 << 32) - 5
    low = await csr.read(Reg.CYCLES_LO)
    dut.done_len.value, dut.done_record.value, dut.done.value = 9, 1, 1
    await RisingEdge(dut.clk)
    dut.done.value = 0
    for _ in range(40):
        await RisingEdge(dut.clk)
    assert low > (1 << 32) - 40
    assert (await csr.read(Reg.CNT_BYTES_HI), await csr.read(Reg.CYCLES_HI)) == (6, 8)
    assert await csr.read(Reg.CNT_BYTES_LO) == 4
    assert await csr.read(Reg.CYCLES_LO) < 100
    assert (await csr.read(Reg.CNT_BYTES_HI), await csr.read(Reg.CYCLES_HI)) == (7, 9)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_message_for_each_request(dut: Any) -> None:
    """A request sends one message, and another only after an acknowledgement."""
    csr = await Csr.create(dut)
    for ring in range(_rings(dut)):
        cons = ring_reg(ring, Reg.RING0_CQ_CONS)
        await csr.write(ring_reg(ring, Reg.RING0_MSG), 1)
        assert await csr.messages() == []
        await csr.write(ring_reg(ring, Reg.RING0_IRQ_MOD), layout.RING0_IRQ_MOD_COUNT.put(2))
        dut.cq_prod.value = dut.cq_written.value = 1 << (32 * ring)
        assert await csr.messages() == [], "moderated"
        for unread in (2, 3, 9):
            dut.cq_prod.value = dut.cq_written.value = unread << (32 * ring)
            assert await csr.messages() == [ring] * (unread == 2)
        await csr.write(cons, 4)
        assert await csr.messages() == [ring], "5 completions are unread"
        await csr.write(cons, 8)
        assert await csr.messages() == [], "one is unread, two are a request"
        dut.cq_prod.value = dut.cq_written.value = 10 << (32 * ring)
        assert await csr.messages() == [ring]
        await csr.write(cons, 10)
        assert await csr.messages() == []
        assert dut.irq.value == 0, "the level has its own enable bits"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def error_messages(dut: Any) -> None:
    """Refused writes and fatal errors share a vector, but each sends its message."""
    csr = await Csr.create(dut)
    last = _rings(dut)
    await csr.write(Reg.ERROR_MSG, 1)
    for ring in range(last):
        await csr.write(ring_reg(ring, Reg.RING0_SQ_BASE_LO), 1)
    assert await csr.messages() == [last]
    await csr.write(ring_reg(0, Reg.RING0_ERRORS), 0)
    assert await csr.messages() == [last] * (last > 1), "errors of other rings are left"
    for ring in range(1, last):
        await csr.write(ring_reg(ring, Reg.RING0_ERRORS), 0)
    await csr.messages()
    await csr.write(Reg.RING0_SQ_BASE_LO, 1)
    assert await csr.messages() == [last]
    # the acknowledgement comes when it is the turn of this vector
    await csr.write(ring_reg(last - 1, Reg.RING0_MSG), 1)
    dut.cq_prod.value = dut.cq_written.value = 1 << (32 * (last - 1))
    assert await csr.messages() == [last - 1]
    await csr.write(Reg.RING0_ERRORS, 0)
    assert await csr.messages() == []
    await csr.write(Reg.RING0_SQ_BASE_LO, 1)
    assert await csr.messages() == [last]
    for fatal in (dut.cq_failed, dut.bus_dead):
        fatal.value = 1
        assert await csr.messages() == [last], "beside a refused write"
        fatal.value = 0
        assert await csr.messages() == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def masked_message_is_pending(dut: Any) -> None:
    """No message is lost by its mask, and none is sent for a request that has ended."""
    csr = await Csr.create(dut)
    for ring in range(_rings(dut)):
        reg, cons = ring_reg(ring, Reg.RING0_MSG), ring_reg(ring, Reg.RING0_CQ_CONS)
        dut.cq_prod.value = dut.cq_written.value = 1 << (32 * ring)
        assert await csr.messages() == []
        assert await csr.read(reg) == layout.RING0_MSG_PENDING.put(1)
        await csr.write(reg, 1)
        assert await csr.read(reg) & layout.RING0_MSG_ENABLE.put(1)
        assert await csr.messages() == [ring]
        assert await csr.read(reg) == layout.RING0_MSG_ENABLE.put(1)
        await csr.write(reg, 0)
        await csr.write(cons, 1)
        assert await csr.read(reg) == 0
        await csr.write(reg, 1)
        assert await csr.messages() == [], "no request any more"
        dut.cq_prod.value = dut.cq_written.value = 2 << (32 * ring)
        assert await csr.messages() == [ring]
        await csr.write(reg, 1)
        assert await csr.messages() == [ring], "a write of the register asks again"
        await csr.write(reg, 0)
        dut.cq_prod.value = dut.cq_written.value = 0
    dut.bus_dead.value = 1
    assert await csr.messages() == []
    assert await csr.read(Reg.ERROR_MSG) == layout.ERROR_MSG_PENDING.put(1)
    await csr.write(Reg.ERROR_MSG, 1)
    assert await csr.messages() == [_rings(dut)]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def no_request_is_lost_around_an_acknowledgement(dut: Any) -> None:
    """A completion in any cycle around CQ_CONS sends a message behind it if it stays unread."""
    csr = await Csr.create(dut)
    await csr.write(Reg.RING0_MSG, 1)
    prod = 0
    for distance in range(-6, 7):
        prod += 1
        dut.cq_prod.value = dut.cq_written.value = prod
        assert await csr.messages() == [0]

        async def complete(cycles: int = distance + 6, count: int = prod + 1) -> None:
            for _ in range(cycles):
                await RisingEdge(dut.clk)
            dut.cq_prod.value = dut.cq_written.value = count

        task = cocotb.start_soon(complete())
        for _ in range(5):
            await RisingEdge(dut.clk)
        await csr.write(Reg.RING0_CQ_CONS, prod)
        await task
        assert await csr.messages() == [0], distance
        prod += 1
        await csr.write(Reg.RING0_CQ_CONS, prod)
        assert await csr.messages() == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def messages_wait_for_the_bus_wrapper(dut: Any) -> None:
    """Nothing is lost or repeated while the wrapper stalls; no vector waits for another."""
    csr = await Csr.create(dut)
    rings = _rings(dut)
    dut.msg_ready.value = 0
    for ring in range(rings):
        await csr.write(ring_reg(ring, Reg.RING0_MSG), 1)
    await csr.write(Reg.ERROR_MSG, 1)
    dut.cq_prod.value = dut.cq_written.value = sum(1 << (32 * n) for n in range(rings))
    await csr.write(Reg.RING0_SQ_BASE_LO, 1)
    assert await csr.messages() == []
    assert dut.msg_valid.value == 1
    dut.msg_ready.value = 1
    assert sorted(await csr.messages(50)) == list(range(rings + 1))
    # vector 0 asks again and again, and the wrapper is slow
    dut.msg_ready.value = 0
    for ring in reversed(range(rings)):
        await csr.write(ring_reg(ring, Reg.RING0_MSG), 1)
    seen: list[int] = []
    for _ in range(2 * rings + 2):
        await csr.write(Reg.RING0_MSG, 1)
        dut.msg_ready.value = 1
        await RisingEdge(dut.clk)
        dut.msg_ready.value = 0
        seen += await csr.messages(6)
    assert set(seen) == set(range(rings))
    # an offer stays through a soft reset, which masks the rest
    await csr.write(Reg.RING0_MSG, 1)
    await csr.messages()
    assert dut.msg_valid.value == 1
    offered = int(dut.msg_vector.value)
    await csr.write(Reg.CTRL, layout.CTRL_RESET.put(1))
    assert await csr.messages() == []
    assert (dut.msg_valid.value, int(dut.msg_vector.value)) == (1, offered)
    dut.msg_ready.value = 1
    assert await csr.messages() == [offered]
    assert await csr.read(Reg.STATUS) & 1
    assert await csr.read(Reg.RING0_MSG) & layout.RING0_MSG_ENABLE.put(1) == 0
