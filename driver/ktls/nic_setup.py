# SPDX-License-Identifier: Apache-2.0
"""Start a device: identify it, divide the DMA memory, reset it and write its set-up registers."""

from __future__ import annotations

from dataclasses import dataclass

from ktls.dma import PAGE, DmaBuffers, page_align
from ktls.errors import DeviceError
from ktls.nic_view import ALL_ONES, DeviceView
from ktls.port import HostPort
from ktls.ring import Ring, RingPair
from ktls_hw import layout
from ktls_hw.layout import Cqe, Reg, SqeRecord

# first minor version of the contract with direct buffers, the push window and CTRL.ordered
_FEWER_TRIPS = 5
_READY_POLLS = 10_000


@dataclass(frozen=True, slots=True)
class Setup:
    """How a driver uses its device, from probe to removal.

    Attributes:
        rings: number of ring pairs.
        contexts: number of contexts of the device.
        suites: value of the register SUITES.
        key_warn: records after which completions ask for a new key; 0: never.
        key_limit: records after which the device refuses a key; 0: never.
        direct: source or destination of one piece need no list.
        push: push a descriptor through the register window if its ring is empty.
        ordered: the device waits for no write response; see CTRL.ordered.
        contiguous: name each DMA buffer as one piece.
        messages: wait for interrupt messages, not for the level of the interrupt.
    """

    rings: int
    contexts: int
    suites: int
    key_warn: int
    key_limit: int
    direct: bool
    push: bool
    ordered: bool
    contiguous: bool
    messages: bool


def check_arguments(sq_log2: int, cq_log2: int, mem_base: int, rings: int) -> None:
    """Check the arguments of `KtlsNic.probe` that divide the DMA memory.

    Raises:
        ValueError: an argument is out of range.
    """
    for name, log2 in (("sq_log2", sq_log2), ("cq_log2", cq_log2)):
        if not 0 <= log2 <= 15:
            raise ValueError(f"{name} is {log2}, expected 0 to 15")
    if mem_base <= 0 or mem_base % PAGE:
        raise ValueError(f"mem_base is {mem_base:#x}, expected a multiple of {PAGE} above 0")
    if rings < 1:
        raise ValueError(f"rings is {rings}, expected at least 1")


async def identify(port: HostPort) -> int:
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


async def negotiate(
    port: HostPort,
    *,
    rings: int,
    key_warn: int,
    key_limit: int,
    push: bool,
    ordered: bool,
    contiguous: bool,
    messages: bool,
) -> Setup:
    """Identify a device and return what to use of it; the arguments are those of `KtlsNic.probe`.

    Raises:
        DeviceError: another kind of device, an incompatible version or impossible capabilities.
    """
    # older devices know only lists, SQ_PROD and write responses
    fewer_trips = await identify(port) >= _FEWER_TRIPS
    caps = await port.read32(Reg.CAPS)
    for field, name in (
        (layout.CAPS_LANES, "lanes"),
        (layout.CAPS_RINGS, "rings"),
        (layout.CAPS_CONTEXTS, "contexts"),
    ):
        if not field.get(caps):
            raise DeviceError(f"CAPS is {caps:#010x}: the device has no {name}")
    return Setup(
        rings=min(rings, layout.CAPS_RINGS.get(caps)),
        contexts=layout.CAPS_CONTEXTS.get(caps),
        suites=await port.read32(Reg.SUITES),
        key_warn=key_warn,
        key_limit=key_limit,
        direct=fewer_trips,
        push=push and fewer_trips,
        ordered=ordered and fewer_trips,
        contiguous=contiguous,
        messages=messages and bool(layout.CAPS_MESSAGES.get(caps)),
    )


def divide_memory(
    base: int, size: int, rings: int, sq_log2: int, cq_log2: int
) -> tuple[list[RingPair], DmaBuffers]:
    """Return rings and record buffers, placed one after the other in DMA memory.

    Args:
        base: first bus address to use, page aligned.
        size: bytes of DMA memory, from address 0.
        rings: number of ring pairs.
        sq_log2: log2 of the slots of a submission ring.
        cq_log2: log2 of the slots of a completion ring.

    Raises:
        DeviceError: the memory holds no record buffer.
    """
    pairs = []
    free = base
    for number in range(rings):
        sq = Ring(free, sq_log2, SqeRecord.SIZE)
        cq = Ring(page_align(sq.base + sq.entries * SqeRecord.SIZE), cq_log2, Cqe.SIZE)
        free = page_align(cq.base + cq.entries * Cqe.SIZE)
        pairs.append(RingPair(number, sq, cq))
    # a record in flight occupies a slot in both rings
    wanted = len(pairs) << min(sq_log2, cq_log2)
    buffers = DmaBuffers(free, size, wanted)
    if buffers.count == 0:
        raise DeviceError(
            f"{size} bytes of DMA memory hold no record buffer: the rings end at "
            f"{free:#x}, and a buffer needs {DmaBuffers.SIZE} bytes"
        )
    return pairs, buffers


async def ready(port: HostPort) -> bool:
    """Wait until a reset is over; returns False if it does not end."""
    for _ in range(_READY_POLLS):
        status = await port.read32(Reg.STATUS)
        if status == ALL_ONES:
            return False
        if layout.STATUS_READY.get(status):
            return True
    return False


async def reset(port: HostPort, view: DeviceView) -> int:
    """Reset the device; returns the value of the register RESETS.

    Raises:
        DeviceError: STATUS.ready stays 0.
    """
    await port.write32(Reg.CTRL, layout.CTRL_RESET.put(1))
    if not await ready(port):
        # the reset waits for a bus that does not answer
        await port.write32(Reg.WATCHDOG, 1)
        if not await ready(port):
            raise DeviceError("STATUS.ready stays 0 after a reset", await view.registers())
        await port.write32(Reg.WATCHDOG, layout.WATCHDOG_CYCLES_RESET)
    return await port.read32(Reg.RESETS)


async def enable(port: HostPort, pairs: list[RingPair], setup: Setup) -> None:
    """Set up rings, limits and interrupts of a device after its reset, and enable it."""
    for pair in pairs:
        await _start_pair(port, pair)
    for reg, records in ((Reg.KEY_WARN, setup.key_warn), (Reg.KEY_LIMIT, setup.key_limit)):
        await port.write32(reg, records)
    if setup.messages:
        for pair in pairs:
            await port.write32(pair.reg(Reg.RING0_MSG), layout.RING0_MSG_ENABLE.put(1))
        await port.write32(Reg.ERROR_MSG, layout.ERROR_MSG_ENABLE.put(1))
    else:
        causes = (
            layout.IRQ_ENABLE_CQ.put(1)
            | layout.IRQ_ENABLE_ERROR.put(1)
            | layout.IRQ_ENABLE_RING_ERROR.put(1)
        )
        await port.write32(Reg.IRQ_ENABLE, causes)
    mode = layout.CTRL_ORDERED.put(int(setup.ordered))
    await port.write32(Reg.CTRL, layout.CTRL_ENABLE.put(1) | mode)


async def _start_pair(port: HostPort, pair: RingPair) -> None:
    sq, cq = pair.sq, pair.cq
    sq.prod = sq.cons = cq.prod = cq.cons = 0
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
