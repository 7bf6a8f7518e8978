# SPDX-License-Identifier: Apache-2.0
"""The descriptors of TLS records, without I/O: arguments in, descriptor and its size out."""

from __future__ import annotations

from ktls import uapi
from ktls.nic_contexts import DeviceContext
from ktls_hw.layout import Opcode, SqeRecord

# bytes of a sealed record minus those of its plaintext, at most
RECORD_OVERHEAD = uapi.TLS_HEADER_SIZE + 8 + uapi.TLS_TAG_SIZE


def seal_descriptor(
    context: DeviceContext, rtype: int, length: int, pad: int
) -> tuple[SqeRecord, int]:
    """Return the descriptor that seals a record, and the bytes of its destination.

    Args:
        context: a transmit context.
        rtype: record type, 0 to 255.
        length: bytes of plaintext, at most 16384.
        pad: TLS 1.3: zeros after the inner type; at most 16384 with the plaintext.

    Raises:
        ValueError: an argument is out of range.
    """
    if context.direction != uapi.TLS_TX or not context.version:
        raise ValueError(f"context {context.ctx} is not for sealing TLS records")
    if not 0 <= rtype <= 255:
        raise ValueError(f"record type {rtype}, expected 0 to 255")
    if pad < 0 or (pad and context.version != uapi.TLS_1_3_VERSION):
        raise ValueError(f"{pad} bytes of padding: only TLS 1.3 has padding")
    if length + pad > uapi.TLS_MAX_PAYLOAD_SIZE:
        raise ValueError(
            f"{length} bytes and {pad} bytes of padding: a record holds {uapi.TLS_MAX_PAYLOAD_SIZE}"
        )
    seal = SqeRecord(opcode=Opcode.SEAL, rtype=rtype, len=length, pad=pad)
    tls13 = context.version == uapi.TLS_1_3_VERSION
    overhead = RECORD_OVERHEAD - 7 + pad if tls13 else RECORD_OVERHEAD
    return seal, length + overhead


def open_descriptor(
    context: DeviceContext, rtype: int, explicit: bytes, sealed: int
) -> tuple[SqeRecord, int]:
    """Return the descriptor that opens a record, and the bytes of its destination.

    Args:
        context: a receive context.
        rtype: record type on the wire, 0 to 255.
        explicit: TLS 1.2: the 8 bytes of the explicit nonce; TLS 1.3: empty.
        sealed: bytes of ciphertext (at most 16384, in TLS 1.3 16385) and tag.

    Raises:
        ValueError: an argument is out of range.
    """
    tls13 = context.version == uapi.TLS_1_3_VERSION
    length = sealed - uapi.TLS_TAG_SIZE
    if context.direction != uapi.TLS_RX or not context.version:
        raise ValueError(f"context {context.ctx} is not for opening TLS records")
    if not 0 <= rtype <= 255:
        raise ValueError(f"record type {rtype}, expected 0 to 255")
    if len(explicit) != (0 if tls13 else 8):
        raise ValueError(f"{len(explicit)} bytes of explicit nonce, expected 8 in TLS 1.2 only")
    if not 0 <= length <= uapi.TLS_MAX_PAYLOAD_SIZE + tls13:
        raise ValueError(f"{sealed} bytes are no ciphertext and tag of a record")
    opened = SqeRecord(opcode=Opcode.OPEN, rtype=rtype, len=length, explicit_nonce=explicit)
    return opened, length
