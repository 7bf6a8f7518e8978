# SPDX-License-Identifier: Apache-2.0
"""Scenarios about contexts: record numbers, key limits and rekeying."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from ktls_cosim.check.golden import TrafficKeys, seal_gcm, seal_record
from ktls_cosim.scenarios.env import MAX, TLS_1_2, TLS_1_3, Env, crypto_info, scenario
from ktls_cosim.scenarios.open import all_receivers
from ktls_hw.layout import Opcode, Reg, Status

# the version of a context of plain AES-GCM
PLAIN_GCM = 0


@scenario()
async def every_suite(env: Env) -> None:
    """CTX_SET accepts the suites in SUITES and refuses the others; a record uses each context."""
    rig = await env.rig()
    assert await rig.port.read32(Reg.SUITES) == env.suites
    refused = Status.BAD_CTX if True in env.directions else Status.BAD_OPCODE
    for receive in (False, True):
        for size, version in product((16, 32), (TLS_1_2, TLS_1_3, PLAIN_GCM)):
            info = crypto_info(env.rng, size, version=version or TLS_1_2)
            offered = receive in env.directions and size in env.key_sizes
            installed = await rig.set_context(
                1, info.key, salt=info.salt, iv=info.iv, version=version, receive=receive
            )
            assert installed.status == (Status.OK if offered else Status.BAD_SUITE)
            text = env.bytes(40)
            if version == PLAIN_GCM:
                opcode = Opcode.OPEN if receive else Opcode.SEAL
                data = seal_gcm(info.key, bytes(12), b"aad", text, 16) if receive else text
                record, _ = rig.gcm_descriptor(1, opcode, bytes(12), b"aad", data)
            elif receive:
                sealed = seal_record(TrafficKeys.from_crypto_info(info.pack()), 0, 23, text)
                record, _ = rig.open_descriptor(1, sealed.wire, tls13=version == TLS_1_3)
            else:
                record, _ = rig.seal_descriptor(1, text)
            (done,) = await rig.run(record)
            otherwise = refused if receive else Status.BAD_CTX
            assert done.status == (Status.OK if offered else otherwise)
            await rig.run(rig.delete_descriptor(1))


@scenario("seal", "open")
async def resync(env: Env) -> None:
    """RESYNC sets the next record number; a transmit context never goes back."""
    rig = await env.rig()
    for ctx, version in ((0, TLS_1_2), (1, TLS_1_3)):
        iv = env.bytes(8)
        await rig.set_context(ctx, env.key(32), iv=iv, seq=10, version=version)
        seals = [rig.seal_descriptor(ctx, env.bytes(40))[0] for _ in range(5)]
        numbers = (11, 10, 2**32 + 5, 0, 2**64 - 1)
        resyncs = [rig.resync_descriptor(ctx, n) for n in numbers]
        # a RESYNC takes effect between the records around it in the queue
        done = await rig.run(
            seals[0], resyncs[0], seals[1], resyncs[1], seals[2], resyncs[2], seals[3],
            resyncs[3], resyncs[4], seals[4],
        )  # fmt: skip
        assert [c.status for c in done] == [
            *(Status.OK, Status.OK, Status.OK, Status.BAD_SEQ, Status.OK, Status.OK, Status.OK),
            *(Status.BAD_SEQ, Status.OK, Status.SEQ_EXHAUSTED),
        ]
        assert [done[i].rec_seq for i in (0, 2, 4, 6)] == [10, 11, 12, 2**32 + 5]
    for receiver in await all_receivers(env, rig):
        first = int.from_bytes(receiver.info.rec_seq, "big")
        text = env.bytes(33)
        record = receiver.record(text)
        for step in (1, 5, 0):
            assert (await rig.resync(receiver.ctx, first + step)).status == Status.OK
            cqe, got = await receiver.open(record)
            assert cqe.status == (Status.AUTH_FAILED if step else Status.OK)
        assert got[:33] == text
    assert (await rig.resync(40, 1)).status == Status.BAD_CTX
    await rig.set_context(41, env.key(16), version=0)
    assert (await rig.resync(41, 1)).status == Status.BAD_SEQ


@scenario("seal")
async def key_limits(env: Env) -> None:
    """KEY_WARN marks completions, KEY_LIMIT refuses records; a rekey resets the count."""
    rig = await env.rig()
    await rig.port.write32(Reg.KEY_WARN, 3)
    await rig.port.write32(Reg.KEY_LIMIT, 5)
    key = env.key(16)
    for version in (TLS_1_2, 0):
        await rig.set_context(0, key, version=version)
        seals = [replace(rig.seal_descriptor(0, b"count")[0], tag_len=16) for _ in range(6)]
        # the record with a bad length does not use the key
        done = await rig.run(seals[0], replace(seals[0], len=MAX + 1), *seals[1:])
        assert [c.status for c in done] == [
            *(Status.OK, Status.BAD_LENGTH, Status.OK, Status.OK, Status.OK, Status.OK),
            Status.KEY_EXHAUSTED,
        ]
        assert [c.rekey for c in done] == [0, 0, 0, 1, 1, 1, 1]
        assert [c.numbered for c in done] == [int(version != 0)] * 7
    await rig.set_context(0, key)
    done = await rig.run(rig.seal_descriptor(0, b"again")[0])
    assert (done[0].status, done[0].rekey) == (Status.OK, 0)


@scenario("seal")
async def record_numbers_run_out(env: Env) -> None:
    """The last record number is refused instead of wrapping; a rekey starts a new count."""
    rig = await env.rig()
    await rig.set_context(0, env.key(16), iv=b"\xff" * 8, seq=2**64 - 3)
    seals = [rig.seal_descriptor(0, b"count")[0] for _ in range(4)]
    done = await rig.run(*seals)
    assert [c.status for c in done] == [
        Status.OK,
        Status.OK,
        Status.SEQ_EXHAUSTED,
        Status.SEQ_EXHAUSTED,
    ]
    assert [c.rec_seq for c in done[:2]] == [2**64 - 3, 2**64 - 2]
    await rig.set_context(0, env.key(32), seq=7)
    (cqe,) = await rig.run(seals[0])
    assert (cqe.status, cqe.rec_seq) == (Status.OK, 7)
    await rig.set_context(0, env.key(16), seq=2**64 - 2, version=TLS_1_3)
    done = await rig.run(*seals[:2])
    assert [c.status for c in done] == [Status.OK, Status.SEQ_EXHAUSTED]


@scenario("seal")
async def rekey_with_records_queued(env: Env) -> None:
    """CTX_SET and CTX_DEL keep their position in the queue: earlier records use the old key."""
    rig = await env.rig(sq_log2=5, cq_log2=5)
    await rig.set_context(0, env.key(16))
    seals = [rig.seal_descriptor(0, env.bytes(n))[0] for n in (700, 1, 64, 2000, 16, 33)]
    rekey = rig.context_descriptor(0, env.key(32), version=TLS_1_3, salt=b"salt")
    delete = rig.delete_descriptor(0)
    done = await rig.run(*seals[:3], rekey, *seals[3:], delete, seals[0])
    assert [c.status for c in done] == [Status.OK] * 8 + [Status.BAD_CTX]
    assert [c.rec_seq for c in done] == [0, 1, 2, 0, 0, 1, 2, 0, 0]
