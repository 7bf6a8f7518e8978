# SPDX-License-Identifier: Apache-2.0
"""The input bytes of a scenario: data patterns, faulty records and control messages.

Format: tests/oracle/README.md.
"""

from __future__ import annotations

import struct
from typing import Any

from ktls_cosim.check.golden import TrafficKeys

CryptoSuite = dict[str, Any]
TLS13 = 0x0304
# the data pattern of seed 0, and tables that add the contribution of a seed
_BASE = bytes((i * 11 + (i >> 8) * 5 + (i >> 16) * 3) & 0xFF for i in range(1 << 17))
_PLUS = [bytes((i + n) & 0xFF for i in range(256)) for n in range(256)]


def pattern(seed: int, count: int, offset: int = 0) -> bytes:
    """Return bytes of the data pattern of a seed.

    Args:
        seed: Seed.
        count: Number of bytes.
        offset: Offset of the first byte in the pattern.
    """
    if offset + count > len(_BASE):
        return bytes(
            (seed * 37 + i * 11 + (i >> 8) * 5 + (i >> 16) * 3) & 0xFF
            for i in range(offset, offset + count)
        )
    return _BASE[offset : offset + count].translate(_PLUS[seed * 37 & 0xFF])


def traffic_keys(suite: CryptoSuite) -> TrafficKeys:
    """Return the keys of a suite for the golden model, with 0 as the first record number."""
    return TrafficKeys(
        version=suite["ver"],
        cipher=suite["cipher"],
        key=bytes.fromhex(suite["key"]),
        salt=bytes.fromhex(suite["salt"]),
        iv=bytes.fromhex(suite["iv"]),
        first_number=0,
    )


def build_record(suite: CryptoSuite, r: dict[str, Any]) -> bytes:
    """Return a record for a kTLS receiver.

    Args:
        suite: Version, cipher and key material.
        r: Description of the record and of its faults.
    """
    if "raw" in r:
        return bytes.fromhex(r["raw"])
    keys = traffic_keys(suite)
    number = r.get("seq", 0)
    rtype = r.get("t", 23)
    text = bytes.fromhex(r["data"]) if "data" in r else pattern(r.get("seed", 0), r.get("n", 0))
    version = bytes.fromhex(r.get("ver", "0303"))
    signed_number = r.get("aad_seq", number)
    if keys.version == TLS13:
        first = r.get("outer", 23)
        inner = text + bytes([rtype]) + bytes(r.get("pad", 0))
        if r.get("inner_zero"):
            inner = bytes(len(inner))
        aad = bytes([r.get("aad_t", first)]) + version + struct.pack(">H", len(inner) + 16)
        body = keys.aead.encrypt(keys.nonce(signed_number, b""), inner, aad)
    else:
        first = rtype
        explicit = bytes.fromhex(r["nonce"]) if "nonce" in r else number.to_bytes(8, "big")
        explicit = explicit[: len(keys.explicit_nonce(0))]
        aad = struct.pack(">QBHH", signed_number, r.get("aad_t", first), 0x0303, len(text))
        body = explicit + keys.aead.encrypt(keys.nonce(signed_number, explicit), text, aad)
    header = bytes([first]) + version + struct.pack(">H", r.get("hdrlen", len(body)))
    record = bytearray(header + body)
    if "flip" in r:
        record[r["flip"]] ^= 1
    return bytes(record[: r["cut"]] if "cut" in r else record)


def control_buffer(cm: str | None, ctllen: int | None) -> bytes:
    """Return the control buffer of a sendmsg step.

    Args:
        cm: Control messages.
        ctllen: Length of the buffer; None: that of the messages.
    """
    out = b""
    for part in (cm or "").split("|"):
        if not part:
            continue
        level, kind, length, data = part.split(":")
        raw = bytes.fromhex(data)
        size = 16 + len(raw) if int(length) == -1 else int(length)
        out += struct.pack("=Qii", size, int(level), int(kind)) + raw
        out += bytes(-len(raw) % 8)
    if ctllen is not None:
        out = out[:ctllen].ljust(ctllen, b"\0")
    return out


def iov(text: str) -> tuple[list[int], int | None]:
    """Parse the buffers of a step.

    Returns:
        Their lengths, and the offset of the first byte at a bad address, or None.
    """
    lengths: list[int] = []
    fault_at: int | None = None
    for part in text.split(","):
        number, _, good = part.strip("BG").partition(":")
        if fault_at is None and part[0] in "BG" and int(number):
            fault_at = sum(lengths) + (int(good) if good else 0)
        lengths.append(int(number))
    return lengths, fault_at
