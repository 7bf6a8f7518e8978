# SPDX-License-Identifier: Apache-2.0
"""A bare driver for verification: any descriptor, any list, any alignment.

The product's driver only writes good descriptors. `Rig` writes what a test wants,
straight from the contract, and returns the completions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ktls_cosim.check.device import Port
from ktls_cosim.errors import CosimError
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, Sge, SqeCtx, SqeRecord

_PAGE = 4096
_HEAP = 32 * _PAGE  # behind all rings
_PATIENCE = 20_000  # looks at a ring while only others raise the interrupt
# header, explicit nonce and tag of TLS 1.2; header, inner type and tag of TLS 1.3
OVERHEAD = 29
OVERHEAD_1_3 = 22


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes in memory: one scatter-gather entry."""

    addr: int
    length: int


@dataclass
class _Heap:
    next: int = _HEAP


class Rig:
    """A ring pair and the memory of one device under test.

    Args:
        port: the device, usually a `CheckedPort`.
        sq_log2, cq_log2: ring sizes.
        ring: which ring pair.
        heap: what remembers the memory in use; the other rings of a device share it.
    """

    def __init__(
        self, port: Port, sq_log2: int = 4, cq_log2: int = 4, *, ring: int = 0,
        heap: _Heap | None = None,
    ) -> None:  # fmt: skip
        self.port = port
        self.sq_log2 = sq_log2
        self.cq_log2 = cq_log2
        self.ring = ring
        self.sq_base = _PAGE * (1 + ring)
        self.cq_base = _PAGE * (1 + layout.RING_COUNT + ring)
        self._heap = heap or _Heap()
        self.sq_prod = 0
        self.cq_cons = 0
        self.completions: list[Cqe] = []

    def reg(self, reg: Reg) -> int:
        """Where a register of this ring stands; `reg` is that of ring 0."""
        return layout.ring_reg(self.ring, reg)

    async def reset(self) -> None:
        """Reset the device, program the rings and enable it."""
        p = self.port
        await p.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
        for _ in range(10_000):
            if layout.STATUS_READY.get(await p.read32(Reg.STATUS)):
                break
        else:
            raise CosimError("STATUS.ready does not come after a reset")
        await self._program()
        await p.write32(Reg.IRQ_ENABLE, 3)
        await p.write32(Reg.CTRL, layout.CTRL_ENABLE.put(1))
        self.sq_prod = self.cq_cons = 0
        self.completions = []

    async def _program(self) -> None:
        p = self.port
        p.mem.write(self.cq_base, bytes(Cqe.SIZE << self.cq_log2))
        await p.write32(self.reg(Reg.RING0_SQ_BASE_LO), self.sq_base)
        await p.write32(self.reg(Reg.RING0_SQ_SIZE), self.sq_log2)
        await p.write32(self.reg(Reg.RING0_CQ_BASE_LO), self.cq_base)
        await p.write32(self.reg(Reg.RING0_CQ_SIZE), self.cq_log2)

    async def beside(self, ring: int, sq_log2: int = 4, cq_log2: int = 4) -> Rig:
        """Another ring pair of the same device, ready for descriptors."""
        rig = Rig(self.port, sq_log2, cq_log2, ring=ring, heap=self._heap)
        await rig._program()
        return rig

    # ---------------------------------------------------------------- memory

    def alloc(self, length: int, align: int = 64, offset: int = 0) -> int:
        """Fresh memory whose address is `offset` behind a multiple of `align`."""
        addr = (self._heap.next + align - 1) // align * align + offset
        self._heap.next = addr + length
        if self._heap.next > self.port.mem.size:
            raise CosimError("the test's memory is used up; free it with `release`")
        return addr

    def mark(self) -> int:
        """Where the next allocation goes."""
        return self._heap.next

    def release(self, mark: int = _HEAP) -> None:
        """Forget all allocations, or those since `mark`."""
        self._heap.next = mark

    def put_list(self, pieces: list[Piece]) -> int:
        """Write a scatter-gather list; returns its address."""
        addr = self.alloc(16 * max(1, len(pieces)), 16)
        raw = b"".join(Sge(addr=p.addr, len=p.length).pack() for p in pieces)
        if raw:
            self.port.mem.write(addr, raw)
        return addr

    def put_pieces(self, data: bytes, pieces: list[Piece]) -> None:
        """Distribute bytes over pieces."""
        at = 0
        for p in pieces:
            if p.length:
                self.port.mem.write(p.addr, data[at : at + p.length])
            at += p.length

    def get_pieces(self, pieces: list[Piece], length: int) -> bytes:
        """Collect `length` bytes from pieces; what lies behind them is not looked at."""
        out = b""
        for p in pieces:
            n = min(p.length, length - len(out))
            if n:
                out += self.port.mem.read(p.addr, n)
        return out

    # ----------------------------------------------------------- descriptors

    def seal_descriptor(
        self,
        ctx: int,
        data: bytes,
        *,
        rtype: int = 23,
        cookie: int = 0,
        src: list[Piece] | None = None,
        dst: list[Piece] | None = None,
    ) -> tuple[SqeRecord, list[Piece]]:
        """A good SEAL for `data`, with its plaintext in memory; also returns the destination."""
        if src is None:
            src = [Piece(self.alloc(len(data)), len(data))]
        if dst is None:
            dst = [Piece(self.alloc(len(data) + OVERHEAD), len(data) + OVERHEAD)]
        self.put_pieces(data, src)
        seal = SqeRecord(opcode=Opcode.SEAL, cookie=cookie, ctx=ctx, rtype=rtype, len=len(data))
        return self._with_lists(seal, src, dst), dst

    def open_descriptor(
        self,
        ctx: int,
        record: bytes,
        *,
        tls13: bool = False,
        cookie: int = 0,
        src: list[Piece] | None = None,
        dst: list[Piece] | None = None,
    ) -> tuple[SqeRecord, list[Piece]]:
        """A good OPEN for a whole record, with its body in memory; also returns the destination."""
        start = 5 if tls13 else 13
        body = record[start:]
        length = len(body) - 16
        if src is None:
            src = [Piece(self.alloc(len(body)), len(body))]
        if dst is None:
            dst = [Piece(self.alloc(length), length)]
        self.put_pieces(body, src)
        opening = SqeRecord(
            opcode=Opcode.OPEN,
            cookie=cookie,
            ctx=ctx,
            rtype=record[0],
            len=length,
            explicit_nonce=record[5:start],
        )
        return self._with_lists(opening, src, dst), dst

    def gcm_descriptor(
        self,
        ctx: int,
        opcode: Opcode,
        nonce: bytes,
        aad: bytes,
        data: bytes,
        tag_len: int = 16,
        *,
        cut: Callable[[int], list[Piece]] | None = None,
    ) -> tuple[SqeRecord, list[Piece]]:
        """A job of plain AES-GCM in a context of version 0; also returns the destination.

        Args:
            opcode: SEAL, or OPEN (`data` then ends with the tag).
            cut: makes the pieces of a buffer; by default there is one.
        """
        sealing = opcode == Opcode.SEAL
        length = len(data) - (0 if sealing else tag_len)
        source = aad + bytes(-len(aad) % 16) + data
        out = length + (tag_len if sealing else 0)
        cut = cut or (lambda n: [Piece(self.alloc(n), n)])
        src, dst = cut(len(source)), cut(out)
        self.put_pieces(source, src)
        descriptor = SqeRecord(
            opcode=opcode,
            ctx=ctx,
            len=length,
            nonce=nonce[:4],
            explicit_nonce=nonce[4:],
            aad_len=len(aad),
            tag_len=tag_len,
        )
        return self._with_lists(descriptor, src, dst), dst

    @staticmethod
    def context_descriptor(
        ctx: int,
        key: bytes,
        *,
        salt: bytes = b"SALT",
        iv: bytes = bytes(8),
        seq: int = 0,
        version: int = 0x0303,
        receive: bool = False,
    ) -> SqeCtx:
        """Install an AES-GCM context; the key's length chooses the cipher."""
        return SqeCtx(
            opcode=Opcode.CTX_SET,
            ctx=ctx,
            dir=int(receive),
            version=version,
            cipher=52 if len(key) == 32 else 51,
            salt=salt,
            iv=iv,
            rec_seq=seq.to_bytes(8, "big"),
            key=key,
        )

    @staticmethod
    def resync_descriptor(ctx: int, number: int) -> SqeCtx:
        """Set the number of a context's next record."""
        return SqeCtx(opcode=Opcode.RESYNC, ctx=ctx, rec_seq=number.to_bytes(8, "big"))

    def _with_lists(self, descriptor: SqeRecord, src: list[Piece], dst: list[Piece]) -> SqeRecord:
        return replace(
            descriptor,
            dst_len=sum(p.length for p in dst),
            src_sg=self.put_list(src),
            dst_sg=self.put_list(dst),
            src_cnt=len(src),
            dst_cnt=len(dst),
        )

    async def post(self, *descriptors: SqeRecord | SqeCtx | bytes, bell: bool = True) -> None:
        """Write descriptors into the ring and ring the bell; reaps while it is full."""
        for d in descriptors:
            while self.sq_prod - self.cq_cons >= 1 << min(self.sq_log2, self.cq_log2):
                if bell:
                    await self.port.write32(self.reg(Reg.RING0_SQ_PROD), self.sq_prod)
                await self.reap(1)
            raw = d if isinstance(d, bytes) else d.pack()
            place = self.sq_prod & ((1 << self.sq_log2) - 1)
            self.port.mem.write(self.sq_base + 64 * place, raw)
            self.sq_prod += 1
        if bell:
            await self.port.write32(self.reg(Reg.RING0_SQ_PROD), self.sq_prod)

    async def reap(self, count: int) -> list[Cqe]:
        """Wait for `count` more completions and return them.

        Raises:
            CosimError: the device has nothing left to do.
        """
        out: list[Cqe] = []
        woken = False
        patience = _PATIENCE
        while len(out) < count:
            place = self.cq_cons & ((1 << self.cq_log2) - 1)
            raw = self.port.mem.read(self.cq_base + Cqe.SIZE * place, Cqe.SIZE)
            cqe = Cqe.unpack(raw)
            if cqe.phase == ~(self.cq_cons >> self.cq_log2) & 1:
                self.cq_cons += 1
                out.append(replace(cqe, phase=0))
                await self.port.write32(self.reg(Reg.RING0_CQ_CONS), self.cq_cons)
                woken = False
            elif not woken and patience and await self.port.wait_irq():
                woken = not await self._others_call()
                patience -= 1
            else:
                raise CosimError(
                    f"{len(out)} of {count} completions came; "
                    f"{'an interrupt without one; ' if woken else ''}"
                    f"CQ_CONS={self.cq_cons}, "
                    f"STATUS={await self.port.read32(Reg.STATUS):#x}, "
                    f"SQ_CONS={await self.port.read32(self.reg(Reg.RING0_SQ_CONS))}, "
                    f"SQ_PROD={self.sq_prod}, "
                    f"CQ_PROD={await self.port.read32(self.reg(Reg.RING0_CQ_PROD))}"
                )
        self.completions += out
        return out

    async def _others_call(self) -> bool:
        """Whether only other rings raise the interrupt: then look again."""
        calling = layout.IRQ_STATUS_RINGS.get(await self.port.read32(Reg.IRQ_STATUS))
        return calling not in (0, 1 << self.ring)

    async def drain(self) -> list[Cqe]:
        """Wait for everything that was posted; returns all completions since the reset."""
        await self.reap(self.sq_prod - self.cq_cons)
        return self.completions

    async def run(self, *descriptors: SqeRecord | SqeCtx | bytes) -> list[Cqe]:
        """Post and wait; returns the completions of these descriptors."""
        await self.post(*descriptors)
        return (await self.drain())[-len(descriptors) :]

    async def set_context(
        self,
        ctx: int,
        key: bytes,
        *,
        salt: bytes = b"SALT",
        iv: bytes = bytes(8),
        seq: int = 0,
        version: int = 0x0303,
        receive: bool = False,
    ) -> Cqe:
        """Install an AES-GCM context; the key's length chooses the cipher."""
        descriptor = self.context_descriptor(
            ctx, key, salt=salt, iv=iv, seq=seq, version=version, receive=receive
        )
        return (await self.run(descriptor))[0]

    async def resync(self, ctx: int, number: int) -> Cqe:
        """Set the number of a context's next record."""
        return (await self.run(self.resync_descriptor(ctx, number)))[0]
