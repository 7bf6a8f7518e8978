# SPDX-License-Identifier: Apache-2.0
"""What a sealed record must be, computed from the RFCs and pyca/cryptography alone.

Written independently of the driver and of the device model: nothing here comes from
`ktls` or `ktls_hw`, only the layout of `struct tls12_crypto_info_*`
(include/uapi/linux/tls.h) is common knowledge.

Example, the first record of the vectors recorded from Linux 7.2.7 (key 00..0f, salt
"SALT", explicit nonce a0..a7, number 0, data "hello"):

>>> keys = TrafficKeys.from_crypto_info(
...     bytes.fromhex("03033300" "a0a1a2a3a4a5a6a7" "000102030405060708090a0b0c0d0e0f")
...     + b"SALT" + bytes(8))
>>> seal_record(keys, 0, 23, b"hello").wire.hex()
'170303001da0a1a2a3a4a5a6a7d4f1b86258af8d52d6dc228ab116d75f84f9818a60'
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

_TLS13 = 0x0304
_CHACHA = 54


@dataclass(frozen=True, slots=True)
class TrafficKeys:
    """One direction of a connection, as its setsockopt blob described it.

    Attributes:
        first_number: record number of the first record.
        iv: TLS 1.2 AES: explicit nonce of the first record; else the static IV's rest.
    """

    version: int
    cipher: int
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    first_number: int

    @classmethod
    def from_crypto_info(cls, blob: bytes) -> TrafficKeys:
        """Read a `tls12_crypto_info_*` structure of a little-endian machine.

        Raises:
            ValueError: the size fits no known cipher.
        """
        version = int.from_bytes(blob[0:2], "little")
        cipher = int.from_bytes(blob[2:4], "little")
        sizes = {51: (8, 16, 4), 52: (8, 32, 4), 53: (8, 16, 4), 54: (12, 32, 0)}.get(cipher)
        if sizes is None or len(blob) != 12 + sum(sizes):
            raise ValueError(f"cipher {cipher} with a crypto_info of {len(blob)} bytes")
        iv_len, key_len, salt_len = sizes
        key_at = 4 + iv_len
        salt_at = key_at + key_len
        return cls(
            version,
            cipher,
            key=blob[key_at:salt_at],
            salt=blob[salt_at : salt_at + salt_len],
            iv=blob[4:key_at],
            first_number=int.from_bytes(blob[-8:], "big"),
        )

    def aead(self) -> AESGCM | AESCCM | ChaCha20Poly1305:
        if self.cipher == _CHACHA:
            return ChaCha20Poly1305(self.key)
        return AESCCM(self.key) if self.cipher == 53 else AESGCM(self.key)

    def explicit_nonce(self, index: int) -> bytes:
        """The nonce bytes on the wire of record `index` (counted from the installed key)."""
        if self.version == _TLS13 or self.cipher == _CHACHA:
            return b""
        return ((int.from_bytes(self.iv, "big") + index) & (2**64 - 1)).to_bytes(8, "big")

    def nonce(self, index: int, explicit: bytes) -> bytes:
        """The 12-byte AEAD nonce (RFC 5288 section 3, RFC 7905 section 2, RFC 8446 5.3)."""
        if explicit:
            return self.salt + explicit
        base = self.salt + self.iv
        number = ((self.first_number + index) & (2**64 - 1)).to_bytes(12, "big")
        return bytes(x ^ y for x, y in zip(base, number, strict=True))


@dataclass(frozen=True, slots=True)
class GoldenRecord:
    """A record in its parts, with what went into it."""

    header: bytes
    explicit: bytes
    ciphertext: bytes
    tag: bytes
    nonce: bytes
    aad: bytes

    @property
    def wire(self) -> bytes:
        return self.header + self.explicit + self.ciphertext + self.tag

    def fields(self) -> list[tuple[str, int, bytes]]:
        """Name, offset in the record and bytes of each part."""
        out = []
        at = 0
        for name, part in (
            ("header", self.header),
            ("nonce", self.explicit),
            ("ciphertext", self.ciphertext),
            ("tag", self.tag),
        ):
            out.append((name, at, part))
            at += len(part)
        return out


def seal_record(
    keys: TrafficKeys, index: int, rtype: int, plaintext: bytes, padding: int = 0
) -> GoldenRecord:
    """The one right record (RFC 5246 section 6.2.3.3, RFC 8446 section 5.2).

    Args:
        keys: from the setsockopt blob.
        index: records of this key before it.
        rtype: record type, 0..255.
        plaintext: its bytes.
        padding: TLS 1.3: zeros behind the inner type.
    """
    explicit = keys.explicit_nonce(index)
    nonce = keys.nonce(index, explicit)
    if keys.version == _TLS13:
        inner = plaintext + rtype.to_bytes(1, "big") + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        aad = header
    else:
        inner = plaintext
        total = len(explicit) + len(plaintext) + 16
        header = rtype.to_bytes(1, "big") + b"\x03\x03" + total.to_bytes(2, "big")
        number = (keys.first_number + index) & (2**64 - 1)
        aad = (
            number.to_bytes(8, "big")
            + rtype.to_bytes(1, "big")
            + b"\x03\x03"
            + len(plaintext).to_bytes(2, "big")
        )
    sealed = keys.aead().encrypt(nonce, inner, aad)
    return GoldenRecord(header, explicit, sealed[:-16], sealed[-16:], nonce, aad)


def open_record(keys: TrafficKeys, index: int, record: bytes) -> tuple[int, bytes] | None:
    """Open a record as its receiver would.

    Returns:
        Record type and plaintext, or None if it does not authenticate.
    """
    if len(record) < 5 or int.from_bytes(record[3:5], "big") != len(record) - 5:
        return None
    explicit_len = len(keys.explicit_nonce(index))
    explicit = record[5 : 5 + explicit_len]
    sealed = record[5 + explicit_len :]
    if len(sealed) < 16:
        return None
    if keys.version == _TLS13 and record[0] != 23:
        return None
    return open_body(keys, index, record[0], explicit, sealed)


def open_body(
    keys: TrafficKeys, index: int, rtype: int, explicit: bytes, sealed: bytes
) -> tuple[int, bytes] | None:
    """Open what stands behind a record's header and explicit nonce.

    The additional data of TLS 1.3 is made with the outer type 23, whatever was received.

    Returns:
        Record type and plaintext, or None if it does not authenticate.
    """
    if keys.version == _TLS13:
        aad = b"\x17\x03\x03" + len(sealed).to_bytes(2, "big")
        explicit = b""
    else:
        number = (keys.first_number + index) & (2**64 - 1)
        text_len = len(sealed) - 16
        aad = struct.pack(">QBHH", number, rtype, 0x0303, text_len)
    try:
        plain = keys.aead().decrypt(keys.nonce(index, explicit), sealed, aad)
    except InvalidTag:
        return None
    if keys.version != _TLS13:
        return rtype, plain
    plain = plain.rstrip(b"\0")
    return (plain[-1], plain[:-1]) if plain else None


def seal_gcm(key: bytes, nonce: bytes, aad: bytes, text: bytes, tag_len: int) -> bytes:
    """Ciphertext and truncated tag of plain AES-GCM (NIST SP 800-38D section 7.1)."""
    return AESGCM(key).encrypt(nonce, text, aad)[: len(text) + tag_len]


def open_gcm(key: bytes, nonce: bytes, aad: bytes, sealed: bytes, tag_len: int) -> bytes | None:
    """Text of plain AES-GCM, or None if the tag is wrong (NIST SP 800-38D section 7.2)."""
    body = sealed[: len(sealed) - tag_len]
    # counter mode is its own inverse
    text = AESGCM(key).encrypt(nonce, body, b"")[: len(body)]
    return text if seal_gcm(key, nonce, aad, text, tag_len) == sealed else None


def split_records(stream: bytearray) -> Iterator[bytes]:
    """Take complete records off the front of a byte stream."""
    while len(stream) >= 5:
        size = 5 + int.from_bytes(stream[3:5], "big")
        if len(stream) < size:
            return
        record = bytes(stream[:size])
        del stream[:size]
        yield record
