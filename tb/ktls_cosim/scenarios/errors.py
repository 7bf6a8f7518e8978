# SPDX-License-Identifier: Apache-2.0
"""Scenarios of bad descriptors, bus errors and resets."""

from __future__ import annotations

from dataclasses import replace

from ktls_cosim.scenarios.env import MAX, Env, scenario
from ktls_cosim.scenarios.rig import OVERHEAD
from ktls_hw import layout
from ktls_hw.layout import Cqe, Reg, SqeCtx, SqeRecord, Status


@scenario("seal")
async def bad_descriptors(env: Env) -> None:
    """Each bad descriptor gets its status and is counted; the next record is correct."""
    rig = await env.rig()
    key = env.key(16)
    await rig.set_context(5, key)
    good, _ = rig.seal_descriptor(5, b"good")
    contexts = layout.CAPS_CONTEXTS.get(await rig.port.read32(Reg.CAPS))

    set_ok = rig.context_descriptor(6, key)
    cases: list[tuple[SqeRecord | SqeCtx, Status, bool]] = [
        (replace(good, opcode=0), Status.BAD_OPCODE, False),
        (replace(good, opcode=255), Status.BAD_OPCODE, False),
        (replace(good, ctx=4), Status.BAD_CTX, False),
        (replace(good, ctx=contexts), Status.BAD_CTX, False),
        (replace(good, ctx=65535), Status.BAD_CTX, False),
        (replace(good, len=MAX + 1), Status.BAD_LENGTH, True),
        (replace(good, len=0xFFFFFFFF), Status.BAD_LENGTH, True),
        (replace(good, dst_len=4 + OVERHEAD - 1), Status.DST_SHORT, True),
        (replace(good, dst_len=0), Status.DST_SHORT, True),
        (rig.delete_descriptor(4), Status.BAD_CTX, False),
        (rig.delete_descriptor(contexts), Status.BAD_CTX, False),
        (replace(set_ok, ctx=contexts), Status.BAD_CTX, False),
        (replace(set_ok, version=0x0302), Status.BAD_SUITE, False),
        (replace(set_ok, version=0x0305), Status.BAD_SUITE, False),
        (replace(set_ok, cipher=54), Status.BAD_SUITE, False),
        (replace(set_ok, dir=2), Status.BAD_SUITE, False),
    ]
    number = 0
    for i, (descriptor, status, numbered) in enumerate(cases):
        bad, after = await rig.run(descriptor, good)
        assert bad.status == status, f"case {i}: {Status(bad.status).name}"
        assert (bad.numbered, bad.len) == (int(numbered), 0), f"case {i}"
        number += numbered
        assert (after.status, after.rec_seq) == (Status.OK, number), f"case {i}"
        number += 1
    assert await rig.port.read32(Reg.CNT_ERR_REFUSED) == 14
    assert await rig.port.read32(Reg.CNT_ERR_SHORT) == 2
    assert await rig.port.read32(Reg.CNT_RECORDS) == len(cases)


@scenario("seal")
async def short_lists(env: Env) -> None:
    """Lists shorter than their descriptor get a status; the next record is correct."""
    rig = await env.rig()
    await rig.set_context(1, env.key(32))
    for size, missing in ((100, 1), (100, 100), (16, 16), (5000, 17)):
        data = env.bytes(size)
        good, _ = rig.seal_descriptor(1, data)
        short, _ = rig.seal_descriptor(1, data)
        at = short.src_sg + 8
        rig.port.mem.write(at, (size - missing).to_bytes(4, "little"))
        done = await rig.run(short, good)
        assert [c.status for c in done] == [Status.SRC_SHORT, Status.OK]

        short, _ = rig.seal_descriptor(1, data)
        rig.port.mem.write(short.dst_sg + 8, (size + OVERHEAD - missing).to_bytes(4, "little"))
        done = await rig.run(short, good)
        assert [c.status for c in done] == [Status.DST_SHORT, Status.OK]

        nothing = replace(good, src_cnt=0, dst_cnt=0)
        done = await rig.run(nothing, good)
        assert [c.status for c in done] == [Status.SRC_SHORT, Status.OK]
    assert await rig.port.read32(Reg.CNT_ERR_SHORT) == 12


