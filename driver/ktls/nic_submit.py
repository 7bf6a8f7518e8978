# SPDX-License-Identifier: Apache-2.0
"""Submission: writes a descriptor and its source to memory and rings the doorbell."""

from __future__ import annotations

import logging
from dataclasses import replace

from ktls.dma import DmaBuffers, page_entries, whole_entry
from ktls.nic_contexts import DeviceContext
from ktls.nic_health import Health
from ktls.nic_setup import Setup
from ktls.port import HostPort
from ktls.ring import Done, Posted, RingPair
from ktls_hw.layout import Reg, SqeCtx, SqeRecord

_log = logging.getLogger("ktls.driver")


class Submitter:
    """Posts descriptors to rings that have room.

    Args:
        port: the device.
        buffers: its DMA buffers.
        health: its state.
        setup: how the driver uses it.
    """

    def __init__(self, port: HostPort, buffers: DmaBuffers, health: Health, setup: Setup) -> None:
        self._port = port
        self._buffers = buffers
        self._health = health
        self._setup = setup

    def must_wait(self, pair: RingPair, descriptor: SqeRecord | SqeCtx) -> bool:
        """Whether a descriptor finds no slot, or a record no buffer."""
        return pair.sq.full or (isinstance(descriptor, SqeRecord) and not self._buffers.available)

    async def post(
        self,
        pair: RingPair,
        context: DeviceContext,
        descriptor: SqeRecord | SqeCtx,
        source: bytes,
        out_len: int,
        done: Done,
    ) -> int:
        """Post a descriptor that need not wait; returns its free-running index.

        Args:
            pair: the rings of the context.
            context: the context.
            descriptor: everything but context and addresses, which the driver adds.
            source: bytes for the source buffer.
            out_len: bytes of the destination.
            done: called exactly once with the completion.

        Raises:
            DeviceError: an access to the device failed, and the driver is strict.
        """
        index = pair.sq.prod
        cookie = pair.sq.slot(index)
        slot = pair.sq.produce()
        descriptor.ctx, descriptor.gen, descriptor.epoch = context.ctx, context.gen, context.epoch
        descriptor.cookie = cookie
        public = replace(descriptor, key=b"") if isinstance(descriptor, SqeCtx) else descriptor
        buffer = self._buffers.take() if isinstance(descriptor, SqeRecord) else None
        sizes = (len(source), out_len)
        pair.posted[cookie] = Posted(index, public, context.version, buffer, sizes, done)
        _log.debug("ring %d: descriptor %d: %r", pair.number, index, public)
        with self._health.access():
            if isinstance(descriptor, SqeRecord) and buffer is not None:
                self._fill(buffer, descriptor, source, out_len)
            raw = descriptor.pack()
            self._port.mem.write(slot, raw)
            doorbell = Reg.RING0_SQ_PROD
            if self._setup.push and len(pair.posted) == 1:
                for at in range(0, len(raw), 4):
                    word = int.from_bytes(raw[at : at + 4], "little")
                    await self._port.write32(Reg.PUSH0_WORD + at, word)
                doorbell = Reg.RING0_SQ_PUSH
            # the doorbell publishes the descriptor: all memory writes must precede it
            await self._port.write32(pair.reg(doorbell), pair.sq.prod)
        return index

    def _fill(self, buffer: int, descriptor: SqeRecord, source: bytes, out_len: int) -> None:
        """Write source and lists of a record, and their addresses into its descriptor.

        A source or destination of one piece needs no list.
        """
        base = self._buffers.address(buffer)
        mem = self._port.mem
        split = whole_entry if self._setup.contiguous else page_entries
        src = split(base + DmaBuffers.SRC, len(source))
        dst = split(base + DmaBuffers.DST, out_len)
        if source:
            mem.write(base + DmaBuffers.SRC, source)
        src_direct = self._setup.direct and len(src) <= 1
        dst_direct = self._setup.direct and len(dst) <= 1
        if not (src_direct and dst_direct):
            # the lists are adjacent: write both at once
            src_list = b"".join(e.pack() for e in src)
            dst_list = b"".join(e.pack() for e in dst)
            src_list = src_list.ljust(DmaBuffers.DST_LIST - DmaBuffers.SRC_LIST, b"\0")
            mem.write(base + DmaBuffers.SRC_LIST, src_list + dst_list)
        descriptor.dst_len = out_len
        descriptor.src_direct = int(src_direct)
        descriptor.src_sg = base + (DmaBuffers.SRC if src_direct else DmaBuffers.SRC_LIST)
        descriptor.src_cnt = 0 if src_direct else len(src)
        descriptor.dst_direct = int(dst_direct)
        descriptor.dst_sg = base + (DmaBuffers.DST if dst_direct else DmaBuffers.DST_LIST)
        descriptor.dst_cnt = 0 if dst_direct else len(dst)
