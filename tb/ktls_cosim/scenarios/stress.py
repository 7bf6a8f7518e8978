# SPDX-License-Identifier: Apache-2.0
"""Random descriptors of every kind, with invalid ones, bus errors and resets."""

from __future__ import annotations

from dataclasses import replace

from ktls import uapi
from ktls_cosim.check.golden import TrafficKeys, seal_gcm, seal_record
from ktls_cosim.scenarios.env import MAX, TLS_1_2, TLS_1_3, Env, crypto_info, scenario
from ktls_cosim.scenarios.rig import OVERHEAD, Piece, Rig
from ktls_hw.layout import Opcode, SqeCtx, SqeRecord


class _Generator:
    """Generates random descriptors and tracks the contexts of the device.

    Attributes:
        bad: Bus addresses lo and hi between which accesses fail; None if there are none.
        bad_writes: Writes fail there, not only reads.
        contexts: Keys of each TLS context, and whether it is for OPEN.
        opened: Number of records generated for each TLS context for OPEN.
        raw: Direction and key of each context of plain AES-GCM.
    """

    def __init__(self, env: Env, rig: Rig) -> None:
        self.env = env
        self.rng = env.rng
        self.rig = rig
        self.bad: tuple[int, int] | None = None
        self.bad_writes = False
        self.contexts: dict[int, tuple[TrafficKeys, bool]] = {}
        self.opened: dict[int, int] = {}
        self.raw: dict[int, tuple[Opcode, bytes]] = {}

    def forget(self) -> None:
        """Drop all contexts, as a reset of the device does."""
        self.contexts.clear()
        self.raw.clear()

    def cut(self, n: int, writing: bool = False) -> list[Piece]:
        """Allocate random pieces for `n` bytes, some of them in the range of bus errors.

        Pieces in that range overlap. Therefore a destination uses the range only if writes
        fail there.
        """
        out = self.rig.random_pieces(self.rng, n)
        usable = self.bad_writes or not writing
        if self.bad and usable and out and self.rng.random() < 0.3:
            at = self.rng.randrange(len(out))
            room = self.bad[1] - self.bad[0]
            if out[at].length <= room:
                shift = self.rng.randrange(room - out[at].length + 1)
                out[at] = Piece(self.bad[0] + shift, out[at].length)
        return out

    def size(self) -> int:
        """Return a random length of text in bytes."""
        return self.rng.choice((0, 1, 15, 16, 17, 31, 100, 255, 777, 1460, 1460, 5000))

    def seal(self, ctx: int) -> SqeRecord:
        """Build a valid SEAL of random text."""
        text = self.env.bytes(self.size())
        pad = self.rng.choice((0, 0, 1, 40))
        dst = self.cut(len(text) + OVERHEAD + pad, writing=True)
        descriptor, _ = self.rig.seal_descriptor(
            ctx, text, rtype=self.rng.randrange(256), src=self.cut(len(text)), dst=dst
        )
        return replace(descriptor, pad=pad)

    def open(self, ctx: int) -> SqeRecord:
        """Build an OPEN for the next record of a context; some records are forged."""
        keys, _ = self.contexts[ctx]
        index = self.opened[ctx]
        record = bytearray(seal_record(keys, index, 22, self.env.bytes(self.size())).wire)
        if self.rng.random() < 0.3:
            record[self.rng.choice((-1, -16, -17, 5))] ^= 1 << self.rng.randrange(8)
        tls13 = keys.version == uapi.TLS_1_3_VERSION
        body = len(record) - (5 if tls13 else 13)
        descriptor, _ = self.rig.open_descriptor(
            ctx, bytes(record), tls13=tls13, src=self.cut(body), dst=self.cut(body - 16, True)
        )
        self.opened[ctx] += 1
        return descriptor

    def plain(self, ctx: int) -> SqeRecord:
        """Build a SEAL or OPEN of plain AES-GCM; some tag lengths are invalid."""
        tag_len = self.rng.choice((4, 8, 12, 13, 14, 15, 16, 16, 5))
        aad = self.env.bytes(self.rng.choice((0, 1, 16, 20, 300)))
        opcode, key = self.raw[ctx]
        data, nonce = self.env.bytes(self.size()), self.env.bytes(12)
        if opcode == Opcode.OPEN:
            data = seal_gcm(key, nonce, aad, data, tag_len)
        return self.rig.gcm_descriptor(ctx, opcode, nonce, aad, data, tag_len)[0]

    def install(self, ctx: int) -> SqeCtx:
        """Build a CTX_SET for TLS or plain AES-GCM; the context may be in use."""
        rng = self.rng
        version = rng.choice((TLS_1_2, TLS_1_3, TLS_1_2, TLS_1_3, 0))
        receive = rng.random() < 0.4
        if receive not in self.env.directions:
            receive = not receive
        info = crypto_info(
            rng, rng.choice(self.env.key_sizes), rng.choice((0, 9, 2**40)), version or TLS_1_2
        )
        self.contexts.pop(ctx, None)
        self.raw.pop(ctx, None)
        if not version:
            self.raw[ctx] = (Opcode.OPEN if receive else Opcode.SEAL, info.key)
        else:
            self.contexts[ctx] = (TrafficKeys.from_crypto_info(info.pack()), receive)
            self.opened[ctx] = 0
        return self.rig.context_descriptor(
            ctx,
            info.key,
            salt=info.salt,
            iv=info.iv,
            seq=int.from_bytes(info.rec_seq, "big"),
            version=version,
            receive=receive,
        )

    def resync(self, ctx: int) -> SqeCtx:
        """Build a RESYNC, also for contexts that do not exist."""
        number = self.rng.choice((0, 100, 2**41))
        if ctx in self.contexts and self.contexts[ctx][1]:
            self.opened[ctx] = number - self.contexts[ctx][0].first_number
        return self.rig.resync_descriptor(ctx, number)

    def spoil(self, descriptor: SqeRecord) -> SqeRecord:
        """Make a valid descriptor invalid."""
        return self.rng.choice(
            (
                replace(descriptor, opcode=self.rng.choice((0, 6, 255))),
                replace(descriptor, len=self.rng.choice((MAX + 2, 0xFFFFFFFF))),
                replace(descriptor, dst_len=0),
                replace(descriptor, gen=descriptor.gen ^ 1),
                replace(descriptor, epoch=1),
                replace(descriptor, src_sg=descriptor.src_sg + 8),
                replace(descriptor, dst_cnt=1025),
                replace(descriptor, src_cnt=max(0, descriptor.src_cnt - 1)),
                replace(descriptor, dst_cnt=max(0, descriptor.dst_cnt - 1)),
                # beyond the end of memory: DECERR
                replace(descriptor, src_sg=self.rig.port.mem.size + 64),
                replace(descriptor, dst_sg=1 << 50),
            )
        )

    def any(self) -> SqeRecord | SqeCtx:
        """Build the next descriptor."""
        rng = self.rng
        ctx = rng.randrange(6)
        known = ctx in self.contexts or ctx in self.raw
        dice = rng.random()
        if dice < 0.08 or (not known and dice < 0.8):
            return self.install(ctx)
        if dice < 0.11:
            self.contexts.pop(ctx, None)
            self.raw.pop(ctx, None)
            return self.rig.delete_descriptor(ctx)
        if dice < 0.15:
            return self.resync(ctx)
        if dice < 0.25 and not self.contexts.get(ctx, (None, False))[1]:
            return self.spoil(self.seal(ctx))
        if ctx in self.raw:
            return self.plain(ctx)
        if ctx in self.contexts:
            return self.open(ctx) if self.contexts[ctx][1] else self.seal(ctx)
        return self.seal(rng.choice((ctx, 1000)))


