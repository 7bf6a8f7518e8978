# SPDX-License-Identifier: Apache-2.0
"""`struct tls12_crypto_info_*`, byte for byte (include/uapi/linux/tls.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from ktls import uapi


@dataclass(frozen=True, slots=True)
class CipherDesc:
    """The sizes of a cipher in bytes (`struct tls_cipher_desc`).

    Attributes:
        name: name for messages.
        iv: size of the IV.
        key: size of the key.
        salt: size of the salt.
        tls13: TLS 1.3 supports the cipher.
    """

    name: str
    iv: int
    key: int
    salt: int
    tls13: bool = True

    @property
    def crypto_info(self) -> int:
        """Bytes of the whole structure: two u16, iv, key, salt, rec_seq."""
        return 4 + self.iv + self.key + self.salt + 8


CIPHERS = {
    uapi.TLS_CIPHER_AES_GCM_128: CipherDesc("AES-GCM-128", 8, 16, 4),
    uapi.TLS_CIPHER_AES_GCM_256: CipherDesc("AES-GCM-256", 8, 32, 4),
    uapi.TLS_CIPHER_AES_CCM_128: CipherDesc("AES-CCM-128", 8, 16, 4),
    uapi.TLS_CIPHER_CHACHA20_POLY1305: CipherDesc("CHACHA20-POLY1305", 12, 32, 0),
    uapi.TLS_CIPHER_SM4_GCM: CipherDesc("SM4-GCM", 8, 16, 4),
    uapi.TLS_CIPHER_SM4_CCM: CipherDesc("SM4-CCM", 8, 16, 4),
    uapi.TLS_CIPHER_ARIA_GCM_128: CipherDesc("ARIA-GCM-128", 8, 16, 4, tls13=False),
    uapi.TLS_CIPHER_ARIA_GCM_256: CipherDesc("ARIA-GCM-256", 8, 32, 4, tls13=False),
}


@dataclass(frozen=True, slots=True)
class CryptoInfo:
    """Keys and counters of one direction; the repr does not contain them.

    Attributes:
        version: `TLS_1_2_VERSION` or `TLS_1_3_VERSION`.
        cipher: `TLS_CIPHER_*` number.
        iv: AES in TLS 1.2: explicit nonce of the next record. Otherwise: the static IV
            without its salt.
        key: the key.
        salt: the implicit part of the nonce (TLS 1.2) or the start of the static IV.
        rec_seq: number of the next record, 8 bytes, big endian.
    """

    version: int
    cipher: int
    iv: bytes = field(repr=False)
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    rec_seq: bytes = field(repr=False)

    @property
    def desc(self) -> CipherDesc:
        """The sizes of the cipher."""
        return CIPHERS[self.cipher]

    @classmethod
    def unpack(cls, blob: bytes) -> CryptoInfo:
        """Parse a structure; the order is iv, key, salt, rec_seq.

        Args:
            blob: the structure, in host byte order.

        Raises:
            ValueError: the cipher is unknown or the size does not match it.
        """
        version, cipher = struct.unpack_from("=HH", blob)
        desc = CIPHERS.get(cipher)
        if desc is None:
            raise ValueError(f"cipher_type {cipher} is unknown")
        if len(blob) != desc.crypto_info:
            raise ValueError(f"{desc.name} needs {desc.crypto_info} bytes, got {len(blob)}")
        parts = []
        at = 4
        for size in (desc.iv, desc.key, desc.salt, 8):
            parts.append(bytes(blob[at : at + size]))
            at += size
        return cls(version, cipher, *parts)

    def pack(self) -> bytes:
        """Return the structure as setsockopt takes it."""
        head = struct.pack("=HH", self.version, self.cipher)
        return head + self.iv + self.key + self.salt + self.rec_seq

    def at(self, records: int) -> CryptoInfo:
        """Return the structure as getsockopt returns it `records` records later."""
        seq = (int.from_bytes(self.rec_seq, "big") + records) % (1 << 64)
        iv = self.iv
        if self.version == uapi.TLS_1_2_VERSION and self.desc.iv == 8:
            iv = ((int.from_bytes(iv, "big") + records) % (1 << 64)).to_bytes(8, "big")
        return replace(self, iv=iv, rec_seq=seq.to_bytes(8, "big"))
