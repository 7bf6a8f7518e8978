# SPDX-License-Identifier: Apache-2.0
"""What is tried on every device: the same list runs on the model, on the RTL and in lockstep.

A scenario is a coroutine of an `Env`. It asserts what it wants to see in detail; that
every sealed byte is right is the scoreboard's business.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from ktls import CryptoInfo, KtlsNic, KtlsSocket, KtlsStack, connect_wire, uapi
from ktls_cosim.check.device import CheckedPort, Port, Scoreboard
from ktls_cosim.check.golden import TrafficKeys, seal_gcm, seal_record
from ktls_cosim.scenarios.rig import OVERHEAD, OVERHEAD_1_3, Piece, Rig
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, SqeCtx, SqeRecord, Status

MAX = 16384


@dataclass
class Env:
    """What a scenario works with.

    Attributes:
        port: the device.
        scoreboard: checks it.
        rng: seeded randomness.
        fail_bus: make the device's accesses to [lo, hi) fail (read, write); lo == hi heals.
        lockstep: `port` compares two devices, so memory whose content the contract leaves
            open must not be read.
    """

    port: Port
    scoreboard: Scoreboard
    rng: random.Random
    fail_bus: Callable[[int, int, bool, bool], None]
    lockstep: bool = False

    def checked(self) -> CheckedPort:
        return CheckedPort(self.port, self.scoreboard)

    async def stack(self, **kw: int) -> KtlsStack:
        """A kernel with the product's driver on the device; `await settle()` runs the device."""
        nic = await KtlsNic.probe(self.checked(), **kw)
        return KtlsStack(nic, self.scoreboard, settle_at_once=False)

    async def rig(self, sq_log2: int = 4, cq_log2: int = 4) -> Rig:
        """The verification driver on the device, reset."""
        rig = Rig(self.checked(), sq_log2, cq_log2)
        await rig.reset()
        return rig

    def bytes(self, n: int) -> bytes:
        return self.rng.randbytes(n)