async def stress(env: Env, count: int) -> None:
    """Queue random descriptors with bus errors on rings of random sizes.

    Args:
        env: Environment.
        count: Number of descriptors, including those that set and delete contexts.
    """
    rng = env.rng
    rig = await env.rig()
    work = _Generator(env, rig)
    left = count
    while left > 0:
        if rng.random() < 0.15:
            # a reset drops all records in flight
            rig.sq_log2, rig.cq_log2 = rng.randint(0, 5), rng.randint(0, 5)
            await rig.reset()
            work.forget()
        rig.release()
        work.bad = None
        if rng.random() < 0.5:
            lo = rig.alloc(512)
            read, write = rng.choice(((True, False), (False, True), (True, True)))
            work.bad, work.bad_writes = (lo, lo + 512), write
            env.fail_bus(lo, lo + 512, read, write)
        batch = min(left, rng.randint(1, 24))
        rig.direct, rig.push = rng.random() < 0.5, rng.random() < 0.2
        left -= batch
        await rig.post(*(work.any() for _ in range(batch)))
        if rng.random() < 0.9:
            await rig.drain()
        else:
            await rig.reset()
            work.forget()
        env.heal_bus()
    await rig.drain()


@scenario()
async def random_stress(env: Env) -> None:
    """A hundred random descriptors; `make soak` runs thousands."""
    await stress(env, 100)
