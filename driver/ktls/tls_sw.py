# SPDX-License-Identifier: Apache-2.0
"""The software path: records sealed by the CPU (net/tls/tls_sw.c)."""

from __future__ import annotations

import errno

from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.errors import KtlsOSError


def _aead(info: CryptoInfo) -> AESGCM | AESCCM | ChaCha20Poly1305:
    if info.cipher in (uapi.TLS_CIPHER_AES_GCM_128, uapi.TLS_CIPHER_AES_GCM_256):
        return AESGCM(info.key)
    if info.cipher == uapi.TLS_CIPHER_AES_CCM_128:
        return AESCCM(info.key)
    if info.cipher == uapi.TLS_CIPHER_CHACHA20_POLY1305:
        return ChaCha20Poly1305(info.key)
    raise KtlsOSError(errno.ENOENT, f"{info.desc.name} is not in this model's crypto API")


class SwTx:
    """Seals records in order (`tls_push_record`).

    Record layout and nonces: RFC 5246 section 6.2.3.3 with RFC 5288, 6655 and 7905
    for TLS 1.2, RFC 8446 sections 5.2 and 5.3 for TLS 1.3.

    Raises:
        KtlsOSError: ENOENT, the cipher is not available.
    """

    def __init__(self, info: CryptoInfo) -> None:
        self._info = info
        self._aead = _aead(info)

    def seal(self, number: int, rtype: int, data: bytes) -> bytes:
        """One record.

        Args:
            number: how many records of this key came before it.
            rtype: record type, 0..255.
            data: plaintext, at most 16384 bytes.

        Returns:
            Header, explicit nonce where there is one, ciphertext and tag.
        """
        now = self._info.at(number)
        if now.version == uapi.TLS_1_3_VERSION:
            nonce = _xor_number(now.salt + now.iv, now.rec_seq)
            inner = data + bytes([rtype])
            head = b"\x17\x03\x03" + (len(inner) + uapi.TLS_TAG_SIZE).to_bytes(2, "big")
            return head + self._aead.encrypt(nonce, inner, head)
        aad = now.rec_seq + bytes([rtype, 3, 3]) + len(data).to_bytes(2, "big")
        if now.cipher == uapi.TLS_CIPHER_CHACHA20_POLY1305:
            explicit = b""
            nonce = _xor_number(now.iv, now.rec_seq)
        else:
            explicit = now.iv
            nonce = now.salt + explicit
        body = explicit + self._aead.encrypt(nonce, data, aad)
        return bytes([rtype, 3, 3]) + len(body).to_bytes(2, "big") + body


def _xor_number(iv: bytes, rec_seq: bytes) -> bytes:
    value = int.from_bytes(iv, "big") ^ int.from_bytes(rec_seq, "big")
    return value.to_bytes(12, "big")
