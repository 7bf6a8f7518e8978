# SPDX-License-Identifier: Apache-2.0
"""Scenarios that open TLS records with raw descriptors."""

from __future__ import annotations

from dataclasses import replace

from ktls import uapi
from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.scenarios.env import MAX, VERSIONS, Env, crypto_info, scenario
from ktls_cosim.scenarios.rig import Piece, Rig
from ktls_hw.layout import Cqe, Reg, Status


class Receiver:
    """A receive context and the peer that seals records for it.

    Attributes:
        info: Keys.
        index: Number of records sealed so far.
        tls13: The version is TLS 1.3.

    Args:
        env: Environment of the scenario.
        rig: Ring pair to use.
        ctx: Context number.
        key_size: 16 or 32 bytes.
        version: `TLS_1_2` or `TLS_1_3`.
    """

    def __init__(self, env: Env, rig: Rig, ctx: int, key_size: int, version: int) -> None:
        self.rng = env.rng
        self.rig = rig
        self.ctx = ctx
        self.tls13 = version == uapi.TLS_1_3_VERSION
        info = crypto_info(env.rng, key_size, env.rng.choice((0, 7, 2**40)), version)
        self.info = info
        self.keys = TrafficKeys.from_crypto_info(info.pack())
        self.index = 0

    async def install(self) -> None:
        """Install the context."""
        i = self.info
        seq = int.from_bytes(i.rec_seq, "big")
        done = await self.rig.set_context(
            self.ctx, i.key, salt=i.salt, iv=i.iv, seq=seq, version=i.version, receive=True
        )
        assert done.status == Status.OK

    def record(self, text: bytes, rtype: int = 23, padding: int = 0) -> bytes:
        """Seal the next record of the stream."""
        self.index += 1
        return seal_record(self.keys, self.index - 1, rtype, text, padding).wire

    async def open(
        self, record: bytes, src: list[Piece] | None = None, dst: list[Piece] | None = None
    ) -> tuple[Cqe, bytes]:
        """Open a record; return the completion and the bytes of the destination."""
        descriptor, dst = self.rig.open_descriptor(
            self.ctx, record, tls13=self.tls13, src=src, dst=dst
        )
        (cqe,) = await self.rig.run(descriptor)
        return cqe, self.rig.get_pieces(dst, descriptor.len)


async def all_receivers(env: Env, rig: Rig) -> list[Receiver]:
    """Install contexts 0 to 3: both key sizes, each with both versions."""
    out = []
    for ctx, (size, version) in enumerate(
        (size, version) for size in (16, 32) for version in VERSIONS
    ):
        receiver = Receiver(env, rig, ctx, size, version)
        await receiver.install()
        out.append(receiver)
    return out


@scenario
async def open_every_tail(env: Env) -> None:
    """Records of every length around a block, any alignment, both versions and key sizes."""
    rig = await env.rig()
    receivers = await all_receivers(env, rig)
    for n in [*range(34), 1460, MAX - 1, MAX]:
        for r in receivers:
            rig.release()
            text = env.bytes(n)
            rtype = env.rng.randrange(1, 256)
            record = r.record(text, rtype)
            body = len(record) - (5 if r.tls13 else 13)
            src = rig.random_pieces(env.rng, body)
            dst = rig.random_pieces(env.rng, body - 16)
            cqe, got = await r.open(record, src=src, dst=dst)
            assert (cqe.status, cqe.rtype, cqe.len) == (Status.OK, rtype, n)
            assert got[:n] == text


@scenario
async def open_rejects_forged_records(env: Env) -> None:
    """One wrong bit anywhere: AUTH_FAILED, zeros in memory, the next record is correct."""
    rig = await env.rig()
    for r in await all_receivers(env, rig):
        start = 5 if r.tls13 else 13
        places = [*range(-16, 0), start, start + 17, *([5, 12, 0] if not r.tls13 else [])]
        for place in places:
            rig.release()
            text = env.bytes(40)
            bad = bytearray(r.record(text))
            bad[place] ^= 1 << env.rng.randrange(8)
            cqe, got = await r.open(bytes(bad))
            assert (cqe.status, cqe.rtype, cqe.len) == (Status.AUTH_FAILED, 0, 0), place
            assert not any(got)
            good = env.bytes(33)
            cqe, got = await r.open(r.record(good, 22))
            assert (cqe.status, cqe.rtype, got[:33]) == (Status.OK, 22, good)
        # a record with another number
        r.index += 1
        cqe, got = await r.open(r.record(env.bytes(20)))
        assert cqe.status == Status.AUTH_FAILED
        assert not any(got)
    assert await rig.port.read32(Reg.CNT_ERR_AUTH) == 2 * (18 + 1) + 2 * (21 + 1)


