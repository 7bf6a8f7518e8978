# SPDX-License-Identifier: Apache-2.0
"""Record protection in software: the keys and counters of one direction.

Follows RFC 5246 section 6.2.3.3 with RFC 5288 (GCM), 6655 (CCM) and 7905
(ChaCha20-Poly1305) for TLS 1.2, RFC 8446 sections 5.2 and 5.3 for TLS 1.3, and
net/tls/tls.h (`tls_make_aad`, `tls_advance_record_sn`).
"""

from __future__ import annotations

import errno
import struct
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.errors import KtlsOSError

Buffer = bytes | bytearray | memoryview

MAX_NUMBER = (1 << 64) - 1
"""The last record number; the next one wraps to 0."""
_HEAD = struct.Struct(">BHH")
_TAIL13 = 1


class BadRecord(Exception):
    """A record is not authentic."""


def _aead(info: CryptoInfo) -> AESGCM | AESCCM | ChaCha20Poly1305:
    if info.cipher in (uapi.TLS_CIPHER_AES_GCM_128, uapi.TLS_CIPHER_AES_GCM_256):
        return AESGCM(info.key)
    if info.cipher == uapi.TLS_CIPHER_AES_CCM_128:
        return AESCCM(info.key)
    if info.cipher == uapi.TLS_CIPHER_CHACHA20_POLY1305:
        return ChaCha20Poly1305(info.key)
    raise KtlsOSError(errno.ENOENT, f"{info.desc.name} is not available in this model")


class Protection:
    """Seals or opens the records of one direction.

    Args:
        info: keys and counters.

    Attributes:
        version: TLS version as in crypto_info.
        cipher: cipher type as in crypto_info.
        tls13: the version is TLS 1.3.
        explicit: records carry an explicit nonce (AES in TLS 1.2).
        seq: number of the next record.
        iv: explicit nonce of the next record; unused without explicit nonces.
        prepend: bytes before the ciphertext (`prepend_size`).
        tail: bytes of the inner type: 1 in TLS 1.3, else 0 (`tail_size`).
        overhead: bytes of a record minus those of its plaintext (`overhead_size`).

    Raises:
        KtlsOSError: ENOENT, the cipher is not available.
    """

    def __init__(self, info: CryptoInfo) -> None:
        self._info = info
        self._encrypt = _aead(info).encrypt
        self._decrypt = _aead(info).decrypt
        self._salt = info.salt
        self.version = info.version
        self.cipher = info.cipher
        self.tls13 = info.version == uapi.TLS_1_3_VERSION
        self.explicit = not self.tls13 and info.desc.iv == 8
        self.seq = int.from_bytes(info.rec_seq, "big")
        self.iv = int.from_bytes(info.iv, "big")
        self._static_iv = int.from_bytes(info.salt + info.iv, "big")
        self._framed = -1
        self._head = self._aad_end = b""
        self.prepend = uapi.TLS_HEADER_SIZE + (8 if self.explicit else 0)
        self.tail = _TAIL13 if self.tls13 else 0
        self.overhead = self.prepend + uapi.TLS_TAG_SIZE + self.tail

    @property
    def info(self) -> CryptoInfo:
        """The crypto_info with the current counters, as getsockopt returns it."""
        iv = self.iv.to_bytes(len(self._info.iv), "big")
        return replace(self._info, iv=iv, rec_seq=self.seq.to_bytes(8, "big"))

    def advance(self) -> bool:
        """Advance to the next record (`tls_advance_record_sn`).

        Returns:
            Whether the record number wrapped to 0.
        """
        if self.explicit:
            self.iv = (self.iv + 1) & MAX_NUMBER
        if self.seq == MAX_NUMBER:
            self.seq = 0
            return True
        self.seq += 1
        return False

    def seal_data(self, data: Buffer) -> tuple[bytes, bytes]:
        """Seal the next data record and advance: `seal_at` and `advance` in one fast function.

        Args:
            data: plaintext; the record number must be below `MAX_NUMBER`.

        Returns:
            Header with explicit nonce, and ciphertext with tag.
        """
        if not self.explicit:
            parts = self.seal_at(self.seq, self.iv, uapi.RECORD_TYPE_DATA, data)
            self.advance()
            return parts
        n = len(data)
        if n != self._framed:
            self._framed = n
            self._head = _HEAD.pack(uapi.RECORD_TYPE_DATA, 0x0303, n + 24)
            self._aad_end = _HEAD.pack(uapi.RECORD_TYPE_DATA, 0x0303, n)
        seq = self.seq
        nonce = self.iv.to_bytes(8, "big")
        self.seq = seq + 1
        self.iv = (self.iv + 1) & MAX_NUMBER
        aad = seq.to_bytes(8, "big") + self._aad_end
        return self._head + nonce, self._encrypt(self._salt + nonce, data, aad)

    def seal_at(self, seq: int, iv: int, rtype: int, data: Buffer) -> tuple[bytes, bytes]:
        """Seal a record.

        Args:
            seq: its number.
            iv: its explicit nonce, if records carry one.
            rtype: record type, 0..255.
            data: plaintext, at most 16384 bytes.

        Returns:
            Header with explicit nonce, and ciphertext with tag.
        """
        n = len(data)
        if self.explicit:
            nonce = iv.to_bytes(8, "big")
            aad = seq.to_bytes(8, "big") + _HEAD.pack(rtype, 0x0303, n)
            head = _HEAD.pack(rtype, 0x0303, n + 24) + nonce
            return head, self._encrypt(self._salt + nonce, data, aad)
        nonce = (self._static_iv ^ seq).to_bytes(12, "big")
        if self.tls13:
            head = _HEAD.pack(uapi.RECORD_TYPE_DATA, 0x0303, n + 17)
            return head, self._encrypt(nonce, bytes(data) + bytes((rtype,)), head)
        aad = seq.to_bytes(8, "big") + _HEAD.pack(rtype, 0x0303, n)
        return _HEAD.pack(rtype, 0x0303, n + 16), self._encrypt(nonce, data, aad)

    def open(self, record: Buffer) -> bytes:
        """Open the next record.

        As in Linux (`tls_make_aad`), the AAD of TLS 1.3 contains the constant outer type 23;
        the type on the wire is ignored.

        Args:
            record: a whole record with its header.

        Returns:
            The plaintext; in TLS 1.3 with inner type and padding.

        Raises:
            BadRecord: the record is not authentic.
        """
        body = bytes(record[self.prepend :])
        n = len(body) - uapi.TLS_TAG_SIZE
        if self.explicit:
            nonce = self._salt + bytes(record[uapi.TLS_HEADER_SIZE : self.prepend])
        else:
            nonce = (self._static_iv ^ self.seq).to_bytes(12, "big")
        if self.tls13:
            aad = _HEAD.pack(uapi.RECORD_TYPE_DATA, 0x0303, n + 16)
        else:
            aad = self.seq.to_bytes(8, "big") + _HEAD.pack(record[0], 0x0303, n)
        try:
            return self._decrypt(nonce, body, aad)
        except InvalidTag:
            raise BadRecord(f"record {self.seq} is not authentic") from None
