# SPDX-License-Identifier: Apache-2.0
"""The rings of a device, without I/O: index arithmetic, and the descriptors in flight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ktls_hw import layout
from ktls_hw.layout import Reg, SqeCtx, SqeRecord, Status

_MASK32 = 0xFFFFFFFF


@dataclass(slots=True)
class Ring:
    """A ring in DMA memory with free-running 32-bit producer and consumer indices.

    Attributes:
        base: bus address of slot 0.
        log2: log2 of the number of slots.
        entry_size: bytes per slot.
        prod: index of the next entry to produce.
        cons: index of the next entry to consume.
        entries: number of slots.
    """

    base: int
    log2: int
    entry_size: int
    prod: int = 0
    cons: int = 0
    entries: int = field(init=False)

    def __post_init__(self) -> None:
        """Compute the number of slots."""
        self.entries = 1 << self.log2

    @property
    def used(self) -> int:
        """Number of produced entries that are not consumed yet."""
        return (self.prod - self.cons) & _MASK32

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return self.used == self.entries

    def slot(self, index: int) -> int:
        """Return the slot of a free-running index."""
        return index & (self.entries - 1)

    def address(self, index: int) -> int:
        """Return the bus address of the slot of a free-running index."""
        return self.base + self.slot(index) * self.entry_size

    def produce(self) -> int:
        """Take the next slot and return its bus address."""
        addr = self.address(self.prod)
        self.prod = (self.prod + 1) & _MASK32
        return addr

    def consume(self) -> None:
        """Release the slot at the consumer index."""
        self.cons = (self.cons + 1) & _MASK32

    def phase(self) -> int:
        """Return the phase bit of a new entry at the consumer index: 1 in the first round."""
        return (~(self.cons >> self.log2)) & 1


@dataclass(slots=True)
class Completion:
    """The result of a descriptor.

    Attributes:
        status: `Status.OK`, or the reason of the failure. None: the device failed before it
            completed the descriptor, or reported a code that this driver does not know.
        data: SEAL: the record as it goes on the wire. OPEN: its text. Empty unless OK.
        rtype: OPEN: type of the record, in TLS 1.3 the inner type.
        rec_seq: record number that the descriptor consumed, None if it consumed none.
        cycles: clock cycles for which the record occupied the engine.
        latency: clock cycles from decoding the descriptor to its completion.
        rekey: the key has been used for `KEY_WARN` records or more.
        code: the status code of the device, None if the descriptor was not completed.
    """

    status: Status | None
    data: bytes = b""
    rtype: int = 0
    rec_seq: int | None = None
    cycles: int = 0
    latency: int = 0
    rekey: bool = False
    code: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the device has done what the descriptor asked for."""
        return self.status == Status.OK

    @property
    def why(self) -> str:
        """Name of the status, for messages."""
        if self.status is not None:
            return self.status.name
        return "lost with the device" if self.code is None else f"unknown status {self.code}"


Done = Callable[[Completion], None]
"""Called with the completion of a descriptor."""


@dataclass(slots=True)
class Posted:
    """A descriptor that the device owns.

    Attributes:
        sq_index: its free-running index in the submission ring.
        descriptor: the descriptor, without a key.
        version: TLS version of its context, 0 for plain AES-GCM.
        buffer: number of its DMA buffer, None if it has none.
        sizes: bytes of source and destination in the buffer.
        done: called with its completion.
    """

    sq_index: int
    descriptor: SqeRecord | SqeCtx
    version: int
    buffer: int | None
    sizes: tuple[int, int]
    done: Done


@dataclass(eq=False, slots=True)
class RingPair:
    """A submission ring, its completion ring, and the descriptors in flight.

    Attributes:
        number: number of the pair in the device.
        sq: submission ring.
        cq: completion ring.
        posted: the descriptors that the device owns, by cookie.
    """

    number: int
    sq: Ring
    cq: Ring
    posted: dict[int, Posted] = field(default_factory=dict)

    def reg(self, reg: Reg) -> int:
        """Return the address of a register of this pair; `reg` is the register of ring 0."""
        return layout.ring_reg(self.number, reg)
