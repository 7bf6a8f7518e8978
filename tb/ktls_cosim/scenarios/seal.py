# SPDX-License-Identifier: Apache-2.0
"""Scenarios that seal TLS records with raw descriptors."""

from __future__ import annotations

from dataclasses import replace

from ktls_cosim.scenarios.env import MAX, TLS_1_3, VERSIONS, Env, scenario
from ktls_cosim.scenarios.rig import OVERHEAD, OVERHEAD_1_3, Piece
from ktls_hw.layout import SqeCtx, SqeRecord, Status


@scenario
async def any_alignment(env: Env) -> None:
    """Entries of any length and alignment on both sides; no other byte is written."""
    rig = await env.rig()
    await rig.set_context(3, env.bytes(16))
    for _ in range(25):
        rig.release()
        data = env.bytes(env.rng.choice((0, 1, 15, 16, 17, 33, 250, 1460, 5000)))
        src = rig.random_pieces(env.rng, len(data))
        dst = rig.random_pieces(env.rng, len(data) + OVERHEAD)
        # a guard before every destination piece; the next piece's guard follows it
        for p in dst:
            rig.port.mem.write(p.addr - 8, b"\xa5" * 8)
        rig.alloc(64)
        descriptor, _ = rig.seal_descriptor(3, data, src=src, dst=dst)
        (cqe,) = await rig.run(descriptor)
        assert cqe.status == Status.OK
        assert cqe.len == len(data) + OVERHEAD
        written: set[int] = set()
        for p in dst:
            written.update(range(p.addr, p.addr + p.length))
        for p in dst:
            guard = rig.port.mem.read(p.addr - 8, 8)
            for i, byte in enumerate(guard):
                assert p.addr - 8 + i in written or byte == 0xA5, f"byte {p.addr - 8 + i:#x}"


@scenario
async def tls13_every_tail(env: Env) -> None:
    """TLS 1.3: the inner type at every offset of a block, any alignment."""
    rig = await env.rig()
    await rig.set_context(3, env.bytes(16), version=TLS_1_3, iv=env.bytes(8), seq=2**40 + 7)
    await rig.set_context(4, env.bytes(32), version=TLS_1_3, salt=env.bytes(4))
    for n in [*range(34), 1460, MAX - 1, MAX]:
        rig.release()
        data = env.bytes(n)
        src = rig.random_pieces(env.rng, n)
        dst = rig.random_pieces(env.rng, n + OVERHEAD_1_3)
        rtype = env.rng.randrange(1, 256)
        good, _ = rig.seal_descriptor(3 + n % 2, data, rtype=rtype, src=src, dst=dst)
        good = replace(good, dst_len=n + OVERHEAD_1_3)
        short = replace(good, dst_len=n + OVERHEAD_1_3 - 1)
        done = await rig.run(short, good)
        assert [c.status for c in done] == [Status.DST_SHORT, Status.OK]
        assert done[1].len == n + OVERHEAD_1_3
        assert done[1].rec_seq == done[0].rec_seq + 1


@scenario
async def tls13_padding_on_seal(env: Env) -> None:
    """TLS 1.3 padding from none to a full record, the inner type at every offset of a block."""
    rig = await env.rig()
    await rig.set_context(1, env.bytes(16), version=TLS_1_3, iv=env.bytes(8))
    await rig.set_context(2, env.bytes(32))
    sizes = [(n, pad) for n in (0, 1, 14, 15, 16, 17, 40) for pad in (0, 1, 14, 15, 16, 17, 50)]
    for n, pad in [*sizes, (0, MAX), (MAX, 0), (MAX - 1, 1), (100, MAX - 100)]:
        rig.release()
        out = n + OVERHEAD_1_3 + pad
        dst = rig.random_pieces(env.rng, out)
        good, _ = rig.seal_descriptor(1, env.bytes(n), dst=dst)
        good = replace(good, pad=pad)
        long = replace(good, pad=MAX + 1 - n)
        done = await rig.run(good, replace(good, dst_len=out - 1), long)
        assert [c.status for c in done] == [Status.OK, Status.DST_SHORT, Status.BAD_LENGTH]
        assert done[0].len == out
    # TLS 1.2 has no padding
    plain, _ = rig.seal_descriptor(2, b"plain")
    (cqe,) = await rig.run(replace(plain, pad=1000))
    assert (cqe.status, cqe.len) == (Status.OK, 5 + OVERHEAD)


@scenario
async def lists_longer_than_a_burst(env: Env) -> None:
    """Lists of 40 entries, whose fetch needs several bursts."""
    rig = await env.rig()
    await rig.set_context(0, env.bytes(16))
    data = env.bytes(400)
    src = [Piece(rig.alloc(10, 16, i % 16), 10) for i in range(40)]
    dst = [Piece(rig.alloc(11, 16, (3 * i) % 16), 11) for i in range(40)]
    descriptor, _ = rig.seal_descriptor(0, data, src=src, dst=dst)
    (cqe,) = await rig.run(descriptor)
    assert cqe.status == Status.OK


@scenario
async def random_jobs(env: Env) -> None:
    """Random contexts, sizes and alignments, some invalid, as many at once as the ring holds."""
    rig = await env.rig(sq_log2=4, cq_log2=5)
    keys = {c: env.bytes(env.rng.choice((16, 32))) for c in env.rng.sample(range(64), 6)}
    for c, key in keys.items():
        version = env.rng.choice(VERSIONS)
        await rig.set_context(c, key, salt=env.bytes(4), iv=env.bytes(8), seq=c, version=version)
    for _ in range(3):
        rig.release()
        batch: list[SqeRecord | SqeCtx] = []
        for _ in range(14):
            ctx = env.rng.choice([*keys, 63 if 63 not in keys else 62])
            data = env.bytes(env.rng.choice((0, 1, 5, 16, 31, 32, 100, 777, 1460)))
            src = rig.random_pieces(env.rng, len(data))
            dst = rig.random_pieces(env.rng, len(data) + OVERHEAD + env.rng.choice((0, 0, 7)))
            rtype = env.rng.randrange(256)
            d, _ = rig.seal_descriptor(ctx, data, rtype=rtype, src=src, dst=dst)
            batch.append(d)
        await rig.post(*batch)
        await rig.drain()
