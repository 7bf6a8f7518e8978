# SPDX-License-Identifier: Apache-2.0
"""The verification driver: any descriptor, any scatter-gather list, any alignment.

The product's driver writes only valid descriptors. `Rig` writes any descriptor that a scenario
builds, directly from the contract, and returns the completions.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ktls_cosim.errors import CosimError
from ktls_cosim.port import Port
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, Sge, SqeCtx, SqeRecord

_PAGE = 4096
# first address after all rings
HEAP = 32 * _PAGE
# maximum number of polls in `reap` while only other rings raise the interrupt
_POLLS = 20_000
# polls of STATUS.ready after a reset
_RESET_POLLS = 10_000
# bytes of header, explicit nonce and tag in TLS 1.2
OVERHEAD = 29
# bytes of header, inner type and tag in TLS 1.3
OVERHEAD_1_3 = 22
# random lengths of pieces, around a block and a burst
_PIECES = (0, 1, 3, 15, 16, 17, 31, 100, 256, 1000)


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of a scatter-gather list.

    Attributes:
        addr: Bus address.
        length: Bytes.
    """

    addr: int
    length: int


@dataclass
class _Shared:
    """State that all rings of a device share.

    Attributes:
        next: First free address.
        generations: Generation of each context: how often it was deleted since the reset.
    """

    next: int = HEAP
    generations: Counter[int] = field(default_factory=Counter)


