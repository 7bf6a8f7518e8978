# SPDX-License-Identifier: Apache-2.0
"""The NIC driver: contexts, descriptors, DMA buffers and completions of one device.

Shaped like a Linux driver: `tls_dev_add` and `tls_dev_del` are its `struct tlsdev_ops`,
`xmit` posts, `poll` reaps (NAPI), and it waits only for the interrupt. The contract
is docs/registers.md; docs/programmers-guide.md walks through the same steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.errors import DeviceError, DeviceIdle, NotOffloadable
from ktls.port import HostPort
from ktls.ring import Ring
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, Sge, SqeCtx, SqeRecord, Status

PAGE = 4096
RECORD_OVERHEAD = uapi.TLS_HEADER_SIZE + 8 + uapi.TLS_TAG_SIZE
_READY_POLLS = 10_000
_TX_SUITES = {
    (uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_128): layout.SUITES_TX_TLS12_GCM128,
    (uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_256): layout.SUITES_TX_TLS12_GCM256,
    (uapi.TLS_1_3_VERSION, uapi.TLS_CIPHER_AES_GCM_128): layout.SUITES_TX_TLS13_GCM128,
    (uapi.TLS_1_3_VERSION, uapi.TLS_CIPHER_AES_GCM_256): layout.SUITES_TX_TLS13_GCM256,
}
_RX_SUITES = {
    (uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_128): layout.SUITES_RX_TLS12_GCM128,
    (uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_256): layout.SUITES_RX_TLS12_GCM256,
    (uapi.TLS_1_3_VERSION, uapi.TLS_CIPHER_AES_GCM_128): layout.SUITES_RX_TLS13_GCM128,
    (uapi.TLS_1_3_VERSION, uapi.TLS_CIPHER_AES_GCM_256): layout.SUITES_RX_TLS13_GCM256,
}

_RAW_CIPHERS = {
    16: (uapi.TLS_CIPHER_AES_GCM_128, layout.SUITES_RAW_GCM128),
    32: (uapi.TLS_CIPHER_AES_GCM_256, layout.SUITES_RAW_GCM256),
}
_NONCE_SIZE = 12


@dataclass(frozen=True, slots=True)
class Completion:
    """How a descriptor ended.

    Attributes:
        status: `Status.OK` or why not.
        data: SEAL: the record as it goes on the wire; OPEN: its text; empty unless OK.
        rtype: OPEN: type of the record, in TLS 1.3 the inner one.
        rec_seq: record number that the descriptor took, None if it took none.
        cycles: clock cycles for which the record held the engine.
        latency: clock cycles from decoding the descriptor to its completion.
        rekey: the key has been used for `KEY_WARN` records or more.
    """

    status: Status
    data: bytes
    rtype: int
    rec_seq: int | None
    cycles: int
    latency: int
    rekey: bool = False


@dataclass(eq=False, slots=True)
class DeviceContext:
    """A context of the device, from `tls_dev_add` to `tls_dev_del`."""

    ctx: int


@dataclass(slots=True)
class _Posted:
    """A descriptor that the device owns."""

    sq_index: int
    buffer: int | None
    done: Callable[[Completion], None]


@dataclass(eq=False, slots=True)
class RingPair:
    """A submission and a completion ring, and what is under way in them."""

    number: int
    sq: Ring
    cq: Ring
    posted: dict[int, _Posted] = field(default_factory=dict)  # by cookie

    def reg(self, reg: Reg) -> int:
        """Address of a register of this pair; `reg` is that of ring 0."""
        return layout.ring_reg(self.number, reg)


class DmaBuffers:
    """Equal buffers in DMA memory, one per record under way.

    Each holds what goes in, what comes out and both scatter-gather lists; the larger side
    is a sealed record of 16384 bytes of text.
    """

    SRC = 0
    DST = PAGE * 5
    SRC_LIST = DST + PAGE * 5
    DST_LIST = SRC_LIST + 256
    SIZE = DST_LIST + 256

    def __init__(self, base: int, size: int, wanted: int) -> None:
        self.base = base
        self.count = min(wanted, max(0, (size - base) // self.SIZE))
        self._free = deque(range(self.count))

    @property
    def available(self) -> int:
        return len(self._free)

    def take(self) -> int:
        return self._free.popleft()

    def give_back(self, number: int) -> None:
        self._free.append(number)

    def address(self, number: int) -> int:
        return self.base + number * self.SIZE


def page_entries(addr: int, length: int) -> list[Sge]:
    """The pieces of a buffer, cut at page boundaries as a DMA mapping of pages is."""
    out = []
    while length:
        n = min(length, PAGE - addr % PAGE)
        out.append(Sge(addr=addr, len=n))
        addr += n
        length -= n
    return out


class KtlsNic:
    """Driver instance of one device; make it with `await KtlsNic.probe(port)`.

    Everything of a context goes through one ring pair: order between pairs is open.
    """

    def __init__(self, port: HostPort, pairs: list[RingPair], buffers: DmaBuffers) -> None:
        self.port = port
        self.pairs = pairs
        self.buffers = buffers
        self.contexts = 0
        self.suites = 0
        self._free_ctx: deque[int] = deque()

    # ------------------------------------------------------------------ set-up

    @classmethod
    async def probe(
        cls,
        port: HostPort,
        *,
        sq_log2: int = 5,
        cq_log2: int = 5,
        mem_base: int = PAGE,
        rings: int = 1,
    ) -> KtlsNic:
        """Find the device, reset it, set up its rings and enable it.

        Args:
            port: the device.
            sq_log2, cq_log2: log2 of the ring sizes.
            mem_base: first bus address that the driver may use, page aligned.
            rings: ring pairs to use, at least 1; no more than the device has.

        Raises:
            DeviceError: not this kind of device, an incompatible version, never ready,
                or too little DMA memory.
        """
        ident = await port.read32(Reg.ID)
        if ident != layout.ID_VALUE_RESET:
            raise DeviceError(f"ID is {ident:#010x}, expected {layout.ID_VALUE_RESET:#010x}")
        version = await port.read32(Reg.VERSION)
        if layout.VERSION_MAJOR.get(version) != layout.VERSION_MAJOR_RESET:
            raise DeviceError(
                f"contract version {version >> 16}.{version & 0xFFFF} is not "
                f"{layout.VERSION_MAJOR_RESET}.x; regenerate the driver's layout"
            )
        caps = await port.read32(Reg.CAPS)
        pairs = []
        free = mem_base
        for number in range(max(1, min(rings, layout.CAPS_RINGS.get(caps)))):
            sq = Ring(free, sq_log2, SqeRecord.SIZE)
            cq = Ring(_align(sq.base + sq.entries * SqeRecord.SIZE), cq_log2, Cqe.SIZE)
            free = _align(cq.base + cq.entries * Cqe.SIZE)
            pairs.append(RingPair(number, sq, cq))
        # a record ties up a place in both rings
        wanted = len(pairs) << min(sq_log2, cq_log2)
        buffers = DmaBuffers(free, port.mem.size, wanted)
        if buffers.count == 0:
            raise DeviceError(f"{port.mem.size} bytes of DMA memory hold no record buffer")
        nic = cls(port, pairs, buffers)
        nic.contexts = layout.CAPS_CONTEXTS.get(caps)
        nic.suites = await port.read32(Reg.SUITES)
        nic._free_ctx = deque(range(nic.contexts))
        await nic._reset()
        return nic

    async def _reset(self) -> None:
        port = self.port
        await port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
        for _ in range(_READY_POLLS):
            if layout.STATUS_READY.get(await port.read32(Reg.STATUS)):
                break
        else:
            raise DeviceError("STATUS.ready does not come after a reset", await self.registers())
        for pair in self.pairs:
            sq, cq = pair.sq, pair.cq
            # no completion of an earlier life may look new
            port.mem.write(cq.base, bytes(cq.entries * Cqe.SIZE))
            for reg, value in (
                (Reg.RING0_SQ_BASE_LO, sq.base & 0xFFFFFFFF),
                (Reg.RING0_SQ_BASE_HI, sq.base >> 32),
                (Reg.RING0_SQ_SIZE, sq.log2),
                (Reg.RING0_CQ_BASE_LO, cq.base & 0xFFFFFFFF),
                (Reg.RING0_CQ_BASE_HI, cq.base >> 32),
                (Reg.RING0_CQ_SIZE, cq.log2),
            ):
                await port.write32(pair.reg(reg), value)
        causes = layout.IRQ_ENABLE_CQ.put(1) | layout.IRQ_ENABLE_ERROR.put(1)
        await port.write32(Reg.IRQ_ENABLE, causes)
        await port.write32(Reg.CTRL, layout.CTRL_ENABLE.put(1))

    def _pair_of(self, ctx: int) -> RingPair:
        return self.pairs[ctx % len(self.pairs)]

    # ---------------------------------------------------------------- contexts

    async def tls_dev_add(self, direction: int, info: CryptoInfo) -> DeviceContext:
        """Install a connection's keys (`struct tlsdev_ops.tls_dev_add`).

        Args:
            direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
            info: keys and counters.

        Raises:
            NotOffloadable: the suite is not supported or no context is free.
            DeviceError: the device broke its contract.
        """
        suites = _TX_SUITES if direction == uapi.TLS_TX else _RX_SUITES
        if direction == uapi.TLS_RX and not any(f.get(self.suites) for f in suites.values()):
            raise NotOffloadable("the device does not offload receive")
        supported = suites.get((info.version, info.cipher))
        if supported is None or not supported.get(self.suites):
            version = "1.3" if info.version == uapi.TLS_1_3_VERSION else "1.2"
            raise NotOffloadable(f"the device does not support {info.desc.name} in TLS {version}")
        descriptor = SqeCtx(
            opcode=Opcode.CTX_SET,
            dir=_direction(direction),
            version=info.version,
            cipher=info.cipher,
            salt=info.salt,
            iv=info.iv,
            rec_seq=info.rec_seq,
            key=info.key,
        )
        return await self._install(descriptor)

    @property
    def contexts_in_use(self) -> int:
        """How many of the device's contexts hold keys."""
        return self.contexts - len(self._free_ctx)

    async def aead_add(self, direction: int, key: bytes) -> DeviceContext:
        """Install a key for plain AES-GCM, whose users bring nonces and additional data.

        Args:
            direction: `uapi.TLS_TX` to seal, `uapi.TLS_RX` to open.
            key: 16 or 32 bytes.

        Raises:
            NotOffloadable: the device has no plain AES-GCM or no free context.
            DeviceError: the device broke its contract.
        """
        cipher = _RAW_CIPHERS.get(len(key))
        if cipher is None or not cipher[1].get(self.suites):
            raise NotOffloadable(f"the device has no plain AES-GCM for keys of {len(key)} bytes")
        descriptor = SqeCtx(
            opcode=Opcode.CTX_SET, dir=_direction(direction), cipher=cipher[0], key=key
        )
        return await self._install(descriptor)

    async def _install(self, descriptor: SqeCtx) -> DeviceContext:
        if not self._free_ctx:
            raise NotOffloadable(f"all {self.contexts} contexts of the device are in use")
        context = DeviceContext(self._free_ctx.popleft())
        result = await self._control(replace(descriptor, ctx=context.ctx))
        if result.status != Status.OK:
            self._free_ctx.append(context.ctx)
            raise NotOffloadable(f"the device refused the context: {result.status.name}")
        return context

    async def tls_dev_resync(self, context: DeviceContext, rec_seq: int) -> None:
        """Set the number of the next record (`struct tlsdev_ops.tls_dev_resync`).

        Args:
            context: from `tls_dev_add`.
            rec_seq: record number; on the transmit side not below the next one.

        Raises:
            DeviceError: the device refuses the number.
        """
        descriptor = SqeCtx(
            opcode=Opcode.RESYNC, ctx=context.ctx, rec_seq=rec_seq.to_bytes(8, "big")
        )
        result = await self._control(descriptor)
        if result.status != Status.OK:
            raise DeviceError(
                f"RESYNC of context {context.ctx} to {rec_seq} ended with {result.status.name}"
            )

    async def tls_dev_del(self, context: DeviceContext) -> None:
        """Remove a connection's keys; records under way are finished first."""
        result = await self._control(SqeCtx(opcode=Opcode.CTX_DEL, ctx=context.ctx))
        if result.status != Status.OK:
            raise DeviceError(
                f"CTX_DEL of context {context.ctx} ended with {result.status.name}",
                await self.registers(),
                self.rings(),
            )
        self._free_ctx.append(context.ctx)

    async def _control(self, descriptor: SqeCtx) -> Completion:
        """Execute one context descriptor, then wipe its place: it may hold a key."""
        results: list[Completion] = []
        sq = self._pair_of(descriptor.ctx).sq
        index = await self._post(descriptor, None, results.append)
        while not results:
            await self._wait()
        self.port.mem.write(sq.address(index), bytes(SqeCtx.SIZE))
        return results[0]

    # ----------------------------------------------------------------- records

    async def xmit(
        self,
        context: DeviceContext,
        rtype: int,
        data: bytes,
        done: Callable[[Completion], None],
        pad: int = 0,
    ) -> None:
        """Post one record to be sealed; waits only while rings or buffers are full.

        Args:
            context: from `tls_dev_add`.
            rtype: record type.
            data: plaintext, at most 16384 bytes.
            done: called from `poll` with the completion; records complete in order.
            pad: TLS 1.3: zeros behind the inner type; at most 16384 with the plaintext.
        """
        seal = SqeRecord(opcode=Opcode.SEAL, ctx=context.ctx, rtype=rtype, len=len(data), pad=pad)
        await self._post_record(seal, data, len(data) + pad + RECORD_OVERHEAD, done)

    async def open(
        self,
        context: DeviceContext,
        rtype: int,
        explicit: bytes,
        sealed: bytes,
        done: Callable[[Completion], None],
    ) -> None:
        """Post one record to be opened; waits only while rings or buffers are full.

        Args:
            context: from `tls_dev_add`.
            rtype: record type on the wire.
            explicit: TLS 1.2: the 8 bytes of the explicit nonce.
            sealed: ciphertext and tag, at most 16384 (TLS 1.3: 16385) and 16 bytes.
            done: called from `poll` with the completion; records complete in order.
        """
        length = len(sealed) - uapi.TLS_TAG_SIZE
        descriptor = SqeRecord(
            opcode=Opcode.OPEN,
            ctx=context.ctx,
            rtype=rtype,
            len=length,
            explicit_nonce=explicit,
        )
        await self._post_record(descriptor, sealed, length, done)

    async def aead(
        self,
        context: DeviceContext,
        opcode: Opcode,
        nonce: bytes,
        aad: bytes,
        data: bytes,
        done: Callable[[Completion], None],
        tag_len: int = uapi.TLS_TAG_SIZE,
    ) -> None:
        """Post one job of plain AES-GCM (NIST SP 800-38D section 7).

        Args:
            context: from `aead_add`.
            opcode: `Opcode.SEAL`: ciphertext and tag from `data`; `Opcode.OPEN`: the text.
            nonce: 12 bytes; never twice with one key.
            aad: additional data.
            data: text, or ciphertext and tag.
            done: called from `poll` with the completion.
            tag_len: bytes of the tag: 4, 8 or 12 to 16.

        Raises:
            ValueError: a nonce of another length, or more bytes than a buffer holds.
        """
        if len(nonce) != _NONCE_SIZE:
            raise ValueError(f"the nonce has {len(nonce)} bytes, expected {_NONCE_SIZE}")
        source = aad + bytes(-len(aad) % 16) + data
        sealing = opcode == Opcode.SEAL
        length = len(data) - (0 if sealing else tag_len)
        if length < 0 or max(len(source), length + tag_len) > DmaBuffers.DST:
            raise ValueError(
                f"{len(aad)} bytes of additional data and {len(data)} of text: a job holds "
                f"{DmaBuffers.DST} bytes and at least a tag"
            )
        descriptor = SqeRecord(
            opcode=opcode,
            ctx=context.ctx,
            len=length,
            nonce=nonce[:4],
            explicit_nonce=nonce[4:],
            aad_len=len(aad),
            tag_len=tag_len,
        )
        await self._post_record(descriptor, source, length + (tag_len if sealing else 0), done)

    async def _post_record(
        self,
        descriptor: SqeRecord,
        data: bytes,
        out_len: int,
        done: Callable[[Completion], None],
    ) -> None:
        while self.buffers.available == 0:
            await self._wait()
        buffer = self.buffers.take()
        base = self.buffers.address(buffer)
        mem = self.port.mem
        src = page_entries(base + DmaBuffers.SRC, len(data))
        dst = page_entries(base + DmaBuffers.DST, out_len)
        if data:
            mem.write(base + DmaBuffers.SRC, data)
        # both lists lie side by side: one write
        lists = b"".join(e.pack() for e in src).ljust(DmaBuffers.DST_LIST - DmaBuffers.SRC_LIST)
        mem.write(base + DmaBuffers.SRC_LIST, lists + b"".join(e.pack() for e in dst))
        addressed = replace(
            descriptor,
            dst_len=out_len,
            src_sg=base + DmaBuffers.SRC_LIST,
            src_cnt=len(src),
            dst_sg=base + DmaBuffers.DST_LIST,
            dst_cnt=len(dst),
        )
        await self._post(addressed, buffer, done)

    async def _post(
        self,
        descriptor: SqeRecord | SqeCtx,
        buffer: int | None,
        done: Callable[[Completion], None],
    ) -> int:
        """Post; returns the index of the descriptor in its ring."""
        pair = self._pair_of(descriptor.ctx)
        while pair.sq.full:
            await self._wait()
        index = pair.sq.prod
        cookie = pair.sq.place(index)
        pair.posted[cookie] = _Posted(index, buffer, done)
        packed = replace(descriptor, cookie=cookie).pack()
        self.port.mem.write(pair.sq.produce(), packed)
        # the doorbell publishes: everything above is in memory before it
        await self.port.write32(pair.reg(Reg.RING0_SQ_PROD), pair.sq.prod)
        return index

    async def poll(self) -> int:
        """Reap every completion that is in memory; returns how many."""
        count = 0
        for pair in self.pairs:
            count += await self._poll(pair)
        return count

    async def _poll(self, pair: RingPair) -> int:
        cq = pair.cq
        done: list[tuple[_Posted, Completion]] = []
        while True:
            cqe = Cqe.unpack(self.port.mem.read(cq.address(cq.cons), Cqe.SIZE))
            if cqe.phase != cq.phase():
                break
            posted = pair.posted.pop(cqe.cookie, None)
            if posted is None or posted.sq_index != cqe.sq_index:
                raise DeviceError(
                    f"completion {cq.cons} names cookie {cqe.cookie}, descriptor "
                    f"{cqe.sq_index}: that descriptor is not under way (completed twice?)",
                    await self.registers(),
                    self.rings(),
                )
            data = b""
            if posted.buffer is not None and cqe.len:
                addr = self.buffers.address(posted.buffer) + DmaBuffers.DST
                data = self.port.mem.read(addr, cqe.len)
            done.append(
                (
                    posted,
                    Completion(
                        Status(cqe.status),
                        data,
                        cqe.rtype,
                        cqe.rec_seq if cqe.numbered else None,
                        cqe.cycles,
                        cqe.latency,
                        bool(cqe.rekey),
                    ),
                )
            )
            cq.consume()
            pair.sq.cons = (cqe.sq_index + 1) & 0xFFFFFFFF
        if done:
            await self.port.write32(pair.reg(Reg.RING0_CQ_CONS), cq.cons)
        # buffers go back only now: until CQ_CONS moved, a checker may still look at them
        for posted, completion in done:
            if posted.buffer is not None:
                self.buffers.give_back(posted.buffer)
            posted.done(completion)
        return len(done)

    async def flush(self) -> None:
        """Wait until every posted descriptor has completed."""
        while self._under_way:
            await self._wait()

    @property
    def _under_way(self) -> int:
        return sum(len(pair.posted) for pair in self.pairs)

    async def _wait(self) -> None:
        """Reap; if there was nothing, wait for the interrupt and reap again.

        Raises:
            DeviceIdle: a completion is missing and the device has nothing to do.
            DeviceError: the device reports that it cannot write completions.
        """
        if await self.poll():
            return
        if not await self.port.wait_irq():
            raise DeviceIdle(
                f"{self._under_way} descriptors wait for completions that never come",
                await self.registers(),
                self.rings(),
            )
        if await self.poll() == 0:
            regs = await self.registers()
            raise DeviceError("interrupt without a completion", regs, self.rings())

    # ------------------------------------------------------------- observation

    def rings(self) -> dict[str, int]:
        """The driver's view of its rings; those behind the first have their number in front."""
        view = {}
        for pair in self.pairs:
            ring = f"ring{pair.number}_" if pair.number else ""
            view[f"{ring}sq_prod"] = pair.sq.prod
            view[f"{ring}sq_cons"] = pair.sq.cons
            view[f"{ring}cq_cons"] = pair.cq.cons
        return {**view, "under_way": self._under_way, "free_buffers": self.buffers.available}

    async def registers(self) -> dict[str, int]:
        """Every register by name."""
        values = {reg.name: await self.port.read32(reg) for reg in Reg}
        for pair in self.pairs[1:]:
            for reg in Reg:
                if reg.name.startswith("RING0_"):
                    name = reg.name.replace("RING0", f"RING{pair.number}")
                    values[name] = await self.port.read32(pair.reg(reg))
        return values

    async def stats(self) -> dict[str, int]:
        """Counters under the names that `ethtool -S` shows for TLS devices."""
        read = self.port.read32
        low = await read(Reg.CNT_BYTES_LO)
        return {
            "tx_tls_encrypted_packets": await read(Reg.CNT_RECORDS),
            "tx_tls_encrypted_bytes": low | await read(Reg.CNT_BYTES_HI) << 32,
            "tx_tls_ctx": self.contexts_in_use,
            "rx_tls_err": await read(Reg.CNT_ERR_AUTH),
            "tx_tls_err_refused": await read(Reg.CNT_ERR_REFUSED),
            "tx_tls_err_short": await read(Reg.CNT_ERR_SHORT),
            "tx_tls_err_bus": await read(Reg.CNT_ERR_BUS),
        }


def _direction(direction: int) -> int:
    return 0 if direction == uapi.TLS_TX else 1


def _align(addr: int) -> int:
    return (addr + PAGE - 1) // PAGE * PAGE
