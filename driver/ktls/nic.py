# SPDX-License-Identifier: Apache-2.0
"""The NIC driver of one device.

The structure is that of a Linux driver: `tls_dev_add`, `tls_dev_del` and `tls_dev_resync`
are its `struct tlsdev_ops` (include/linux/netdevice.h), `xmit` posts, `poll` reaps (NAPI),
and the driver waits only for the interrupt. docs/registers.md is the contract;
docs/programmers-guide.md explains the same steps.

`KtlsNic` is the table of calls. Its parts own their state: `Health` (UP or DOWN), `ContextTable`
(numbers of contexts) and `DescriptorQueue` (what is in flight).

A device can fail at any access. The driver then goes DOWN: it touches the device no more,
reports every descriptor in flight as lost, and its contexts are dead. `KtlsNic.recover`
resets the device and goes UP again. A strict driver, as verification needs it, raises the
failure in addition.

A driver instance is for one thread at a time; `KtlsStack` holds a lock around it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ktls import claim, uapi
from ktls.crypto_info import CryptoInfo
from ktls.dma import PAGE, DmaBuffers
from ktls.errors import DeviceDown, DeviceError, NotOffloadable
from ktls.nic_contexts import ContextTable, DeviceContext, require_suite
from ktls.nic_health import ACCESS_ERRORS, Health, NicState
from ktls.nic_queue import DescriptorQueue
from ktls.nic_record import open_descriptor, seal_descriptor
from ktls.nic_setup import (
    Setup,
    check_arguments,
    divide_memory,
    enable,
    identify,
    negotiate,
    ready,
    reset,
)
from ktls.port import HostPort
from ktls.ring import Done, RingPair
from ktls_hw import layout
from ktls_hw.layout import Opcode, Reg, SqeCtx, SqeRecord

# records per key: AES-GCM stays safe for 2^24.5 full-size records (RFC 8446 section 5.5)
KEY_LIMIT = 23_726_566
KEY_WARN = 1 << 24
_log = logging.getLogger("ktls.driver")


class KtlsNic:
    """Driver instance of one device; create it with `await KtlsNic.probe(port)`.

    Attributes:
        port: the device.
        pairs: the ring pairs.
        buffers: the DMA buffers.
        contexts: number of contexts of the device.
        suites: value of the register SUITES.
        events: how often each unusual event has happened, by name.
        listeners: called after each change of `state`.
    """

    def __init__(
        self, port: HostPort, pairs: list[RingPair], buffers: DmaBuffers, setup: Setup
    ) -> None:
        self.port = port
        self.pairs = pairs
        self.buffers = buffers
        self.contexts = setup.contexts
        self.suites = setup.suites
        self._setup = setup
        self._health = Health(self._lose_all)
        self.events: Counter[str] = self._health.events
        self.listeners: list[Callable[[], None]] = self._health.listeners
        self._table = ContextTable(setup.contexts)
        self._queue = DescriptorQueue(port, pairs, buffers, self._health, setup)
        self._resyncs = 0

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
        takeover: bool = False,
        strict: bool = False,
        push: bool = False,
        ordered: bool = False,
        contiguous: bool = False,
        messages: bool = False,
        key_warn: int = KEY_WARN,
        key_limit: int = KEY_LIMIT,
    ) -> KtlsNic:
        """Claim and identify the device, reset it, set up its rings and enable it.

        Args:
            port: the device.
            sq_log2: log2 of the slots of a submission ring, 0 to 15.
            cq_log2: log2 of the slots of a completion ring, 0 to 15.
            mem_base: first bus address that the driver may use, page aligned, not 0.
            rings: ring pairs to use, at least 1; the device may have fewer.
            takeover: evict another driver instance that uses the device.
            strict: raise every failure of the device instead of going on without it.
            push: push a descriptor through the register window if its ring is empty. It saves
                the device a read of memory and costs 16 register writes.
            ordered: memory and interrupt keep the order of the device's writes, as PCI Express
                does; the device then waits for no write response. See CTRL.ordered.
            contiguous: name each DMA buffer as one piece, as memory of dma_alloc_coherent allows;
                otherwise the driver splits it into pages, like a DMA mapping of user memory.
            messages: use an interrupt message per ring pair and one for errors, as MSI-X does,
                instead of the level of the interrupt, if the device has them (CAPS.messages).
            key_warn: records after which completions ask for a new key; 0: never.
            key_limit: records after which the device refuses a key; 0: never.

        Raises:
            ValueError: an argument is out of range.
            DeviceBusy: another driver instance uses the device.
            DeviceError: another kind of device, an incompatible version, impossible
                capabilities, no STATUS.ready after the reset, or too little DMA memory.
        """
        check_arguments(sq_log2, cq_log2, mem_base, rings)
        setup = await negotiate(
            port,
            rings=rings,
            key_warn=key_warn,
            key_limit=key_limit,
            push=push,
            ordered=ordered,
            contiguous=contiguous,
            messages=messages,
        )
        pairs, buffers = divide_memory(mem_base, port.mem.size, setup.rings, sq_log2, cq_log2)
        nic = cls(port, pairs, buffers, setup)
        claim.claim(nic, takeover=takeover)
        nic.strict = strict
        await nic._start()
        _log.info(
            "device ready: %d contexts, suites %#x, %d ring pairs, %d buffers",
            nic.contexts, nic.suites, len(pairs), buffers.count,
        )  # fmt: skip
        return nic

    async def _start(self) -> None:
        """Reset the device, set up rings and limits, enable it and go UP.

        Raises:
            DeviceError: STATUS.ready stays 0.
        """
        resets = await reset(self.port, self._queue.view)
        self._queue.secrets.wipe()
        await enable(self.port, self.pairs, self._setup)
        self._table.reset(resets)
        self._queue.restart(resets)
        self._health.state = NicState.UP

    # ------------------------------------------------------- failure and recovery

    @property
    def state(self) -> NicState:
        """Whether the driver uses the device."""
        return self._health.state

    @property
    def why_down(self) -> str | None:
        """The reason of the last failure, None without one."""
        return self._health.why_down

    @property
    def strict(self) -> bool:
        """Whether every failure of the device raises, after all losses have been reported."""
        return self._health.strict

    @strict.setter
    def strict(self, strict: bool) -> None:
        self._health.strict = strict

    @property
    def in_access(self) -> bool:
        """Whether a call of this driver is using the device."""
        return self._health.in_access

    def fail(self, error: DeviceError) -> None:
        """Go DOWN, because the device has failed or violated its contract.

        Every descriptor in flight is reported as lost, and every context is dead.

        Args:
            error: what happened.

        Raises:
            DeviceError: `error`, if the driver is strict.
        """
        self._health.fail(error)

    def _lose_all(self) -> None:
        """Report every descriptor in flight as lost, and every context as dead."""
        lost = self._queue.take_all()
        self._table.lose_all()
        self._queue.report_lost(lost)

    async def recover(self) -> bool:
        """Reset a device that is DOWN and use it again; all contexts must be installed anew.

        Returns:
            Whether the device is UP.
        """
        if self.state is not NicState.DOWN:
            return self._health.up
        self.events["recoveries"] += 1
        try:
            await identify(self.port)
            await self._start()
        except (DeviceError, *ACCESS_ERRORS) as e:
            self._health.why_down = f"recovery failed: {type(e).__name__}: {e}".split("\n", 1)[0]
            _log.warning("device stays down: %s", self.why_down)
            return False
        _log.info("device recovered")
        self._health.tell()
        return True

    async def remove(self) -> None:
        """Unbind: finish the work in flight, wipe all keys and text, reset and release the device.

        A device that does not answer is released all the same.
        """
        if self.state is NicState.REMOVED:
            return
        if self._health.up:
            with suppress(DeviceError):
                await self.flush()
        with suppress(DeviceError, *ACCESS_ERRORS):
            await self.port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
            await ready(self.port)
        self.evict()

    @property
    def owns_port(self) -> bool:
        """Whether this instance has claimed the device and can use it again."""
        return self._health.up

    def evict(self) -> None:
        """Give up the device without touching its registers."""
        if self.state is not NicState.REMOVED:
            self._health.go_down(NicState.REMOVED, DeviceDown("the driver was removed"))
        claim.release(self)

    # ---------------------------------------------------------------- contexts

    async def tls_dev_add(self, direction: int, info: CryptoInfo) -> DeviceContext:
        """Install the keys of a connection (`struct tlsdev_ops.tls_dev_add`).

        Args:
            direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
            info: keys and counters.

        Raises:
            NotOffloadable: the device does not support the suite, has no free context or
                is down.
            DeviceError: the device violated its contract, and the driver is strict.
        """
        require_suite(self.suites, direction, info)
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
        return len(self._table)

    async def install_context(self, direction: int, descriptor: SqeCtx) -> DeviceContext:
        """Allocate a context and execute CTX_SET.

        Args:
            direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
            descriptor: version, cipher, keys and counters.

        Raises:
            NotOffloadable: the device is down, no context is free, or the device refused the
                descriptor.
            DeviceError: the device violated its contract, and the driver is strict.
        """
        if not self._health.up:
            raise NotOffloadable(f"the device is {self.state.value}: {self.why_down}")
        context = self._table.take(direction, descriptor.version)
        dir_ = 0 if direction == uapi.TLS_TX else 1
        result = await self._queue.control(
            context, replace(descriptor, opcode=Opcode.CTX_SET, dir=dir_)
        )
        side = "transmit" if direction == uapi.TLS_TX else "receive"
        _log.info(
            "context %d: %s, version %#06x, cipher %d: %s",
            context.ctx, side, descriptor.version, descriptor.cipher, result.why,
        )  # fmt: skip
        if not context.alive:
            raise NotOffloadable(f"the device is {self.state.value}: {self.why_down}")
        if not result.ok:
            self._table.forget(context)
            raise NotOffloadable(f"the device refused the context: {result.why}")
        return context

    async def tls_dev_resync(self, context: DeviceContext, rec_seq: int) -> None:
        """Set the number of the next record (`struct tlsdev_ops.tls_dev_resync`).

        Args:
            context: from `tls_dev_add`.
            rec_seq: record number; in the transmit direction not below the next one.

        Raises:
            StaleContext: the context was deleted, or the device has lost it.
            DeviceError: the device refused the number.
        """
        context.check_alive()
        descriptor = SqeCtx(opcode=Opcode.RESYNC, rec_seq=rec_seq.to_bytes(8, "big"))
        result = await self._queue.control(context, descriptor)
        context.check_alive()
        if not result.ok:
            raise DeviceError(
                f"RESYNC of context {context.ctx} to {rec_seq} ended with {result.why}"
            )
        self._resyncs += 1

    async def tls_dev_del(self, context: DeviceContext) -> None:
        """Remove the keys of a connection after its records in flight.

        Args:
            context: from `tls_dev_add`.

        Raises:
            StaleContext: the context was deleted, or the device has lost it.
            DeviceError: the device refused, and the driver is strict.
        """
        context.check_alive()
        result = await self._queue.control(context, SqeCtx(opcode=Opcode.CTX_DEL))
        if not context.alive:
            # the device has failed meanwhile, and its reset wipes the keys
            return
        if not result.ok:
            what = f"CTX_DEL of context {context.ctx} ended with {result.why}"
            self.fail(await self._queue.view.error(what))
            return
        self._table.forget(context)

    # ----------------------------------------------------------------- records

    async def xmit(
        self, context: DeviceContext, rtype: int, data: bytes, done: Done, pad: int = 0
    ) -> None:
        """Post a record to be sealed; waits only while rings or buffers are full.

        Args:
            context: from `tls_dev_add`.
            rtype: record type, 0 to 255.
            data: plaintext, at most 16384 bytes.
            done: called exactly once with the completion; records complete in order.
            pad: TLS 1.3: zeros after the inner type; at most 16384 with the plaintext.

        Raises:
            ValueError: an argument is out of range.
            StaleContext: the context was deleted, or the device has lost it.
            DeviceError: the device failed, and the driver is strict.
        """
        context.check_alive()
        seal, out_len = seal_descriptor(context, rtype, len(data), pad)
        await self.post_record(context, seal, data, out_len, done)

    async def open(
        self, context: DeviceContext, rtype: int, explicit: bytes, sealed: bytes, done: Done
    ) -> None:
        """Post a record to be opened; waits only while rings or buffers are full.

        Args:
            context: from `tls_dev_add`.
            rtype: record type on the wire, 0 to 255.
            explicit: TLS 1.2: the 8 bytes of the explicit nonce; TLS 1.3: empty.
            sealed: ciphertext (at most 16384 bytes, in TLS 1.3 16385) and tag.
            done: called exactly once with the completion; records complete in order.

        Raises:
            ValueError: an argument is out of range.
            StaleContext: the context was deleted, or the device has lost it.
            DeviceError: the device failed, and the driver is strict.
        """
        context.check_alive()
        descriptor, out_len = open_descriptor(context, rtype, explicit, len(sealed))
        await self.post_record(context, descriptor, sealed, out_len, done)

    async def post_record(
        self, context: DeviceContext, descriptor: SqeRecord, source: bytes, out_len: int, done: Done
    ) -> None:
        """Post a record descriptor; waits only while rings or buffers are full.

        Args:
            context: from `tls_dev_add` or `nic_aead.aead_add`.
            descriptor: everything but context and addresses, which the driver adds.
            source: bytes for the source buffer, at most `DmaBuffers.DST`.
            out_len: bytes of the destination, at most `DmaBuffers.DST`.
            done: called exactly once with the completion.

        Raises:
            ValueError: the bytes exceed a buffer.
            StaleContext: the context was deleted, or the device has lost it.
            DeviceError: the device failed, and the driver is strict.
        """
        context.check_alive()
        if max(len(source), out_len) > DmaBuffers.DST:
            raise ValueError(
                f"a buffer holds {DmaBuffers.DST} bytes, not {max(len(source), out_len)}"
            )
        await self._queue.post(context, descriptor, source, out_len, done)

    # ------------------------------------------------------------- completions

    async def poll(self) -> int:
        """Reap every completion that is in memory.

        Returns:
            Number of completions.

        Raises:
            DeviceError: a completion does not match a descriptor in flight, and the driver is
                strict.
            Exception: the first one that a `done` has raised; all others were called.
        """
        return await self._queue.poll()

    async def flush(self) -> None:
        """Wait until every posted descriptor has completed or is lost.

        Raises:
            DeviceIdle: a completion is missing and the device has no work left, and the
                driver is strict.
            DeviceError: the device failed, and the driver is strict.
        """
        await self._queue.flush()

    # ------------------------------------------------------------- observation

    @property
    def records(self) -> int:
        """Number of records that the device has sealed or opened."""
        return self._queue.traffic["sealed"] + self._queue.traffic["opened"]

    @property
    def settled(self) -> bool:
        """Whether the device is up and has completed every descriptor."""
        return self._health.up and not self._queue.view.in_flight

    def rings(self) -> dict[str, int]:
        """Return the driver's view of its rings; the names of pair n > 0 start with `ringn_`."""
        return self._queue.view.rings()

    async def registers(self) -> dict[str, int]:
        """Read every register; the result has their values by name."""
        return await self._queue.view.registers()

    async def stats(self) -> dict[str, int]:
        """Return the counters; the names are those of `ethtool -S` for TLS devices.

        The device counts its errors since its last reset; the driver counts the rest.
        """
        read = self.port.read32
        traffic = self._queue.traffic
        sides = self._table.sides()
        return {
            "tx_tls_encrypted_packets": traffic["sealed"],
            "tx_tls_encrypted_bytes": traffic["sealed_bytes"],
            "tx_tls_ctx": sides[uapi.TLS_TX],
            "rx_tls_decrypted_packets": traffic["opened"],
            "rx_tls_decrypted_bytes": traffic["opened_bytes"],
            "rx_tls_ctx": sides[uapi.TLS_RX],
            "rx_tls_resync_res_ok": self._resyncs,
            "rx_tls_err": await read(Reg.CNT_ERR_AUTH),
            "tx_tls_err_refused": await read(Reg.CNT_ERR_REFUSED),
            "tx_tls_err_short": await read(Reg.CNT_ERR_SHORT),
            "tx_tls_err_bus": await read(Reg.CNT_ERR_BUS),
        }
