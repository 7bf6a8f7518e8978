# SPDX-License-Identifier: Apache-2.0
"""The audit of a driver: notices what breaks the rules of docs/programmers-guide.md.

It does no I/O. `CheckedPort` feeds it: every register access, every descriptor behind a doorbell,
every completion, and the accesses to memory that can be observed. The driver's own accesses are
observed where it uses a memory object of ours; a driver in another process has its memory mapped,
so there only the accesses of the device are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ktls_cosim.check.owned import OwnedMemory, Range, Use
from ktls_cosim.check.rings import Rings, register_name
from ktls_cosim.check.rules import Breach, Rule
from ktls_hw.layout import (
    CAPS_RINGS,
    CTRL_ENABLE,
    CTRL_RESET,
    RING_COUNT,
    STATUS_BUS_DEAD,
    STATUS_CQ_ERROR,
    STATUS_READY,
    Cqe,
    Opcode,
    Reg,
    SqeCtx,
    Status,
    ring_of,
)

_MASK32 = 0xFFFFFFFF
_BACKWARD = 1 << 31  # an index that is further ahead has gone backward
_PHASE = Cqe.SIZE - 4  # offset of the word with the phase bit
_AES_256 = 52
_KEY_SIZE = 32  # bytes of the key in a descriptor, which are its last ones
_LARGE, _SMALL = 1 << 48, 1 << 32  # no connection reaches the one; most stay below the other
_DOORBELLS = (Reg.RING0_SQ_PROD, Reg.RING0_SQ_PUSH)
_SQ_SETUP = (Reg.RING0_SQ_BASE_LO, Reg.RING0_SQ_BASE_HI, Reg.RING0_SQ_SIZE)
_CQ_SETUP = (Reg.RING0_CQ_BASE_LO, Reg.RING0_CQ_BASE_HI, Reg.RING0_CQ_SIZE)
_NAMES = {
    Use.DESCRIPTOR: "the slot",
    Use.LIST: "a list",
    Use.SOURCE: "the source",
    Use.DESTINATION: "the destination",
    Use.COMPLETION: "the completion slot",
}


def descriptor_name(ring: int, index: int) -> str:
    """Name a descriptor in a message."""
    return f"descriptor {index} of ring {ring}"


@dataclass(slots=True)
class _Flight:
    """A descriptor that the device owns."""

    index: int
    raw: bytes = field(repr=False)
    ranges: list[Range]


@dataclass(slots=True)
class _Ring:
    """What the driver may know of a ring.

    Attributes:
        published: Index behind the last doorbell.
        fetched: SQ_CONS as the driver has read it.
        completed: Completions that the driver can know of.
        consumed: Its last CQ_CONS.
        flight: Descriptors from `completed` to `published`.
    """

    published: int = 0
    fetched: int = 0
    completed: int = 0
    consumed: int = 0
    flight: deque[_Flight] = field(default_factory=deque)


class Audit:
    """Follows a driver.

    Args:
        rings: The registers; the owner of the audit writes them.
        peek: Returns bytes of memory at a bus address, None if they cannot be read.
        report: Receives each breach.
    """

    def __init__(
        self,
        rings: Rings,
        peek: Callable[[int, int], bytes | None],
        report: Callable[[Breach], None],
    ) -> None:
        self._rings = rings
        self._peek = peek
        self._report = report
        self._ring_count = RING_COUNT
        self._maps: dict[int, int] = {}  # size by address
        self._left: list[Breach] = []  # what the driver left behind at the last reset
        self._forget()

    def _forget(self) -> None:
        self._ready = self._failed = self._enabled = False
        self._rings_used: dict[int, _Ring] = {}
        self._owned = OwnedMemory()
        self._contexts: dict[int, str] = {}  # installed, with the descriptor that did it
        self._keys: dict[int, bytes] = {}  # by bus address
        self._spoiled: set[tuple[int, int]] = set()

    def _ring(self, number: int) -> _Ring:
        r = self._rings_used.get(number)
        if r is None:
            r = self._rings_used[number] = _Ring()
        return r

    def _breach(self, rule: Rule, text: str) -> None:
        self._report(Breach(rule, text))

    # ---------------------------------------------------------------------- registers

    def register_read(self, addr: int, value: int) -> None:
        """The driver has read a register."""
        ring, in_first = ring_of(addr)
        if addr == Reg.STATUS:
            self._failed = bool(STATUS_CQ_ERROR.get(value) or STATUS_BUS_DEAD.get(value))
            self._ready |= bool(STATUS_READY.get(value))
        elif addr == Reg.CAPS:
            self._ring_count = CAPS_RINGS.get(value) or RING_COUNT
        elif in_first == Reg.RING0_SQ_CONS:
            self._ring(ring).fetched = value
        elif in_first == Reg.RING0_CQ_PROD:
            while self._ring(ring).completed != value and self._ring(ring).flight:
                self._completion_in_memory(ring)

    def register_write(self, addr: int, value: int) -> bool:
        """The driver is about to write a register; `rings` still has the old value.

        Returns:
            Whether the device will surely take the value.
        """
        ring, in_first = ring_of(addr)
        if addr == Reg.CTRL and CTRL_RESET.get(value):
            self.reset()
            return True
        found = self._state(addr, ring, in_first)
        if found is not None:
            self._breach(Rule.REGISTER_STATE, f"{register_name(addr)} was written {found}")
            return False
        if addr == Reg.CTRL:
            self._enabled = bool(CTRL_ENABLE.get(value))
            if self._enabled:
                self._left.clear()  # the reset was a recovery
        elif in_first in (Reg.RING0_SQ_BASE_LO, Reg.RING0_CQ_BASE_LO) and value % 64:
            text = f"{register_name(addr)} was written with {value:#x}, no multiple of 64"
            self._breach(Rule.REGISTER_STATE, text)
            return False
        elif in_first in _DOORBELLS:
            return self._doorbell(ring, addr, value)
        elif in_first == Reg.RING0_CQ_CONS:
            return self._consume(ring, addr, value)
        return True

    def _state(self, addr: int, ring: int, in_first: int) -> str | None:
        """Say why the device is in no state for a write, None if it is."""
        if addr == Reg.WATCHDOG:
            return None
        if not self._ready:
            return "before STATUS.ready was read as 1; the device ignores it"
        if ring >= self._ring_count:
            return f"on a device with {self._ring_count} rings"
        r = self._ring(ring)
        if in_first in _SQ_SETUP and r.flight:
            return f"while {len(r.flight)} descriptors are in flight"
        if in_first in _CQ_SETUP and r.published != r.consumed:
            return f"while {r.published - r.consumed & _MASK32} completions are due or unread"
        if in_first in _DOORBELLS:
            if self._failed:
                return "although STATUS reports a failure; reset the device first"
            if not self._rings.complete(ring):
                return "before the addresses of its rings; the device refuses it"
        return None

    def _doorbell(self, ring: int, addr: int, value: int) -> bool:
        r = self._ring(ring)
        new = value - r.published & _MASK32
        slots = self._rings.sq_slots(ring)
        # the driver may reuse a slot once the device has fetched it
        used = min(r.published - r.completed & _MASK32, r.published - r.fetched & _MASK32)
        if new >= _BACKWARD:
            text = f"{register_name(addr)} went backward from {r.published} to {value}"
        elif used + new > slots:
            text = (
                f"{register_name(addr)} {value} publishes {new} descriptors beside {used} in "
                f"flight, the ring has {slots} slots"
            )
        else:
            return True
        self._breach(Rule.DOORBELL_RANGE, text)
        return False

    def _consume(self, ring: int, addr: int, value: int) -> bool:
        r = self._ring(ring)
        step, there = value - r.consumed & _MASK32, r.completed - r.consumed & _MASK32
        if step <= there:
            r.consumed = value
            return True
        if step >= _BACKWARD:
            text = f"{register_name(addr)} went backward from {r.consumed} to {value}"
        else:
            text = (
                f"{register_name(addr)} {value} consumes {step} completions, {there} are new: "
                f"a stale one was taken for new, the phase bit of completion {r.completed} must "
                f"be {self._rings.phase(ring, r.completed)}"
            )
        self._breach(Rule.COMPLETION_RANGE, text)
        return False

    # -------------------------------------------------------------------- descriptors

    def published(
        self,
        ring: int,
        index: int,
        raw: bytes,
        named: Iterable[tuple[Use, int, bytes | int]],
    ) -> None:
        """A doorbell has given a descriptor to the device.

        Args:
            ring: Number of the ring.
            index: Free-running index of the descriptor.
            raw: The descriptor.
            named: The memory that it names: use, bus address, and the bytes that it holds (for a
                destination their number).
        """
        r = self._ring(ring)
        name = descriptor_name(ring, index)
        slot, cq_slot = self._rings.descriptor(ring, index), self._rings.completion(ring, index)
        flight = _Flight(index, raw, [])
        self._examine(ring, index, raw, name)
        key_at = slot + SqeCtx.SIZE - _KEY_SIZE
        self._keys.pop(key_at, None)
        if raw[0] == Opcode.CTX_SET:
            d = SqeCtx.unpack(raw)
            key = d.key[: _KEY_SIZE if d.cipher == _AES_256 else 16]
            if any(key):
                self._keys[key_at] = key
        ranges = [(Use.DESCRIPTOR, slot, raw), *named, (Use.COMPLETION, cq_slot, Cqe.SIZE)]
        for use, lo, what in ranges:
            data, length = (what, len(what)) if isinstance(what, bytes) else (b"", what)
            if length:
                flight.ranges.append(Range(use, lo, lo + length, ring, index, data))
        if self._owned:
            self._check_overlap(flight, name)
        for new in flight.ranges:
            self._owned.add(new)
        r.flight.append(flight)
        r.published = index + 1 & _MASK32

    def _examine(self, ring: int, index: int, raw: bytes, name: str) -> None:
        if not raw[0]:
            text = f"{name} is empty: the doorbell came before the descriptor"
            self._breach(Rule.EMPTY_DESCRIPTOR, text)
            self._spoiled.add((ring, index))
        if raw[0] in (Opcode.CTX_SET, Opcode.RESYNC):
            rec_seq = SqeCtx.unpack(raw).rec_seq
            number, swapped = (int.from_bytes(rec_seq, order) for order in ("big", "little"))
            if number >= _LARGE and 0 < swapped < _SMALL:
                text = f"{name} has record number {number}: is it {swapped} in the wrong order?"
                self._breach(Rule.RECORD_NUMBER, text)

    def _check_overlap(self, flight: _Flight, name: str) -> None:
        for new in flight.ranges:
            if new.use is Use.COMPLETION:
                continue
            for other in self._owned.touched(new.lo, new.hi):
                written = Use.DESTINATION in (new.use, other.use)
                if written and other.use is not Use.COMPLETION:
                    text = (
                        f"{_NAMES[new.use]} of {name} at {new.lo:#x} overlaps "
                        f"{_NAMES[other.use]} of {descriptor_name(other.ring, other.index)}, "
                        "which is in flight"
                    )
                    self._breach(Rule.OWNED_BUFFER, text)
                    self._spoiled |= {(new.ring, new.index), (other.ring, other.index)}
                    return

    def spoiled(self, ring: int, index: int) -> bool:
        """Return whether the driver has touched what a descriptor in flight names.

        Nobody can say then what its result must be.
        """
        return (ring, index) in self._spoiled

    def unchanged(self, ring: int) -> None:
        """Compare what the oldest descriptor of a ring names with its bytes at the doorbell.

        Only before the driver can see the completion: afterwards the memory is the driver's.
        """
        flight = self._ring(ring).flight
        for owned in flight[0].ranges if flight else ():
            now = self._peek(owned.lo, len(owned.data)) if owned.data else None
            if now is not None:
                self.device_read(owned.lo, now)

    def completed(self, ring: int, cqe: Cqe) -> None:
        """The driver can know now that the oldest descriptor of a ring is complete."""
        r = self._ring(ring)
        if not r.flight:
            return
        flight = r.flight.popleft()
        r.completed = flight.index + 1 & _MASK32
        for old in flight.ranges:
            self._owned.remove(old)
        self._spoiled.discard((ring, flight.index))
        if cqe.status == Status.OK and flight.raw[0] in (Opcode.CTX_SET, Opcode.CTX_DEL):
            ctx = SqeCtx.unpack(flight.raw).ctx
            if flight.raw[0] == Opcode.CTX_SET:
                self._contexts[ctx] = descriptor_name(ring, flight.index)
            else:
                self._contexts.pop(ctx, None)

    def _completion_in_memory(self, ring: int) -> None:
        raw = self._peek(self._rings.completion(ring, self._ring(ring).completed), Cqe.SIZE)
        self.completed(ring, Cqe.unpack(raw) if raw is not None else Cqe())

    # ------------------------------------------------------------------------- memory

    def driver_read(self, addr: int, data: bytes) -> None:
        """The driver has read memory."""
        for number, r in self._rings_used.items():
            while r.flight:
                at = self._rings.completion(number, r.completed) - addr
                if at + _PHASE < 0 or at + Cqe.SIZE > len(data):
                    break
                if data[at + Cqe.SIZE - 1] >> 7 != self._rings.phase(number, r.completed):
                    break
                if at >= 0:
                    self.completed(number, Cqe.unpack(data[at : at + Cqe.SIZE]))
                else:
                    self._completion_in_memory(number)
        for touched in self._owned.touched(addr, addr + len(data)):
            if touched.use is Use.DESTINATION:
                self._touch(touched, Rule.EARLY_READ, "was read before its completion")

    def driver_wrote(self, addr: int, length: int) -> None:
        """The driver has written memory."""
        for touched in self._owned.touched(addr, addr + length):
            rule = Rule.OWNED_BUFFER
            if touched.use is Use.DESCRIPTOR:
                fetched = touched.index - self._ring(touched.ring).fetched & _MASK32
                if fetched >= _BACKWARD:
                    continue
                rule = Rule.OWNED_DESCRIPTOR
            self._touch(touched, rule, "was written before its completion")

    def device_read(self, addr: int, data: bytes) -> None:
        """The device reads memory: it must find what was there at the doorbell."""
        for touched in self._owned.touched(addr, addr + len(data)):
            lo = max(addr, touched.lo)
            hi = min(addr + len(data), touched.lo + len(touched.data))
            if (
                lo < hi
                and touched.data[lo - touched.lo : hi - touched.lo] != data[lo - addr : hi - addr]
            ):
                self.changed(touched.lo, touched.hi, touched.use)

    def changed(self, lo: int, hi: int, use: Use) -> None:
        """Bytes that the device owns are not what they must be, so the driver has changed them."""
        for touched in self._owned.touched(lo, hi):
            if touched.use is use:
                descriptor = use is Use.DESCRIPTOR
                rule = Rule.OWNED_DESCRIPTOR if descriptor else Rule.OWNED_BUFFER
                self._touch(touched, rule, "was changed between doorbell and completion")
                touched.data = b""

    def _touch(self, touched: Range, rule: Rule, what: str) -> None:
        name = descriptor_name(touched.ring, touched.index)
        self._spoiled.add((touched.ring, touched.index))
        self._breach(rule, f"{_NAMES[touched.use]} of {name} at {touched.lo:#x} {what}")

    def mapped(self, addr: int, size: int) -> None:
        """The driver has mapped memory for the device."""
        self._maps[addr] = size

    def unmapped(self, addr: int, size: int) -> None:
        """The driver is about to end a map."""
        self._maps.pop(addr, None)
        for touched in self._owned.touched(addr, addr + size):
            self._touch(touched, Rule.OWNED_BUFFER, "was unmapped before its completion")
            break
        self._check_keys(addr, addr + size)

    def _check_keys(self, lo: int, hi: int) -> None:
        for addr, key in list(self._keys.items()):
            if lo <= addr < hi:
                del self._keys[addr]
                if self._peek(addr, len(key)) == key:
                    text = f"the slot at {addr - SqeCtx.SIZE + _KEY_SIZE:#x} still holds the key"
                    self._breach(Rule.KEY_LEFT, f"{text} of a context")

    # ---------------------------------------------------------------------------- end

    def reset(self) -> None:
        """The device is reset, by the driver or somebody else."""
        keys = self._keys
        self._left += self._leftovers()
        self._forget()
        # the reset clears the device, not the memory of the host
        self._keys = keys

    def end(self, *, gone: bool) -> None:
        """The observation ends.

        Args:
            gone: The driver has gone. Otherwise it may still be bound, and then it leaves nothing
                behind.
        """
        if not gone and self._enabled:
            return
        for breach in (*self._left, *self._leftovers()):
            self._report(breach)
        self._check_keys(0, 1 << 64)
        for addr, size in self._maps.items():
            self._breach(Rule.MEMORY_LEFT, f"{size:#x} bytes at {addr:#x} were never unmapped")
        self._maps.clear()
        self._left.clear()
        self._forget()

    def _leftovers(self) -> list[Breach]:
        if self._failed:
            return []  # a device that has failed gives nothing back
        out = []
        for number, r in self._rings_used.items():
            count = r.completed - r.consumed & _MASK32
            if count:
                phase = self._rings.phase(number, r.consumed)
                text = (
                    f"{count} completions of ring {number} were never consumed; the first one is "
                    f"{r.consumed}, new if its phase bit is {phase}"
                )
                out.append(Breach(Rule.COMPLETION_LEFT, text))
            if r.flight:
                name = descriptor_name(number, r.flight[0].index)
                text = f"nobody has waited for {name}"
                if len(r.flight) > 1:
                    text += f" and {len(r.flight) - 1} behind it"
                out.append(Breach(Rule.COMPLETION_LEFT, text))
        for ctx, name in self._contexts.items():
            text = f"context {ctx}, installed by {name}, was never deleted"
            out.append(Breach(Rule.CONTEXT_LEFT, text))
        return out
