# SPDX-License-Identifier: Apache-2.0
"""The golden model's verdict on the destination of one descriptor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ktls_cosim.check.diagnosis import diagnose, diagnose_gcm, window
from ktls_cosim.check.golden import TrafficKeys, decrypt_body, open_gcm, seal_gcm, seal_record
from ktls_hw.layout import Opcode, SqeRecord

_TAG = 16


@dataclass(slots=True)
class Keys:
    """A TLS context.

    Attributes:
        opcode: SEAL or OPEN, the direction of the context.
        used: Number of record numbers consumed since `keys.first_number`.
    """

    keys: TrafficKeys
    opcode: int
    used: int = 0


@dataclass(slots=True)
class RawKeys:
    """A context of plain AES-GCM."""

    key: bytes = field(repr=False)
    opcode: int


def padded(length: int) -> int:
    """Return the bytes that `length` bytes of AAD occupy in a source of plain AES-GCM."""
    return -(-length // 16) * 16


def verdict(
    context: Keys | RawKeys | None,
    d: SqeRecord,
    source: bytes,
    index: int,
    read: Callable[[int], bytes],
) -> str:
    """Compare the destination of a descriptor with the golden model.

    Args:
        context: Context of the descriptor.
        d: Descriptor of a SEAL or OPEN.
        source: Its source bytes.
        index: Number of earlier records of a TLS context.
        read: Returns that many bytes of the destination.

    Returns:
        `right`, or `wrong` with the difference.
    """
    if context is None or context.opcode != d.opcode:
        return "no such context"
    if isinstance(context, RawKeys):
        want, lines, cause = _plain(context, d, source, read)
    else:
        want, lines, cause = _record(context.keys, d, source, index, read)
    if read(len(want)) == want:
        return "right"
    text = f"\n  likely cause: {cause}" if cause else ""
    return "\n  ".join(("wrong", *lines)) + text


def _plain(
    context: RawKeys, d: SqeRecord, source: bytes, read: Callable[[int], bytes]
) -> tuple[bytes, tuple[str, ...], str | None]:
    nonce, aad, data = d.nonce + d.explicit_nonce, source[: d.aad_len], source[padded(d.aad_len) :]
    if d.opcode == Opcode.SEAL:
        text = data[: d.len]
        want = seal_gcm(context.key, nonce, aad, text, d.tag_len)
        return want, *diagnose_gcm(context.key, nonce, aad, text, want, read(len(want)))
    opened = open_gcm(context.key, nonce, aad, data[: d.len + d.tag_len], d.tag_len)
    want = bytes(d.len) if opened is None else opened
    return want, *diagnose_gcm(context.key, nonce, aad, None, want, read(len(want)))


def _record(
    keys: TrafficKeys, d: SqeRecord, source: bytes, index: int, read: Callable[[int], bytes]
) -> tuple[bytes, tuple[str, ...], str | None]:
    if d.opcode == Opcode.SEAL:
        text = source[: d.len]
        want = seal_record(keys, index, d.rtype, text, d.pad).wire
        _, lines, cause = diagnose(keys, index, d.rtype, text, read(len(want)), d.pad)
        return want, lines, cause
    opened = decrypt_body(keys, index, d.rtype, d.explicit_nonce, source[: d.len + _TAG])
    want = bytes(d.len) if opened is None else opened
    return want, window([("text", want)], read(len(want))), None
