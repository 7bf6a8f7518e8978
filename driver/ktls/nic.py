# SPDX-License-Identifier: Apache-2.0
"""The NIC driver: contexts, descriptors and completions of one device.

The structure is that of a Linux driver: `tls_dev_add`, `tls_dev_del` and `tls_dev_resync`
are its `struct tlsdev_ops` (include/linux/netdevice.h), `xmit` posts, `poll` reaps (NAPI),
and the driver waits only for the interrupt. docs/registers.md is the contract;
docs/programmers-guide.md explains the same steps.

A device can fail at any access. The driver then goes DOWN: it touches the device no more,
reports every descriptor in flight as lost, and its contexts are dead. `KtlsNic.recover`
resets the device and goes UP again. A strict driver, as verification needs it, raises the
failure in addition.

A driver instance is for one thread at a time; `KtlsStack` holds a lock around it.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from ktls import claim, uapi
from ktls.crypto_info import CryptoInfo
from ktls.dma import PAGE, DmaBuffers, page_align, page_entries, whole_entry
from ktls.errors import DeviceDown, DeviceError, DeviceIdle, NotOffloadable, StaleContext
from ktls.port import HostPort
from ktls.ring import Completion, Done, Posted, Ring, RingPair
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, SqeCtx, SqeRecord, Status

# bytes of a sealed record minus those of its plaintext, at most
RECORD_OVERHEAD = uapi.TLS_HEADER_SIZE + 8 + uapi.TLS_TAG_SIZE
# records per key: AES-GCM stays safe for 2^24.5 full-size records (RFC 8446 section 5.5)
KEY_LIMIT = 23_726_566
KEY_WARN = 1 << 24
_READY_POLLS = 10_000
# first minor version of the contract with direct buffers, the push window and CTRL.ordered
_FEWER_TRIPS = 5
# how long the driver waits for a device that works and completes nothing
_WAITS = 20_000
_WAIT_NS = 10_000_000
_ALL_ONES = 0xFFFFFFFF
_LOST = Completion(None)
_STATUS = {int(status): status for status in Status}
# what a port raises when an access fails
_ACCESS_ERRORS = (OSError, MemoryError)
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


class NicState(Enum):
    """Whether the driver uses the device."""

    UP = "up"
    DOWN = "down"
    """The device has failed; `KtlsNic.recover` tries to use it again."""
    REMOVED = "removed"


@dataclass(eq=False, slots=True)
class DeviceContext:
    """A context of the device, from `tls_dev_add` to `tls_dev_del`.

    Attributes:
        ctx: its number.
        direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
        version: TLS version, 0 for plain AES-GCM.
        gen: low half of its generation.
        epoch: high half of its generation.
        alive: the device has the keys. A dead context can do nothing.
    """

    ctx: int
    direction: int
    version: int
    gen: int
    epoch: int
    alive: bool = True


class _DeviceAccess:
    """A block that accesses registers or DMA memory; the driver goes DOWN if an access fails.

    A class and not a generator, because every record has several of these blocks.
    """

    __slots__ = ("_nic",)

    def __init__(self, nic: KtlsNic) -> None:
        self._nic = nic

    def __enter__(self) -> None:
        self._nic._accesses += 1

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> bool:
        try:
            return error is not None and self._nic._access_failed(error)
        finally:
            self._nic._accesses -= 1


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
        state: whether the driver uses the device.
        why_down: the reason of the last failure, None without one.
        events: how often each unusual event has happened, by name.
        strict: raise every failure of the device, after all losses have been reported.
        listeners: called after each change of `state`.
    """

    def __init__(self, port: HostPort, pairs: list[RingPair], buffers: DmaBuffers) -> None:
        self.port = port
        self.pairs = pairs
        self.buffers = buffers
        self.contexts = 0
        self.suites = 0
        self.state = NicState.DOWN
        self.why_down: str | None = None
        self.events: Counter[str] = Counter()
        self.strict = False
        self.listeners: list[Callable[[], None]] = []
        self._limits = (KEY_WARN, KEY_LIMIT)
        self._direct = self._push = self._ordered = self._contiguous = False
        self._free_ctx: deque[int] = deque()
        self._generations: Counter[int] = Counter()
        self._in_use: set[DeviceContext] = set()
        self._resets = 0
        self._traffic: Counter[str] = Counter()
        self._unwiped: list[tuple[int, int]] = []  # secrets that could not be overwritten
        self._waits = 0
        self._waits_since = 0
        self._accesses = 0

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
            key_warn: records after which completions ask for a new key; 0: never.
            key_limit: records after which the device refuses a key; 0: never.

        Raises:
            ValueError: an argument is out of range.
            DeviceBusy: another driver instance uses the device.
            DeviceError: another kind of device, an incompatible version, impossible
                capabilities, no STATUS.ready after the reset, or too little DMA memory.
        """
        for name, log2 in (("sq_log2", sq_log2), ("cq_log2", cq_log2)):
            if not 0 <= log2 <= 15:
                raise ValueError(f"{name} is {log2}, expected 0 to 15")
        if mem_base <= 0 or mem_base % PAGE:
            raise ValueError(f"mem_base is {mem_base:#x}, expected a multiple of {PAGE} above 0")
        if rings < 1:
            raise ValueError(f"rings is {rings}, expected at least 1")
        minor = await _identify(port)
        caps = await port.read32(Reg.CAPS)
        for field, name in (
            (layout.CAPS_LANES, "lanes"),
            (layout.CAPS_RINGS, "rings"),
            (layout.CAPS_CONTEXTS, "contexts"),
        ):
            if not field.get(caps):
                raise DeviceError(f"CAPS is {caps:#010x}: the device has no {name}")
        pairs = []
        free = mem_base
        for number in range(min(rings, layout.CAPS_RINGS.get(caps))):
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
        claim.claim(nic, takeover=takeover)
        nic.strict = strict
        nic._limits = (key_warn, key_limit)
        # older devices know only lists, SQ_PROD and write responses
        nic._direct = minor >= _FEWER_TRIPS
        nic._push = push and nic._direct
        nic._ordered = ordered and nic._direct
        nic._contiguous = contiguous
        nic.contexts = layout.CAPS_CONTEXTS.get(caps)
        nic.suites = await port.read32(Reg.SUITES)
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
        port = self.port
        await port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
        if not await self._ready():
            # the reset waits for a bus that does not answer
            await port.write32(Reg.WATCHDOG, 1)
            if not await self._ready():
                raise DeviceError("STATUS.ready stays 0 after a reset", await self.registers())
            await port.write32(Reg.WATCHDOG, layout.WATCHDOG_CYCLES_RESET)
        self._resets = await port.read32(Reg.RESETS)
        self._wipe()
        for pair in self.pairs:
            await self._start_pair(pair)
        for reg, records in zip((Reg.KEY_WARN, Reg.KEY_LIMIT), self._limits, strict=True):
            await port.write32(reg, records)
        causes = (
            layout.IRQ_ENABLE_CQ.put(1)
            | layout.IRQ_ENABLE_ERROR.put(1)
            | layout.IRQ_ENABLE_RING_ERROR.put(1)
        )
        await port.write32(Reg.IRQ_ENABLE, causes)
        mode = layout.CTRL_ORDERED.put(int(self._ordered))
        await port.write32(Reg.CTRL, layout.CTRL_ENABLE.put(1) | mode)
        self.buffers.reset()
        self._free_ctx = deque(range(self.contexts))
        self._waits = 0
        self.state = NicState.UP

    async def _ready(self) -> bool:
        for _ in range(_READY_POLLS):
            status = await self.port.read32(Reg.STATUS)
            if status == _ALL_ONES:
                return False
            if layout.STATUS_READY.get(status):
                return True
        return False

    async def _start_pair(self, pair: RingPair) -> None:
        sq, cq = pair.sq, pair.cq
        sq.prod = sq.cons = cq.prod = cq.cons = 0
        # completions from before the reset must not look new
        self.port.mem.write(cq.base, bytes(cq.entries * Cqe.SIZE))
        for reg, value in (
            (Reg.RING0_SQ_BASE_LO, sq.base & 0xFFFFFFFF),
            (Reg.RING0_SQ_BASE_HI, sq.base >> 32),
            (Reg.RING0_SQ_SIZE, sq.log2),
            (Reg.RING0_CQ_BASE_LO, cq.base & 0xFFFFFFFF),
            (Reg.RING0_CQ_BASE_HI, cq.base >> 32),
            (Reg.RING0_CQ_SIZE, cq.log2),
        ):
            await self.port.write32(pair.reg(reg), value)

    def _pair_of(self, ctx: int) -> RingPair:
        return self.pairs[ctx % len(self.pairs)]

    # ------------------------------------------------------- failure and recovery

    def fail(self, error: DeviceError) -> None:
        """Go DOWN, because the device has failed or violated its contract.

        Every descriptor in flight is reported as lost, and every context is dead.

        Args:
            error: what happened.

        Raises:
            DeviceError: `error`, if the driver is strict.
        """
        try:
            if self.state is NicState.UP:
                self._go_down(NicState.DOWN, error)
        finally:
            if self.strict:
                raise error

    def _go_down(self, state: NicState, error: DeviceError) -> None:
        self.state = state
        self.why_down = str(error).split("\n", 1)[0]
        self.events["down"] += 1
        _log.warning("device %s: %s", state.value, self.why_down)
        _log.info("%s", error)
        lost = [posted for pair in self.pairs for posted in pair.posted.values()]
        for pair in self.pairs:
            # a slot may hold a key
            self._unwiped.append((pair.sq.base, pair.sq.entries * SqeCtx.SIZE))
            pair.posted.clear()
        for posted in lost:
            self._unwiped += self._secrets(posted)
        # The device may still write into its buffers. Wipe them now and, because of that, again
        # after the next reset, which is also when they become free.
        leftovers = list(self._unwiped)
        with suppress(*_ACCESS_ERRORS):
            self._wipe()
        self._unwiped = leftovers
        for context in self._in_use:
            context.alive = False
        self._in_use.clear()
        self.events["lost_descriptors"] += len(lost)
        self._deliver([(posted, _LOST) for posted in lost])
        for listener in list(self.listeners):
            listener()

    def _access_failed(self, error: BaseException) -> bool:
        """Go DOWN, because an access to registers or DMA memory has failed.

        Returns:
            Whether that handles the error.

        Raises:
            DeviceError: the access failed, and the driver is strict.
        """
        if isinstance(error, _ACCESS_ERRORS):
            text = f"{type(error).__name__}: {error}"
            self.fail(DeviceError(f"an access to the device failed: {text}"))
            return True
        # anything else is not a failure of the device, for example the verdict of a checker
        other = isinstance(error, Exception) and not isinstance(error, DeviceError)
        if other and self.state is NicState.UP:
            with suppress(Exception):
                self._go_down(NicState.DOWN, DeviceError(f"{type(error).__name__}: {error}"))
        return False

    @property
    def in_access(self) -> bool:
        """Whether a call of this driver is using the device."""
        return self._accesses != 0

    async def recover(self) -> bool:
        """Reset a device that is DOWN and use it again; all contexts must be installed anew.

        Returns:
            Whether the device is UP.
        """
        if self.state is not NicState.DOWN:
            return self.state is NicState.UP
        self.events["recoveries"] += 1
        try:
            await _identify(self.port)
            await self._start()
        except (DeviceError, *_ACCESS_ERRORS) as e:
            self.why_down = f"recovery failed: {type(e).__name__}: {e}".split("\n", 1)[0]
            _log.warning("device stays down: %s", self.why_down)
            return False
        _log.info("device recovered")
        for listener in list(self.listeners):
            listener()
        return True

    async def remove(self) -> None:
        """Unbind: finish the work in flight, wipe all keys and text, reset and release the device.

        A device that does not answer is released all the same.
        """
        if self.state is NicState.REMOVED:
            return
        if self.state is NicState.UP:
            with suppress(DeviceError):
                await self.flush()
        with suppress(DeviceError, *_ACCESS_ERRORS):
            await self.port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
            await self._ready()
        self.evict()

    @property
    def owns_port(self) -> bool:
        """Whether this instance has claimed the device and can use it again."""
        return self.state is NicState.UP

    def evict(self) -> None:
        """Give up the device without touching its registers."""
        if self.state is not NicState.REMOVED:
            self._go_down(NicState.REMOVED, DeviceDown("the driver was removed"))
        claim.release(self)

    # -------------------------------------------------------------------- secrets

    def _wipe(self) -> None:
        """Overwrite secrets in DMA memory with zeros; what fails is left for the next reset."""
        while self._unwiped:
            addr, length = self._unwiped[-1]
            if length:
                self.port.mem.write(addr, bytes(length))
            self._unwiped.pop()

    def _secrets(self, posted: Posted) -> list[tuple[int, int]]:
        """Return address and length of the text in the buffer of a descriptor."""
        if posted.buffer is None:
            return []
        base = self.buffers.address(posted.buffer)
        source, result = posted.sizes
        return [(base + DmaBuffers.SRC, source), (base + DmaBuffers.DST, result)]

    def _release(self, completed: list[Posted]) -> None:
        """Wipe and free the buffers of completed descriptors; after a failure the reset does it."""
        for posted in completed:
            self._unwiped += self._secrets(posted)
        if self.state is not NicState.UP:
            return
        with _DeviceAccess(self):
            self._wipe()
        for posted in completed:
            if posted.buffer is not None:
                self.buffers.give_back(posted.buffer)

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
        return len(self._in_use)

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
        if self.state is not NicState.UP:
            raise NotOffloadable(f"the device is {self.state.value}: {self.why_down}")
        if not self._free_ctx:
            raise NotOffloadable(f"all {self.contexts} contexts of the device are in use")
        number = self._free_ctx.popleft()
        self._generations[number] += 1
        context = DeviceContext(
            number,
            direction,
            descriptor.version,
            self._generations[number] & 0xFF,
            self._resets & 0xFF,
        )
        self._in_use.add(context)
        dir_ = 0 if direction == uapi.TLS_TX else 1
        result = await self._control(context, replace(descriptor, opcode=Opcode.CTX_SET, dir=dir_))
        side = "transmit" if direction == uapi.TLS_TX else "receive"
        _log.info(
            "context %d: %s, version %#06x, cipher %d: %s",
            context.ctx, side, descriptor.version, descriptor.cipher, result.why,
        )  # fmt: skip
        if not context.alive:
            raise NotOffloadable(f"the device is {self.state.value}: {self.why_down}")
        if not result.ok:
            self._forget(context)
            raise NotOffloadable(f"the device refused the context: {result.why}")
        return context

    def _forget(self, context: DeviceContext) -> None:
        """Free the number of a context that the device does not have."""
        context.alive = False
        if context in self._in_use:
            self._in_use.discard(context)
            self._free_ctx.append(context.ctx)

    def _check_alive(self, context: DeviceContext) -> None:
        if not context.alive:
            raise StaleContext(f"context {context.ctx} was deleted, or the device has lost it")

    async def tls_dev_resync(self, context: DeviceContext, rec_seq: int) -> None:
        """Set the number of the next record (`struct tlsdev_ops.tls_dev_resync`).

        Args:
            context: from `tls_dev_add`.
            rec_seq: record number; in the transmit direction not below the next one.

        Raises:
            StaleContext: the context was deleted, or the device has lost it.
            DeviceError: the device refused the number.
        """
        self._check_alive(context)
        descriptor = SqeCtx(opcode=Opcode.RESYNC, rec_seq=rec_seq.to_bytes(8, "big"))
        result = await self._control(context, descriptor)
        self._check_alive(context)
        if not result.ok:
            raise DeviceError(
                f"RESYNC of context {context.ctx} to {rec_seq} ended with {result.why}"
            )
        self._traffic["resyncs"] += 1

    async def tls_dev_del(self, context: DeviceContext) -> None:
        """Remove the keys of a connection after its records in flight.

        Args:
            context: from `tls_dev_add`.

        Raises:
            StaleContext: the context was deleted, or the device has lost it.
            DeviceError: the device refused, and the driver is strict.
        """
        self._check_alive(context)
        result = await self._control(context, SqeCtx(opcode=Opcode.CTX_DEL))
        if not context.alive:
            # the device has failed meanwhile, and its reset wipes the keys
            return
        if not result.ok:
            self.fail(
                DeviceError(
                    f"CTX_DEL of context {context.ctx} ended with {result.why}",
                    await self.registers(),
                    self.rings(),
                )
            )
            return
        self._forget(context)

    async def _control(self, context: DeviceContext, descriptor: SqeCtx) -> Completion:
        """Execute a context descriptor, then overwrite its slot, which may hold a key."""
        results: list[Completion] = []
        index = None
        try:
            index = await self._post(context, descriptor, b"", 0, results.append)
            while not results:
                await self._wait()
        finally:
            if index is not None:
                slot = self._pair_of(context.ctx).sq.address(index)
                self._unwiped.append((slot, SqeCtx.SIZE))
                if self.state is NicState.UP:
                    with _DeviceAccess(self):
                        self._wipe()
        return results[0]

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
        self._check_alive(context)
        if context.direction != uapi.TLS_TX or not context.version:
            raise ValueError(f"context {context.ctx} is not for sealing TLS records")
        if not 0 <= rtype <= 255:
            raise ValueError(f"record type {rtype}, expected 0 to 255")
        if pad < 0 or (pad and context.version != uapi.TLS_1_3_VERSION):
            raise ValueError(f"{pad} bytes of padding: only TLS 1.3 has padding")
        if len(data) + pad > uapi.TLS_MAX_PAYLOAD_SIZE:
            raise ValueError(
                f"{len(data)} bytes and {pad} bytes of padding: a record holds "
                f"{uapi.TLS_MAX_PAYLOAD_SIZE}"
            )
        seal = SqeRecord(opcode=Opcode.SEAL, rtype=rtype, len=len(data), pad=pad)
        tls13 = context.version == uapi.TLS_1_3_VERSION
        overhead = RECORD_OVERHEAD - 7 + pad if tls13 else RECORD_OVERHEAD
        await self.post_record(context, seal, data, len(data) + overhead, done)

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
        self._check_alive(context)
        tls13 = context.version == uapi.TLS_1_3_VERSION
        length = len(sealed) - uapi.TLS_TAG_SIZE
        if context.direction != uapi.TLS_RX or not context.version:
            raise ValueError(f"context {context.ctx} is not for opening TLS records")
        if not 0 <= rtype <= 255:
            raise ValueError(f"record type {rtype}, expected 0 to 255")
        if len(explicit) != (0 if tls13 else 8):
            raise ValueError(f"{len(explicit)} bytes of explicit nonce, expected 8 in TLS 1.2 only")
        if not 0 <= length <= uapi.TLS_MAX_PAYLOAD_SIZE + tls13:
            raise ValueError(f"{len(sealed)} bytes are no ciphertext and tag of a record")
        descriptor = SqeRecord(opcode=Opcode.OPEN, rtype=rtype, len=length, explicit_nonce=explicit)
        await self.post_record(context, descriptor, sealed, length, done)

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
        self._check_alive(context)
        if max(len(source), out_len) > DmaBuffers.DST:
            raise ValueError(
                f"a buffer holds {DmaBuffers.DST} bytes, not {max(len(source), out_len)}"
            )
        await self._post(context, descriptor, source, out_len, done)

    async def _post(
        self,
        context: DeviceContext,
        descriptor: SqeRecord | SqeCtx,
        source: bytes,
        out_len: int,
        done: Done,
    ) -> int | None:
        """Post a descriptor and ring the doorbell.

        Args:
            context: its context.
            descriptor: everything but context and addresses, which the driver adds.
            source: bytes for the source buffer.
            out_len: bytes of the destination.
            done: called exactly once with the completion.

        Returns:
            Its free-running index; None if the device failed before it had a slot.
        """
        pair = self._pair_of(context.ctx)
        is_record = isinstance(descriptor, SqeRecord)
        while pair.sq.full or (is_record and self.buffers.available == 0):
            await self._wait()
            if not context.alive:
                done(_LOST)
                return None
        index = pair.sq.prod
        cookie = pair.sq.slot(index)
        slot = pair.sq.produce()
        descriptor.ctx, descriptor.gen, descriptor.epoch = context.ctx, context.gen, context.epoch
        descriptor.cookie = cookie
        public = replace(descriptor, key=b"") if isinstance(descriptor, SqeCtx) else descriptor
        buffer = self.buffers.take() if is_record else None
        sizes = (len(source), out_len)
        pair.posted[cookie] = Posted(index, public, context.version, buffer, sizes, done)
        _log.debug("ring %d: descriptor %d: %r", pair.number, index, public)
        with _DeviceAccess(self):
            if isinstance(descriptor, SqeRecord) and buffer is not None:
                self._fill(buffer, descriptor, source, out_len)
            raw = descriptor.pack()
            self.port.mem.write(slot, raw)
            doorbell = Reg.RING0_SQ_PROD
            if self._push and len(pair.posted) == 1:
                for at in range(0, len(raw), 4):
                    word = int.from_bytes(raw[at : at + 4], "little")
                    await self.port.write32(Reg.PUSH0_WORD + at, word)
                doorbell = Reg.RING0_SQ_PUSH
            # the doorbell publishes the descriptor: all memory writes must precede it
            await self.port.write32(pair.reg(doorbell), pair.sq.prod)
        return index

    def _fill(self, buffer: int, descriptor: SqeRecord, source: bytes, out_len: int) -> None:
        """Write source and lists of a record, and their addresses into its descriptor.

        A source or destination of one piece needs no list.
        """
        base = self.buffers.address(buffer)
        mem = self.port.mem
        split = whole_entry if self._contiguous else page_entries
        src = split(base + DmaBuffers.SRC, len(source))
        dst = split(base + DmaBuffers.DST, out_len)
        if source:
            mem.write(base + DmaBuffers.SRC, source)
        src_direct = self._direct and len(src) <= 1
        dst_direct = self._direct and len(dst) <= 1
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
        count = 0
        for pair in self.pairs:
            if self.state is NicState.UP:
                count += await self._poll(pair)
        return count

    async def _poll(self, pair: RingPair) -> int:
        done: list[tuple[Posted, Completion]] = []
        wrong = None
        try:
            with _DeviceAccess(self):
                wrong = self._collect(pair, done)
                if done:
                    await self.port.write32(pair.reg(Reg.RING0_CQ_CONS), pair.cq.cons)
        finally:
            # free the buffers only after CQ_CONS has moved: until then a checker may read them
            self._deliver(done)
        if wrong is not None and self.state is NicState.UP:
            with _DeviceAccess(self):
                self.fail(DeviceError(wrong, await self.registers(), self.rings()))
        return len(done)

    def _collect(self, pair: RingPair, done: list[tuple[Posted, Completion]]) -> str | None:
        """Take the new completions of a ring off it.

        Args:
            pair: the ring.
            done: receives the descriptors with their completions.

        Returns:
            What is wrong with the first completion that contradicts its descriptor.
        """
        cq = pair.cq
        while True:
            cqe = Cqe.unpack(self.port.mem.read(cq.address(cq.cons), Cqe.SIZE))
            if cqe.phase != cq.phase():
                return None
            _log.debug("ring %d: %r", pair.number, cqe)
            place = pair.sq.slot(cqe.sq_index)
            posted = pair.posted.get(place)
            wrong = _contradiction(cqe, posted, place, cq.cons)
            if wrong is None and cqe.sq_index != pair.sq.cons:
                # the completions of a ring come in the order of its descriptors
                wrong = (
                    f"completion {cq.cons} is of descriptor {cqe.sq_index}, but descriptor "
                    f"{pair.sq.cons} has no completion yet"
                )
            if posted is None or wrong is not None:
                return wrong
            data = self._result(cqe, posted)
            if data is None:
                return (
                    f"completion {cq.cons} of descriptor {cqe.sq_index} reports {cqe.len} bytes "
                    f"and type {cqe.rtype}, which the opened text contradicts"
                )
            completion = self._completion(cqe, posted, data)
            del pair.posted[place]
            done.append((posted, completion))
            cq.consume()
            pair.sq.cons = (cqe.sq_index + 1) & 0xFFFFFFFF

    def _deliver(self, done: list[tuple[Posted, Completion]]) -> None:
        """Call every `done`, free the buffers, and raise the first exception at the end."""
        errors: list[Exception] = []
        for posted, completion in done:
            try:
                posted.done(completion)
            except Exception as e:
                errors.append(e)
        try:
            self._release([posted for posted, _ in done])
        except Exception as e:
            errors.append(e)
        for other in errors[1:]:
            errors[0].add_note(f"also: {type(other).__name__}: {other}")
        if errors:
            raise errors[0]

    def _result(self, cqe: Cqe, posted: Posted) -> bytes | None:
        """Read the result of a descriptor; None if the completion contradicts it."""
        if posted.buffer is None or cqe.status != Status.OK:
            return b""
        addr = self.buffers.address(posted.buffer) + DmaBuffers.DST
        if cqe.opcode != Opcode.OPEN or posted.version != uapi.TLS_1_3_VERSION:
            return self.port.mem.read(addr, cqe.len) if cqe.len else b""
        # the inner plaintext: text, type, zeros (RFC 8446 section 5.2)
        inner = self.port.mem.read(addr, posted.sizes[1])
        text = inner.rstrip(b"\0")
        good = text[-1:] == bytes((cqe.rtype,)) and len(text) == cqe.len + 1
        return text[:-1] if good else None

    def _completion(self, cqe: Cqe, posted: Posted, data: bytes) -> Completion:
        status = _STATUS.get(cqe.status)
        if status is None:
            # a newer minor version may have more codes: the descriptor has failed
            self.events["unknown_status"] += 1
        if status == Status.OK:
            if cqe.opcode == Opcode.SEAL:
                self._traffic["sealed"] += 1
                self._traffic["sealed_bytes"] += posted.descriptor.len  # type: ignore[union-attr]
            elif cqe.opcode == Opcode.OPEN:
                self._traffic["opened"] += 1
                self._traffic["opened_bytes"] += cqe.len
        self._waits = 0
        return Completion(
            status,
            data,
            cqe.rtype,
            cqe.rec_seq if cqe.numbered else None,
            cqe.cycles,
            cqe.latency,
            bool(cqe.rekey),
            cqe.status,
        )

    async def flush(self) -> None:
        """Wait until every posted descriptor has completed or is lost.

        Raises:
            DeviceIdle: a completion is missing and the device has no work left, and the
                driver is strict.
            DeviceError: the device failed, and the driver is strict.
        """
        while self._in_flight:
            await self._wait()

    @property
    def records(self) -> int:
        """Number of records that the device has sealed or opened."""
        return self._traffic["sealed"] + self._traffic["opened"]

    @property
    def settled(self) -> bool:
        """Whether the device is up and has completed every descriptor."""
        return self.state is NicState.UP and not self._in_flight

    @property
    def _in_flight(self) -> int:
        return sum(len(pair.posted) for pair in self.pairs)

    async def _wait(self) -> None:
        """Reap; if no completion is in memory, wait for the interrupt and reap again.

        Go DOWN if the device has failed or can make no progress.
        """
        if await self.poll() or self.state is not NicState.UP:
            return
        interrupted = False
        with _DeviceAccess(self):
            interrupted = await self.port.wait_irq()
        if await self.poll():
            if not interrupted:
                self.events["lost_interrupts"] += 1
            return
        if self.state is not NicState.UP:
            return
        error = None
        with _DeviceAccess(self):
            error = await self._look(interrupted)
        if error is not None and self.state is NicState.UP:
            self.fail(error)

    async def _look(self, interrupted: bool) -> DeviceError | None:
        """Find out why the device completes nothing.

        Args:
            interrupted: the interrupt line is high.

        Returns:
            The failure of the device; None if it can still complete something.
        """
        if self._waits == 0:
            self._waits_since = self.port.now()
        self._waits += 1
        status = await self.port.read32(Reg.STATUS)
        what = None
        if status == _ALL_ONES:
            # further accesses would tell nothing
            return DeviceError("the device is gone: its registers read as ones")
        if layout.STATUS_CQ_ERROR.get(status):
            what = "STATUS.cq_error: the device could not write a completion"
        elif layout.STATUS_BUS_DEAD.get(status):
            what = "STATUS.bus_dead: the bus does not answer the device"
        elif await self.port.read32(Reg.RESETS) != self._resets:
            what = "somebody else has reset the device"
        elif layout.IRQ_STATUS_RING_ERROR.get(await self.port.read32(Reg.IRQ_STATUS)):
            what = "the device has refused a register write of this driver: see ERRORS"
        if what is not None:
            return DeviceError(what, await self.registers(), self.rings())
        if layout.STATUS_IDLE.get(status):
            # the last completion may have arrived during these reads
            if await self.poll():
                return None
            count = self._in_flight
            noun = "descriptor has" if count == 1 else "descriptors have"
            return DeviceIdle(
                f"{count} {noun} no completion, and the device is idle",
                await self.registers(),
                self.rings(),
            )
        if self._waits > _WAITS or self.port.now() - self._waits_since > _WAIT_NS:
            return DeviceError(
                f"the device works without completing anything ({self._waits} waits)",
                await self.registers(),
                self.rings(),
            )
        if interrupted:
            self.events["spurious_interrupts"] += 1
        return None

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
        """Return the counters; the names are those of `ethtool -S` for TLS devices.

        The device counts its errors since its last reset; the driver counts the rest.
        """
        read = self.port.read32
        sides = Counter(context.direction for context in self._in_use)
        return {
            "tx_tls_encrypted_packets": self._traffic["sealed"],
            "tx_tls_encrypted_bytes": self._traffic["sealed_bytes"],
            "tx_tls_ctx": sides[uapi.TLS_TX],
            "rx_tls_decrypted_packets": self._traffic["opened"],
            "rx_tls_decrypted_bytes": self._traffic["opened_bytes"],
            "rx_tls_ctx": sides[uapi.TLS_RX],
            "rx_tls_resync_res_ok": self._traffic["resyncs"],
            "rx_tls_err": await read(Reg.CNT_ERR_AUTH),
            "tx_tls_err_refused": await read(Reg.CNT_ERR_REFUSED),
            "tx_tls_err_short": await read(Reg.CNT_ERR_SHORT),
            "tx_tls_err_bus": await read(Reg.CNT_ERR_BUS),
        }


def _contradiction(cqe: Cqe, posted: Posted | None, place: int, number: int) -> str | None:
    """Return what is wrong with a completion, None if it can belong to its descriptor.

    Args:
        cqe: the completion.
        posted: the descriptor at the place that it names.
        place: the slot of that descriptor, which is also its cookie.
        number: index of the completion.
    """
    unread = cqe.status == Status.SQ_BUS_ERROR
    if posted is None or posted.sq_index != cqe.sq_index or (cqe.cookie != place and not unread):
        return (
            f"completion {number} names cookie {cqe.cookie}, descriptor {cqe.sq_index}, which "
            "is not in flight (completed twice?)"
        )
    if unread:
        # the device knows nothing but the index
        return None
    d = posted.descriptor
    for name, got, want in (
        ("opcode", cqe.opcode, d.opcode),
        ("context", cqe.ctx, d.ctx),
        ("generation", cqe.gen, d.gen),
    ):
        if got != want:
            return f"completion {number} of descriptor {cqe.sq_index} has {name} {got}, not {want}"
    room = posted.sizes[1]
    # only TLS 1.3 hides the length of an opened record
    exact = cqe.status == Status.OK and (
        d.opcode == Opcode.SEAL or posted.version != uapi.TLS_1_3_VERSION
    )
    if cqe.len > room or (exact and cqe.len != room):
        return (
            f"completion {number} of descriptor {cqe.sq_index} reports {cqe.len} bytes, the "
            f"destination has {room}"
        )
    return None


async def _identify(port: HostPort) -> int:
    """Check the ID and the version of a device; returns the minor version.

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
    return layout.VERSION_MINOR.get(version)