class Rig:
    """One ring pair of a device, and memory for descriptors and data.

    Attributes:
        sq_base, cq_base: Bus addresses of the rings.
        sq_prod: Number of descriptors written since the reset.
        cq_cons: Number of completions consumed since the reset.
        completions: All completions since the reset, with their phase bit cleared.
        direct: A source or destination of one piece gets no list.
        push: Doorbells push the newest descriptor.
        ordered: `reset` sets CTRL.ordered.

    Args:
        port: Device, usually a `CheckedPort`.
        sq_log2: Base-2 logarithm of the slots of the submission ring.
        cq_log2: Base-2 logarithm of the slots of the completion ring.
        ring: Number of the ring pair.
        shared: State that the rigs of one device share.
    """

    def __init__(
        self, port: Port, sq_log2: int = 4, cq_log2: int = 4, *, ring: int = 0,
        shared: _Shared | None = None,
    ) -> None:  # fmt: skip
        self.port = port
        self.sq_log2 = sq_log2
        self.cq_log2 = cq_log2
        self.ring = ring
        self.sq_base = _PAGE * (1 + ring)
        self.cq_base = _PAGE * (1 + layout.RING_COUNT + ring)
        self._shared = shared or _Shared()
        self.sq_prod = 0
        self.cq_cons = 0
        self.completions: list[Cqe] = []
        self.direct = self.push = self.ordered = False

    def reg(self, reg: Reg) -> int:
        """Return the offset of a ring register; `reg` is the register of ring 0."""
        return layout.ring_reg(self.ring, reg)

    async def reset(self) -> None:
        """Reset the device, program this ring pair and enable the device.

        Raises:
            CosimError: The device does not become ready.
        """
        p = self.port
        await p.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
        for _ in range(_RESET_POLLS):
            if layout.STATUS_READY.get(await p.read32(Reg.STATUS)):
                break
        else:
            raise CosimError("STATUS.ready stays 0 after a reset")
        await self._program()
        await p.write32(Reg.IRQ_ENABLE, 3)
        mode = layout.CTRL_ORDERED.put(int(self.ordered))
        await p.write32(Reg.CTRL, layout.CTRL_ENABLE.put(1) | mode)
        self.sq_prod = self.cq_cons = 0
        self.completions = []
        self._shared.generations.clear()

    async def _program(self) -> None:
        p = self.port
        p.mem.write(self.cq_base, bytes(Cqe.SIZE << self.cq_log2))
        await p.write32(self.reg(Reg.RING0_SQ_BASE_LO), self.sq_base)
        await p.write32(self.reg(Reg.RING0_SQ_SIZE), self.sq_log2)
        await p.write32(self.reg(Reg.RING0_CQ_BASE_LO), self.cq_base)
        await p.write32(self.reg(Reg.RING0_CQ_SIZE), self.cq_log2)

    async def add_ring(self, ring: int, sq_log2: int = 4, cq_log2: int = 4) -> Rig:
        """Program another ring pair of the same device and return its rig."""
        rig = Rig(self.port, sq_log2, cq_log2, ring=ring, shared=self._shared)
        await rig._program()
        return rig

    # ---------------------------------------------------------------- memory

    def alloc(self, length: int, align: int = 64, offset: int = 0) -> int:
        """Allocate memory.

        Args:
            length: Bytes.
            align: Alignment of the address minus `offset`.
            offset: Distance of the address from a multiple of `align`.

        Returns:
            The bus address.

        Raises:
            CosimError: The memory is exhausted.
        """
        addr = (self._shared.next + align - 1) // align * align + offset
        self._shared.next = addr + length
        if self._shared.next > self.port.mem.size:
            raise CosimError("the test memory is exhausted; free it with `release`")
        return addr

    def mark(self) -> int:
        """Return the first free address, for `release`."""
        return self._shared.next

    def release(self, mark: int = HEAP) -> None:
        """Free all allocations, or those made since `mark`."""
        self._shared.next = mark

    def put_list(self, pieces: list[Piece]) -> int:
        """Write a scatter-gather list and return its address."""
        addr = self.alloc(Sge.SIZE * max(1, len(pieces)), Sge.SIZE)
        raw = b"".join(Sge(addr=p.addr, len=p.length).pack() for p in pieces)
        if raw:
            self.port.mem.write(addr, raw)
        return addr

    def put_pieces(self, data: bytes, pieces: list[Piece]) -> None:
        """Write `data` into the pieces, in order."""
        at = 0
        for p in pieces:
            if p.length:
                self.port.mem.write(p.addr, data[at : at + p.length])
            at += p.length

    def get_pieces(self, pieces: list[Piece], length: int) -> bytes:
        """Read the first `length` bytes of the pieces."""
        out = b""
        for p in pieces:
            n = min(p.length, length - len(out))
            if n:
                out += self.port.mem.read(p.addr, n)
        return out

    def random_pieces(self, rng: random.Random, length: int) -> list[Piece]:
        """Allocate pieces of random lengths and alignments for `length` bytes in all.

        Eight free bytes before each piece are left for a guard. Some pieces are empty.
        """
        out: list[Piece] = []
        left = length
        while left:
            n = min(left, rng.choice((*_PIECES, left)))
            self.alloc(8, 1)
            out.append(Piece(self.alloc(n, 64, rng.randrange(64)), n))
            left -= n
        if rng.random() < 0.3:
            out.append(Piece(self.alloc(16), 0))
        return out

    def first_source(self, descriptor: SqeRecord) -> int:
        """Return the bus address of the first source piece of a descriptor."""
        if descriptor.src_direct:
            return descriptor.src_sg
        return int.from_bytes(self.port.mem.read(descriptor.src_sg, 8), "little")

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
        """Write plaintext into memory and build a valid SEAL for it.

        Args:
            ctx: Context number.
            data: Plaintext.
            rtype: Record type, 0 to 255.
            cookie: Value that the completion repeats.
            src: Source pieces; by default one aligned piece.
            dst: Destination pieces; by default one aligned piece of sufficient size.

        Returns:
            The descriptor and the destination pieces.
        """
        if src is None:
            src = [Piece(self.alloc(len(data)), len(data))]
        if dst is None:
            dst = [Piece(self.alloc(len(data) + OVERHEAD), len(data) + OVERHEAD)]
        self.put_pieces(data, src)
        seal = SqeRecord(
            opcode=Opcode.SEAL,
            gen=self.generation(ctx),
            cookie=cookie,
            ctx=ctx,
            rtype=rtype,
            len=len(data),
        )
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
        """Write the body of a record into memory and build a valid OPEN for it.

        Args:
            ctx: Context number.
            record: The record with its header.
            tls13: The record has no explicit nonce.
            cookie: Value that the completion repeats.
            src: Source pieces; by default one aligned piece.
            dst: Destination pieces; by default one aligned piece of sufficient size.

        Returns:
            The descriptor and the destination pieces.
        """
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
            gen=self.generation(ctx),
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
        """Write AAD and data into memory and build a valid descriptor of plain AES-GCM.

        Args:
            ctx: Number of a context of version 0.
            opcode: SEAL or OPEN.
            nonce: 12 bytes.
            aad: AAD; zero-padded to blocks in memory.
            data: Plaintext of a SEAL, ciphertext and tag of an OPEN.
            tag_len: Length of the tag, 4 to 16 bytes.
            cut: Returns the pieces of a buffer of the given size; by default one piece.

        Returns:
            The descriptor and the destination pieces.
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
            gen=self.generation(ctx),
            ctx=ctx,
            len=length,
            nonce=nonce[:4],
            explicit_nonce=nonce[4:],
            aad_len=len(aad),
            tag_len=tag_len,
        )
        return self._with_lists(descriptor, src, dst), dst

    def generation(self, ctx: int) -> int:
        """Return the present generation of a context; each CTX_DEL ends one."""
        return self._shared.generations[ctx] % 256

    def context_descriptor(
        self,
        ctx: int,
        key: bytes,
        *,
        salt: bytes = b"SALT",
        iv: bytes = bytes(8),
        seq: int = 0,
        version: int = 0x0303,
        receive: bool = False,
    ) -> SqeCtx:
        """Build a CTX_SET; the arguments are those of `set_context`."""
        return SqeCtx(
            opcode=Opcode.CTX_SET,
            gen=self.generation(ctx),
            ctx=ctx,
            dir=int(receive),
            version=version,
            cipher=52 if len(key) == 32 else 51,
            salt=salt,
            iv=iv,
            rec_seq=seq.to_bytes(8, "big"),
            key=key,
        )

    def delete_descriptor(self, ctx: int) -> SqeCtx:
        """Build a CTX_DEL; descriptors built later have the next generation of the context."""
        generation = self.generation(ctx)
        self._shared.generations[ctx] += 1
        return SqeCtx(opcode=Opcode.CTX_DEL, gen=generation, ctx=ctx)

    def resync_descriptor(self, ctx: int, number: int) -> SqeCtx:
        """Build a RESYNC that makes `number` the next record number of a context."""
        return SqeCtx(
            opcode=Opcode.RESYNC,
            gen=self.generation(ctx),
            ctx=ctx,
            rec_seq=number.to_bytes(8, "big"),
        )

    def _with_lists(self, descriptor: SqeRecord, src: list[Piece], dst: list[Piece]) -> SqeRecord:
        src_direct = self.direct and len(src) == 1
        dst_direct = self.direct and len(dst) == 1
        return replace(
            descriptor,
            dst_len=sum(p.length for p in dst),
            src_direct=int(src_direct),
            dst_direct=int(dst_direct),
            src_sg=src[0].addr if src_direct else self.put_list(src),
            dst_sg=dst[0].addr if dst_direct else self.put_list(dst),
            src_cnt=0 if src_direct else len(src),
            dst_cnt=0 if dst_direct else len(dst),
        )

    @property
    def sq_slot(self) -> int:
        """Bus address of the slot for the next descriptor."""
        return self.sq_base + SqeRecord.SIZE * (self.sq_prod & ((1 << self.sq_log2) - 1))

    @property
    def cq_slot(self) -> int:
        """Bus address of the slot of the next completion to consume."""
        return self.cq_base + Cqe.SIZE * (self.cq_cons & ((1 << self.cq_log2) - 1))

    async def post(
        self, *descriptors: SqeRecord | SqeCtx | bytes, bell: bool = True, make_room: bool = True
    ) -> None:
        """Write descriptors into the submission ring.

        Args:
            *descriptors: Descriptors, or the 64 bytes of one.
            bell: Ring the doorbell.
            make_room: Consume completions while either ring has no room. If False, the
                caller must know that the submission ring has room.
        """
        for d in descriptors:
            while make_room and self.sq_prod - self.cq_cons >= 1 << min(self.sq_log2, self.cq_log2):
                if bell:
                    await self.bell()
                await self.reap(1)
            raw = d if isinstance(d, bytes) else d.pack()
            if isinstance(d, SqeCtx) and (d.opcode, d.gen) == (
                Opcode.CTX_DEL,
                self.generation(d.ctx),
            ):
                self._shared.generations[d.ctx] += 1  # not built by `delete_descriptor`
            self.port.mem.write(self.sq_slot, raw)
            self.sq_prod += 1
        if bell:
            await self.bell()

    async def bell(self) -> None:
        """Ring the doorbell, with the newest descriptor if `push` is set."""
        doorbell = Reg.RING0_SQ_PROD
        if self.push:
            await self.fill_window()
            doorbell = Reg.RING0_SQ_PUSH
        await self.port.write32(self.reg(doorbell), self.sq_prod)

    async def fill_window(self) -> None:
        """Copy the newest descriptor into the push window."""
        slot = (self.sq_prod - 1) & ((1 << self.sq_log2) - 1)
        raw = self.port.mem.read(self.sq_base + SqeRecord.SIZE * slot, SqeRecord.SIZE)
        for at in range(0, SqeRecord.SIZE, 4):
            word = int.from_bytes(raw[at : at + 4], "little")
            await self.port.write32(Reg.PUSH0_WORD + at, word)

    async def reap(self, count: int) -> list[Cqe]:
        """Wait for `count` more completions and return them.

        Raises:
            CosimError: The device is idle, or raised an interrupt without a completion.
        """
        out: list[Cqe] = []
        woken = False
        polls = _POLLS
        while len(out) < count:
            cqe = Cqe.unpack(self.port.mem.read(self.cq_slot, Cqe.SIZE))
            if cqe.phase == ~(self.cq_cons >> self.cq_log2) & 1:
                self.cq_cons += 1
                out.append(replace(cqe, phase=0))
                await self.port.write32(self.reg(Reg.RING0_CQ_CONS), self.cq_cons)
                woken = False
            elif not woken and polls and await self.port.wait_irq():
                woken = not await self._only_others_raise()
                polls -= 1
            else:
                raise CosimError(
                    f"{len(out)} of {count} completions arrived; "
                    f"{'an interrupt without a completion; ' if woken else ''}"
                    f"CQ_CONS={self.cq_cons}, "
                    f"STATUS={await self.port.read32(Reg.STATUS):#x}, "
                    f"SQ_CONS={await self.port.read32(self.reg(Reg.RING0_SQ_CONS))}, "
                    f"SQ_PROD={self.sq_prod}, "
                    f"CQ_PROD={await self.port.read32(self.reg(Reg.RING0_CQ_PROD))}"
                )
        self.completions += out
        return out

    async def _only_others_raise(self) -> bool:
        """Return whether only other rings raise the interrupt."""
        raising = layout.IRQ_STATUS_RINGS.get(await self.port.read32(Reg.IRQ_STATUS))
        return raising not in (0, 1 << self.ring)

    async def drain(self) -> list[Cqe]:
        """Wait for all posted descriptors and return all completions since the reset."""
        await self.reap(self.sq_prod - self.cq_cons)
        return self.completions

    async def run(self, *descriptors: SqeRecord | SqeCtx | bytes) -> list[Cqe]:
        """Post descriptors, wait for all posted ones and return the completions of these."""
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
        """Install an AES-GCM context and return the completion.

        Args:
            ctx: Context number.
            key: 16 or 32 bytes; the length selects the cipher.
            salt: 4 bytes of the nonce.
            iv: TLS 1.2: first explicit nonce; TLS 1.3: rest of the static IV. 8 bytes.
            seq: Number of the first record.
            version: 0x0303, 0x0304, or 0 for plain AES-GCM.
            receive: The context is for OPEN, not for SEAL.
        """
        descriptor = self.context_descriptor(
            ctx, key, salt=salt, iv=iv, seq=seq, version=version, receive=receive
        )
        return (await self.run(descriptor))[0]

    async def resync(self, ctx: int, number: int) -> Cqe:
        """Make `number` the next record number of a context and return the completion."""
        return (await self.run(self.resync_descriptor(ctx, number)))[0]
