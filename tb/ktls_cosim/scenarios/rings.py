# SPDX-License-Identifier: Apache-2.0
"""Scenarios about ring pairs and the interrupt."""

from __future__ import annotations

from ktls_cosim.scenarios.env import (
    VERSIONS,
    Env,
    close_all,
    connect,
    crypto_info,
    scenario,
)
from ktls_cosim.scenarios.rig import Rig
from ktls_hw import layout
from ktls_hw.layout import Reg, Status


@scenario("seal")
async def rings_wrap(env: Env) -> None:
    """Rings wrap many times; the completion ring is smaller than the submission ring."""
    rig = await env.rig(sq_log2=2, cq_log2=1)
    await rig.set_context(0, env.key(16))
    for _ in range(4):
        rig.release()
        for n in (0, 1, 40, 16, 100):
            await rig.post(rig.seal_descriptor(0, env.bytes(n))[0])
    done = await rig.drain()
    assert [c.rec_seq for c in done[1:]] == list(range(20))
    assert [c.sq_index for c in done] == list(range(21))


@scenario("seal")
async def full_completion_ring(env: Env) -> None:
    """The device stalls on a full completion ring and continues once it has room."""
    rig = await env.rig(sq_log2=4, cq_log2=1)
    await rig.set_context(0, env.key(16))
    seals = [rig.seal_descriptor(0, env.bytes(50))[0] for _ in range(8)]
    await rig.post(*seals, make_room=False)
    done = await rig.drain()
    assert [c.status for c in done] == [Status.OK] * 9


async def _all_rings(env: Env, sizes: list[tuple[int, int]]) -> list[Rig]:
    """Reset the device and return a rig for each of its rings."""
    first = await env.rig(sq_log2=sizes[0][0], cq_log2=sizes[0][1])
    count = layout.CAPS_RINGS.get(await first.port.read32(Reg.CAPS))
    return [first, *[await first.add_ring(n, *sizes[n % len(sizes)]) for n in range(1, count)]]


@scenario("seal")
async def several_rings(env: Env) -> None:
    """Each ring completes its own descriptors in order, with its own record numbers."""
    rng = env.rng
    rigs = await _all_rings(env, [(4, 4), (2, 3), (5, 1), (0, 0)])
    assert len(rigs) > 1
    expected: list[list[Status]] = [[] for _ in rigs]
    numbers = [0] * len(rigs)
    for n, rig in enumerate(rigs):
        await rig.set_context(n, env.bytes(rng.choice(env.key_sizes)), version=rng.choice(VERSIONS))
        expected[n].append(Status.OK)
        assert layout.IRQ_STATUS_RINGS.get(await rig.port.read32(Reg.IRQ_STATUS)) == 0
    for _ in range(60):
        n = rng.randrange(len(rigs))
        rig = rigs[n]
        good = rng.random() < 0.8
        context = n if good else len(rigs)
        text = env.bytes(rng.choice((0, 1, 16, 100, 700)))
        await rig.post(rig.seal_descriptor(context, text)[0])
        expected[n].append(Status.OK if good else Status.BAD_CTX)
        numbers[n] += good
        if rng.random() < 0.2:
            await rng.choice(rigs).drain()
    # fill all rings, then ring all doorbells: the rings take turns
    for n, rig in enumerate(rigs):
        await rig.drain()
        for _ in range(1 << min(rig.sq_log2, rig.cq_log2)):
            await rig.post(rig.seal_descriptor(n, env.bytes(rng.randrange(300)))[0], bell=False)
            expected[n].append(Status.OK)
            numbers[n] += 1
    for rig in rigs:
        await rig.post()
    for n, rig in enumerate(rigs):
        done = await rig.drain()
        assert [c.status for c in done] == expected[n]
        assert [c.sq_index for c in done] == list(range(len(done)))
        assert [c.rec_seq for c in done[1:] if c.numbered] == list(range(numbers[n]))


@scenario("seal")
async def rings_raise_the_interrupt(env: Env) -> None:
    """IRQ_STATUS names the rings that request service; each ring has its own moderation."""
    rigs = await _all_rings(env, [(3, 3)])
    port = rigs[0].port
    for n, rig in enumerate(rigs):
        await rig.set_context(n, env.key(16))
    last = len(rigs) - 1
    first_seal = rigs[0].seal_descriptor(0, env.bytes(30))[0]
    seals = [rigs[last].seal_descriptor(last, env.bytes(30))[0] for _ in range(2)]
    await rigs[last].port.write32(
        rigs[last].reg(Reg.RING0_IRQ_MOD), layout.RING0_IRQ_MOD_COUNT.put(2)
    )
    await rigs[last].post(seals[0])
    assert not await port.wait_irq()
    await rigs[0].post(first_seal)
    assert await port.wait_irq()
    assert layout.IRQ_STATUS_RINGS.get(await port.read32(Reg.IRQ_STATUS)) == 1
    await rigs[0].drain()
    await rigs[last].post(seals[1])
    assert await port.wait_irq()
    assert layout.IRQ_STATUS_RINGS.get(await port.read32(Reg.IRQ_STATUS)) == 1 << last
    assert layout.IRQ_STATUS_CQ.get(await port.read32(Reg.IRQ_STATUS)) == 1
    await rigs[last].drain()
    assert not await port.wait_irq()


