# SPDX-License-Identifier: Apache-2.0
"""Scenarios of what saves round trips: direct buffers, pushed descriptors, ordered writes."""

from __future__ import annotations

from dataclasses import replace

from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.scenarios.env import TLS_1_3, VERSIONS, Env, crypto_info, scenario
from ktls_cosim.scenarios.rig import OVERHEAD, Piece, Rig
from ktls_hw import layout
from ktls_hw.layout import Cqe, Reg, Status

_SIZES = (0, 1, 15, 16, 17, 64, 255, 1460, 4096, 16384)
_POLLS = 2000


@scenario("seal", "open")
async def direct_buffers(env: Env) -> None:
    """Source and destination without a list, at any alignment, beside records with lists."""
    rng = env.rng
    rig = await env.rig()
    infos = [crypto_info(rng, rng.choice(env.key_sizes), 0, v) for v in VERSIONS]
    for n, info in enumerate(infos):
        for ctx, receive in ((2 * n, False), (2 * n + 1, True)):
            await rig.set_context(
                ctx, info.key, salt=info.salt, iv=info.iv, version=info.version, receive=receive
            )
    opened = [0] * len(infos)
    for size in (*_SIZES, *(rng.randrange(3000) for _ in range(20))):
        if rng.random() < 0.3:
            rig.release()
        n = rng.randrange(len(infos))
        info = infos[n]

        def one(length: int) -> list[Piece]:
            rig.alloc(8, 1)  # a guard
            return [Piece(rig.alloc(length, 64, rng.randrange(64)), length)]

        rig.direct = rng.random() < 0.8
        text = env.bytes(size)
        seal, _ = rig.seal_descriptor(2 * n, text, src=one(size), dst=one(size + OVERHEAD))
        record = seal_record(TrafficKeys.from_crypto_info(info.pack()), opened[n], 23, text).wire
        opened[n] += 1
        tls13 = info.version == TLS_1_3
        body = len(record) - (5 if tls13 else 13)
        opening, _ = rig.open_descriptor(
            2 * n + 1, record, tls13=tls13, src=one(body), dst=one(body - 16)
        )
        if rig.direct:
            # no field of a list counts
            seal = replace(seal, src_cnt=rng.getrandbits(16), dst_cnt=rng.getrandbits(16))
        if rng.random() < 0.5:
            mixed, _ = rig.seal_descriptor(2 * n, text, src=rig.random_pieces(rng, size))
            await rig.post(mixed)
        await rig.post(seal, opening)
        await rig.drain()
    assert {c.status for c in rig.completions} == {Status.OK}


@scenario("seal")
async def direct_buffers_that_cannot_be_reached(env: Env) -> None:
    """A direct buffer beyond the memory or 2^64 ends with a bus error; the next record is good."""
    rig = await env.rig()
    rig.direct = True
    await rig.set_context(1, env.key(16))
    good, _ = rig.seal_descriptor(1, bytes(100))
    top = 1 << 64
    for wrong, status in (
        (replace(good, src_sg=rig.port.mem.size), Status.SRC_BUS_ERROR),
        (replace(good, src_sg=top - 50), Status.SRC_BUS_ERROR),
        (replace(good, dst_sg=rig.port.mem.size + 3), Status.DST_BUS_ERROR),
        (replace(good, dst_sg=top - 1), Status.DST_BUS_ERROR),
        (replace(good, dst_len=99), Status.DST_SHORT),
    ):
        bad, after = await rig.run(wrong, good)
        assert bad.status == status, f"{wrong}: {Status(bad.status).name}"
        assert after.status == Status.OK


