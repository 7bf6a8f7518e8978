# SPDX-License-Identifier: Apache-2.0
"""Attacks through the bus, each with its one right outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from hostile_bench import OPENING, SEALING, Bench
from hostile_slave import CHANNELS, DECERR, EXOKAY, SLVERR, Policy, ReadBeat
from ktls_cosim.scenarios.rig import Piece
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, SqeCtx, SqeRecord, Status

_TOP = 1 << 64


def _source(bench: Bench, descriptor: SqeRecord) -> int:
    return bench.rig.first_source(descriptor)


# ------------------------------------------------------- answers that break the protocol


async def _broken(dut: Any, edit: Callable[[Bench, SqeRecord, ReadBeat], None]) -> None:
    """A beat of read data breaks the protocol: the bus is dead at once, no completion is wrong."""
    for watchdog in (0, 100_000):
        bench = await Bench.create(dut)
        await bench.host.write32(Reg.WATCHDOG, watchdog)
        job = bench.seal(300)
        bench.host.policy.on_read = lambda beat, b=bench, j=job: edit(b, j.descriptor, beat)
        await bench.rig.post(job.descriptor)
        assert await bench.outcome([job]) == []
        assert await bench.is_dead()
        await bench.recover()
        bench.host.stop()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def rlast_early_on_a_descriptor(dut: Any) -> None:
    def edit(bench: Bench, _descriptor: SqeRecord, beat: ReadBeat) -> None:
        if beat.addr // 64 * 64 == bench.rig.sq_slot - 64:
            beat.last = True

    await _broken(dut, edit)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def rlast_early_on_a_source(dut: Any) -> None:
    def edit(bench: Bench, descriptor: SqeRecord, beat: ReadBeat) -> None:
        if beat.addr == _source(bench, descriptor) + 32:
            beat.last = True

    await _broken(dut, edit)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def rlast_missing_on_a_source(dut: Any) -> None:
    def edit(bench: Bench, descriptor: SqeRecord, beat: ReadBeat) -> None:
        if beat.last and 0 <= beat.addr - _source(bench, descriptor) < 300:
            beat.last = False

    await _broken(dut, edit)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def rlast_missing_on_a_list(dut: Any) -> None:
    def edit(_bench: Bench, descriptor: SqeRecord, beat: ReadBeat) -> None:
        if beat.addr == descriptor.dst_sg:
            beat.last = False

    await _broken(dut, edit)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def unasked_answers_break_the_bus(dut: Any) -> None:
    """Read data, or a response, that no burst awaits."""
    for policy in (Policy(unasked_r=3), Policy(unasked_b=1)):
        bench = await Bench.create(dut)
        await bench.host.write32(Reg.WATCHDOG, 0)
        bench.host.policy = policy
        await ClockCycles(dut.clk, 20)
        assert await bench.is_dead()
        await bench.recover()
        bench.host.stop()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_response_before_the_data_breaks_the_bus(dut: Any) -> None:
    """The completion of a record must never rest on an answer to data that has not left."""
    bench = await Bench.create(dut, Policy(latency=3))
    job = bench.seal(700)
    bench.host.policy.early_b = 1
    bench.host.policy.blocked = {"w"}
    await bench.rig.post(job.descriptor)
    assert await bench.outcome([job]) == []
    assert await bench.is_dead()
    await bench.recover()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def late_answers_after_a_reset_are_dropped(dut: Any) -> None:
    """The device alone is reset, and the bus then answers what the device has abandoned."""
    for blocked in ({"r"}, {"b"}):
        bench = await Bench.create(dut)
        await bench.host.write32(Reg.WATCHDOG, 200)
        jobs = [bench.seal(500), bench.open(300)]
        bench.host.policy.blocked = set(blocked)
        await bench.rig.post(*(j.descriptor for j in jobs))
        await bench.outcome(jobs)
        assert await bench.is_dead()
        await bench.host.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
        bench.host.policy.blocked = set()
        await ClockCycles(dut.clk, 300)
        assert not await bench.is_dead()
        await bench.begin()
        await bench.assert_right(bench.seal(200), bench.open(100))
        bench.host.stop()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_answer_but_okay_is_an_error(dut: Any) -> None:
    bench = await Bench.create(dut)
    for resp in (EXOKAY, SLVERR, DECERR):
        for place, status in (
            ("source", Status.SRC_BUS_ERROR), ("source list", Status.SRC_BUS_ERROR),
            ("destination list", Status.DST_BUS_ERROR), ("destination", Status.DST_BUS_ERROR),
            ("descriptor", Status.SQ_BUS_ERROR),
        ):  # fmt: skip
            job = bench.seal(200)
            d = job.descriptor
            start, size = {
                "source": (_source(bench, d), 200),
                "source list": (d.src_sg, 16),
                "destination list": (d.dst_sg, 16),
                "destination": (job.pieces[0].addr, 229),
                "descriptor": (bench.rig.sq_slot, 64),
            }[place]

            def on_read(beat: ReadBeat, lo: int = start, n: int = size, r: int = resp) -> None:
                if lo <= beat.addr < lo + n:
                    beat.resp = r

            def on_response(addr: int, was: int, lo: int = start, r: int = resp) -> int:
                return r if lo // 64 <= addr // 64 <= (lo + 229) // 64 else was

            reads = place != "destination"
            bench.host.policy = (
                Policy(on_read=on_read) if reads else Policy(on_response=on_response)
            )
            done = await bench.run(job)
            assert done.status == status, (resp, place, Status(done.status).name)
            bench.host.policy = Policy()
            if place == "descriptor":
                bench.sequence[SEALING] -= 1
            await bench.assert_right(bench.seal(50))


# ------------------------------------------------------------------------ a dead bus


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def each_dead_channel_is_noticed_in_time(dut: Any) -> None:
    """Not before WATCHDOG cycles and, with what is under way, not much later."""
    limit = 300
    for channel in CHANNELS:
        bench = await Bench.create(dut)
        await bench.host.write32(Reg.WATCHDOG, limit)
        jobs = [bench.seal(400), bench.seal(100)]
        bench.host.policy.blocked = {channel}
        await bench.rig.post(*(j.descriptor for j in jobs))
        start = bench.host.cycle
        await bench.outcome(jobs)
        assert await bench.is_dead(), channel
        assert limit <= bench.host.cycle - start < limit + 200, (channel, bench.host.cycle - start)
        await bench.recover()
        bench.host.stop()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def the_watchdog_counts_exactly(dut: Any) -> None:
    """A channel that rests for WATCHDOG - 1 cycles is alive; one cycle more and it is dead."""
    for channel, limit in (("r", 200), ("b", 200)):
        for delay, dead in ((limit - 1, False), (limit, True)):
            bench = await Bench.create(dut)
            await bench.host.write32(Reg.WATCHDOG, limit)
            job = bench.seal(100)
            stuck = 0

            async def block(b: Bench = bench, c: str = channel, n: int = delay) -> None:
                """Hold the channel back until it has been owed for `n` cycles."""
                nonlocal stuck
                owed = dut.rd_stuck if c == "r" else dut.wr_stuck
                bit = 1 if c == "r" else 2
                b.host.policy.blocked = {c}
                while stuck < n - 1:  # the slave's decision takes one cycle to the device
                    await RisingEdge(dut.clk)
                    stuck = stuck + 1 if int(owed.value) >> bit & 1 else 0
                b.host.policy.blocked = set()

            cocotb.start_soon(block())
            await bench.rig.post(job.descriptor)
            done = await bench.outcome([job])
            assert (await bench.is_dead(), len(done)) == (dead, int(not dead)), (channel, delay)
            bench.host.stop()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_slow_bus_is_not_dead(dut: Any) -> None:
    """Each channel rests for almost WATCHDOG cycles, again and again."""
    bench = await Bench.create(dut, Policy(latency=40, b_latency=40, pause=0.3))
    await bench.host.write32(Reg.WATCHDOG, 70)
    for _ in range(5):
        await bench.assert_right(bench.seal(300), bench.open(100))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_moving_channel_does_not_hide_a_dead_one(dut: Any) -> None:
    """No response comes while the driver keeps the read channels busy."""
    bench = await Bench.create(dut)
    await bench.host.write32(Reg.WATCHDOG, 300)
    jobs = [bench.seal(3000) for _ in range(6)]
    bench.host.policy = Policy(blocked={"b"}, pause=0.5)
    await bench.rig.post(*(j.descriptor for j in jobs))
    start = bench.host.cycle
    await bench.outcome(jobs)
    assert await bench.is_dead()
    assert bench.host.cycle - start < 1000
    await bench.recover()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def without_a_watchdog_a_bus_may_take_forever(dut: Any) -> None:
    bench = await Bench.create(dut)
    await bench.host.write32(Reg.WATCHDOG, 0)
    jobs = [bench.seal(300)]
    bench.host.policy.blocked = {"r"}
    await bench.rig.post(*(j.descriptor for j in jobs))
    await ClockCycles(dut.clk, 10_000)
    assert not await bench.is_dead()
    bench.host.policy.blocked = set()
    (done,) = await bench.outcome(jobs)
    assert done.status == Status.OK
    assert bench.is_right(jobs[0], done)
    # a reset waits for the bus, until a watchdog frees it
    jobs = [bench.seal(300)]
    bench.host.policy.blocked = {"r"}
    await bench.rig.post(*(j.descriptor for j in jobs))
    await ClockCycles(dut.clk, 100)
    await bench.host.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
    await ClockCycles(dut.clk, 2000)
    assert not layout.STATUS_READY.get(await bench.status())
    await bench.host.write32(Reg.WATCHDOG, 100)
    await bench.host.until_ready()
    assert await bench.host.read32(Reg.WATCHDOG) == 100
    await bench.recover()


# ------------------------------------------------------------------ addresses and lists


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def nothing_passes_the_top_of_the_addresses(dut: Any) -> None:
    """An entry, a list or a ring that passes 2^64 is an error; nothing is read or written at 0."""
    bench = await Bench.create(dut)
    rig, host = bench.rig, bench.host

    def place(addr: int) -> int | None:
        """The last 4 KiB of all addresses are memory, too."""
        if addr >= _TOP - 4096:
            return 0xE0000 + addr - (_TOP - 4096)
        return addr if addr < 0xE0000 else None

    host.policy.place = place

    def strays() -> list[int]:
        """Accesses below everything that the driver uses."""
        touched = [a for _, a, _ in host.reads] + [a for w in host.writes for a in w.written]
        return [a for a in touched if a < rig.sq_base]

    for over in (1, 8, 40, 100):
        for side, status in (("src", Status.SRC_BUS_ERROR), ("dst", Status.DST_BUS_ERROR)):
            job = bench.seal(200)
            size = 200 if side == "src" else 229
            entries = [Piece(_TOP - (size - over), size)]
            change: dict[str, Any] = {f"{side}_sg": rig.put_list(entries)}
            changed = replace(job.descriptor, **change)
            host.reads.clear()
            host.writes.clear()
            (done,) = await rig.run(changed)
            assert done.status == status, (over, side, Status(done.status).name)
            assert strays() == []
    # a range that ends exactly at the top is right
    job = bench.seal(200)
    entries = [Piece(_TOP - 229, 229)]
    (done,) = await rig.run(replace(job.descriptor, dst_sg=rig.put_list(entries)))
    assert done.status == Status.OK
    assert host.mem.read(0xE1000 - 229, 229) == job.right
    # lists that pass the top: the first two entries are there
    for side, status in (("src", Status.SRC_BUS_ERROR), ("dst", Status.DST_BUS_ERROR)):
        job = bench.seal(200)
        at = getattr(job.descriptor, f"{side}_sg")
        host.mem.write(0xE1000 - 32, host.mem.read(at, 16) * 2)
        host.reads.clear()
        change = {f"{side}_sg": _TOP - 32, f"{side}_cnt": 5}
        (done,) = await rig.run(replace(job.descriptor, **change))
        assert done.status == status, Status(done.status).name
        assert strays() == []
    await bench.assert_right(bench.seal(64))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def rings_that_pass_the_top(dut: Any) -> None:
    bench = await Bench.create(dut)
    rig, host = bench.rig, bench.host
    for sq, cq in ((_TOP - 128, None), (None, _TOP - 64)):
        base, home, size = (sq, rig.sq_base, 128) if sq else (cq, rig.cq_base, 64)
        assert base

        def place(addr: int, base: int = base, home: int = home, size: int = size) -> int | None:
            if addr >= base:
                return home + addr - base
            used = 0x1000 <= addr < host.mem.size and not home <= addr < home + size
            return addr if used else None

        await rig.reset()
        host.policy.place = place
        host.reads.clear()
        host.writes.clear()
        reg = Reg.RING0_SQ_BASE_LO if sq else Reg.RING0_CQ_BASE_LO
        await host.write32(reg, base & 0xFFFFFFFF)
        await host.write32(reg + 4, base >> 32)
        await rig.post(*[SqeCtx(opcode=Opcode.CTX_DEL, ctx=3)] * 3)
        if sq:
            done = await rig.drain()
            assert [c.status for c in done] == [
                Status.BAD_CTX, Status.BAD_CTX, Status.SQ_BUS_ERROR
            ]  # fmt: skip
            assert [c.sq_index for c in done] == [0, 1, 2]
        else:
            await ClockCycles(dut.clk, 500)
            assert layout.STATUS_CQ_ERROR.get(await bench.status())
        assert not [a for _, a, _ in host.reads if a < 0x1000]
        assert not [w for w in host.writes if w.addr < 0x1000]
        host.policy = Policy()
        await bench.begin()
        await bench.assert_right(bench.seal(64))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def rings_anywhere(dut: Any) -> None:
    """The upper halves of addresses count, and carries into them."""
    bench = await Bench.create(dut)
    rig, host = bench.rig, bench.host
    rig.sq_log2 = rig.cq_log2 = 1
    places = (
        (_TOP - 128, 0x40000000), (0xFFFFFFC0, 0x2000), (0x3000, _TOP - 64),
        (0x1000, 0xFFFFFFC0), (0x123456789ABCDE40, 0xFEDCBA9876543200),
    )  # fmt: skip
    for sq, cq in places:

        def place(addr: int, sq: int = sq, cq: int = cq) -> int | None:
            for base, home, size in ((sq, rig.sq_base, 128), (cq, rig.cq_base, 64)):
                if base <= addr < base + size:
                    return home + addr - base
            return addr if rig.cq_base + 64 <= addr < host.mem.size else None

        host.policy.place = None
        await rig.reset()
        host.policy.place = place
        for reg, base in ((Reg.RING0_SQ_BASE_LO, sq), (Reg.RING0_CQ_BASE_LO, cq)):
            await host.write32(reg, base & 0xFFFFFFFF)
            await host.write32(reg + 4, base >> 32)
        key = bench.rng.randbytes(16)
        await rig.set_context(SEALING, key)
        bench.keys[SEALING] = replace(
            bench.keys[SEALING], cipher=51, key=key, salt=b"SALT", iv=bytes(8)
        )
        bench.sequence = [0, 0]
        for _ in range(5):
            await bench.assert_right(bench.seal(40))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def nothing_is_read_twice(dut: Any) -> None:
    """The driver's memory changes right after it was read: no check is made of what changed."""
    bench = await Bench.create(dut)
    host, rig = bench.host, bench.rig
    parts = [Piece(rig.alloc(100), 100), Piece(rig.alloc(200), 200)]
    job = bench.seal(300, src=parts)
    d, slot = job.descriptor, rig.sq_slot
    host.reads.clear()

    def on_read(beat: ReadBeat) -> None:
        if slot <= beat.addr < slot + 64 or d.src_sg <= beat.addr < d.src_sg + 32:
            host.mem.write(beat.addr, bench.rng.randbytes(16))
        if beat.addr == d.dst_sg:
            host.mem.write(beat.addr, bytes(16))

    host.policy.on_read = on_read
    done = await bench.run(job)
    assert done.status == Status.OK
    assert bench.is_right(job, done)
    beats = Counter(a + 16 * i for _, a, n in host.reads for i in range(n))
    assert max(beats.values()) == 1
    named = [Piece(slot, 64), Piece(d.src_sg, 32), Piece(d.dst_sg, 16), *parts]
    for addr in beats:
        assert any(p.addr // 16 * 16 <= addr < p.addr + p.length for p in named), hex(addr)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def the_longest_list_delays_others_for_a_bounded_time(dut: Any) -> None:
    """1,024 empty entries on one ring, one record on another; docs/programmers-guide.md."""
    bench = await Bench.create(dut)
    other = await bench.rig.add_ring(1)
    job = bench.seal(64)
    lists = bench.rig.put_list([Piece(0, 0)] * 1023 + [Piece(_source(bench, job.descriptor), 64)])
    slow = replace(job.descriptor, src_sg=lists, src_cnt=1024)
    victim = bench.open(64)
    start = bench.host.cycle
    await bench.rig.post(slow)
    await other.post(victim.descriptor)
    (done,) = await other.reap(1)
    assert done.status == Status.OK
    took = bench.host.cycle - start
    dut._log.info("RESULT a record behind a list of 1,024 empty entries took %d cycles", took)
    assert took < 2600
    (done,) = await bench.rig.reap(1)
    assert done.status == Status.OK
    assert bench.is_right(job, done)


# --------------------------------------------------------------- order and visibility


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_completion_follows_its_data(dut: Any) -> None:
    """Data becomes visible with its response; whoever sees a completion sees the data."""
    bench = await Bench.create(dut, Policy(visible_at_b=True, b_latency=40, pause=0.2))
    for _ in range(4):
        await bench.assert_right(bench.seal(700), bench.open(300), bench.seal(1))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def responses_may_come_very_late(dut: Any) -> None:
    """So many bursts and marks wait that the queue of open writes is full."""
    bench = await Bench.create(dut)
    bench.host.policy = Policy(b_latency=3000, visible_at_b=True)
    await bench.host.write32(Reg.WATCHDOG, 20_000)
    jobs = [bench.seal(3000) for _ in range(12)]
    await bench.rig.post(*(j.descriptor for j in jobs))
    most = 0
    done: list[Cqe] = []
    while len(done) < len(jobs):
        if bench.dut.irq.value == 1:
            done += await bench.rig.reap(1)
        await RisingEdge(dut.clk)
        most = max(most, int(dut.dma_wr.tags.value))
    assert most == 1 << len(dut.dma_wr.tags) - 1
    for job, c in zip(jobs, done, strict=True):
        assert c.status == Status.OK
        assert bench.is_right(job, c)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def no_text_leaves_before_its_tag_was_compared(dut: Any) -> None:
    """The tag arrives 400 cycles late: until then nothing is written, forged or not."""
    bench = await Bench.create(dut)
    for version in (0x0303, 0x0304):
        await bench.begin(version)
        for length in (1, 15, 16, 40, 300):
            for forged in (True, False):
                job = bench.open(length, forged=forged)
                source = _source(bench, job.descriptor)
                tag_end = source + job.descriptor.len + 15
                seen: list[int] = []

                def on_read(beat: ReadBeat, at: int = tag_end, seen: list[int] = seen) -> None:
                    if beat.addr <= at < beat.addr + 16 and not seen:
                        beat.delay = 400
                        seen.append(bench.host.cycle + 400)

                bench.host.policy.on_read = on_read
                bench.host.writes.clear()
                done = await bench.run(job)
                bench.host.policy.on_read = None
                assert done.status == (Status.AUTH_FAILED if forged else Status.OK)
                target = range(job.pieces[0].addr, job.pieces[0].addr + job.pieces[0].length)
                early = [w for w in bench.host.writes if w.cycle < seen[0]]
                assert not [a for w in early for a in w.written if a in target]
                assert bench.is_right(job, done)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def time_depends_on_lengths_only(dut: Any) -> None:
    """The bus shows the same cycles for right and forged tags, and for any key and text."""
    bench = await Bench.create(dut)
    for version in (0x0303, 0x0304):
        await bench.begin(version)
        shapes = set()
        for n in range(30):
            bench.rig.release()  # the same addresses, so the same bursts
            shapes.add(await _shape(bench, bench.open(60, forged=n % 3 != 0)))
        assert len(shapes) == 1
    shapes = set()
    for _ in range(12):
        bench.rig.release()
        shapes.add(await _shape(bench, bench.seal(100)))
    assert len(shapes) == 1


async def _shape(bench: Bench, job: Any) -> tuple[Any, ...]:
    """All bus cycles of one record, relative to its doorbell."""
    host = bench.host
    await bench.rig.post(job.descriptor, bell=False)
    host.writes.clear()
    host.reads.clear()
    await host.write32(Reg.RING0_SQ_PROD, bench.rig.sq_prod)
    start = host.cycle
    assert await host.wait_irq()
    took = host.cycle - start
    shape = (
        tuple((c - start, n) for c, _, n in host.reads),
        tuple((w.cycle - start, w.strobes) for w in host.writes),
        took,
    )
    await bench.rig.reap(1)
    return shape


# --------------------------------------------------------------------- register access


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def no_register_shows_a_secret(dut: Any) -> None:
    bench = await Bench.create(dut)
    keys = bench.keys[OPENING]
    await bench.assert_right(bench.open(100), bench.seal(100))
    secret = {
        int.from_bytes(raw[i : i + 4], order)
        for raw in (keys.key, keys.salt, keys.iv)
        for i in range(len(raw) - 3)
        for order in ("little", "big")
    } - {0}
    for addr in range(0, 4096, 4):
        assert await bench.host.read32(addr) not in secret, hex(addr)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def strobes_of_register_writes_count(dut: Any) -> None:
    bench = await Bench.create(dut)
    await bench.host.write32(Reg.CTRL, 0xFFFFFFFF, strobes=0)
    await bench.host.write32(Reg.CTRL, 0xFFFFFFFE, strobes=0b1110)
    assert await bench.host.read32(Reg.RESETS) == 1
    await bench.host.write32(Reg.KEY_WARN, 0x11223344)
    await bench.host.write32(Reg.KEY_WARN, 0xAABBCCDD, strobes=0b0101)
    assert await bench.host.read32(Reg.KEY_WARN) == 0x11BB33DD
    await bench.assert_right(bench.seal(30))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def register_reads_wait_for_a_slow_master(dut: Any) -> None:
    bench = await Bench.create(dut)
    rng = bench.rng
    regs = [Reg.ID, Reg.VERSION, Reg.CAPS, Reg.SUITES, Reg.WATCHDOG, Reg.KEY_WARN]
    right = {int(r): await bench.host.read32(r) for r in regs}
    dut.s_axil_rready.value = 0
    asked: list[int] = []
    answers: list[int] = []
    held = None
    refused = 0
    dut.s_axil_araddr.value = addr = int(rng.choice(regs))
    dut.s_axil_arvalid.value = 1
    while len(answers) < 150:
        await RisingEdge(dut.clk)
        if dut.s_axil_arready.value == 1:
            asked.append(addr)
            dut.s_axil_araddr.value = addr = int(rng.choice(regs))
        else:
            refused += 1
        valid = dut.s_axil_rvalid.value == 1
        if held is not None:
            assert valid
            assert int(dut.s_axil_rdata.value) == held, "R changed before RREADY"
        ready = dut.s_axil_rready.value == 1
        held = int(dut.s_axil_rdata.value) if valid and not ready else None
        if valid and ready:
            answers.append(int(dut.s_axil_rdata.value))
        dut.s_axil_rready.value = int(rng.random() < 0.3)
    assert refused > 50
    assert answers == [right[a] for a in asked[: len(answers)]]