@scenario("seal")
async def rings_send_messages(env: Env) -> None:
    """Each ring has a message of its own; a mask or an early look loses none."""
    rigs = await _all_rings(env, [(3, 3)])
    port = rigs[0].port
    errors = len(rigs)  # the vector behind those of the rings
    for n, rig in enumerate(rigs):
        await rig.set_context(n, env.key(16))
        await port.write32(rig.reg(Reg.RING0_MSG), layout.RING0_MSG_ENABLE.put(1))
    await port.write32(Reg.ERROR_MSG, layout.ERROR_MSG_ENABLE.put(1))
    assert await port.wait_message() is None

    async def post(n: int, count: int = 1) -> None:
        await rigs[n].post(*[rigs[n].seal_descriptor(n, env.bytes(30))[0] for _ in range(count)])

    for n, rig in reversed([*enumerate(rigs)]):
        await post(n)
        assert await port.wait_message() == n
        await rig.drain()
        assert await port.wait_message() is None
    first = rigs[0]
    # a request that the driver's look at the ring has overtaken
    await post(0, 3)
    assert await port.wait_message() == 0
    await first.reap(1)
    assert await port.wait_message() == 0
    await first.drain()
    while (late := await port.wait_message()) is not None:
        assert late == 0
    # masked: pending, and sent with the end of the mask
    await port.write32(first.reg(Reg.RING0_MSG), 0)
    await post(0)
    assert await port.wait_message() is None
    message = await port.read32(first.reg(Reg.RING0_MSG))
    assert layout.RING0_MSG_PENDING.get(message) == 1
    await port.write32(first.reg(Reg.RING0_MSG), layout.RING0_MSG_ENABLE.put(1))
    assert await port.wait_message() == 0
    await first.drain()
    # moderated
    await port.write32(first.reg(Reg.RING0_IRQ_MOD), layout.RING0_IRQ_MOD_COUNT.put(2))
    await post(0)
    assert await port.wait_message() is None
    await post(0)
    assert await port.wait_message() == 0
    await first.drain()
    for rig in rigs:
        await port.write32(rig.reg(Reg.RING0_SQ_BASE_LO), 1)  # not aligned
        assert await port.wait_message() == errors
        await port.write32(rig.reg(Reg.RING0_ERRORS), 0)
    assert await port.wait_message() is None


@scenario("seal")
async def driver_with_messages(env: Env) -> None:
    """The product's driver waits for the message of each ring instead of the level."""
    stack = await env.stack(rings=3, sq_log2=2, cq_log2=2, messages=True)
    sockets = [await connect(stack, crypto_info(env.rng, env.key_sizes[0])) for _ in range(3)]
    for _ in range(8):
        sock = env.rng.choice(sockets)
        text = env.bytes(env.rng.choice((1, 100, 700)))
        assert sock.send(text) == len(text)
    for sock in sockets:
        await close_all(stack, sock)
    assert stack.nic is not None
    assert stack.nic.events["lost_interrupts"] == 0


@scenario("seal")
async def full_ring_does_not_block_the_others(env: Env) -> None:
    """The descriptors of a full ring wait in memory while the other rings proceed."""
    rigs = await _all_rings(env, [(4, 4), (4, 1)])
    for n, rig in enumerate(rigs):
        await rig.set_context(n, env.key(16))
    stuck = rigs[1]
    await stuck.port.write32(stuck.reg(Reg.RING0_IRQ_MOD), layout.RING0_IRQ_MOD_COUNT.put(99))
    for _ in range(6):
        seal, _ = stuck.seal_descriptor(1, env.bytes(20))
        await stuck.post(seal, bell=False, make_room=False)
    await stuck.post()
    for _ in range(20):
        (cqe,) = await rigs[0].run(rigs[0].seal_descriptor(0, env.bytes(200))[0])
        assert cqe.status == Status.OK
    await stuck.port.write32(stuck.reg(Reg.RING0_IRQ_MOD), layout.RING0_IRQ_MOD_COUNT.put(1))
    assert [c.status for c in await stuck.drain()] == [Status.OK] * 7


@scenario("seal")
async def interrupt_moderation(env: Env) -> None:
    """IRQ_MOD.count delays the interrupt; IRQ_MOD.timer limits the delay."""
    rig = await env.rig()
    await rig.set_context(0, env.key(16))
    await rig.port.write32(Reg.RING0_IRQ_MOD, layout.RING0_IRQ_MOD_COUNT.put(3))
    good = [rig.seal_descriptor(0, b"moderate")[0] for _ in range(3)]
    await rig.post(*good[:2])
    assert not await rig.port.wait_irq()
    await rig.post(good[2])
    assert await rig.port.wait_irq()
    await rig.reap(3)
    await rig.port.write32(
        Reg.RING0_IRQ_MOD,
        layout.RING0_IRQ_MOD_COUNT.put(100) | layout.RING0_IRQ_MOD_TIMER.put(200),
    )
    await rig.post(good[0])
    assert await rig.port.wait_irq()
    await rig.reap(1)
