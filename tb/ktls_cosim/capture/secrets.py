# SPDX-License-Identifier: Apache-2.0
"""Derive the keys of kTLS from the secrets of a handshake.

TLS 1.2: RFC 5246 sections 5, 6.3 and 8.1 (the PRF and the key block); TLS 1.3: RFC 8446
sections 7.1 to 7.3 (HKDF-Expand-Label, traffic secrets, traffic keys).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ktls import CryptoInfo, uapi
from ktls.crypto_info import CIPHERS

_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}


@dataclass(frozen=True, slots=True)
class Suite:
    """The properties of a cipher suite that kTLS needs.

    Attributes:
        cipher: `TLS_CIPHER_*` of include/uapi/linux/tls.h.
    """

    cipher: int

    @property
    def hash(self) -> str:
        """Name of the hash of the PRF or of HKDF."""
        return "sha384" if self.cipher == uapi.TLS_CIPHER_AES_GCM_256 else "sha256"


def suite_of(name: str) -> Suite | None:
    """Return the suite with this OpenSSL name; None if kTLS has no such cipher."""
    if "CHACHA20" in name:
        return Suite(uapi.TLS_CIPHER_CHACHA20_POLY1305)
    for size, cipher in (
        ("128", uapi.TLS_CIPHER_AES_GCM_128),
        ("256", uapi.TLS_CIPHER_AES_GCM_256),
    ):
        if f"AES{size}-GCM" in name or f"AES_{size}_GCM" in name:
            return Suite(cipher)
    return None


def prf(digest: str, secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """Compute the PRF of TLS 1.2 (RFC 5246 section 5).

    Args:
        digest: Name of the hash.
        secret: Key of the HMAC.
        label: ASCII label.
        seed: Seed.
        length: Length of the result in bytes.
    """
    seed = label + seed
    out = b""
    a = seed
    while len(out) < length:
        a = hmac.digest(secret, a, digest)
        out += hmac.digest(secret, a + seed, digest)
    return out[:length]


def key_block(
    suite: Suite, master: bytes, client_random: bytes, server_random: bytes
) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Derive the key block of TLS 1.2 (RFC 5246 section 6.3).

    Args:
        suite: Negotiated suite.
        master: Master secret, 48 bytes.
        client_random: 32 bytes.
        server_random: 32 bytes.

    Returns:
        Key and implicit nonce of the client's direction, then of the server's.
    """
    desc = CIPHERS[suite.cipher]
    fixed = desc.salt or desc.iv
    size = 2 * (desc.key + fixed)
    block = prf(suite.hash, master, b"key expansion", server_random + client_random, size)
    keys = block[: desc.key], block[desc.key : 2 * desc.key]
    ivs = block[2 * desc.key : 2 * desc.key + fixed], block[2 * desc.key + fixed :]
    return (keys[0], ivs[0]), (keys[1], ivs[1])


def tls12_info(suite: Suite, key: bytes, fixed: bytes, explicit: bytes, seq: int) -> CryptoInfo:
    """Return the crypto_info of a TLS 1.2 direction.

    Args:
        suite: Negotiated suite.
        key: Key from `key_block`.
        fixed: Implicit nonce from `key_block`.
        explicit: Explicit nonce of the next record, 8 bytes; ChaCha20-Poly1305 has none.
        seq: Number of the next record.
    """
    iv, salt = (explicit, fixed) if CIPHERS[suite.cipher].salt else (fixed, b"")
    number = seq.to_bytes(8, "big")
    return CryptoInfo(uapi.TLS_1_2_VERSION, suite.cipher, iv, key, salt, number)


def expand_label(digest: str, secret: bytes, label: bytes, length: int) -> bytes:
    """Compute HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).

    Args:
        digest: Name of the hash.
        secret: Secret of the hash's length.
        label: Label without the prefix `tls13 `.
        length: Length of the result in bytes.
    """
    full = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(full),)) + full + b"\0"
    return HKDFExpand(_HASHES[digest], length, info).derive(secret)


@dataclass(frozen=True, slots=True)
class TrafficSecret:
    """A TLS 1.3 traffic secret of one direction.

    Attributes:
        suite: Negotiated suite.
        secret: The secret, of the length of the suite's hash; not in the repr.
    """

    suite: Suite
    secret: bytes = field(repr=False)

    def info(self, seq: int = 0) -> CryptoInfo:
        """Return the crypto_info of the direction.

        Args:
            seq: Number of the next record.
        """
        desc = CIPHERS[self.suite.cipher]
        key = expand_label(self.suite.hash, self.secret, b"key", desc.key)
        iv = expand_label(self.suite.hash, self.secret, b"iv", desc.salt + desc.iv)
        number = seq.to_bytes(8, "big")
        salt, rest = iv[: desc.salt], iv[desc.salt :]
        return CryptoInfo(uapi.TLS_1_3_VERSION, self.suite.cipher, rest, key, salt, number)

    def next(self) -> TrafficSecret:
        """Return the secret after a KeyUpdate (RFC 8446 section 7.2)."""
        size = len(self.secret)
        return TrafficSecret(
            self.suite, expand_label(self.suite.hash, self.secret, b"traffic upd", size)
        )


class KeyLog:
    """The secrets of a key log (`SSLKEYLOGFILE`), by client random and label."""

    def __init__(self) -> None:
        self._secrets: dict[bytes, dict[str, bytes]] = {}

    def add(self, text: str) -> None:
        """Parse lines; skip comments and malformed lines."""
        for line in text.splitlines():
            words = line.split()
            if len(words) != 3 or line.startswith("#"):
                continue
            try:
                random, secret = bytes.fromhex(words[1]), bytes.fromhex(words[2])
            except ValueError:
                continue
            self._secrets.setdefault(random, {})[words[0]] = secret

    def take(self, client_random: bytes) -> dict[str, bytes]:
        """Return and forget the secrets of one handshake."""
        return self._secrets.pop(client_random, {})


def log_lines(client_random: bytes, secrets: dict[str, bytes]) -> str:
    """Format secrets as lines of a key log, as pcapng files contain them."""
    return "".join(
        f"{label} {client_random.hex()} {secret.hex()}\n" for label, secret in secrets.items()
    )