@scenario("seal")
async def pushed_descriptors(env: Env) -> None:
    """Pushed descriptors of all kinds, alone, behind others, and on rings that are busy."""
    rng = env.rng
    first = await env.rig()
    count = layout.CAPS_RINGS.get(await first.port.read32(Reg.CAPS))
    rigs = [first, *[await first.add_ring(n) for n in range(1, count)]]
    expected = [0] * len(rigs)
    for n, rig in enumerate(rigs):
        rig.push = True
        await rig.set_context(n, env.key(32), version=rng.choice(VERSIONS))
        expected[n] += 1
    for _ in range(50):
        n = rng.randrange(len(rigs))
        rig = rigs[n]
        rig.direct = rng.random() < 0.5
        work = [
            rig.seal_descriptor(n, env.bytes(rng.choice((0, 16, 64, 700))))[0]
            for _ in range(rng.choice((1, 1, 1, 2, 3)))
        ]
        expected[n] += len(work)
        await rig.post(*work)
        if rng.random() < 0.6:
            await rig.drain()
    for n, rig in enumerate(rigs):
        assert [c.status for c in await rig.drain()] == [Status.OK] * expected[n]


@scenario("seal")
async def pushes_that_are_refused(env: Env) -> None:
    """A doorbell with a descriptor obeys the rules of a doorbell and leaves the window empty."""
    rig = await env.rig(sq_log2=1, cq_log2=1)
    await rig.set_context(0, env.key(16))
    port = rig.port
    seal, _ = rig.seal_descriptor(0, b"once")
    await rig.post(seal, bell=False)
    push = rig.reg(Reg.RING0_SQ_PUSH)
    await rig.fill_window()
    assert [await port.read32(Reg.PUSH0_WORD + at) for at in (0, 4, 60)] == [0, 0, 0]
    assert await port.read32(push) == 0
    await port.write32(push, rig.sq_prod)
    await rig.drain()
    # past a checker, which would take the doorbell for a good one
    device = env.port
    for wrong in (rig.sq_prod - 1, rig.sq_prod + 3):
        await device.write32(push, wrong)
    errors = await device.read32(rig.reg(Reg.RING0_ERRORS))
    assert layout.RING0_ERRORS_SQ_PROD.get(errors) == 2
    assert await device.read32(rig.reg(Reg.RING0_SQ_PROD)) == rig.sq_prod
    await device.write32(rig.reg(Reg.RING0_ERRORS), 0)
    assert [c.status for c in await rig.run(seal)] == [Status.OK]


async def _until_cq_error(rig: Rig) -> None:
    for _ in range(_POLLS):
        if layout.STATUS_CQ_ERROR.get(await rig.port.read32(Reg.STATUS)):
            return
    raise AssertionError("STATUS.cq_error stays 0")


@scenario("seal")
async def ordered_writes(env: Env) -> None:
    """CTRL.ordered: the same results; the interrupt finds its completion in memory."""
    rig = await env.rig()
    rig.ordered = rig.direct = True
    await rig.reset()
    ctrl = layout.CTRL_ENABLE.put(1) | layout.CTRL_ORDERED.put(1)
    assert await rig.port.read32(Reg.CTRL) == ctrl
    await rig.set_context(0, env.key(16))
    for burst in (1, 1, 7, 16, 1):
        rig.push = burst == 1
        seals = [
            rig.seal_descriptor(0, env.bytes(env.rng.choice(_SIZES[:8])))[0] for _ in range(burst)
        ]
        await rig.run(*seals)
        rig.release()
    assert {c.status for c in rig.completions} == {Status.OK}


@scenario("seal")
async def ordered_writes_that_fail(env: Env) -> None:
    """A failed write ends an ordered device with cq_error; a reset brings it back."""
    rig = await env.rig()
    rig.ordered = True
    for what in ("data", "completion"):
        await rig.reset()
        rig.release()
        await rig.set_context(0, env.key(16))
        seal, (place,) = rig.seal_descriptor(0, env.bytes(300))
        lo, size = (place.addr, place.length) if what == "data" else (rig.cq_slot, Cqe.SIZE)
        env.fail_bus(lo, lo + size, False, True)
        await rig.post(seal)
        await _until_cq_error(rig)
        env.heal_bus()
    rig.ordered = False
    await rig.reset()
    rig.release()
    await rig.set_context(0, env.key(16))
    seal, (place,) = rig.seal_descriptor(0, env.bytes(300))
    env.fail_bus(place.addr, place.addr + place.length, False, True)
    assert [c.status for c in await rig.run(seal)] == [Status.DST_BUS_ERROR]
    env.heal_bus()
    assert [c.status for c in await rig.run(seal)] == [Status.OK]
