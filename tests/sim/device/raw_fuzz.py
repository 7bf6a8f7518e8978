# SPDX-License-Identifier: Apache-2.0
"""A differential fuzzer of the contract: raw descriptors, registers and resets, model against RTL.

A run is a list of steps. `Generator` draws them, `Player` applies them to both devices and compares
everything that the host can see whenever the devices are quiet. `shrink` removes steps from a run
that ends in a difference.

Each ring has contexts and memory of its own, because the devices may serve rings in another order.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple

from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.sim.port import SimPort
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, Sge, SqeCtx, SqeRecord, Status, ring_reg
from ktls_hw.model import NicModel

TOP = 1 << 64
_MASK32 = 0xFFFFFFFF
_RINGS = 0x1000  # first ring; submission and completion ring of ring n at n and n + 1/2 pages
_SIZE = 0x4000  # bytes of data of each ring
_DATA = 0x10000
_TEXT_SIZES = (0, 1, 15, 16, 17, 40, 100, 255, 300)
# registers that depend on time or on the order of rings
_UNCOMPARED = {Reg.CYCLES_LO, Reg.CYCLES_HI, Reg.RESETS}


class Step(NamedTuple):
    """One action.

    Attributes:
        kind: Name of a method of `Player`, without its underscore.
        args: Its arguments.
    """

    kind: str
    args: tuple[Any, ...] = ()


class Difference(Exception):
    """The devices differ; the text says in what."""


class Generator:
    """Draws steps.

    Args:
        rng: Source of all decisions.
        rings: Ring pairs of the device.
        contexts: Contexts of the device.
        memory: Bytes of host memory.
    """

    def __init__(self, rng: random.Random, rings: int, contexts: int, memory: int) -> None:
        self.rng = rng
        self.rings = rings
        self.contexts = contexts
        self.memory = memory
        self._forget()

    def _forget(self) -> None:
        self.keys: dict[int, tuple[TrafficKeys, bool, int]] = {}  # keys, OPEN, generation
        self.deleted: dict[int, tuple[TrafficKeys, bool, int]] = {}
        self.seq: dict[int, int] = {}
        self.failing = False

    # ---------------------------------------------------------------------- set-up

    def start(self) -> list[Step]:
        """Reset, program all rings and enable the device."""
        self._forget()
        steps = [Step("reset", ()), Step("heal")]
        for ring in range(self.rings):
            sq, cq = _RINGS + 0x1000 * ring, _RINGS + 0x1000 * ring + 0x800
            steps.append(Step("mem", (sq, bytes(0x1000))))
            for reg, value in (
                (Reg.RING0_SQ_BASE_LO, sq), (Reg.RING0_CQ_BASE_LO, cq),
                (Reg.RING0_SQ_SIZE, 4), (Reg.RING0_CQ_SIZE, 4),
            ):  # fmt: skip
                steps.append(Step("reg", (ring_reg(ring, reg), value)))
        for reg in (Reg.KEY_WARN, Reg.KEY_LIMIT):
            steps.append(Step("reg", (reg, self.rng.choice((0, 0, 2, 4, 9)))))
        return [*steps, Step("reg", (Reg.IRQ_ENABLE, 7)), Step("reg", (Reg.CTRL, 1))]

    def round(self) -> list[Step]:
        """Some steps that end when the devices are quiet."""
        rng = self.rng
        dice = rng.random()
        if dice < 0.62:
            return [*self._work(), Step("quiet")]
        if dice < 0.70:
            return [Step("reg", self._register()), Step("quiet")]
        if dice < 0.80:
            return [self._wrong_write(), Step("quiet")]
        if dice < 0.88:
            return [Step("consume", (rng.randrange(self.rings),)), Step("quiet")]
        if dice < 0.93:
            lo = _DATA + rng.randrange(self.rings) * _SIZE + rng.randrange(_SIZE)
            self.failing = True
            size, kind = rng.choice((1, 64, 600)), rng.choice(((1, 0), (0, 1), (1, 1)))
            return [Step("fail", (lo, lo + size, *kind))]
        if dice < 0.96 and self.failing:
            self.failing = False
            return [Step("heal")]
        # a reset, often with work under way, and writes before the device is ready
        steps = self._work() if rng.random() < 0.6 else []
        early = tuple(self._register() for _ in range(rng.randrange(4)))
        return [
            *steps,
            Step("pause", (rng.randrange(120),)),
            Step("reset", early),
            *self.start()[1:],
        ]

    def _register(self) -> tuple[int, int]:
        """A write that does not touch the rings' bases, sizes and doorbells."""
        rng = self.rng
        addr = rng.choice(
            (Reg.KEY_WARN, Reg.KEY_LIMIT, Reg.IRQ_ENABLE, Reg.ID, Reg.SUITES, Reg.STATUS,
             Reg.CNT_RECORDS, Reg.RESETS, ring_reg(rng.randrange(self.rings), Reg.RING0_IRQ_MOD),
             ring_reg(rng.randrange(self.rings), Reg.RING0_ERRORS),
             ring_reg(rng.randrange(self.rings), Reg.RING0_MSG), Reg.ERROR_MSG,
             ring_reg(self.rings, Reg.RING0_SQ_SIZE), 0xFFC, 0x0FC, 0x800)
        )  # fmt: skip
        value = rng.choice((0, 1, 2, 3, 7, 40, _MASK32, rng.getrandbits(32)))
        if addr & 0x3F == Reg.RING0_IRQ_MOD & 0x3F and addr >= Reg.RING0_SQ_BASE_LO:
            value &= 0x0003FFFF  # a short timer, which has run out when the devices are quiet
        if addr in (Reg.KEY_WARN, Reg.KEY_LIMIT):
            value %= 50
        return int(addr) + rng.choice((0, 0, 0, 1, 2, 3)), value

    def _wrong_write(self) -> Step:
        """Move a doorbell beyond its ring or backwards, or a base off its alignment."""
        rng = self.rng
        ring = rng.randrange(self.rings)
        far = rng.choice((-1, -5, 17, 33, 1 << 31, 1000))
        reg, by = rng.choice(
            (
                (Reg.RING0_SQ_PROD, far),
                (Reg.RING0_CQ_CONS, far),
                (Reg.RING0_SQ_BASE_LO, rng.choice((1, 8, 32))),
                (Reg.RING0_CQ_BASE_LO, rng.choice((16, 32, 63))),
            )
        )
        return Step("move", (ring_reg(ring, reg), by))

    # ------------------------------------------------------------------------ work

    def _work(self) -> list[Step]:
        rng = self.rng
        steps = []
        for ring in rng.sample(range(self.rings), rng.randint(1, self.rings)):
            steps.append(Step("consume", (ring,)))
            count = rng.choice((1, 1, 2, 5, 12))
            at = _DATA + ring * _SIZE
            steps.append(Step("mem", (at, rng.randbytes(0x1000))))
            self._next = at + 0x1000
            for _ in range(count):
                steps += self._descriptor(ring)
            steps.append(Step("bell", (ring, rng.random() < 0.3)))
        if rng.random() < 0.1:
            steps += [
                Step("pause", (rng.randrange(200),)), Step("reg", (Reg.CTRL, 0)),
                Step("pause", (rng.randrange(200),)), Step("reg", (Reg.CTRL, 1)),
            ]  # fmt: skip
        return steps

    def _descriptor(self, ring: int) -> list[Step]:
        rng = self.rng
        ctx = ring + self.rings * rng.randrange(2)
        dice = rng.random()
        d: SqeCtx | SqeRecord
        steps: list[Step] = []
        known = ctx in self.keys or (ctx in self.deleted and dice > 0.4)
        if not known or dice < 0.1:
            d = self._install(ctx)
        elif dice < 0.17:
            d = self._control(ctx)
        else:
            steps, d = self._record(ring, ctx)
        if rng.random() < 0.1:
            d = self._damaged(d)
        return [*steps, Step("slot", (ring, d.pack()))]

    def _damaged(self, d: SqeCtx | SqeRecord) -> SqeCtx | SqeRecord:
        """Flip a bit, except in what leads to the contexts and the memory of other rings."""
        rng = self.rng
        kept = ("ctx", "src_sg", "dst_sg", "src_direct", "dst_direct")
        names = [f.name for f in fields(d) if f.name not in kept and getattr(d, f.name) != b""]
        name = rng.choice(names)
        old = getattr(d, name)
        if isinstance(old, bytes):
            at = rng.randrange(len(old))
            new: Any = old[:at] + bytes([old[at] ^ 1 << rng.randrange(8)]) + old[at + 1 :]
        else:
            new = old ^ 1 << rng.randrange(8)
        return replace(d, **{name: new})

    def _install(self, ctx: int) -> SqeCtx:
        rng = self.rng
        version = rng.choice((0x0303, 0x0304, 0x0303, 0x0304, 0, 0x0302))
        key = rng.randbytes(rng.choice((16, 32)))
        number = rng.choice((0, 0, 7, (1 << 40) - 1, (1 << 64) - 3))
        keys = TrafficKeys(
            version or 0x0303, 52 if len(key) == 32 else 51, key, rng.randbytes(4),
            rng.randbytes(8), number,
        )  # fmt: skip
        receive = rng.random() < 0.4
        generation = rng.getrandbits(16)
        cipher = rng.choice((keys.cipher,) * 6 + (53, 0))
        right = version in (0x0303, 0x0304) and cipher == keys.cipher
        if right:
            self.keys[ctx] = (keys, receive, generation)
            self.seq[ctx] = number
        else:
            self.keys.pop(ctx, None)
        return SqeCtx(
            opcode=Opcode.CTX_SET, gen=generation & 255, epoch=generation >> 8, ctx=ctx,
            dir=int(receive), version=version, cipher=cipher, salt=keys.salt, iv=keys.iv,
            rec_seq=number.to_bytes(8, "big"), key=key, cookie=rng.getrandbits(16),
        )  # fmt: skip

    def _control(self, ctx: int) -> SqeCtx:
        """CTX_DEL or RESYNC, sometimes with an old generation."""
        rng = self.rng
        keys = self.keys.get(ctx) or self.deleted[ctx]
        generation = keys[2] ^ (rng.random() < 0.2)
        if rng.random() < 0.5:
            if generation == keys[2]:
                self.deleted[ctx] = keys
                self.keys.pop(ctx, None)
            return SqeCtx(
                opcode=Opcode.CTX_DEL, gen=generation & 255, epoch=generation >> 8, ctx=ctx
            )
        number = rng.choice((0, 5, 1 << 41, (1 << 64) - 1))
        if keys[1] or number >= self.seq[ctx]:
            self.seq[ctx] = number
        return SqeCtx(
            opcode=Opcode.RESYNC, gen=generation & 255, epoch=generation >> 8, ctx=ctx,
            rec_seq=number.to_bytes(8, "big"),
        )  # fmt: skip

    def _record(self, ring: int, ctx: int) -> tuple[list[Step], SqeRecord]:
        rng = self.rng
        keys, receive, generation = self.keys.get(ctx) or self.deleted[ctx]
        if rng.random() < 0.08:
            generation ^= rng.choice((1, 0x100))
        text = rng.randbytes(rng.choice(_TEXT_SIZES))
        explicit = bytes(8)
        if receive:
            number = self.seq[ctx] - keys.first_number
            wire = seal_record(keys, number, 23, text).wire if 0 <= number < 1 << 32 else bytes(60)
            start = 5 if keys.version == 0x0304 else 13
            explicit, source = wire[5:start].ljust(8, b"\0"), wire[start:]
            if rng.random() < 0.2:
                source = source[:-1] + bytes([source[-1] ^ 4])
            length = len(source) - 16
            room = length
        else:
            source, length, room = text, len(text), len(text) + 29 + 40
        self.seq[ctx] = (self.seq[ctx] + 1) % TOP
        src, steps = self._list(ring, source, len(source))
        dst, more = self._list(ring, None, room)
        d = SqeRecord(
            opcode=Opcode.OPEN if receive else Opcode.SEAL, gen=generation & 255,
            epoch=generation >> 8, ctx=ctx, cookie=rng.getrandbits(16), rtype=rng.randrange(256),
            len=length, dst_len=room, pad=rng.choice((0, 0, 0, 1, 40)), explicit_nonce=explicit,
            src_sg=src[0], src_cnt=src[1], dst_sg=dst[0], dst_cnt=dst[1],
        )  # fmt: skip
        if rng.random() < 0.25:
            d, buffer = self._direct(ring, d, source, room)
            more += buffer
        if rng.random() < 0.12:
            changes: list[dict[str, Any]] = [
                {"len": rng.choice((16385, 16386, _MASK32, length + 1))},
                {"dst_len": rng.choice((0, room - 1 if room else 0, _MASK32))},
                # a direct buffer may be there, but it would reach into the next one
                {"src_sg": d.src_sg + rng.choice((1, 8)), "src_direct": 0},
                {"dst_sg": d.dst_sg + 4, "dst_direct": 0},
                {"src_cnt": rng.choice((0, 1025, 65535))},
                {"dst_cnt": rng.choice((0, 1025))},
                {"src_sg": rng.choice((TOP - 16, TOP - 32, self.memory, 1 << 50))},
                {"dst_sg": rng.choice((TOP - 16, TOP - 32, self.memory, 1 << 50))},
                {"opcode": rng.choice((0, 6, 7, 255))},
                {"pad": 65535},
                {"tag_len": 12, "aad_len": 20},
                {"ctx": rng.choice((self.contexts + ring, 65535))},
            ]
            d = replace(d, **rng.choice(changes))
        return [*steps, *more], d

    def _direct(
        self, ring: int, d: SqeRecord, source: bytes, room: int
    ) -> tuple[SqeRecord, list[Step]]:
        """Give the record a buffer instead of one of its lists or of both."""
        rng = self.rng
        which = rng.choice(("src", "dst", "both"))
        steps = []
        if which != "dst":
            at = self._alloc(ring, len(source), rng.choice((1, 64)))
            steps.append(Step("mem", (at, source)))
            d = replace(d, src_direct=1, src_sg=at, src_cnt=rng.choice((0, 1, 65535)))
        if which != "src":
            at = self._alloc(ring, room, rng.choice((1, 64)))
            d = replace(d, dst_direct=1, dst_sg=at, dst_cnt=rng.choice((0, 1, 65535)))
        return d, steps

    def _alloc(self, ring: int, size: int, align: int = 1) -> int:
        at = -(-self._next // align) * align
        end = _DATA + (ring + 1) * _SIZE
        if at + size > end:
            at = _DATA + ring * _SIZE + 0x1000  # reuse: the content is compared anyway
        self._next = at + size
        return at

    def _list(self, ring: int, data: bytes | None, size: int) -> tuple[tuple[int, int], list[Step]]:
        """A list of random entries for `size` bytes; returns its address and count, and steps."""
        rng = self.rng
        entries: list[Sge] = []
        steps = []
        at = 0
        while at < size or not entries:
            n = min(size - at, rng.choice((size, size, 1, 7, 16, 100)))
            addr = self._alloc(ring, n, rng.choice((1, 16, 64)))
            if rng.random() < 0.03:
                addr = rng.choice(
                    (
                        self.memory - 8 if ring == 0 else TOP - 1,
                        TOP - 8,
                        TOP - max(n, 1),
                        1 << 40,
                        self.memory,
                    )
                )
            elif data is not None:
                steps.append(Step("mem", (addr, data[at : at + n])))
            entries.append(Sge(addr=addr, len=n if rng.random() < 0.97 else _MASK32))
            at += n
        if rng.random() < 0.05:
            entries.insert(rng.randrange(len(entries)), Sge(addr=rng.getrandbits(64), len=0))
        if rng.random() < 0.03:
            entries.pop()
        raw = b"".join(e.pack() for e in entries)
        where = self._alloc(ring, len(raw), 16)
        return (where, len(entries)), [*steps, Step("mem", (where, raw))]


class Player:
    """Applies steps to both devices and compares them.

    Args:
        rtl: The RTL.
        model: The functional model.
        fail_bus: Sets the range of bus errors in the RTL's memory: lo, hi, read, write.
        pause: Waits for a number of cycles.

    Attributes:
        compared: Number of comparisons of quiet devices.
        statuses: Statuses of all completions.
    """

    def __init__(
        self,
        rtl: SimPort,
        model: NicModel,
        fail_bus: Callable[[int, int, int, int], None],
        pause: Callable[[int], Awaitable[None]],
    ) -> None:
        self.rtl = rtl
        self.model = model
        self.fail_bus = fail_bus
        self.pause = pause
        self.compared = 0
        self.statuses: dict[int, int] = {}

    async def play(self, steps: list[Step]) -> None:
        """Apply steps.

        Raises:
            Difference: The devices differ.
        """
        self._prod = [0] * self.model.rings
        await self.play_more(steps)

    async def play_more(self, steps: list[Step]) -> None:
        """Apply steps without a new start, as `play`."""
        for step in steps:
            await getattr(self, f"_{step.kind}")(*step.args)
        await self._quiet()

    async def _both(self, addr: int, value: int) -> None:
        await self.model.write32(addr, value)
        await self.rtl.write32(addr, value)

    async def _mem(self, addr: int, data: bytes) -> None:
        self.rtl.mem.write(addr, data)
        self.model.mem.write(addr, data)

    async def _slot(self, ring: int, raw: bytes) -> None:
        base = _RINGS + 0x1000 * ring
        index = self._prod[ring]
        self._prod[ring] = (index + 1) & _MASK32
        await self._mem(base + 64 * (index % 16), raw)

    async def _bell(self, ring: int, push: bool) -> None:
        doorbell = Reg.RING0_SQ_PROD
        if push:
            newest = _RINGS + 0x1000 * ring + 64 * ((self._prod[ring] - 1) % 16)
            raw = self.model.mem.read(newest, 64)
            for at in range(0, 64, 4):
                await self._both(Reg.PUSH0_WORD + at, int.from_bytes(raw[at : at + 4], "little"))
            doorbell = Reg.RING0_SQ_PUSH
        await self._both(ring_reg(ring, doorbell), self._prod[ring])

    async def _consume(self, ring: int) -> None:
        """Move CQ_CONS to CQ_PROD."""
        await self._quiet()
        prod = await self.model.read32(ring_reg(ring, Reg.RING0_CQ_PROD))
        self._prod[ring] = await self.model.read32(ring_reg(ring, Reg.RING0_SQ_PROD))
        await self._both(ring_reg(ring, Reg.RING0_CQ_CONS), prod)

    async def _reg(self, addr: int, value: int) -> None:
        await self._both(addr, value)

    async def _move(self, addr: int, by: int) -> None:
        await self._both(addr, (await self.model.read32(addr) + by) & _MASK32)

    async def _pause(self, cycles: int) -> None:
        await self.pause(cycles)

    async def _fail(self, lo: int, hi: int, read: int, write: int) -> None:
        await self._quiet()
        self.fail_bus(lo, hi, read, write)

    async def _heal(self) -> None:
        await self._quiet()
        self.fail_bus(0, 0, 0, 0)

    async def _reset(self, *early: tuple[int, int]) -> None:
        """Reset both; what was under way may have written anything to its destinations."""
        await self._both(Reg.CTRL, layout.CTRL_RESET.put(1))
        for addr, value in early:
            await self._both(addr, value)
        for _ in range(10_000):
            if layout.STATUS_READY.get(await self.rtl.read32(Reg.STATUS)):
                break
        else:
            raise Difference("STATUS.ready of the RTL stays 0 after a reset")
        await self.model.read32(Reg.STATUS)
        self.model.mem.write(0, self.rtl.mem.read(0, self.rtl.mem.size))
        self._prod = [0] * self.model.rings

    # ---------------------------------------------------------------- comparison

    async def _quiet(self) -> None:
        """Wait until the RTL has done what the model has done, then compare everything."""
        halted = layout.STATUS_CQ_ERROR.get(await self.model.read32(Reg.STATUS))
        for _ in range(400):
            if await self._settled(bool(halted)):
                break
            await self.pause(50)
        await self.pause(20)
        if halted:
            # how far each device came before it halted depends on time
            if not layout.STATUS_CQ_ERROR.get(await self.rtl.read32(Reg.STATUS)):
                raise Difference("the model has cq_error, the RTL has not")
            return
        await self._compare_registers()
        self._compare_memory()
        self.compared += 1

    async def _settled(self, halted: bool) -> bool:
        if halted:
            return bool(layout.STATUS_CQ_ERROR.get(await self.rtl.read32(Reg.STATUS)))
        for ring in range(self.model.rings):
            for reg in (Reg.RING0_SQ_CONS, Reg.RING0_CQ_PROD):
                addr = ring_reg(ring, reg)
                if await self.rtl.read32(addr) != await self.model.read32(addr):
                    return False
        return True

    async def _compare_registers(self) -> None:
        for addr in self._registers():
            a, b = await self.rtl.read32(addr), await self.model.read32(addr)
            if a != b:
                raise Difference(f"register {addr:#x}: RTL {a:#x}, model {b:#x}")

    def _registers(self) -> list[int]:
        common = [r for r in Reg if r not in _UNCOMPARED and r < Reg.RING0_SQ_BASE_LO]
        rings = [
            ring_reg(ring, r)
            for ring in range(self.model.rings)
            for r in Reg
            if r >= Reg.RING0_SQ_BASE_LO
        ]
        return [*common, *rings, 0x0FC, ring_reg(self.model.rings, Reg.RING0_SQ_SIZE), 0xFFC]

    def _compare_memory(self) -> None:
        size = self.rtl.mem.size
        a, b = self.rtl.mem.read(0, size), self.model.mem.read(0, size)
        if a == b:
            return
        end = _RINGS + 0x1000 * self.model.rings
        for lo in range(_RINGS + 0x800, end, 0x1000):
            for at in range(lo, lo + 0x800, Cqe.SIZE):
                x, y = a[at : at + Cqe.SIZE], b[at : at + Cqe.SIZE]
                if x != y:
                    self._compare_completion(at, x, y)
        allowed = self._failed_destinations(b)
        for lo in range(0, size, 64):
            if _RINGS <= lo < end and lo & 0x800:
                continue
            if a[lo : lo + 64] != b[lo : lo + 64]:
                for i in range(lo, lo + 64):
                    if a[i] != b[i] and i not in allowed:
                        raise Difference(f"memory at {i:#x}: RTL {a[i]:#x}, model {b[i]:#x}")
        # what a failed record left may differ; from here on it is the same
        self.model.mem.write(0, a)

    def _compare_completion(self, at: int, x: bytes, y: bytes) -> None:
        p, s = Cqe.unpack(x), Cqe.unpack(y)
        if p.pack() != x:
            raise Difference(f"completion at {at:#x}: reserved bits are set in {x.hex()}")
        if replace(p, cycles=0, latency=0) != replace(s, cycles=0, latency=0):
            raise Difference(f"completion at {at:#x}: RTL {p}, model {s}")

    def _failed_destinations(self, memory: bytes) -> set[int]:
        """Bytes that a record with an error may have written: RTL and model may differ there."""
        out: set[int] = set()
        for ring in range(self.model.rings):
            base = _RINGS + 0x1000 * ring
            for at in range(base + 0x800, base + 0xA00, Cqe.SIZE):
                c = Cqe.unpack(memory[at : at + Cqe.SIZE])
                self.statuses[c.status] = self.statuses.get(c.status, 0) + 1
                if c.status not in (
                    Status.SRC_BUS_ERROR, Status.SRC_SHORT, Status.DST_BUS_ERROR, Status.DST_SHORT
                ):  # fmt: skip
                    continue
                slot = base + 64 * (c.sq_index % 16)
                d = SqeRecord.unpack(memory[slot : slot + 64])
                if d.dst_direct:
                    out |= set(range(d.dst_sg, d.dst_sg + min(d.dst_len, 20_000)))
                    continue
                for n in range(min(d.dst_cnt, 1024)):
                    where = d.dst_sg + 16 * n
                    if where + 16 > len(memory):
                        break
                    entry = Sge.unpack(memory[where : where + 16])
                    out |= set(range(entry.addr, entry.addr + min(entry.len, 20_000)))
        return out


async def shrink(
    player: Player, rounds: list[list[Step]], tries: int = 40
) -> tuple[list[Step], str]:
    """Remove rounds from a run as long as it still ends in a difference.

    Args:
        player: Plays the candidates.
        rounds: The run; the first entry prepares the device and stays.
        tries: Maximum number of candidates.

    Returns:
        The remaining steps, and the difference.
    """

    async def fails(candidate: list[list[Step]]) -> str | None:
        try:
            await player.play([s for r in candidate for s in r])
        except Difference as e:
            return str(e)
        return None

    text = await fails(rounds) or "the difference did not come again"
    size = max(1, (len(rounds) - 1) // 2)
    while size and tries:
        at = 1
        while at < len(rounds) and tries:
            tries -= 1
            candidate = rounds[:at] + rounds[at + size :]
            found = await fails(candidate)
            if found:
                rounds, text = candidate, found
            else:
                at += size
        size //= 2
    return [s for r in rounds for s in r], text
