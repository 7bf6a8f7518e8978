# SPDX-License-Identifier: Apache-2.0
"""NIST CAVP AES-GCM cases from the package `cryptography-vectors` (dev extra)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, slots=True)
class GcmCase:
    """One encrypt case: all values in printed order."""

    file: str
    count: int
    key: bytes
    nonce: bytes
    aad: bytes
    plaintext: bytes
    ciphertext: bytes
    tag: bytes


def cavp_encrypt(key_bits: int) -> Iterator[GcmCase]:
    """Encrypt cases with a 96-bit IV and a 128-bit tag, in file order.

    Args:
        key_bits: 128 or 256.
    """
    name = f"gcmEncryptExtIV{key_bits}.rsp"
    folder = resources.files("cryptography_vectors") / "ciphers" / "AES" / "GCM"
    section: dict[str, int] = {}
    case: dict[str, str] = {}
    for raw in (folder / name).read_text().splitlines():
        line = raw.strip()
        if line.startswith("["):
            key, _, value = line.strip("[]").partition("=")
            section[key.strip()] = int(value)
        elif "=" in line:
            key, _, value = line.partition("=")
            case[key.strip()] = value.strip()
            if key.strip() == "Tag":
                if section["IVlen"] == 96 and section["Taglen"] == 128:
                    h = bytes.fromhex
                    yield GcmCase(
                        name,
                        int(case["Count"]),
                        h(case["Key"]),
                        h(case["IV"]),
                        h(case["AAD"]),
                        h(case["PT"]),
                        h(case["CT"]),
                        h(case["Tag"]),
                    )
                case = {}
