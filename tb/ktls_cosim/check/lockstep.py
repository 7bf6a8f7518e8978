# SPDX-License-Identifier: Apache-2.0
"""Drive two devices with the same jobs and compare everything that the host can see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

from ktls_cosim.check.access import Burst, Observed
from ktls_cosim.check.rings import register_name
from ktls_cosim.port import Memory, Port, moment
from ktls_hw.layout import (
    CAPS_RINGS,
    CTRL_RESET,
    RING_COUNT,
    STATUS_IDLE,
    Cqe,
    Reg,
    ring_of,
    ring_reg,
)

TIMED = {
    Reg.CYCLES_LO,
    Reg.CYCLES_HI,
    Reg.STATUS,
    Reg.IRQ_STATUS,
    *(ring_reg(ring, Reg.RING0_SQ_CONS) for ring in range(RING_COUNT)),
    *(ring_reg(ring, Reg.RING0_CQ_PROD) for ring in range(RING_COUNT)),
    Reg.ERROR_MSG,
    *(ring_reg(ring, Reg.RING0_MSG) for ring in range(RING_COUNT)),
}
"""Registers whose value depends on the time of the read."""
_IDLE_POLLS = 1000
_CLOCK = {Reg.CYCLES_LO, Reg.CYCLES_HI}


_ANSWERS = {Reg.RING0_CQ_CONS, Reg.RING0_IRQ_MOD, Reg.RING0_MSG}


def answered_vector(addr: int, rings: int) -> int | None:
    """Return the vector whose messages a register write acknowledges or masks, None without one.

    Args:
        addr: Byte offset of the register.
        rings: Ring pairs of the device.
    """
    ring, in_first = ring_of(addr)
    if in_first in _ANSWERS:
        return ring
    return rings if in_first == Reg.RING0_ERRORS or addr == Reg.ERROR_MSG else None


class MessageLedger:
    """Compares the interrupt messages of a primary device with those of a shadow that is ahead.

    Both send at most one message of a vector between two acknowledgements. The shadow is ahead, so
    it has sent each message before the primary does.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, as a reset does."""
        self._due: dict[int, int] = {}  # messages that the primary may still send
        self._missing: set[int] = set()

    def answered(self, vector: int) -> None:
        """Note that the driver has acknowledged or masked a vector."""
        self._missing.discard(vector)

    def foretold(self, vector: int) -> None:
        """Note a message of the shadow."""
        self._due[vector] = self._due.get(vector, 0) + 1
        self._missing.add(vector)

    def sent(self, vector: int) -> str | None:
        """Note a message of the primary; returns what is wrong with it."""
        self._missing.discard(vector)
        if not self._due.get(vector):
            return f"the primary sends a message of vector {vector}, the shadow does not"
        self._due[vector] -= 1
        return None

    def idle(self) -> str | None:
        """Return what is wrong if the primary sends nothing any more."""
        if self._missing:
            return (
                f"the shadow sends a message of vector {min(self._missing)}, the primary does not"
            )
        return None


class LockstepError(AssertionError):
    """The two devices differ."""


class _Memory:
    """Writes to both memories; reads compare them."""

    def __init__(self, owner: LockstepPort) -> None:
        self._owner = owner
        self.size = min(owner.primary.mem.size, owner.shadow.mem.size)

    def write(self, addr: int, data: bytes) -> None:
        self._owner.primary.mem.write(addr, data)
        self._owner.shadow.mem.write(addr, data)

    def read(self, addr: int, length: int) -> bytes:
        a = self._owner.primary.mem.read(addr, length)
        b = self._owner.shadow.mem.read(addr, length)
        return self._owner.compare_memory(addr, a, b)


class LockstepPort:
    """A host port that drives a primary device (RTL) and a shadow device (model) alike.

    The shadow may be ahead, because the model takes no time. Therefore a completion is
    compared only once the primary has written it, and cycle counts are not compared.

    Attributes:
        primary: Device whose values the host gets.
        shadow: Device that must agree.
        compared: Number of registers and blocks of memory compared so far.
        mem: Memory of both devices.
        explain: Returns the golden model's verdict on the record at an address of a memory;
            `CheckedPort` sets it.

    Args:
        primary: The reference for time and for values that depend on it.
        shadow: The device to compare with.
    """

    def __init__(self, primary: Port, shadow: Port) -> None:
        self.primary = primary
        self.shadow = shadow
        self.compared = 0
        self.explain: Callable[[int, Memory], str | None] | None = None
        self._resets_before: int | None = None  # of the primary, which may have had another user
        self._cq_base = [0] * RING_COUNT
        self._cq_end = [0] * RING_COUNT
        self._rings = 0  # of the primary, once a message is enabled
        self._messages = MessageLedger()
        self.mem = _Memory(self)

    @property
    def beat(self) -> int:
        """Bytes of a beat of the primary's bus."""
        return self.primary.beat if isinstance(self.primary, Observed) else 16

    def bursts(self) -> list[Burst]:
        """Return the bursts of the primary since the last call."""
        return self.primary.bursts() if isinstance(self.primary, Observed) else []

    async def compare_quiet(self) -> None:
        """Compare the registers that depend on time, as soon as the primary is idle.

        Raises:
            LockstepError: A value differs.
        """
        for _ in range(_IDLE_POLLS):
            if STATUS_IDLE.get(await self.primary.read32(Reg.STATUS)):
                break
        for addr in sorted(TIMED - _CLOCK):
            a = await self.primary.read32(addr)
            b = await self.shadow.read32(addr)
            self.compared += 1
            if a != b:
                raise self._error(
                    f"register {numbered_register(addr)}", f"  primary {a:#x}, shadow {b:#x}"
                )

    def compare_memory(self, addr: int, a: bytes, b: bytes) -> bytes:
        """Compare the contents of both memories at `addr`.

        Args:
            addr: Bus address of the blocks.
            a: Bytes of the primary.
            b: Bytes of the shadow, as many.

        Returns:
            The bytes of the primary.

        Raises:
            LockstepError: The bytes differ.
        """
        in_ring = any(b <= addr < e for b, e in zip(self._cq_base, self._cq_end, strict=True))
        if in_ring and len(a) == Cqe.SIZE:
            p, s = Cqe.unpack(a), Cqe.unpack(b)
            if p.phase != s.phase:
                return a  # the primary has not written this completion yet
            if p.cycles < s.cycles:
                raise self._error(f"memory at {addr:#x}", f"  {p.cycles} cycles, law {s.cycles}")
            x, y = untimed(p), untimed(s)
        else:
            x, y = a, b
        self.compared += 1
        if x != y:
            at = next(i for i, (p, q) in enumerate(zip(x, y, strict=True)) if p != q)
            lo = at - at % 16
            raise self._error(
                f"memory at {addr + at:#x}",
                f"  primary {x[lo : lo + 16].hex(' ')}\n  shadow  {y[lo : lo + 16].hex(' ')}",
                completion_fields(x, y) if in_ring else self._verdicts(addr + at),
            )
        return a

    def _error(self, what: str, *lines: str) -> LockstepError:
        head = f"{what} differs at {moment(self.now())}"
        return LockstepError("\n".join((head, *filter(None, lines))))

    def _verdicts(self, addr: int) -> str:
        """Return the golden model's verdict on what both devices wrote at `addr`."""
        out = []
        for name, port in (("primary", self.primary), ("shadow", self.shadow)):
            found = self.explain and self.explain(addr, port.mem)
            if found:
                out.append(f"golden model on the {name}: {found}")
        return "\n".join(out)

    async def read32(self, addr: int) -> int:
        """Read the register at byte offset `addr` of both devices.

        Raises:
            LockstepError: The values differ, and the register does not depend on time.
        """
        a = await self.primary.read32(addr)
        b = await self.shadow.read32(addr)
        if addr == Reg.RESETS:
            if self._resets_before is None:
                self._resets_before = a - b
            b += self._resets_before
        if addr not in TIMED:
            self.compared += 1
            if a != b:
                raise self._error(
                    f"register {numbered_register(addr)}", f"  primary {a:#x}, shadow {b:#x}"
                )
        return a

    async def write32(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr` of both devices."""
        await self.shadow.write32(addr, value)
        await self._foretell(addr, value)
        await self.primary.write32(addr, value)
        ring, in_first = ring_of(addr)
        if in_first == Reg.RING0_CQ_BASE_LO:
            self._cq_base[ring] = value
        elif in_first == Reg.RING0_CQ_SIZE:
            self._cq_end[ring] = self._cq_base[ring] + (Cqe.SIZE << value)

    async def wait_irq(self) -> bool:
        """Wait for the interrupt of both devices.

        Raises:
            LockstepError: Only the primary raises its interrupt.
        """
        a = await self.primary.wait_irq()
        b = await self.shadow.wait_irq()
        if a and not b:
            raise self._error("interrupt", "  the primary raises it, the shadow does not")
        return a

    async def _foretell(self, addr: int, value: int) -> None:
        """Collect the messages of the shadow behind a register write."""
        if addr == Reg.CTRL and CTRL_RESET.get(value):
            self._messages.clear()
            self._rings = 0
        elif ring_of(addr)[1] == Reg.RING0_MSG or addr == Reg.ERROR_MSG:
            self._rings = CAPS_RINGS.get(await self.shadow.read32(Reg.CAPS))
        if self._rings:
            vector = answered_vector(addr, self._rings)
            if vector is not None:
                self._messages.answered(vector)
            await self._collect()

    async def _collect(self) -> None:
        while (vector := await self.shadow.wait_message()) is not None:
            self._messages.foretold(vector)

    async def wait_message(self) -> int | None:
        """Take an interrupt message of the primary or wait for one; None if it is idle.

        Raises:
            LockstepError: Only one of the devices sends a message.
        """
        vector = await self.primary.wait_message()
        await self._collect()
        wrong = self._messages.idle() if vector is None else self._messages.sent(vector)
        if wrong is not None:
            raise self._error("interrupt message", f"  {wrong}")
        return vector

    def now(self) -> int:
        """Return the time of the primary in nanoseconds."""
        return self.primary.now()


def numbered_register(addr: int) -> str:
    """Return number and name of a register."""
    name = register_name(addr)
    return f"{addr:#05x} ({name})" if not name.startswith("0x") else name


def completion_fields(primary: bytes, shadow: bytes) -> str:
    """Name the fields in which two completions differ."""
    if len(primary) != Cqe.SIZE:
        return ""
    p, s = asdict(Cqe.unpack(primary)), asdict(Cqe.unpack(shadow))
    return "\n".join(
        f"  completion: {name} {p[name]}, shadow {s[name]}" for name in p if p[name] != s[name]
    )


def untimed(cqe: Cqe) -> bytes:
    """Pack a completion without `cycles` and `latency`."""
    return replace(cqe, cycles=0, latency=0).pack()
