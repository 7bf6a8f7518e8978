# SPDX-License-Identifier: Apache-2.0
"""Scenarios of plain AES-GCM: contexts of version 0, which run published vectors."""

from __future__ import annotations

from dataclasses import replace

from ktls_cosim.scenarios.env import MAX, Env, scenario
from ktls_cosim.scenarios.rig import Piece
from ktls_hw.layout import Opcode, Status


@scenario
async def plain_gcm(env: Env) -> None:
    """Seal and open with any nonce, AAD, text length and tag length."""
    rig = await env.rig(sq_log2=5, cq_log2=5)
    keys = [env.bytes(16), env.bytes(32)]
    for i, key in enumerate(keys):
        await rig.set_context(i, key, version=0)
        await rig.set_context(2 + i, key, version=0, receive=True)
    await rig.set_context(4, env.bytes(16))
    tls = [rig.seal_descriptor(4, b"a record in between")[0] for _ in range(3)]
    mark = rig.mark()
    lengths = [0, 1, 15, 16, 17, 31, 33, 250]
    tags = [4, 8, 12, 13, 14, 15, 16]
    jobs = [(a, n, env.rng.choice(tags)) for a in lengths for n in lengths]
    jobs += [(5, n, t) for n in (0, 3, 12, 13, 16) for t in tags]
    jobs += [(MAX, 100, 16), (20, MAX, 12), (MAX, MAX, 16), (MAX - 1, 0, 13)]

    def cut(n: int) -> list[Piece]:
        return rig.random_pieces(env.rng, n)

    for aad_len, length, tag_len in jobs:
        rig.release(mark)
        which = env.rng.randrange(2)
        nonce, aad = env.bytes(12), env.bytes(aad_len)
        text = env.bytes(length)
        seal, dst = rig.gcm_descriptor(which, Opcode.SEAL, nonce, aad, text, tag_len, cut=cut)
        done = await rig.run(tls[0], seal, tls[1])
        assert [c.status for c in done] == [Status.OK] * 3
        assert (done[1].len, done[1].numbered) == (length + tag_len, 0)
        sealed = rig.get_pieces(dst, length + tag_len)
        opening, out = rig.gcm_descriptor(
            2 + which, Opcode.OPEN, nonce, aad, sealed, tag_len, cut=cut
        )
        bad = bytearray(sealed)
        bad[env.rng.choice((-1, -tag_len))] ^= 1 << env.rng.randrange(8)
        forged, zeros = rig.gcm_descriptor(2 + which, Opcode.OPEN, nonce, aad, bytes(bad), tag_len)
        done = await rig.run(opening, tls[2], forged)
        assert [c.status for c in done] == [Status.OK, Status.OK, Status.AUTH_FAILED]
        assert (done[0].len, rig.get_pieces(out, length)) == (length, text)
        assert not any(rig.get_pieces(zeros, length))


@scenario
async def bad_plain_gcm_descriptors(env: Env) -> None:
    """Wrong lengths, tags and contexts of plain AES-GCM; TLS contexts ignore its fields."""
    rig = await env.rig()
    await rig.set_context(0, env.bytes(16), version=0)
    await rig.set_context(1, env.bytes(16), version=0, receive=True)
    await rig.set_context(2, env.bytes(16))
    good, dst = rig.gcm_descriptor(0, Opcode.SEAL, bytes(12), b"aad", env.bytes(20))
    cases = [(replace(good, tag_len=t), Status.BAD_LENGTH) for t in (0, 1, 3, 5, 7, 9, 11, 17, 255)]
    cases += [
        (replace(good, aad_len=MAX + 1), Status.BAD_LENGTH),
        (replace(good, aad_len=0xFFFFFFFF), Status.BAD_LENGTH),
        (replace(good, len=MAX + 1), Status.BAD_LENGTH),
        (replace(good, dst_len=35), Status.DST_SHORT),
        (replace(good, ctx=1), Status.BAD_CTX),
        (replace(good, opcode=Opcode.OPEN), Status.BAD_CTX),
        (replace(good, src_cnt=0), Status.SRC_SHORT),
        (replace(good, dst_cnt=0), Status.DST_SHORT),
        (replace(good, ctx=2, dst_len=100, dst_cnt=0), Status.DST_SHORT),
    ]
    for descriptor, status in cases:
        bad, after = await rig.run(descriptor, good)
        assert (bad.status, after.status) == (status, Status.OK), Status(bad.status).name
    # a bus error in the AAD alone
    src = rig.first_source(good)
    env.fail_bus(src, src + 1, True, False)
    (cqe,) = await rig.run(good)
    env.heal_bus()
    assert cqe.status == Status.SRC_BUS_ERROR
    assert not any(rig.get_pieces(dst, 36))