Scenario = Callable[[Env], Coroutine[Any, Any, None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(f: Scenario) -> Scenario:
    SCENARIOS[f.__name__] = f
    return f


_CIPHERS = {16: uapi.TLS_CIPHER_AES_GCM_128, 32: uapi.TLS_CIPHER_AES_GCM_256}


def example_crypto_info(key_size: int = 16) -> CryptoInfo:
    """The test keys under which real kernels were recorded (tests/unit/test_golden.py)."""
    return CryptoInfo(
        uapi.TLS_1_2_VERSION,
        _CIPHERS[key_size],
        iv=bytes(range(0xA0, 0xA8)),
        key=bytes(range(key_size)),
        salt=b"SALT",
        rec_seq=bytes(8),
    )


def crypto_info(
    rng: random.Random,
    key_size: int = 16,
    seq: int = 0,
    version: int = uapi.TLS_1_2_VERSION,
) -> CryptoInfo:
    """Random test keys for AES-GCM."""
    return CryptoInfo(
        version,
        _CIPHERS[key_size],
        iv=rng.randbytes(8),
        key=rng.randbytes(key_size),
        salt=rng.randbytes(4),
        rec_seq=seq.to_bytes(8, "big"),
    )


async def connect(
    stack: KtlsStack, info: CryptoInfo, wire: Callable[[bytes], None] | None = None
) -> KtlsSocket:
    """A connection with the ULP and TLS_TX set, which must be offloaded."""
    sock = connect_wire(stack, wire or (lambda _data: None))
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
    await stack.settle()
    assert sock.why_not_offloaded is None, sock.why_not_offloaded
    return sock


async def close_all(stack: KtlsStack, *socks: KtlsSocket) -> None:
    for s in socks:
        s.close()
    await stack.settle()


# ------------------------------------------------------------------ through sockets


@scenario
async def hello_world(env: Env) -> None:
    """The first record a user sends, against bytes that a real kernel put on the wire."""
    stack = await env.stack()
    wire = bytearray()
    sock = await connect(stack, example_crypto_info(16), wire.extend)
    assert sock.send(b"hello") == 5
    cmsg = [(uapi.SOL_TLS, uapi.TLS_SET_RECORD_TYPE, bytes([uapi.RECORD_TYPE_ALERT]))]
    assert sock.sendmsg([b"\x01\x00"], cmsg) == 2
    await close_all(stack, sock)
    assert wire.hex() == (
        "170303001da0a1a2a3a4a5a6a7d4f1b86258af8d52d6dc228ab116d75f84f9818a60"
        "150303001aa0a1a2a3a4a5a6a879944e041c9b5c55bd6776dcd2fcbfeb4638"
    )


@scenario
async def aes256_hello_world(env: Env) -> None:
    """The same with a 256-bit key."""
    stack = await env.stack()
    wire = bytearray()
    sock = await connect(stack, example_crypto_info(32), wire.extend)
    assert sock.send(b"hello") == 5
    await close_all(stack, sock)
    assert wire.hex() == "170303001da0a1a2a3a4a5a6a733340f9571d4549bed93321bb135538a15c900524d"


@scenario
async def tls13_hello_world(env: Env) -> None:
    """TLS 1.3, both key sizes, against bytes that a real kernel put on the wire."""
    stack = await env.stack()
    for key_size, expected in (
        (16, "1703030016d4f1b86258e1b714ed9df6cdbede586e6ce9a6e103d8"
             "1703030013e74ac1f92625181b9d3159ef7bf2d4d3e5e1f2"),
        (32, "170303001633340f95715d79c3bdd4b1928a2c9c99fcdc0b419574"
             "170303001305e09ec1260cdf61fc7f8dd1734ebc302165f2"),
    ):  # fmt: skip
        wire = bytearray()
        info = replace(example_crypto_info(key_size), version=uapi.TLS_1_3_VERSION)
        sock = await connect(stack, info, wire.extend)
        assert sock.send(b"hello") == 5
        cmsg = [(uapi.SOL_TLS, uapi.TLS_SET_RECORD_TYPE, bytes([uapi.RECORD_TYPE_ALERT]))]
        assert sock.sendmsg([b"\x01\x00"], cmsg) == 2
        await close_all(stack, sock)
        assert wire.hex() == expected


@scenario
async def msg_more_chain(env: Env) -> None:
    """Bytes sent with MSG_MORE share a record; it closes when full or with the last call."""
    stack = await env.stack()
    wire = bytearray()
    sock = await connect(stack, crypto_info(env.rng), wire.extend)
    assert sock.send(env.bytes(10), uapi.MSG_MORE) == 10
    assert sock.send(env.bytes(16370), uapi.MSG_MORE) == 16370
    await stack.settle()
    assert not wire
    assert sock.send(env.bytes(10), uapi.MSG_MORE) == 10
    await stack.settle()
    assert len(wire) == MAX + OVERHEAD
    assert sock.send(env.bytes(5)) == 5
    await stack.settle()
    assert len(wire) == MAX + OVERHEAD + 11 + OVERHEAD
    await close_all(stack, sock)


@scenario
async def sizes_around_blocks(env: Env) -> None:
    """Every length near a block and a record boundary, many records under way at once."""
    stack = await env.stack()
    sock = await connect(stack, crypto_info(env.rng))
    for n in [*range(1, 50), 63, 64, 65, 255, 256, 257, 1460, 4095, 4096, 4097]:
        assert sock.send(env.bytes(n)) == n
    assert sock.send(env.bytes(MAX - 1)) == MAX - 1
    assert sock.send(env.bytes(2 * MAX + 1)) == 2 * MAX + 1
    await close_all(stack, sock)


@scenario
async def sendfile_of_a_file(env: Env) -> None:
    """sendfile continues an open record and closes it at the end of the file."""
    stack = await env.stack()
    wire = bytearray()
    sock = await connect(stack, crypto_info(env.rng), wire.extend)
    assert sock.send(env.bytes(100), uapi.MSG_MORE) == 100
    file = io.BytesIO(env.bytes(5000))
    assert sock.sendfile(file, 0, 50_000) == 5000
    assert file.tell() == 0
    await stack.settle()
    assert len(wire) == 5100 + OVERHEAD
    assert sock.sendfile(file, None, 3000) == 3000
    assert file.tell() == 3000
    await close_all(stack, sock)


@scenario
async def many_connections(env: Env) -> None:
    """Records of 16 connections, both versions and key sizes, interleaved; each has its numbers."""
    await _many_connections(env, rings=1)


@scenario
async def many_connections_on_all_rings(env: Env) -> None:
    """The same, the connections spread over the rings of the device."""
    stack = await _many_connections(env, rings=8)
    assert stack.nic is not None
    served = [pair.cq.cons for pair in stack.nic.pairs]
    assert len(served) > 1
    assert min(served) > 8, f"a ring was hardly used: {served}"


async def _many_connections(env: Env, rings: int) -> KtlsStack:
    stack = await env.stack(rings=rings)
    socks = [
        await connect(
            stack,
            crypto_info(env.rng, env.rng.choice((16, 32)), seq, env.rng.choice((0x0303, 0x0304))),
        )
        for seq in range(0, 16_000, 1000)
    ]
    for _ in range(60):
        sock = env.rng.choice(socks)
        data = env.bytes(env.rng.choice((1, 16, 64, 300, 1460)))
        assert sock.send(data, env.rng.choice((0, uapi.MSG_MORE))) == len(data)
    for sock in socks:
        assert sock.send(b"end") == 3
    await close_all(stack, *socks)
    return stack


@scenario
async def contexts_run_out(env: Env) -> None:
    """A connection without a free context works in software and says why."""
    stack = await env.stack()
    assert stack.nic is not None
    socks = [await connect(stack, crypto_info(env.rng)) for _ in range(stack.nic.contexts)]
    late = connect_wire(stack, lambda _data: None)
    late.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    late.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, crypto_info(env.rng).pack())
    await stack.settle()
    assert late.why_not_offloaded is not None
    assert "contexts" in late.why_not_offloaded
    assert late.send(b"in software") == 11
    await close_all(stack, socks[0])
    again = await connect(stack, crypto_info(env.rng))
    assert again.send(b"offloaded") == 9
    await close_all(stack, late, again, *socks[1:])
    assert stack.tls_stat["TlsTxSw"] == 1
    assert stack.tls_stat["TlsCurrTxDevice"] == 0


# ------------------------------------------------------------ through raw descriptors


def random_pieces(env: Env, rig: Rig, length: int) -> list[Piece]:
    """Cut `length` bytes into pieces of any alignment; empty ones are among them."""
    out: list[Piece] = []
    left = length
    while left:
        n = min(left, env.rng.choice((0, 1, 3, 15, 16, 17, 31, 100, 256, 1000, left)))
        rig.alloc(8, 1)  # room for a guard
        out.append(Piece(rig.alloc(n, 64, env.rng.randrange(64)), n))
        left -= n
    if env.rng.random() < 0.3:
        out.append(Piece(rig.alloc(16), 0))
    return out


@scenario
async def any_alignment(env: Env) -> None:
    """Lists of entries of any length and alignment on both sides; nothing else is touched."""
    rig = await env.rig()
    await rig.set_context(3, env.bytes(16))
    for _ in range(25):
        rig.release()
        data = env.bytes(env.rng.choice((0, 1, 15, 16, 17, 33, 250, 1460, 5000)))
        src = random_pieces(env, rig, len(data))
        dst = random_pieces(env, rig, len(data) + OVERHEAD)
        # a guard on both sides of every destination piece
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
    """TLS 1.3: the type behind the text at every place of a block, any alignment."""
    rig = await env.rig()
    await rig.set_context(3, env.bytes(16), version=0x0304, iv=env.bytes(8), seq=2**40 + 7)
    await rig.set_context(4, env.bytes(32), version=0x0304, salt=env.bytes(4))
    for n in [*range(34), 1460, MAX - 1, MAX]:
        rig.release()
        data = env.bytes(n)
        src = random_pieces(env, rig, n)
        dst = random_pieces(env, rig, n + OVERHEAD_1_3)
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
    """Zeros behind the inner type, from none to a full record, the type at every place."""
    rig = await env.rig()
    await rig.set_context(1, env.bytes(16), version=0x0304, iv=env.bytes(8))
    await rig.set_context(2, env.bytes(32))
    sizes = [(n, pad) for n in (0, 1, 14, 15, 16, 17, 40) for pad in (0, 1, 14, 15, 16, 17, 50)]
    for n, pad in [*sizes, (0, MAX), (MAX, 0), (MAX - 1, 1), (100, MAX - 100)]:
        rig.release()
        out = n + OVERHEAD_1_3 + pad
        dst = random_pieces(env, rig, out)
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
async def resync(env: Env) -> None:
    """RESYNC sets the number of the next record; a transmit context never goes back."""
    rig = await env.rig()
    for ctx, version in ((0, 0x0303), (1, 0x0304)):
        iv = env.bytes(8)
        await rig.set_context(ctx, env.bytes(32), iv=iv, seq=10, version=version)
        seals = [rig.seal_descriptor(ctx, env.bytes(40))[0] for _ in range(5)]
        numbers = (11, 10, 2**32 + 5, 0, 2**64 - 1)
        resyncs = [rig.resync_descriptor(ctx, n) for n in numbers]
        # queued among records, they take their place
        done = await rig.run(
            seals[0], resyncs[0], seals[1], resyncs[1], seals[2], resyncs[2], seals[3],
            resyncs[3], resyncs[4], seals[4],
        )  # fmt: skip
        assert [c.status for c in done] == [
            *(Status.OK, Status.OK, Status.OK, Status.BAD_SEQ, Status.OK, Status.OK, Status.OK),
            *(Status.BAD_SEQ, Status.OK, Status.SEQ_EXHAUSTED),
        ]
        assert [done[i].rec_seq for i in (0, 2, 4, 6)] == [10, 11, 12, 2**32 + 5]
    for receiver in await _receivers(env, rig):
        first = int.from_bytes(receiver.info.rec_seq, "big")
        text = env.bytes(33)
        record = receiver.record(text)
        for step in (1, 5, 0):
            assert (await rig.resync(receiver.ctx, first + step)).status == Status.OK
            cqe, got = await receiver.open(record)
            assert cqe.status == (Status.AUTH_FAILED if step else Status.OK)
        assert got[:33] == text
    assert (await rig.resync(40, 1)).status == Status.BAD_CTX
    await rig.set_context(41, env.bytes(16), version=0)
    assert (await rig.resync(41, 1)).status == Status.BAD_SEQ


@scenario
async def key_limits(env: Env) -> None:
    """KEY_WARN marks completions, KEY_LIMIT refuses; a rekey starts anew."""
    rig = await env.rig()
    await rig.port.write32(Reg.KEY_WARN, 3)
    await rig.port.write32(Reg.KEY_LIMIT, 5)
    key = env.bytes(16)
    for version in (0x0303, 0):
        await rig.set_context(0, key, version=version)
        seals = [replace(rig.seal_descriptor(0, b"count")[0], tag_len=16) for _ in range(6)]
        # one without effect on the key
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


@scenario
async def plain_gcm(env: Env) -> None:
    """AES-GCM with free nonce, additional data, lengths and tags, sealed and opened again."""
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
        return random_pieces(env, rig, n)

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
async def plain_gcm_mistakes(env: Env) -> None:
    """Wrong lengths, tags and contexts of plain AES-GCM, and what TLS ignores of its fields."""
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
    # an error in the additional data alone
    src = rig_src(rig, good)
    env.fail_bus(src, src + 1, True, False)
    (cqe,) = await rig.run(good)
    env.fail_bus(0, 0, False, False)
    assert cqe.status == Status.SRC_BUS_ERROR
    assert not any(rig.get_pieces(dst, 36))


@scenario
async def lists_longer_than_a_burst(env: Env) -> None:
    """40 entries per list, so that list fetches need several bursts."""
    rig = await env.rig()
    await rig.set_context(0, env.bytes(16))
    data = env.bytes(400)
    src = [Piece(rig.alloc(10, 16, i % 16), 10) for i in range(40)]
    dst = [Piece(rig.alloc(11, 16, (3 * i) % 16), 11) for i in range(40)]
    descriptor, _ = rig.seal_descriptor(0, data, src=src, dst=dst)
    (cqe,) = await rig.run(descriptor)
    assert cqe.status == Status.OK


@scenario
async def bad_descriptors(env: Env) -> None:
    """Each mistake gets its status, is counted, and the next record is right."""
    rig = await env.rig()
    key = env.bytes(16)
    await rig.set_context(5, key)
    good, _ = rig.seal_descriptor(5, b"good")
    contexts = layout.CAPS_CONTEXTS.get(await rig.port.read32(Reg.CAPS))

    set_ok = SqeCtx(opcode=Opcode.CTX_SET, ctx=6, version=0x0303, cipher=51, key=key)
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
        (SqeCtx(opcode=Opcode.CTX_DEL, ctx=4), Status.BAD_CTX, False),
        (SqeCtx(opcode=Opcode.CTX_DEL, ctx=contexts), Status.BAD_CTX, False),
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


@scenario
async def short_lists(env: Env) -> None:
    """Lists that hold less than the descriptor says end in a status; the next record is right."""
    rig = await env.rig()
    await rig.set_context(1, env.bytes(32))
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


@scenario
async def bus_errors(env: Env) -> None:
    """SLVERR wherever the device looks: a status, no wrong bytes, the next record is right."""
    rig = await env.rig()
    await rig.set_context(2, env.bytes(16))
    data = env.bytes(600)
    good, _ = rig.seal_descriptor(2, data)

    async def try_at(lo: int, hi: int, read: bool, write: bool) -> tuple[Cqe, Cqe]:
        bad, dst = rig.seal_descriptor(2, data)
        rig.alloc(64)  # the two lists must not share a beat
        bad = replace(bad, dst_sg=rig.put_list(dst))
        where = {
            "src": rig_src(rig, bad),
            "dst": dst[0].addr,
            "src_list": bad.src_sg,
            "dst_list": bad.dst_sg,
        }
        base = where[place]
        env.fail_bus(base + lo, base + hi, read, write)
        await rig.post(bad)
        (a,) = await rig.reap(1)
        env.fail_bus(0, 0, False, False)
        if not env.lockstep:
            # what a failed record leaves is open, but never plaintext
            out = rig.get_pieces(dst, dst[0].length)
            assert not any(data[i : i + 16] in out for i in range(0, len(data), 16))
        (b,) = await rig.run(good)
        return a, b

    place = "src"
    for lo in (0, 256, 592):
        a, b = await try_at(lo, lo + 8, True, False)
        assert (a.status, a.numbered, b.status) == (Status.SRC_BUS_ERROR, 1, Status.OK)
        assert b.rec_seq == a.rec_seq + 1
    place = "dst"
    for lo in (0, 256, 600):
        a, b = await try_at(lo, lo + 8, False, True)
        assert (a.status, b.status) == (Status.DST_BUS_ERROR, Status.OK)
    place = "src_list"
    a, b = await try_at(0, 16, True, False)
    assert (a.status, b.status) == (Status.SRC_BUS_ERROR, Status.OK)
    place = "dst_list"
    a, b = await try_at(0, 16, True, False)
    assert (a.status, b.status) == (Status.DST_BUS_ERROR, Status.OK)
    # the descriptor itself
    slot = rig.sq_base + 64 * (rig.sq_prod & ((1 << rig.sq_log2) - 1))
    env.fail_bus(slot, slot + 64, True, False)
    await rig.post(good)
    (a,) = await rig.reap(1)
    env.fail_bus(0, 0, False, False)
    (b,) = await rig.run(good)
    assert (a.status, a.opcode, a.numbered) == (Status.SQ_BUS_ERROR, 0, 0)
    assert b.status == Status.OK
    assert await rig.port.read32(Reg.CNT_ERR_BUS) == 9


def rig_src(rig: Rig, d: SqeRecord) -> int:
    """Address of the first source piece of a descriptor."""
    return int.from_bytes(rig.port.mem.read(d.src_sg, 8), "little")


@scenario
async def completion_write_error(env: Env) -> None:
    """A completion that cannot be written stops the device and raises the interrupt."""
    rig = await env.rig()
    await rig.set_context(0, env.bytes(16))
    slot = rig.cq_base + 32 * (rig.cq_cons & ((1 << rig.cq_log2) - 1))
    env.fail_bus(slot, slot + 32, False, True)
    good, _ = rig.seal_descriptor(0, b"lost")
    await rig.post(good)
    assert await rig.port.wait_irq()
    env.fail_bus(0, 0, False, False)
    assert layout.IRQ_STATUS_ERROR.get(await rig.port.read32(Reg.IRQ_STATUS))
    assert layout.STATUS_CQ_ERROR.get(await rig.port.read32(Reg.STATUS))
    # a reset brings it back; contexts are gone
    await rig.reset()
    (cqe,) = await rig.run(good)
    assert cqe.status == Status.BAD_CTX
    await rig.set_context(0, env.bytes(16))
    (cqe,) = await rig.run(good)
    assert cqe.status == Status.OK


@scenario
async def record_number_ends(env: Env) -> None:
    """The last record number is refused instead of wrapping; a rekey goes on."""
    rig = await env.rig()
    await rig.set_context(0, env.bytes(16), iv=b"\xff" * 8, seq=2**64 - 3)
    seals = [rig.seal_descriptor(0, b"count")[0] for _ in range(4)]
    done = await rig.run(*seals)
    assert [c.status for c in done] == [
        Status.OK,
        Status.OK,
        Status.SEQ_EXHAUSTED,
        Status.SEQ_EXHAUSTED,
    ]
    assert [c.rec_seq for c in done[:2]] == [2**64 - 3, 2**64 - 2]
    await rig.set_context(0, env.bytes(32), seq=7)
    (cqe,) = await rig.run(seals[0])
    assert (cqe.status, cqe.rec_seq) == (Status.OK, 7)
    await rig.set_context(0, env.bytes(16), seq=2**64 - 2, version=0x0304)
    done = await rig.run(*seals[:2])
    assert [c.status for c in done] == [Status.OK, Status.SEQ_EXHAUSTED]


@scenario
async def rekey_with_records_queued(env: Env) -> None:
    """CTX_SET and CTX_DEL take their place in the queue: earlier records keep the old key."""
    rig = await env.rig(sq_log2=5, cq_log2=5)
    await rig.set_context(0, env.bytes(16))
    seals = [rig.seal_descriptor(0, env.bytes(n))[0] for n in (700, 1, 64, 2000, 16, 33)]
    rekey = SqeCtx(
        opcode=Opcode.CTX_SET, ctx=0, version=0x0304, cipher=52, key=env.bytes(32), salt=b"salt"
    )
    delete = SqeCtx(opcode=Opcode.CTX_DEL, ctx=0)
    done = await rig.run(*seals[:3], rekey, *seals[3:], delete, seals[0])
    assert [c.status for c in done] == [Status.OK] * 8 + [Status.BAD_CTX]
    assert [c.rec_seq for c in done] == [0, 1, 2, 0, 0, 1, 2, 0, 0]


@scenario
async def rings_wrap(env: Env) -> None:
    """Small rings, a completion ring smaller than the submission ring, many rounds."""
    rig = await env.rig(sq_log2=2, cq_log2=1)
    await rig.set_context(0, env.bytes(16))
    for _ in range(4):
        rig.release()
        for n in (0, 1, 40, 16, 100):
            await rig.post(rig.seal_descriptor(0, env.bytes(n))[0])
    done = await rig.drain()
    assert [c.rec_seq for c in done[1:]] == list(range(20))
    assert [c.sq_index for c in done] == list(range(21))


@scenario
async def full_completion_ring(env: Env) -> None:
    """The device stalls on a full completion ring and goes on when it is read."""
    rig = await env.rig(sq_log2=4, cq_log2=1)
    await rig.set_context(0, env.bytes(16))
    seals = [rig.seal_descriptor(0, env.bytes(50))[0] for _ in range(8)]
    for s in seals:
        place = rig.sq_prod & 15
        rig.port.mem.write(rig.sq_base + 64 * place, s.pack())
        rig.sq_prod += 1
    await rig.port.write32(Reg.RING0_SQ_PROD, rig.sq_prod)
    done = await rig.drain()
    assert [c.status for c in done] == [Status.OK] * 9


async def _all_rings(env: Env, sizes: list[tuple[int, int]]) -> list[Rig]:
    """The device reset, and a rig for each of its rings."""
    first = await env.rig(sq_log2=sizes[0][0], cq_log2=sizes[0][1])
    count = layout.CAPS_RINGS.get(await first.port.read32(Reg.CAPS))
    return [first, *[await first.beside(n, *sizes[n % len(sizes)]) for n in range(1, count)]]


@scenario
async def several_rings(env: Env) -> None:
    """Every ring has contexts of its own; its completions are its own and in order."""
    rng = env.rng
    rigs = await _all_rings(env, [(4, 4), (2, 3), (5, 1), (0, 0)])
    assert len(rigs) > 1
    expected: list[list[Status]] = [[] for _ in rigs]
    numbers = [0] * len(rigs)
    for n, rig in enumerate(rigs):
        await rig.set_context(
            n, env.bytes(rng.choice((16, 32))), version=rng.choice((0x0303, 0x0304))
        )
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
    # everywhere as much as fits, then all doorbells: the rings take turns
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


@scenario
async def rings_raise_the_interrupt(env: Env) -> None:
    """IRQ_STATUS names the rings; each has a moderation of its own."""
    rigs = await _all_rings(env, [(3, 3)])
    port = rigs[0].port
    for n, rig in enumerate(rigs):
        await rig.set_context(n, env.bytes(16))
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


@scenario
async def a_ring_that_nobody_empties_holds_up_no_other(env: Env) -> None:
    """Its descriptors wait in memory; those of the other rings go on."""
    rigs = await _all_rings(env, [(4, 4), (4, 1)])
    for n, rig in enumerate(rigs):
        await rig.set_context(n, env.bytes(16))
    stuck = rigs[1]
    await stuck.port.write32(stuck.reg(Reg.RING0_IRQ_MOD), layout.RING0_IRQ_MOD_COUNT.put(99))
    for _ in range(6):
        raw = stuck.seal_descriptor(1, env.bytes(20))[0].pack()
        stuck.port.mem.write(stuck.sq_base + 64 * (stuck.sq_prod & 15), raw)
        stuck.sq_prod += 1
    await stuck.port.write32(stuck.reg(Reg.RING0_SQ_PROD), stuck.sq_prod)
    for _ in range(20):
        (cqe,) = await rigs[0].run(rigs[0].seal_descriptor(0, env.bytes(200))[0])
        assert cqe.status == Status.OK
    await stuck.port.write32(stuck.reg(Reg.RING0_IRQ_MOD), layout.RING0_IRQ_MOD_COUNT.put(1))
    assert [c.status for c in await stuck.drain()] == [Status.OK] * 7


@scenario
async def interrupt_moderation(env: Env) -> None:
    """IRQ_MOD.count holds the interrupt back; IRQ_MOD.timer lets it come anyway."""
    rig = await env.rig()
    await rig.set_context(0, env.bytes(16))
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


@scenario
async def reset_with_records_under_way(env: Env) -> None:
    """A reset at different moments of a record: the bus stays legal, the next record is right."""
    rig = await env.rig()
    for delay in (0, 3, 7, 12, 20, 30, 45):
        rig.release()
        await rig.set_context(9, env.bytes(32))
        await rig.post(*(rig.seal_descriptor(9, env.bytes(900))[0] for _ in range(4)))
        for _ in range(delay):
            await rig.port.read32(Reg.ID)
        await rig.reset()
        assert await rig.port.read32(Reg.CNT_DESCRIPTORS) == 0
        (gone,) = await rig.run(rig.seal_descriptor(9, b"x")[0])
        assert gone.status == Status.BAD_CTX
        await rig.set_context(9, env.bytes(16))
        (cqe,) = await rig.run(rig.seal_descriptor(9, env.bytes(100))[0])
        assert (cqe.status, cqe.rec_seq) == (Status.OK, 0)


@scenario
async def random_jobs(env: Env) -> None:
    """Random contexts, sizes, alignments and mistakes, queued as deep as the ring allows."""
    rig = await env.rig(sq_log2=4, cq_log2=5)
    keys = {c: env.bytes(env.rng.choice((16, 32))) for c in env.rng.sample(range(64), 6)}
    for c, key in keys.items():
        version = env.rng.choice((0x0303, 0x0304))
        await rig.set_context(c, key, salt=env.bytes(4), iv=env.bytes(8), seq=c, version=version)
    for _ in range(3):
        rig.release()
        batch: list[SqeRecord | SqeCtx] = []
        for _ in range(14):
            ctx = env.rng.choice([*keys, 63 if 63 not in keys else 62])
            data = env.bytes(env.rng.choice((0, 1, 5, 16, 31, 32, 100, 777, 1460)))
            src = random_pieces(env, rig, len(data))
            dst = random_pieces(env, rig, len(data) + OVERHEAD + env.rng.choice((0, 0, 7)))
            rtype = env.rng.randrange(256)
            d, _ = rig.seal_descriptor(ctx, data, rtype=rtype, src=src, dst=dst)
            batch.append(d)
        await rig.post(*batch)
        await rig.drain()


# -------------------------------------------------------------------------- receive


class _Receiver:
    """A receive context and somebody who seals records for it."""

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
        i = self.info
        seq = int.from_bytes(i.rec_seq, "big")
        done = await self.rig.set_context(
            self.ctx, i.key, salt=i.salt, iv=i.iv, seq=seq, version=i.version, receive=True
        )
        assert done.status == Status.OK

    def record(self, text: bytes, rtype: int = 23, padding: int = 0) -> bytes:
        """The next record of the stream."""
        index = self.index
        self.index += 1
        if not padding:
            return seal_record(self.keys, index, rtype, text).wire
        inner = text + bytes([rtype]) + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        return header + self.keys.aead().encrypt(self.keys.nonce(index, b""), inner, header)

    async def open(
        self, record: bytes, src: list[Piece] | None = None, dst: list[Piece] | None = None
    ) -> tuple[Cqe, bytes]:
        descriptor, dst = self.rig.open_descriptor(
            self.ctx, record, tls13=self.tls13, src=src, dst=dst
        )
        (cqe,) = await self.rig.run(descriptor)
        return cqe, self.rig.get_pieces(dst, descriptor.len)


async def _receivers(env: Env, rig: Rig) -> list[_Receiver]:
    out = []
    for ctx, (size, version) in enumerate(
        (size, version) for size in (16, 32) for version in (0x0303, 0x0304)
    ):
        receiver = _Receiver(env, rig, ctx, size, version)
        await receiver.install()
        out.append(receiver)
    return out


@scenario
async def open_every_tail(env: Env) -> None:
    """Records of every length around a block, any alignment, both versions and key sizes."""
    rig = await env.rig()
    receivers = await _receivers(env, rig)
    for n in [*range(34), 1460, MAX - 1, MAX]:
        for r in receivers:
            rig.release()
            text = env.bytes(n)
            rtype = env.rng.randrange(1, 256)
            record = r.record(text, rtype)
            body = len(record) - (5 if r.tls13 else 13)
            src = random_pieces(env, rig, body)
            dst = random_pieces(env, rig, body - 16)
            cqe, got = await r.open(record, src=src, dst=dst)
            assert (cqe.status, cqe.rtype, cqe.len) == (Status.OK, rtype, n)
            assert got[:n] == text


@scenario
async def open_refuses_what_is_not_authentic(env: Env) -> None:
    """One wrong bit anywhere: AUTH_FAILED, zeros in memory, the next record is right."""
    rig = await env.rig()
    for r in await _receivers(env, rig):
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
        # a record of another number
        r.index += 1
        cqe, got = await r.open(r.record(env.bytes(20)))
        assert cqe.status == Status.AUTH_FAILED
        assert not any(got)
    assert await rig.port.read32(Reg.CNT_ERR_AUTH) == 2 * (18 + 1) + 2 * (21 + 1)


@scenario
async def open_tls13_padding(env: Env) -> None:
    """Padding is stripped whatever its length; nothing but zeros is an error."""
    rig = await env.rig()
    for r in await _receivers(env, rig):
        if not r.tls13:
            continue
        for n, padding in ((0, 1), (5, 1), (5, 15), (16, 16), (15, 100), (0, 300), (1, MAX - 1)):
            rig.release()
            # zeros at the end of the text are text
            text = env.bytes(n - n // 3) + bytes(n // 3)
            cqe, got = await r.open(r.record(text, 21, padding))
            assert (cqe.status, cqe.rtype, cqe.len) == (Status.OK, 21, n)
            assert got[:n] == text
        for size in (1, 16, 200):
            cqe, got = await r.open(r.record(b"", 0, size - 1) if size > 1 else r.record(b"", 0))
            assert (cqe.status, cqe.numbered) == (Status.AUTH_FAILED, 1)
            assert not any(got)
        cqe, _ = await r.open(r.record(b"after", 23))
        assert cqe.status == Status.OK


@scenario
async def open_mistakes(env: Env) -> None:
    """Wrong direction, lengths, lists, bus errors and the last number, each with its status."""
    rig = await env.rig()
    receivers = await _receivers(env, rig)
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
        env.fail_bus(0, 0, False, False)
        assert cqe.status == Status.DST_BUS_ERROR
        src = rig_src(rig, good)
        env.fail_bus(src + 48, src + 49, True, False)
        (cqe,) = await rig.run(good)
        env.fail_bus(0, 0, False, False)
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
    """What the device seals it opens, with both directions of several connections queued."""
    rig = await env.rig(sq_log2=5, cq_log2=5)
    receivers = await _receivers(env, rig)
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
        # the records in between were sealed and thrown away
        for r in receivers:
            await rig.run(rig.open_descriptor(r.ctx, bytes(60), tls13=r.tls13)[0])


# --------------------------------------------------------------------------- stress


class _Stress:
    """Random descriptors of every kind; keeps track of the contexts as the device must."""

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
        """The device has been reset."""
        self.contexts.clear()
        self.raw.clear()

    def cut(self, n: int, writing: bool = False) -> list[Piece]:
        """Pieces for n bytes; a few of them where the bus has errors.

        Pieces there overlap, so nothing must succeed in writing to them.
        """
        out = random_pieces(self.env, self.rig, n)
        usable = self.bad_writes or not writing
        if self.bad and usable and out and self.rng.random() < 0.3:
            at = self.rng.randrange(len(out))
            room = self.bad[1] - self.bad[0]
            if out[at].length <= room:
                shift = self.rng.randrange(room - out[at].length + 1)
                out[at] = Piece(self.bad[0] + shift, out[at].length)
        return out

    def size(self) -> int:
        return self.rng.choice((0, 1, 15, 16, 17, 31, 100, 255, 777, 1460, 1460, 5000))

    def seal(self, ctx: int) -> SqeRecord:
        text = self.env.bytes(self.size())
        pad = self.rng.choice((0, 0, 1, 40))
        dst = self.cut(len(text) + OVERHEAD + pad, writing=True)
        descriptor, _ = self.rig.seal_descriptor(
            ctx, text, rtype=self.rng.randrange(256), src=self.cut(len(text)), dst=dst
        )
        return replace(descriptor, pad=pad)

    def open(self, ctx: int) -> SqeRecord:
        """The next record of the context's stream, or nearly."""
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
        tag_len = self.rng.choice((4, 8, 12, 13, 14, 15, 16, 16, 5))
        aad = self.env.bytes(self.rng.choice((0, 1, 16, 20, 300)))
        opcode, key = self.raw[ctx]
        data, nonce = self.env.bytes(self.size()), self.env.bytes(12)
        if opcode == Opcode.OPEN:
            data = seal_gcm(key, nonce, aad, data, tag_len)
        return self.rig.gcm_descriptor(ctx, opcode, nonce, aad, data, tag_len)[0]

    def install(self, ctx: int) -> SqeCtx:
        """A key for TLS or plain AES-GCM, in a context that may be in use."""
        rng = self.rng
        version = rng.choice((0x0303, 0x0304, 0x0303, 0x0304, 0))
        receive = rng.random() < 0.4
        info = crypto_info(rng, rng.choice((16, 32)), rng.choice((0, 9, 2**40)), version or 0x0303)
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
        number = self.rng.choice((0, 100, 2**41))
        if ctx in self.contexts and self.contexts[ctx][1]:
            self.opened[ctx] = number - self.contexts[ctx][0].first_number
        return self.rig.resync_descriptor(ctx, number)

    def spoil(self, descriptor: SqeRecord) -> SqeRecord:
        """A mistake of a driver."""
        return self.rng.choice(
            (
                replace(descriptor, opcode=self.rng.choice((0, 6, 255))),
                replace(descriptor, len=self.rng.choice((MAX + 2, 0xFFFFFFFF))),
                replace(descriptor, dst_len=0),
                replace(descriptor, src_cnt=max(0, descriptor.src_cnt - 1)),
                replace(descriptor, dst_cnt=max(0, descriptor.dst_cnt - 1)),
                # behind the end of memory: DECERR
                replace(descriptor, src_sg=self.rig.port.mem.size + 64),
                replace(descriptor, dst_sg=1 << 50),
            )
        )

    def any(self) -> SqeRecord | SqeCtx:
        """The next descriptor."""
        rng = self.rng
        ctx = rng.randrange(6)
        known = ctx in self.contexts or ctx in self.raw
        dice = rng.random()
        if dice < 0.08 or (not known and dice < 0.8):
            return self.install(ctx)
        if dice < 0.11:
            self.contexts.pop(ctx, None)
            self.raw.pop(ctx, None)
            return SqeCtx(opcode=Opcode.CTX_DEL, ctx=ctx)
        if dice < 0.15:
            return self.resync(ctx)
        if dice < 0.25 and not self.contexts.get(ctx, (None, False))[1]:
            return self.spoil(self.seal(ctx))
        if ctx in self.raw:
            return self.plain(ctx)
        if ctx in self.contexts:
            return self.open(ctx) if self.contexts[ctx][1] else self.seal(ctx)
        return self.seal(rng.choice((ctx, 1000)))


async def stress(env: Env, jobs: int) -> None:
    """Every kind of job, mistake and bus error, queued at random on rings of random sizes.

    Args:
        jobs: descriptors; contexts come, change and go among them.
    """
    rng = env.rng
    rig = await env.rig()
    work = _Stress(env, rig)
    left = jobs
    while left > 0:
        if rng.random() < 0.15:
            # whatever is under way is gone
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
        count = min(left, rng.randint(1, 24))
        left -= count
        await rig.post(*(work.any() for _ in range(count)))
        if rng.random() < 0.9:
            await rig.drain()
        else:
            await rig.reset()
            work.forget()
        env.fail_bus(0, 0, False, False)
    await rig.drain()


@scenario
async def random_stress(env: Env) -> None:
    """A hundred jobs of every kind; `make soak` has thousands."""
    await stress(env, 100)