@scenario("seal")
async def bus_errors(env: Env) -> None:
    """An error response to any access: a status, no wrong bytes, the next record is correct."""
    rig = await env.rig()
    await rig.set_context(2, env.key(16))
    data = env.bytes(600)
    good, _ = rig.seal_descriptor(2, data)

    async def fail_at(place: str, lo: int, hi: int, *, write: bool = False) -> tuple[Cqe, Cqe]:
        bad, dst = rig.seal_descriptor(2, data)
        # the two lists must not share a beat
        rig.alloc(64)
        bad = replace(bad, dst_sg=rig.put_list(dst))
        base = {
            "src": rig.first_source(bad),
            "dst": dst[0].addr,
            "src_list": bad.src_sg,
            "dst_list": bad.dst_sg,
        }[place]
        env.fail_bus(base + lo, base + hi, not write, write)
        await rig.post(bad)
        (a,) = await rig.reap(1)
        env.heal_bus()
        if not env.lockstep:
            # the contract leaves the destination of a failed record open, except for plaintext
            out = rig.get_pieces(dst, dst[0].length)
            assert not any(data[i : i + 16] in out for i in range(0, len(data), 16))
        (b,) = await rig.run(good)
        return a, b

    for lo in (0, 256, 592):
        a, b = await fail_at("src", lo, lo + 8)
        assert (a.status, a.numbered, b.status) == (Status.SRC_BUS_ERROR, 1, Status.OK)
        assert b.rec_seq == a.rec_seq + 1
    for lo in (0, 256, 600):
        a, b = await fail_at("dst", lo, lo + 8, write=True)
        assert (a.status, b.status) == (Status.DST_BUS_ERROR, Status.OK)
    a, b = await fail_at("src_list", 0, 16)
    assert (a.status, b.status) == (Status.SRC_BUS_ERROR, Status.OK)
    a, b = await fail_at("dst_list", 0, 16)
    assert (a.status, b.status) == (Status.DST_BUS_ERROR, Status.OK)
    # the descriptor itself, if the device reads it
    rig.push = False
    env.fail_bus(rig.sq_slot, rig.sq_slot + SqeRecord.SIZE, True, False)
    await rig.post(good)
    (a,) = await rig.reap(1)
    env.heal_bus()
    (b,) = await rig.run(good)
    assert (a.status, a.opcode, a.numbered) == (Status.SQ_BUS_ERROR, 0, 0)
    assert b.status == Status.OK
    assert await rig.port.read32(Reg.CNT_ERR_BUS) == 9


@scenario("seal")
async def completion_write_error(env: Env) -> None:
    """A completion that cannot be written stops the device and raises the interrupt."""
    rig = await env.rig()
    await rig.set_context(0, env.key(16))
    env.fail_bus(rig.cq_slot, rig.cq_slot + Cqe.SIZE, False, True)
    good, _ = rig.seal_descriptor(0, b"lost")
    await rig.post(good)
    assert await rig.port.wait_irq()
    env.heal_bus()
    assert layout.IRQ_STATUS_ERROR.get(await rig.port.read32(Reg.IRQ_STATUS))
    assert layout.STATUS_CQ_ERROR.get(await rig.port.read32(Reg.STATUS))
    # a reset restarts the device and deletes its contexts
    await rig.reset()
    (cqe,) = await rig.run(good)
    assert cqe.status == Status.BAD_CTX
    await rig.set_context(0, env.key(16))
    (cqe,) = await rig.run(good)
    assert cqe.status == Status.OK


@scenario("seal")
async def reset_with_records_in_flight(env: Env) -> None:
    """Reset at several moments of a record: the bus stays legal, the next record is correct."""
    rig = await env.rig()
    for delay in (0, 3, 7, 12, 20, 30, 45):
        rig.release()
        await rig.set_context(9, env.key(32))
        await rig.post(*(rig.seal_descriptor(9, env.bytes(900))[0] for _ in range(4)))
        for _ in range(delay):
            await rig.port.read32(Reg.ID)
        await rig.reset()
        assert await rig.port.read32(Reg.CNT_DESCRIPTORS) == 0
        (gone,) = await rig.run(rig.seal_descriptor(9, b"x")[0])
        assert gone.status == Status.BAD_CTX
        await rig.set_context(9, env.key(16))
        (cqe,) = await rig.run(rig.seal_descriptor(9, env.bytes(100))[0])
        assert (cqe.status, cqe.rec_seq) == (Status.OK, 0)
