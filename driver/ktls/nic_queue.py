# SPDX-License-Identifier: Apache-2.0
"""The descriptors in flight of a device: post, wait, reap, or lose them all.

`DescriptorQueue` puts the parts below contexts and records together: `Submitter`, `Reaper`,
`Delivery`, `Stall` and `Secrets`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from ktls.dma import DmaBuffers, Secrets
from ktls.nic_contexts import DeviceContext
from ktls.nic_health import ACCESS_ERRORS, Health
from ktls.nic_interrupts import Interrupts
from ktls.nic_reap import Delivery, Reaper
from ktls.nic_setup import Setup
from ktls.nic_submit import Submitter
from ktls.nic_view import DeviceView, Stall
from ktls.port import HostPort
from ktls.ring import Completion, Done, Posted, RingPair
from ktls_hw.layout import Reg, SqeCtx, SqeRecord

_LOST = Completion(None)


class DescriptorQueue:
    """Posts descriptors and calls the `done` of each exactly once.

    All descriptors of a context use the same ring pair, because the device does not order
    descriptors of different pairs.

    Args:
        port: the device.
        pairs: its ring pairs.
        buffers: its DMA buffers.
        health: its state.
        setup: how the driver uses it.

    Attributes:
        view: registers and rings, for messages.
        secrets: keys and text in DMA memory.
    """

    def __init__(
        self,
        port: HostPort,
        pairs: list[RingPair],
        buffers: DmaBuffers,
        health: Health,
        setup: Setup,
    ) -> None:
        self.view = DeviceView(port, pairs, buffers)
        self.secrets = Secrets(port)
        self._port = port
        self._pairs = pairs
        self._buffers = buffers
        self._health = health
        self._submitter = Submitter(port, buffers, health, setup)
        self._reaper = Reaper(port, buffers, health.events)
        self._delivery = Delivery(buffers, self.secrets, health)
        self._stall = Stall(port, self.view, health.events)
        self._interrupts = Interrupts(port, pairs, setup)

    @property
    def traffic(self) -> Counter[str]:
        """Records and bytes that the device has sealed and opened, by name."""
        return self._reaper.traffic

    def restart(self, resets: int) -> None:
        """Start again after a reset; `resets` is the value of the register RESETS."""
        self._buffers.reset()
        self._stall.restart(resets)

    def take_all(self) -> list[Posted]:
        """Take every descriptor away from a device that is DOWN; their secrets are wiped."""
        lost = [posted for pair in self._pairs for posted in pair.posted.values()]
        for pair in self._pairs:
            # a slot may hold a key
            self.secrets.add(pair.sq.base, pair.sq.entries * SqeCtx.SIZE)
            pair.posted.clear()
        for posted in lost:
            self._delivery.note(posted)
        # the device may still write into its buffers: `report_lost` notes them for the reset, too
        with suppress(*ACCESS_ERRORS):
            self.secrets.wipe()
        return lost

    def report_lost(self, lost: list[Posted]) -> None:
        """Call every `done`; the buffers become free after the next reset.

        Raises:
            Exception: the first one that a `done` has raised; all others were called.
        """
        self._health.events["lost_descriptors"] += len(lost)
        self._delivery.deliver([(posted, _LOST) for posted in lost])

    async def post(
        self,
        context: DeviceContext,
        descriptor: SqeRecord | SqeCtx,
        source: bytes,
        out_len: int,
        done: Done,
    ) -> int | None:
        """Post a descriptor; waits only while rings or buffers are full.

        Args:
            context: the context.
            descriptor: everything but context and addresses.
            source: bytes for the source buffer.
            out_len: bytes of the destination.
            done: called exactly once with the completion.

        Returns:
            Its free-running index; None if the device failed before it had a slot.

        Raises:
            DeviceError: the device failed, and the driver is strict.
        """
        pair = self._pair_of(context.ctx)
        while self._submitter.must_wait(pair, descriptor):
            await self._wait()
            if not context.alive:
                done(_LOST)
                return None
        return await self._submitter.post(pair, context, descriptor, source, out_len, done)

    def _pair_of(self, ctx: int) -> RingPair:
        return self._pairs[ctx % len(self._pairs)]

    async def control(self, context: DeviceContext, descriptor: SqeCtx) -> Completion:
        """Execute a context descriptor, then overwrite its slot, which may hold a key.

        Args:
            context: the context.
            descriptor: everything but the context.

        Raises:
            DeviceError: the device failed, and the driver is strict.
        """
        results: list[Completion] = []
        index = None
        try:
            index = await self.post(context, descriptor, b"", 0, results.append)
            while not results:
                await self._wait()
        finally:
            if index is not None:
                slot = self._pair_of(context.ctx).sq.address(index)
                self.secrets.add(slot, SqeCtx.SIZE)
                if self._health.up:
                    with self._health.access():
                        self.secrets.wipe()
        return results[0]

    async def poll(self) -> int:
        """Reap every completion that is in memory.

        Returns:
            Number of completions.

        Raises:
            DeviceError: a completion does not match a descriptor in flight, and the driver is
                strict.
            Exception: the first one that a `done` has raised; all others were called.
        """
        return await self._poll_all(self._pairs)

    async def _poll_all(self, pairs: list[RingPair]) -> int:
        count = 0
        for pair in pairs:
            if self._health.up:
                count += await self._poll(pair)
        return count

    async def _poll(self, pair: RingPair) -> int:
        done: list[tuple[Posted, Completion]] = []
        wrong = None
        try:
            with self._health.access():
                wrong = self._reaper.collect(pair, done)
                if done:
                    self._stall.progress()
                    await self._port.write32(pair.reg(Reg.RING0_CQ_CONS), pair.cq.cons)
        finally:
            # free the buffers only after CQ_CONS has moved: until then a checker may read them
            self._delivery.deliver(done)
        if wrong is not None and self._health.up:
            with self._health.access():
                self._health.fail(await self.view.error(wrong))
        return len(done)

    async def flush(self) -> None:
        """Wait until every posted descriptor has completed or is lost.

        Raises:
            DeviceIdle: a completion is missing and the device has no work left, and the
                driver is strict.
            DeviceError: the device failed, and the driver is strict.
        """
        while self.view.in_flight:
            await self._wait()

    async def _wait(self) -> None:
        """Reap; if no completion is in memory, wait for an interrupt and reap what it announces.

        Go DOWN if the device has failed or can make no progress.
        """
        if await self.poll() or not self._health.up:
            return
        announced: list[RingPair] | None = None
        with self._health.access():
            announced = await self._interrupts.wait()
        interrupted = announced is not None
        if await self._poll_all(self._pairs if announced is None else announced):
            if not interrupted:
                self._health.events["lost_interrupts"] += 1
            return
        if not self._health.up:
            return
        error = None
        with self._health.access():
            error = await self._stall.look(interrupted, self.poll)
        if error is not None and self._health.up:
            self._health.fail(error)
