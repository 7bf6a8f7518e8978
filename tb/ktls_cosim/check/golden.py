# SPDX-License-Identifier: Apache-2.0
"""The golden model: sealed records computed from the RFCs with pyca/cryptography.

This module is independent of the driver and of the device model: it imports neither
`ktls` nor `ktls_hw`. It shares only the layout of `struct tls12_crypto_info_*`
(include/uapi/linux/tls.h) with them.

Example: the first record of the vectors recorded from Linux 7.2.7 (key 00..0f, salt
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
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

_TLS13 = 0x0304
_CHACHA = 54
_CCM = 53
_AEADS: dict[int, type[AESCCM] | type[ChaCha20Poly1305]] = {_CCM: AESCCM, _CHACHA: ChaCha20Poly1305}
_TAG = 16
_HEADER = 5
_MASK64 = 2**64 - 1


@dataclass(frozen=True, slots=True)
class TrafficKeys:
    """Keys of one direction of a connection.

    Attributes:
        version: 0x0303 (TLS 1.2) or 0x0304 (TLS 1.3).
        cipher: `TLS_CIPHER_*` of include/uapi/linux/tls.h, 51 to 54.
        key: 16 or 32 bytes.
        salt: 4 bytes; empty for ChaCha20-Poly1305.
        iv: TLS 1.2 with AES: explicit nonce of the first record, 8 bytes. Otherwise the
            rest of the static IV, 8 or 12 bytes.
        first_number: Record number of the first record.
        aead: The AEAD with this key.
    """

    version: int
    cipher: int
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    first_number: int
    # once per key: making the AEAD takes as long as sealing a short record
    aead: AESGCM | AESCCM | ChaCha20Poly1305 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the AEAD."""
        kind = _AEADS.get(self.cipher, AESGCM)
        object.__setattr__(self, "aead", kind(self.key))

    @classmethod
    def from_crypto_info(cls, blob: bytes) -> TrafficKeys:
        """Parse a `struct tls12_crypto_info_*`.

        Args:
            blob: The structure as a little-endian machine lays it out.

        Raises:
            ValueError: The size fits no known cipher.
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

    def explicit_nonce(self, index: int) -> bytes:
        """Return the nonce bytes that record `index` carries on the wire: 8, or none.

        Args:
            index: Number of records sealed earlier under these keys.
        """
        if self.version == _TLS13 or self.cipher == _CHACHA:
            return b""
        return ((int.from_bytes(self.iv, "big") + index) & _MASK64).to_bytes(8, "big")

    def nonce(self, index: int, explicit: bytes) -> bytes:
        """Return the 12-byte AEAD nonce of record `index`.

        RFC 5288 section 3, RFC 7905 section 2, RFC 8446 section 5.3.

        Args:
            index: Number of records sealed earlier under these keys.
            explicit: Explicit nonce of the record, 8 bytes, or empty.
        """
        if explicit:
            return self.salt + explicit
        number = (self.first_number + index) & _MASK64
        return (int.from_bytes(self.salt + self.iv, "big") ^ number).to_bytes(12, "big")


class GoldenRecord(NamedTuple):
    """A sealed record in its parts, with the inputs of the AEAD.

    Attributes:
        header: 5 bytes.
        explicit: Explicit nonce, 8 bytes, or empty.
        sealed: Ciphertext and tag.
        nonce: AEAD nonce, 12 bytes.
        aad: AAD, 13 bytes in TLS 1.2, 5 bytes in TLS 1.3.
    """

    header: bytes
    explicit: bytes
    sealed: bytes
    nonce: bytes
    aad: bytes

    @property
    def ciphertext(self) -> bytes:
        """Sealed text; in TLS 1.3 with its inner type and padding."""
        return self.sealed[:-_TAG]

    @property
    def tag(self) -> bytes:
        """The last 16 bytes."""
        return self.sealed[-_TAG:]

    @property
    def wire(self) -> bytes:
        """The record as it appears on the wire."""
        return b"".join((self.header, self.explicit, self.sealed))

    def fields(self) -> list[tuple[str, int, bytes]]:
        """Return name, offset in the record and bytes of each part."""
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
    """Seal a record (RFC 5246 section 6.2.3.3, RFC 8446 section 5.2).

    Args:
        keys: Keys of the direction.
        index: Number of records sealed earlier under these keys.
        rtype: Record type, 0 to 255.
        plaintext: Text of the record.
        padding: Number of zero bytes after the inner type; TLS 1.3 only.
    """
    explicit = keys.explicit_nonce(index)
    nonce = keys.nonce(index, explicit)
    if keys.version == _TLS13:
        inner = plaintext + rtype.to_bytes(1, "big") + bytes(padding)
        header = b"\x17\x03\x03" + (len(inner) + _TAG).to_bytes(2, "big")
        aad = header
    else:
        inner = plaintext
        total = len(explicit) + len(plaintext) + _TAG
        header = rtype.to_bytes(1, "big") + b"\x03\x03" + total.to_bytes(2, "big")
        number = (keys.first_number + index) & _MASK64
        aad = (
            number.to_bytes(8, "big")
            + rtype.to_bytes(1, "big")
            + b"\x03\x03"
            + len(plaintext).to_bytes(2, "big")
        )
    sealed = keys.aead.encrypt(nonce, inner, aad)
    return GoldenRecord(header, explicit, sealed, nonce, aad)


def open_record(keys: TrafficKeys, index: int, record: bytes) -> tuple[int, bytes] | None:
    """Open a record as a receiver would.

    Args:
        keys: Keys of the direction.
        index: Number of records opened earlier under these keys.
        record: The record with its header.

    Returns:
        Record type and text, or None if the record does not authenticate.
    """
    if len(record) < _HEADER or int.from_bytes(record[3:5], "big") != len(record) - _HEADER:
        return None
    at = _HEADER + len(keys.explicit_nonce(index))
    explicit, sealed = record[_HEADER:at], record[at:]
    if len(sealed) < _TAG:
        return None
    if keys.version == _TLS13 and record[0] != 23:
        return None
    return open_body(keys, index, record[0], explicit, sealed)


def open_inputs(
    keys: TrafficKeys, index: int, rtype: int, explicit: bytes, length: int
) -> tuple[bytes, bytes]:
    """Return nonce and AAD of a received record.

    Args:
        keys: Keys of the direction.
        index: Number of records opened earlier under these keys.
        rtype: Record type of the header; ignored in TLS 1.3.
        explicit: Explicit nonce of the record, 8 bytes, or empty.
        length: Length of ciphertext and tag in bytes.
    """
    if keys.version == _TLS13:
        return keys.nonce(index, b""), b"\x17\x03\x03" + length.to_bytes(2, "big")
    number = (keys.first_number + index) & _MASK64
    aad = struct.pack(">QBHH", number, rtype, 0x0303, length - _TAG)
    return keys.nonce(index, explicit), aad


def decrypt_body(
    keys: TrafficKeys, index: int, rtype: int, explicit: bytes, sealed: bytes
) -> bytes | None:
    """Return the text of a record, in TLS 1.3 with inner type and padding.

    Args:
        keys: Keys of the direction.
        index: Number of records opened earlier under these keys.
        rtype: Record type of the header; ignored in TLS 1.3.
        explicit: Explicit nonce of the record, 8 bytes, or empty.
        sealed: Ciphertext and 16-byte tag.

    Returns:
        None if the record does not authenticate.
    """
    nonce, aad = open_inputs(keys, index, rtype, explicit, len(sealed))
    try:
        return keys.aead.decrypt(nonce, sealed, aad)
    except InvalidTag:
        return None


def open_body(
    keys: TrafficKeys, index: int, rtype: int, explicit: bytes, sealed: bytes
) -> tuple[int, bytes] | None:
    """Open the ciphertext and tag of a record.

    In TLS 1.3 the AAD always has the outer type 23, as in Linux: the received outer type
    is ignored.

    Args:
        keys: Keys of the direction.
        index: Number of records opened earlier under these keys.
        rtype: Record type of the header; ignored in TLS 1.3.
        explicit: Explicit nonce of the record, 8 bytes, or empty.
        sealed: Ciphertext and 16-byte tag.

    Returns:
        Record type and text, or None if the record does not authenticate.
    """
    plain = decrypt_body(keys, index, rtype, explicit, sealed)
    if plain is None:
        return None
    if keys.version != _TLS13:
        return rtype, plain
    plain = plain.rstrip(b"\0")
    return (plain[-1], plain[:-1]) if plain else None


def seal_gcm(key: bytes, nonce: bytes, aad: bytes, text: bytes, tag_len: int) -> bytes:
    """Seal with plain AES-GCM (NIST SP 800-38D section 7.1).

    Args:
        key: 16 or 32 bytes.
        nonce: 12 bytes.
        aad: AAD.
        text: Plaintext.
        tag_len: Length of the truncated tag, 4 to 16 bytes.

    Returns:
        Ciphertext and tag.
    """
    return AESGCM(key).encrypt(nonce, text, aad)[: len(text) + tag_len]


def open_gcm(key: bytes, nonce: bytes, aad: bytes, sealed: bytes, tag_len: int) -> bytes | None:
    """Open plain AES-GCM (NIST SP 800-38D section 7.2).

    Args:
        key: 16 or 32 bytes.
        nonce: 12 bytes.
        aad: AAD.
        sealed: Ciphertext and tag.
        tag_len: Length of the tag, 4 to 16 bytes.

    Returns:
        The text, or None if the tag is wrong.
    """
    body = sealed[: len(sealed) - tag_len]
    # counter mode is its own inverse, and pyca/cryptography does not open short tags
    text = AESGCM(key).encrypt(nonce, body, b"")[: len(body)]
    return text if seal_gcm(key, nonce, aad, text, tag_len) == sealed else None


def split_records(stream: bytearray) -> Iterator[bytes]:
    """Remove complete records from the front of a byte stream and yield them."""
    while len(stream) >= _HEADER:
        size = _HEADER + int.from_bytes(stream[3:5], "big")
        if len(stream) < size:
            return
        with memoryview(stream) as view:
            record = bytes(view[:size])
        del stream[:size]
        yield record
