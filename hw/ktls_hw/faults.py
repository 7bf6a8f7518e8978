# SPDX-License-Identifier: Apache-2.0
"""Deliberate faults of the functional model, which prove the checkers.

`FaultInjector` wraps the stages of the model from the outside: the engine, the write to the
destination and the completion. Without an armed fault each wrapper passes its stage through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_hw import engine
from ktls_hw.engine import Context, Engine, Result
from ktls_hw.layout import Cqe, Opcode, SqeRecord
from ktls_hw.memory import Access

# bytes of a TLS 1.2 record before its ciphertext: header and explicit nonce
_HEAD = 5 + 8


class Fault(Enum):
    """Faults of SEAL; each produces a wrong result that a real engine could produce."""

    WRONG_NONCE = "one bit of the nonce is wrong"
    WRONG_AAD_LENGTH = "the length in the AAD is one too large"
    COUNTER_START = "the payload counter starts at 3 instead of 2"
    SWAPPED_TAG_BYTES = "the tag is written in reverse byte order"
    FLIPPED_CIPHERTEXT_BIT = "one bit of the ciphertext is flipped"
    WRONG_HEADER_LENGTH = "the length in the header is one too large"
    LOST_COMPLETION = "a completion is never written"
    DOUBLED_COMPLETION = "a completion is written twice"
    SWAPPED_RECORDS = "two records are written to each other's destination"


class OpenFault(Enum):
    """Faults of OPEN; each produces a wrong result that a real engine could produce."""

    BAD_TAG_ACCEPTED = "a record with a wrong tag is opened and reported as authentic"
    TEXT_RELEASED = "the text of a record with a wrong tag is written to memory"
    NUMBER_MISSED = "the AAD or the nonce uses the number of the previous record"
    WRONG_TYPE = "the record type is one too large"
    PADDING_KEPT = "the reported length of the text is one too large"


Write = Callable[[SqeRecord, bytes], Access]


class FaultInjector:
    """Wraps the stages of a `NicModel` and breaks one record.

    Args:
        wrapped: the engine that computes the correct result.

    Attributes:
        done: the faults that took effect, in order.
    """

    def __init__(self, wrapped: Engine) -> None:
        self.done: list[Fault | OpenFault] = []
        self._engine = wrapped
        self._fault: tuple[Fault, int] | None = None
        self._open_fault: OpenFault | None = None
        self._held: tuple[SqeRecord, bytes] | None = None
        self._displaced: tuple[SqeRecord, bytes] | None = None
        self._sealed = 0

    def arm(self, fault: Fault | OpenFault, record: int) -> None:
        """Break the SEAL number `record`, counted from the last reset, or the next OPEN."""
        if isinstance(fault, OpenFault):
            self._open_fault = fault
        else:
            self._fault = (fault, record)

    def reset(self) -> None:
        """Restart the count of SEALs; armed faults stay armed."""
        self._sealed = 0

    # ------------------------------------------------------------------ the engine

    def process(self, context: Context, d: SqeRecord, source: bytes) -> Result:
        """Wrap `engine.process`."""
        result = self._engine(context, d, source)
        if not context.numbered:
            return result
        if d.opcode == Opcode.OPEN:
            return self._opened(context, d, source, result)
        result = self._sealed_record(context, d, source, result)
        self._sealed += 1
        return result

    def _sealed_record(
        self, context: Context, d: SqeRecord, source: bytes, result: Result
    ) -> Result:
        if self._held is not None:
            # SWAPPED_RECORDS, second record
            held, data = self._held
            self._held = None
            self._displaced = (held, result.data)
            return result._replace(data=data, length=len(data))
        if self._fault is None or self._sealed != self._fault[1]:
            return result
        fault = self._fault[0]
        if fault in (Fault.LOST_COMPLETION, Fault.DOUBLED_COMPLETION):
            return result
        self._fault = None
        self.done.append(fault)
        if fault == Fault.SWAPPED_RECORDS:
            self._held = (d, result.data)
            return result
        data = _SEAL_EFFECTS[fault](context, d.rtype, source, result.data)
        return result._replace(data=data, length=len(data))

    def _opened(self, context: Context, d: SqeRecord, source: bytes, result: Result) -> Result:
        fault, self._open_fault = self._open_fault, None
        if fault is None:
            return result
        self.done.append(fault)
        if fault == OpenFault.NUMBER_MISSED:
            return self._engine(replace(context, seq=context.seq - 1), d, source)
        if fault == OpenFault.WRONG_TYPE:
            return result._replace(rtype=result.rtype + 1)
        if fault == OpenFault.PADDING_KEPT:
            return result._replace(length=result.length + 1)
        nonce = engine.record_nonce(context, d)
        text = engine.counter_mode(context.key, nonce, source[: d.len])
        return Result(text, d.rtype, d.len, authentic=fault == OpenFault.BAD_TAG_ACCEPTED)

    # ------------------------------------------------- the write and the completion

    def scatter(self, write: Write, d: SqeRecord, data: bytes) -> Access:
        """Wrap the write of a record to its destination."""
        if self._displaced is not None:
            write(*self._displaced)
            self._displaced = None
        return write(d, data)

    def completions(self, cqe: Cqe) -> int:
        """Return how often a completion is written: once, unless a fault changes that."""
        if self._fault is None or cqe.opcode != Opcode.SEAL or self._sealed <= self._fault[1]:
            return 1
        fault = self._fault[0]
        times = {Fault.LOST_COMPLETION: 0, Fault.DOUBLED_COMPLETION: 2}.get(fault, 1)
        if times != 1:
            self.done.append(fault)
            self._fault = None
        return times


# ------------------------------------------------------- effects on a sealed record


def _wrong_nonce(context: Context, rtype: int, text: bytes, record: bytes) -> bytes:
    wrong = engine.frame(replace(context, iv=context.iv ^ 1), rtype, text)
    return record[:_HEAD] + wrong[_HEAD:]


def _wrong_aad_length(context: Context, _rtype: int, text: bytes, record: bytes) -> bytes:
    explicit = context.iv.to_bytes(8, "big")
    aad = context.seq.to_bytes(8, "big") + record[:3] + (len(text) + 1).to_bytes(2, "big")
    return record[:_HEAD] + AESGCM(context.key).encrypt(context.salt + explicit, text, aad)


def _counter_start(context: Context, rtype: int, text: bytes, record: bytes) -> bytes:
    # the keystream of counters 3.. in place of 2.., with the tag of that ciphertext
    nonce = context.salt + context.iv.to_bytes(8, "big")
    keystream = engine.counter_mode(context.key, nonce, bytes(len(text) + 16))
    shifted = bytes(a ^ b ^ c for a, b, c in zip(text, keystream, keystream[16:], strict=False))
    wrong = engine.frame(context, rtype, shifted)
    return record[:_HEAD] + wrong[_HEAD:]


def _swapped_tag(_context: Context, _rtype: int, _text: bytes, record: bytes) -> bytes:
    return record[:-16] + record[:-17:-1]


def _flipped_bit(_context: Context, _rtype: int, text: bytes, record: bytes) -> bytes:
    at = _HEAD + len(text) // 2
    return record[:at] + bytes([record[at] ^ 0x10]) + record[at + 1 :]


def _wrong_header_length(_context: Context, _rtype: int, _text: bytes, record: bytes) -> bytes:
    return record[:4] + bytes([(record[4] + 1) & 255]) + record[5:]


_SEAL_EFFECTS: dict[Fault, Callable[[Context, int, bytes, bytes], bytes]] = {
    Fault.WRONG_NONCE: _wrong_nonce,
    Fault.WRONG_AAD_LENGTH: _wrong_aad_length,
    Fault.COUNTER_START: _counter_start,
    Fault.SWAPPED_TAG_BYTES: _swapped_tag,
    Fault.FLIPPED_CIPHERTEXT_BIT: _flipped_bit,
    Fault.WRONG_HEADER_LENGTH: _wrong_header_length,
}
