# SPDX-License-Identifier: Apache-2.0
"""AES-GCM in pieces (NIST SP 800-38D), to find the piece that is wrong in a sealed record.

Blocks are 16 bytes. In GF(2^128) a block is the integer of its bytes in big-endian order, so
the most significant bit is the coefficient of x^0 (SP 800-38D section 6.3).
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 16
_POLYNOMIAL = 0xE1 << 120
_ONE = 1 << 127


def xor(a: bytes, b: bytes) -> bytes:
    """Return the exclusive or of two strings, as long as the shorter one."""
    return bytes(x ^ y for x, y in zip(a, b, strict=False))


def multiply(x: int, y: int) -> int:
    """Return the product of two elements of GF(2^128) (SP 800-38D algorithm 1)."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (_POLYNOMIAL if y & 1 else 0)
    return product


def power(x: int, exponent: int) -> int:
    """Return `x` to a power; exponents count modulo 2^128 - 1, so -1 is the inverse."""
    exponent %= 2**128 - 1
    out = _ONE
    while exponent:
        if exponent & 1:
            out = multiply(out, x)
        x = multiply(x, x)
        exponent >>= 1
    return out


def blocks(data: bytes) -> list[bytes]:
    """Split into blocks; the last one may be shorter."""
    return [data[i : i + BLOCK] for i in range(0, len(data), BLOCK)]


class Gcm:
    """One key and one nonce of AES-GCM.

    Args:
        key: 16 or 32 bytes.
        nonce: 12 bytes.
    """

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())
        self.nonce = nonce
        self.hash_key = int.from_bytes(self.encrypt(bytes(BLOCK)), "big")

    def encrypt(self, block: bytes) -> bytes:
        """Encrypt blocks with AES."""
        return self._cipher.encryptor().update(block)

    def decrypt(self, block: bytes) -> bytes:
        """Decrypt blocks with AES: from keystream to counter block."""
        return self._cipher.decryptor().update(block)

    def counter(self, number: int) -> bytes:
        """Return the counter block with this 32-bit counter; J0 has 1, the first text block 2."""
        return self.nonce + number.to_bytes(4, "big")

    def stream(self, start: int, text: bytes) -> bytes:
        """Encrypt `text` in counter mode from counter `start`."""
        count = -(-len(text) // BLOCK)
        numbers = ((start + i) & 0xFFFFFFFF for i in range(count))
        return xor(self.encrypt(b"".join(map(self.counter, numbers))), text)

    def ghash(self, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the hash of AAD, ciphertext and length block (SP 800-38D section 6.4)."""
        lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
        y = 0
        for block in (*blocks(aad), *blocks(ciphertext), lengths):
            y = multiply(y ^ int.from_bytes(block.ljust(BLOCK, b"\0"), "big"), self.hash_key)
        return y.to_bytes(BLOCK, "big")

    def tag(self, aad: bytes, ciphertext: bytes) -> bytes:
        """Return the 16-byte tag of a ciphertext, right or wrong."""
        return xor(self.ghash(aad, ciphertext), self.encrypt(self.counter(1)))
