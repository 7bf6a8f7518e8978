# SPDX-License-Identifier: Apache-2.0
"""Find the likely cause of a wrongly sealed record."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ktls_cosim.check.golden import GoldenRecord, TrafficKeys, seal_record

_BLOCK = 16
_TAG = 16
_AES_GCM = (51, 52)


def diagnose(
    keys: TrafficKeys, index: int, rtype: int, plaintext: bytes, got: bytes
) -> tuple[str, tuple[str, ...], str]:
    """Compare a sealed record with the golden record and explain the difference.

    Args:
        keys: Keys of the direction.
        index: Number of records sealed earlier under these keys.
        rtype: Record type, 0 to 255.
        plaintext: Bytes that were sealed.
        got: The record as sealed by the device under test.

    Returns:
        The first wrong field (`header`, `nonce`, `ciphertext` or `tag`), lines that show
        the difference, and a likely cause.
    """
    want = seal_record(keys, index, rtype, plaintext)
    name, offset = _first_difference(want, got)
    block = ""
    if name == "ciphertext":
        block = f", block {(offset - len(want.header) - len(want.explicit)) // _BLOCK}"
    lo = max(0, offset - offset % _BLOCK)
    lines = (
        f"first wrong byte: {offset} of {len(want.wire)} (got {len(got)} bytes){block}",
        f"expected {want.wire[lo : lo + _BLOCK].hex(' ')}",
        f"got      {got[lo : lo + _BLOCK].hex(' ')}",
        f"nonce {want.nonce.hex()}  aad {want.aad.hex()}",
    )
    if name == "header":
        cause = "type, version or length of the header"
    elif name == "nonce":
        cause = "the explicit nonce does not count up from the iv of crypto_info"
    else:
        cause = _cause(keys, index, rtype, plaintext, want, got, name)
    return name, lines, cause


def _first_difference(want: GoldenRecord, got: bytes) -> tuple[str, int]:
    """Return the first wrong field and the offset of its first wrong byte."""
    for name, at, part in want.fields():
        piece = got[at : at + len(part)]
        if piece != part:
            for i, x in enumerate(part):
                if i >= len(piece) or piece[i] != x:
                    return name, at + i
    return "tag", len(want.wire)


def _cause(
    keys: TrafficKeys,
    index: int,
    rtype: int,
    plaintext: bytes,
    want: GoldenRecord,
    got: bytes,
    name: str,
) -> str:
    """Explain a wrong ciphertext or tag."""
    for other in (index - 2, index - 1, index + 1, index + 2):
        if other >= 0:
            there = seal_record(keys, other, rtype, plaintext)
            if got[len(want.header) + len(want.explicit) : -_TAG] == there.ciphertext and plaintext:
                return f"nonce of record {other} used for record {index}"
    if name == "tag":
        if got[-_TAG:] == want.tag[::-1]:
            return "tag in reverse byte order"
        return "GHASH: length block, AAD, hash key or J0"
    body = got[len(want.wire) - len(want.ciphertext) - _TAG : -_TAG]
    return _cause_of_ciphertext(keys, plaintext, want, body)


def _cause_of_ciphertext(
    keys: TrafficKeys, plaintext: bytes, want: GoldenRecord, body: bytes
) -> str:
    if plaintext and body == plaintext:
        return "the plaintext was not encrypted"
    wrong = [i for i, (x, y) in enumerate(zip(want.ciphertext, body, strict=False)) if x != y]
    if len(wrong) == 1:
        return f"single wrong byte {wrong[0]} of the ciphertext: datapath, not cryptography"
    for start in (0, 1, 3, 4):
        if body == _ctr(keys, want.nonce, start, plaintext):
            return f"payload counter starts at {start} instead of 2"
    if wrong and wrong[0] >= _BLOCK:
        return "first block correct, later blocks wrong: counter increment or a lost block"
    if not any(body):
        return "zeros: the device gave the record up after a read error of its source"
    return "key, nonce or byte order; or the record of another descriptor"


def _ctr(keys: TrafficKeys, nonce: bytes, start: int, data: bytes) -> bytes | None:
    """Encrypt `data` with AES-CTR, the 32-bit counter starting at `start`."""
    if keys.cipher not in _AES_GCM:
        return None
    ctr = modes.CTR(nonce + start.to_bytes(4, "big"))
    return Cipher(algorithms.AES(keys.key), ctr).encryptor().update(data)
