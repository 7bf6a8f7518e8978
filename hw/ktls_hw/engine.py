# SPDX-License-Identifier: Apache-2.0
"""The record engine of the functional model: pure functions of context, descriptor and source.

Nothing here knows registers, rings or memory. All byte strings are in wire order. Sources:
RFC 5246 section 6.2.3.3 with RFC 5288 section 3 (TLS 1.2), RFC 8446 sections 5.2 and 5.3
(TLS 1.3), NIST SP 800-38D section 7 (plain AES-GCM).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_hw.layout import Opcode, Sge, SqeRecord, Status

# SqeCtx.version
PLAIN_GCM = 0
VERSION_1_2 = 0x0303
VERSION_1_3 = 0x0304
# SqeCtx.dir
SEAL_DIRECTION = 0
OPEN_DIRECTION = 1
# SqeCtx.cipher (TLS_CIPHER_AES_GCM_*) to the bytes of its key
KEY_SIZES = {51: 16, 52: 32}

TAG_SIZE = 16
MAX_PLAINTEXT = 16384
MAX_LIST = 1024  # entries of a scatter-gather list
LAST_NUMBER = (1 << 64) - 1
# a sealed record minus its plaintext: header, explicit nonce, tag; header, inner type, tag
OVERHEAD = {VERSION_1_2: 5 + 8 + TAG_SIZE, VERSION_1_3: 5 + 1 + TAG_SIZE}
# tag lengths in bytes (SP 800-38D section 5.2.1.2)
_TAG_SIZES = (4, 8, 12, 13, 14, 15, 16)
_OUTER_TYPE_1_3 = 23
_HEADER = Struct(">BHH")


# not frozen: every record needs a new one, and that would take three times as long
@dataclass(slots=True)
class Context:
    """The keys and counters of one context; its repr never shows the key.

    Attributes:
        direction: `SEAL_DIRECTION` or `OPEN_DIRECTION`.
        version: `VERSION_1_2`, `VERSION_1_3` or `PLAIN_GCM`.
        key: 16 or 32 bytes.
        salt: first 4 bytes of the nonce (TLS 1.2) or of the static IV (TLS 1.3).
        iv: TLS 1.2: explicit nonce of the next record. TLS 1.3: last 8 bytes of the static IV.
        seq: number of the next record.
        uses: records sealed or opened with this key.
        generation: descriptors must repeat it; epoch in bits 15 to 8, gen in bits 7 to 0.
    """

    direction: int
    version: int
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    iv: int = field(repr=False)
    seq: int
    uses: int = 0
    generation: int = 0

    @property
    def numbered(self) -> bool:
        """Whether each descriptor consumes a record number."""
        return self.version != PLAIN_GCM

    @property
    def exhausted(self) -> bool:
        """Whether the next record number would wrap."""
        return self.seq == LAST_NUMBER and self.numbered

    def at(self, seq: int) -> Context:
        """Return the context with `seq` as its next record number (RESYNC)."""
        if self.version == VERSION_1_2:
            return replace(self, iv=(self.iv + seq - self.seq) & LAST_NUMBER, seq=seq)
        return replace(self, seq=seq)

    def after_record(self, used: bool) -> Context:
        """Return the context after a record descriptor, which consumes its record number.

        Args:
            used: the descriptor was not refused, so it counts as a use of the key.
        """
        return Context(
            self.direction,
            self.version,
            self.key,
            self.salt,
            (self.iv + 1) & LAST_NUMBER if self.version == VERSION_1_2 else self.iv,
            self.seq + 1 if self.numbered else self.seq,
            self.uses + used,
            self.generation,
        )


class Result(NamedTuple):
    """The output of the engine for one record.

    Attributes:
        data: bytes for the destination; zeros if an opened record is not authentic.
        rtype: record type for the completion.
        length: length for the completion, in bytes.
        authentic: the tag is correct and, in TLS 1.3, the record has a type.
    """

    data: bytes
    rtype: int
    length: int
    authentic: bool = True


Engine = Callable[[Context, SqeRecord, bytes], Result]
"""`process`, or a function that wraps it."""


# ------------------------------------------------------------------ before the record


def refusal(context: Context, d: SqeRecord) -> Status:
    """Return the status that refuses a record descriptor, or `Status.OK` if the device takes it."""
    opening = d.opcode == Opcode.OPEN
    plain = context.version == PLAIN_GCM
    inner_type = 1 if context.version == VERSION_1_3 and opening else 0
    if d.len + padding(context, d) > MAX_PLAINTEXT + inner_type:
        return Status.BAD_LENGTH
    if plain and (d.aad_len > MAX_PLAINTEXT or d.tag_len not in _TAG_SIZES):
        return Status.BAD_LENGTH
    if not d.src_direct and (d.src_sg % Sge.SIZE or d.src_cnt > MAX_LIST):
        return Status.BAD_LIST
    if not d.dst_direct and (d.dst_sg % Sge.SIZE or d.dst_cnt > MAX_LIST):
        return Status.BAD_LIST
    if d.dst_len < destination_length(context, d):
        return Status.DST_SHORT
    return Status.OK


def padding(context: Context, d: SqeRecord) -> int:
    """Return the number of zeros that SEAL appends to a TLS 1.3 record (RFC 8446, 5.4)."""
    return d.pad if context.version == VERSION_1_3 and d.opcode == Opcode.SEAL else 0


def tag_length(context: Context, d: SqeRecord) -> int:
    """Return the number of bytes of the tag."""
    return d.tag_len if context.version == PLAIN_GCM else TAG_SIZE


def aad_length(context: Context, d: SqeRecord) -> int:
    """Return the bytes that the AAD occupies in the source: plain AES-GCM pads it to blocks."""
    return -(-d.aad_len // 16) * 16 if context.version == PLAIN_GCM else 0


def source_length(context: Context, d: SqeRecord) -> int:
    """Return the number of bytes that the engine reads from the source list."""
    tag = tag_length(context, d) if d.opcode == Opcode.OPEN else 0
    return aad_length(context, d) + d.len + tag


def destination_length(context: Context, d: SqeRecord) -> int:
    """Return the number of bytes that the engine writes to the destination list."""
    if d.opcode == Opcode.OPEN:
        return d.len
    if context.version == PLAIN_GCM:
        return d.len + d.tag_len
    return d.len + OVERHEAD[context.version] + padding(context, d)


def cycles(context: Context, d: SqeRecord, beat: int) -> int:
    """Return the cycles for which a record occupies the engine if nothing stalls it.

    Args:
        context: version and direction count.
        d: a record descriptor that `refusal` accepts.
        beat: bytes per word of the engine.
    """
    inner_type = 1 if context.version == VERSION_1_3 and d.opcode == Opcode.SEAL else 0
    text = d.len + inner_type + padding(context, d)
    # the AAD of TLS fills one word
    aad = -(-d.aad_len // beat) if context.version == PLAIN_GCM else 1
    return aad - (-text // beat) + 1


# --------------------------------------------------------------------------- the record


def process(context: Context, d: SqeRecord, source: bytes) -> Result:
    """Seal or open one record.

    Args:
        context: keys and counters; `seq` and `iv` are those of this record.
        d: a SEAL or OPEN descriptor that `refusal` accepts.
        source: `source_length` bytes.
    """
    if context.version == PLAIN_GCM:
        at = aad_length(context, d)
        return _plain_gcm(context, d, source[: d.aad_len], source[at:])
    if d.opcode == Opcode.OPEN:
        return _unseal(context, d, source)
    record = frame(context, d.rtype, source, padding(context, d))
    return Result(record, d.rtype, len(record))


def frame(context: Context, rtype: int, text: bytes, pad: int = 0) -> bytes:
    """Seal a record.

    Args:
        context: keys and counters; `seq` and `iv` are those of this record.
        rtype: record type; in TLS 1.3 the inner type.
        text: plaintext.
        pad: TLS 1.3: zeros after the inner type.

    Returns:
        Header, explicit nonce (TLS 1.2), ciphertext and tag.
    """
    aead = AESGCM(context.key)
    if context.version == VERSION_1_3:
        inner = text + bytes([rtype]) + bytes(pad)
        head = _header(_OUTER_TYPE_1_3, len(inner) + TAG_SIZE)
        return head + aead.encrypt(_static_nonce(context), inner, head)
    explicit = context.iv.to_bytes(8, "big")
    aad = _aad_1_2(context, rtype, len(text))
    body = explicit + aead.encrypt(context.salt + explicit, text, aad)
    return _header(rtype, len(body)) + body


def _unseal(context: Context, d: SqeRecord, sealed: bytes) -> Result:
    if context.version == VERSION_1_3:
        aad = _header(_OUTER_TYPE_1_3, len(sealed))
    else:
        aad = _aad_1_2(context, d.rtype, d.len)
    try:
        out = AESGCM(context.key).decrypt(record_nonce(context, d), sealed, aad)
    except InvalidTag:
        return _not_authentic(d)
    if context.version == VERSION_1_2:
        return Result(out, d.rtype, len(out))
    text = out.rstrip(b"\0")
    if not text:
        return _not_authentic(d)
    return Result(out, text[-1], len(text) - 1)


def _not_authentic(d: SqeRecord) -> Result:
    return Result(bytes(d.len), 0, 0, authentic=False)


def _plain_gcm(context: Context, d: SqeRecord, aad: bytes, data: bytes) -> Result:
    """NIST SP 800-38D sections 7.1 and 7.2, for every tag length that it allows."""
    nonce = d.nonce + d.explicit_nonce
    aead = AESGCM(context.key)
    if d.opcode == Opcode.SEAL:
        out = aead.encrypt(nonce, data, aad)[: d.len + d.tag_len]
        return Result(out, d.rtype, len(out))
    text = counter_mode(context.key, nonce, data[: d.len])
    tag = aead.encrypt(nonce, text, aad)[d.len :]
    if tag[: d.tag_len] != data[d.len :]:
        return Result(bytes(d.len), d.rtype, d.len, authentic=False)
    return Result(text, d.rtype, d.len)


# ------------------------------------------------------------------------ nonce and AAD


def _header(rtype: int, length: int) -> bytes:
    return _HEADER.pack(rtype, VERSION_1_2, length)


def _aad_1_2(context: Context, rtype: int, length: int) -> bytes:
    """Return the AAD of TLS 1.2: record number, type, version, plaintext length."""
    return context.seq.to_bytes(8, "big") + _header(rtype, length)


def _static_nonce(context: Context) -> bytes:
    """Return the nonce of TLS 1.3: the static IV XOR the record number."""
    static = int.from_bytes(context.salt + context.iv.to_bytes(8, "big"), "big")
    return (static ^ context.seq).to_bytes(12, "big")


def record_nonce(context: Context, d: SqeRecord) -> bytes:
    """Return the 12-byte nonce of a record to be opened."""
    if context.version == VERSION_1_3:
        return _static_nonce(context)
    return context.salt + d.explicit_nonce


def counter_mode(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Apply the keystream of GCM (SP 800-38D section 6.5, counters from 2 on).

    Args:
        key: 16 or 32 bytes.
        nonce: 12 bytes.
        data: plaintext or ciphertext.

    Returns:
        The other of the two.
    """
    mode = modes.CTR(nonce + (2).to_bytes(4, "big"))
    return Cipher(algorithms.AES(key), mode).encryptor().update(data)
