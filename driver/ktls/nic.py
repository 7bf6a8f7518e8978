# SPDX-License-Identifier: Apache-2.0
"""The NIC driver: contexts, descriptors and completions of one device.

The structure is that of a Linux driver: `tls_dev_add`, `tls_dev_del` and `tls_dev_resync`
are its `struct tlsdev_ops` (include/linux/netdevice.h), `xmit` posts, `poll` reaps (NAPI),
and the driver waits only for the interrupt. docs/registers.md is the contract;
docs/programmers-guide.md explains the same steps.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, replace

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.dma import PAGE, DmaBuffers, page_align, page_entries
from ktls.errors import DeviceError, DeviceIdle, NotOffloadable
from ktls.port import HostPort
from ktls.ring import Completion, Done, Posted, Ring, RingPair
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, SqeCtx, SqeRecord, Status

# bytes of a sealed record minus those of its plaintext, at most
RECORD_OVERHEAD = uapi.TLS_HEADER_SIZE + 8 + uapi.TLS_TAG_SIZE
_READY_POLLS = 10_000
_log = logging.getLogger("ktls.driver")
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


@dataclass(eq=False, slots=True)
class DeviceContext:
    """A context of the device, from `tls_dev_add` to `tls_dev_del`.

    Attributes:
        ctx: its number.
    """

    ctx: int


class KtlsNic:
    """Driver instance of one device; create it with `await KtlsNic.probe(port)`.

    All descriptors of a context use the same ring pair, because the device does not order
    descriptors of different pairs.

    Attributes:
        port: the device.
        pairs: the ring pairs.
        buffers: the DMA buffers.
        contexts: number of contexts of the device.
        suites: value of the register SUITES.
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
        """Identify the device, reset it, set up its rings and enable it.

        Args:
            port: the device.
            sq_log2: log2 of the slots of a submission ring.
            cq_log2: log2 of the slots of a completion ring.
            mem_base: first bus address that the driver may use, page aligned.
            rings: ring pairs to use, at least 1; the device may have fewer.

        Raises:
            DeviceError: another kind of device, an incompatible version, no
                STATUS.ready after the reset, or too little DMA memory.
        """
        await _identify(port)
        caps = await port.read32(Reg.CAPS)
        pairs = []
        free = mem_base
        for number in range(max(1, min(rings, layout.CAPS_RINGS.get(caps)))):
            sq = Ring(free, sq_log2, SqeRecord.SIZE)
            cq = Ring(page_align(sq.base + sq.entries * SqeRecord.SIZE), cq_log2, Cqe.SIZE)
            free = page_align(cq.base + cq.entries * Cqe.SIZE)
            pairs.append(RingPair(number, sq, cq))
        # a record in flight occupies a slot in both rings
        wanted = len(pairs) << min(sq_log2, cq_log2)
        buffers = DmaBuffers(free, port.mem.size, wanted)
        if buffers.count == 0:
            raise DeviceError(
                f"{port.mem.size} bytes of DMA memory hold no record buffer: the rings end at "
                f"{free:#x}, and a buffer needs {DmaBuffers.SIZE} bytes"
            )
        nic = cls(port, pairs, buffers)
        nic.contexts = layout.CAPS_CONTEXTS.get(caps)
        nic.suites = await port.read32(Reg.SUITES)
        nic._free_ctx = deque(range(nic.contexts))
        await nic._reset()
        _log.info(
            "device ready: %d contexts, suites %#x, %d ring pairs, %d buffers",
            nic.contexts, nic.suites, len(pairs), buffers.count,
        )  # fmt: skip
        return nic

    async def _reset(self) -> None:
        port = self.port
        await port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
        for _ in range(_READY_POLLS):
            if layout.STATUS_READY.get(await port.read32(Reg.STATUS)):
                break
        else:
            raise DeviceError("STATUS.ready stays 0 after a reset", await self.registers())
        for pair in self.pairs:
            sq, cq = pair.sq, pair.cq
            # completions from before the reset must not look new
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
        """Install the keys of a connection (`struct tlsdev_ops.tls_dev_add`).

        Args:
            direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
            info: keys and counters.

        Raises:
            NotOffloadable: the device does not support the suite or has no free context.
            DeviceError: the device violated its contract.
        """
        suites = _TX_SUITES if direction == uapi.TLS_TX else _RX_SUITES
        if direction == uapi.TLS_RX and not any(f.get(self.suites) for f in suites.values()):
            raise NotOffloadable("the device does not offload receive")
        supported = suites.get((info.version, info.cipher))
        if supported is None or not supported.get(self.suites):
            version = "1.3" if info.version == uapi.TLS_1_3_VERSION else "1.2"
            raise NotOffloadable(f"the device does not support {info.desc.name} in TLS {version}")
        descriptor = SqeCtx(
            version=info.version,
            cipher=info.cipher,
            salt=info.salt,
            iv=info.iv,
            rec_seq=info.rec_seq,
            key=info.key,
        )
        return await self.install_context(direction, descriptor)

    @property
    def contexts_in_use(self) -> int:
        """Number of contexts that hold keys."""
        return self.contexts - len(self._free_ctx)

    async def install_context(self, direction: int, descriptor: SqeCtx) -> DeviceContext:
        """Allocate a context and execute CTX_SET.

        Args:
            direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
            descriptor: version, cipher, keys and counters.

        Raises:
            NotOffloadable: no context is free, or the device refused the descriptor.
            DeviceError: the device violated its contract.
        """
        if not self._free_ctx:
            raise NotOffloadable(f"all {self.contexts} contexts of the device are in use")
        context = DeviceContext(self._free_ctx.popleft())
        result = await self._control(
            replace(
                descriptor,
                opcode=Opcode.CTX_SET,
                dir=0 if direction == uapi.TLS_TX else 1,
                ctx=context.ctx,
            )
        )
        side = "transmit" if direction == uapi.TLS_TX else "receive"
        _log.info(
            "context %d: %s, version %#06x, cipher %d: %s",
            context.ctx, side, descriptor.version, descriptor.cipher, result.status.name,
        )  # fmt: skip
        if result.status != Status.OK:
            self._free_ctx.append(context.ctx)
            raise NotOffloadable(f"the device refused the context: {result.status.name}")
        return context

    async def tls_dev_resync(self, context: DeviceContext, rec_seq: int) -> None:
        """Set the number of the next record (`struct tlsdev_ops.tls_dev_resync`).

        Args:
            context: from `tls_dev_add`.
            rec_seq: record number; in the transmit direction not below the next one.

        Raises:
            DeviceError: the device refused the number.
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
        """Remove the keys of a connection after its records in flight.

        Args:
            context: from `tls_dev_add`.

        Raises:
            DeviceError: the device refused.
        """
        result = await self._control(SqeCtx(opcode=Opcode.CTX_DEL, ctx=context.ctx))
        if result.status != Status.OK:
            raise DeviceError(
                f"CTX_DEL of context {context.ctx} ended with {result.status.name}",
                await self.registers(),
                self.rings(),
            )
        self._free_ctx.append(context.ctx)

    async def _control(self, descriptor: SqeCtx) -> Completion:
        """Execute a context descriptor, then overwrite its slot, which may hold a key."""
        results: list[Completion] = []
        sq = self._pair_of(descriptor.ctx).sq
        index = await self._post(descriptor, None, results.append)
        while not results:
            await self._wait()
        self.port.mem.write(sq.address(index), bytes(SqeCtx.SIZE))
        return results[0]

    # ----------------------------------------------------------------- records

    async def xmit(
        self, context: DeviceContext, rtype: int, data: bytes, done: Done, pad: int = 0
    ) -> None:
        """Post a record to be sealed; waits only while rings or buffers are full.

        Args:
            context: from `tls_dev_add`.
            rtype: record type.
            data: plaintext, at most 16384 bytes.
            done: called from `poll` with the completion; records complete in order.
            pad: TLS 1.3: zeros after the inner type; at most 16384 with the plaintext.
        """
        seal = SqeRecord(opcode=Opcode.SEAL, ctx=context.ctx, rtype=rtype, len=len(data), pad=pad)
        await self.post_record(seal, data, len(data) + pad + RECORD_OVERHEAD, done)

    async def open(
        self, context: DeviceContext, rtype: int, explicit: bytes, sealed: bytes, done: Done
    ) -> None:
        """Post a record to be opened; waits only while rings or buffers are full.

        Args:
            context: from `tls_dev_add`.
            rtype: record type on the wire.
            explicit: TLS 1.2: the 8 bytes of the explicit nonce; TLS 1.3: empty.
            sealed: ciphertext (at most 16384 bytes, in TLS 1.3 16385) and tag.
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
        await self.post_record(descriptor, sealed, length, done)

    async def post_record(
        self, descriptor: SqeRecord, source: bytes, out_len: int, done: Done
    ) -> None:
        """Post a record descriptor; waits only while rings or buffers are full.

        Args:
            descriptor: everything but the addresses.
            source: bytes for the source buffer, at most `DmaBuffers.DST`.
            out_len: bytes of the destination.
            done: called from `poll` with the completion.
        """
        while self.buffers.available == 0:
            await self._wait()
        buffer = self.buffers.take()
        base = self.buffers.address(buffer)
        mem = self.port.mem
        src = page_entries(base + DmaBuffers.SRC, len(source))
        dst = page_entries(base + DmaBuffers.DST, out_len)
        if source:
            mem.write(base + DmaBuffers.SRC, source)
        # the lists are adjacent: write both at once
        src_list = b"".join(e.pack() for e in src)
        dst_list = b"".join(e.pack() for e in dst)
        src_list = src_list.ljust(DmaBuffers.DST_LIST - DmaBuffers.SRC_LIST, b"\0")
        mem.write(base + DmaBuffers.SRC_LIST, src_list + dst_list)
        addressed = replace(
            descriptor,
            dst_len=out_len,
            src_sg=base + DmaBuffers.SRC_LIST,
            src_cnt=len(src),
            dst_sg=base + DmaBuffers.DST_LIST,
            dst_cnt=len(dst),
        )
        await self._post(addressed, buffer, done)

    async def _post(self, descriptor: SqeRecord | SqeCtx, buffer: int | None, done: Done) -> int:
        """Post a descriptor and ring the doorbell; returns its free-running index."""
        pair = self._pair_of(descriptor.ctx)
        while pair.sq.full:
            await self._wait()
        index = pair.sq.prod
        cookie = pair.sq.slot(index)
        pair.posted[cookie] = Posted(index, buffer, done)
        _log.debug("ring %d: descriptor %d: %r", pair.number, index, descriptor)
        packed = replace(descriptor, cookie=cookie).pack()
        self.port.mem.write(pair.sq.produce(), packed)
        # the doorbell publishes the descriptor: all memory writes must precede it
        await self.port.write32(pair.reg(Reg.RING0_SQ_PROD), pair.sq.prod)
        return index

    # ------------------------------------------------------------- completions

    async def poll(self) -> int:
        """Reap every completion that is in memory.

        Returns:
            Number of completions.

        Raises:
            DeviceError: a completion does not match a descriptor in flight.
        """
        count = 0
        for pair in self.pairs:
            count += await self._poll(pair)
        return count

    async def _poll(self, pair: RingPair) -> int:
        cq = pair.cq
        done: list[tuple[Posted, Completion]] = []
        while True:
            cqe = Cqe.unpack(self.port.mem.read(cq.address(cq.cons), Cqe.SIZE))
            if cqe.phase != cq.phase():
                break
            _log.debug("ring %d: %r", pair.number, cqe)
            posted = pair.posted.pop(cqe.cookie, None)
            if posted is None or posted.sq_index != cqe.sq_index:
                raise DeviceError(
                    f"completion {cq.cons} names cookie {cqe.cookie}, descriptor "
                    f"{cqe.sq_index}, which is not in flight (completed twice?)",
                    await self.registers(),
                    self.rings(),
                )
            done.append((posted, self._completion(cqe, posted)))
            cq.consume()
            pair.sq.cons = (cqe.sq_index + 1) & 0xFFFFFFFF
        if done:
            await self.port.write32(pair.reg(Reg.RING0_CQ_CONS), cq.cons)
        # free the buffers only after CQ_CONS has moved: until then a checker may read them
        for posted, completion in done:
            if posted.buffer is not None:
                self.buffers.give_back(posted.buffer)
            posted.done(completion)
        return len(done)

    def _completion(self, cqe: Cqe, posted: Posted) -> Completion:
        data = b""
        if posted.buffer is not None and cqe.len:
            addr = self.buffers.address(posted.buffer) + DmaBuffers.DST
            data = self.port.mem.read(addr, cqe.len)
        return Completion(
            Status(cqe.status),
            data,
            cqe.rtype,
            cqe.rec_seq if cqe.numbered else None,
            cqe.cycles,
            cqe.latency,
            bool(cqe.rekey),
        )

    async def flush(self) -> None:
        """Wait until every posted descriptor has completed.

        Raises:
            DeviceIdle: a completion is missing and the device has no work left.
            DeviceError: the device violated its contract or reports a fatal state.
        """
        while self._in_flight:
            await self._wait()

    @property
    def _in_flight(self) -> int:
        return sum(len(pair.posted) for pair in self.pairs)

    async def _wait(self) -> None:
        """Reap; if no completion is in memory, wait for the interrupt and reap again.

        Raises:
            DeviceIdle: a completion is missing and the device has no work left.
            DeviceError: the device interrupts without a completion: it reports a fatal state.
        """
        if await self.poll():
            return
        if not await self.port.wait_irq():
            count = self._in_flight
            noun = "descriptor has" if count == 1 else "descriptors have"
            raise DeviceIdle(
                f"{count} {noun} no completion, and the device is idle",
                await self.registers(),
                self.rings(),
            )
        if await self.poll() == 0:
            raise DeviceError(
                "interrupt without a completion; check STATUS.cq_error and STATUS.bus_dead",
                await self.registers(),
                self.rings(),
            )

    # ------------------------------------------------------------- observation

    def rings(self) -> dict[str, int]:
        """Return the driver's view of its rings; the names of pair n > 0 start with `ringn_`."""
        view = {}
        for pair in self.pairs:
            ring = f"ring{pair.number}_" if pair.number else ""
            view[f"{ring}sq_prod"] = pair.sq.prod
            view[f"{ring}sq_cons"] = pair.sq.cons
            view[f"{ring}cq_cons"] = pair.cq.cons
        return {**view, "in_flight": self._in_flight, "free_buffers": self.buffers.available}

    async def registers(self) -> dict[str, int]:
        """Read every register; the result has their values by name."""
        values = {reg.name: await self.port.read32(reg) for reg in Reg}
        for pair in self.pairs[1:]:
            for reg in Reg:
                if reg.name.startswith("RING0_"):
                    name = reg.name.replace("RING0", f"RING{pair.number}")
                    values[name] = await self.port.read32(pair.reg(reg))
        return values

    async def stats(self) -> dict[str, int]:
        """Read the counters; the names are those of `ethtool -S` for TLS devices."""
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


async def _identify(port: HostPort) -> None:
    """Check the ID and the version of a device.

    Raises:
        DeviceError: another kind of device, or an incompatible version.
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