@scenario
async def open_tls13_padding(env: Env) -> None:
    """Padding of any length is removed; a record of zeros alone is an error."""
    rig = await env.rig()
    for r in await all_receivers(env, rig):
        if not r.tls13:
            continue
        for n, padding in ((0, 1), (5, 1), (5, 15), (16, 16), (15, 100), (0, 300), (1, MAX - 1)):
            rig.release()
            # zeros at the end of the text are not padding
            text = env.bytes(n - n // 3) + bytes(n // 3)
            cqe, got = await r.open(r.record(text, 21, padding))
            assert (cqe.status, cqe.rtype, cqe.len) == (Status.OK, 21, n)
            assert got[:n] == text
        for size in (1, 16, 200):
            cqe, got = await r.open(r.record(b"", 0, size - 1))
            assert (cqe.status, cqe.numbered) == (Status.AUTH_FAILED, 1)
            assert not any(got)
        cqe, _ = await r.open(r.record(b"after", 23))
        assert cqe.status == Status.OK


@scenario
async def bad_open_descriptors(env: Env) -> None:
    """Wrong direction, lengths and lists, bus errors and the last record number: each status."""
    rig = await env.rig()
    receivers = await all_receivers(env, rig)
    await rig.set_context(9, env.bytes(16))
    for r in receivers:
        text = env.bytes(100)
        good, dst = rig.open_descriptor(r.ctx, r.record(text), tls13=r.tls13)
        most = MAX + (1 if r.tls13 else 0)
        sealing = rig.seal_descriptor(r.ctx, b"x")[0]
        cases = [
            (replace(sealing, ctx=r.ctx), Status.BAD_CTX, 0),
            (replace(good, ctx=9), Status.BAD_CTX, 0),
            (replace(good, ctx=20), Status.BAD_CTX, 0),
            (good, Status.OK, 1),
            (replace(good, len=most + 1), Status.BAD_LENGTH, 1),
            (replace(good, dst_len=good.len - 1), Status.DST_SHORT, 1),
            (replace(good, src_cnt=0), Status.SRC_SHORT, 1),
            (replace(good, dst_cnt=0), Status.DST_SHORT, 1),
        ]
        for descriptor, status, numbered in cases:
            (cqe,) = await rig.run(descriptor)
            assert (cqe.status, cqe.numbered) == (status, numbered), Status(cqe.status).name
            r.index += numbered if descriptor is not good else 0
        env.fail_bus(dst[0].addr, dst[0].addr + 1, False, True)
        (cqe,) = await rig.run(good)
        env.heal_bus()
        assert cqe.status == Status.DST_BUS_ERROR
        src = rig.first_source(good)
        env.fail_bus(src + 48, src + 49, True, False)
        (cqe,) = await rig.run(good)
        env.heal_bus()
        assert cqe.status == Status.SRC_BUS_ERROR
        assert not any(rig.get_pieces(dst, good.len))
        r.index += 2
        cqe, got = await r.open(r.record(text))
        assert (cqe.status, got[:100]) == (Status.OK, text)
    await rig.set_context(0, env.bytes(16), seq=2**64 - 1, receive=True)
    (cqe,) = await rig.run(rig.open_descriptor(0, bytes(13 + 20 + 16))[0])
    assert (cqe.status, cqe.numbered) == (Status.SEQ_EXHAUSTED, 0)


@scenario
async def seal_and_open_mixed(env: Env) -> None:
    """The device opens its own records, with SEAL and OPEN of several contexts queued."""
    rig = await env.rig(sq_log2=5, cq_log2=5)
    receivers = await all_receivers(env, rig)
    for r in receivers:
        i = r.info
        seq = int.from_bytes(i.rec_seq, "big")
        await rig.set_context(r.ctx + 8, i.key, salt=i.salt, iv=i.iv, seq=seq, version=i.version)
    for _ in range(4):
        rig.release()
        sealed = []
        for r in receivers:
            text = env.bytes(env.rng.choice((0, 1, 15, 16, 17, 300, 1460)))
            descriptor, dst = rig.seal_descriptor(r.ctx + 8, text, rtype=22)
            sealed.append((r, text, descriptor, dst))
        done = await rig.run(*(s[2] for s in sealed))
        opens = []
        for (r, text, _, dst), cqe in zip(sealed, done, strict=True):
            record = rig.get_pieces(dst, cqe.len)
            descriptor, out = rig.open_descriptor(r.ctx, record, tls13=r.tls13)
            opens.append((text, descriptor, out))
            opens.append((b"", rig.seal_descriptor(r.ctx + 8, b"in between")[0], out))
            r.index += 1
        done = await rig.run(*(o[1] for o in opens))
        for (text, _, out), cqe in zip(opens[::2], done[::2], strict=True):
            assert (cqe.status, cqe.rtype, cqe.len) == (Status.OK, 22, len(text))
            assert rig.get_pieces(out, cqe.len) == text
        # consume the number of the record that was sealed in between and dropped
        for r in receivers:
            await rig.run(rig.open_descriptor(r.ctx, bytes(60), tls13=r.tls13)[0])
