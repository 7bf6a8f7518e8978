# SPDX-License-Identifier: Apache-2.0
"""The byte-exact crypto_info structures."""

from __future__ import annotations

import struct

import pytest

from ktls import CryptoInfo, uapi
from ktls.crypto_info import CIPHERS
from ktls_cosim.check.golden import TrafficKeys

# total size, then offset of iv, key, salt, rec_seq (include/uapi/linux/tls.h)
LAYOUT = {
    51: (40, 4, 12, 28, 32),
    52: (56, 4, 12, 44, 48),
    53: (40, 4, 12, 28, 32),
    54: (56, 4, 16, 48, 48),
    55: (40, 4, 12, 28, 32),
    56: (40, 4, 12, 28, 32),
    57: (40, 4, 12, 28, 32),
    58: (56, 4, 12, 44, 48),
}


@pytest.mark.parametrize("cipher", sorted(LAYOUT))
def test_fields_have_linux_offsets(cipher: int) -> None:
    size, iv, key, salt, seq = LAYOUT[cipher]
    blob = bytearray(range(size))
    struct.pack_into("=HH", blob, 0, uapi.TLS_1_2_VERSION, cipher)
    info = CryptoInfo.unpack(bytes(blob))
    assert CIPHERS[cipher].crypto_info == size
    assert (info.iv[0], info.key[0], info.rec_seq[0]) == (iv, key, seq)
    assert info.salt == bytes(range(salt, seq))
    assert info.pack() == bytes(blob)


def test_sizes_are_exact() -> None:
    blob = struct.pack("=HH", uapi.TLS_1_2_VERSION, 51) + bytes(36)
    for wrong in (blob[:-1], blob + b"x"):
        with pytest.raises(ValueError, match="40 bytes"):
            CryptoInfo.unpack(wrong)
    with pytest.raises(ValueError, match="unknown"):
        CryptoInfo.unpack(struct.pack("=HH", uapi.TLS_1_2_VERSION, 99) + bytes(36))


def test_keys_are_not_in_any_repr() -> None:
    info = CryptoInfo(uapi.TLS_1_2_VERSION, 51, b"i" * 8, b"SECRETSECRETSECR", b"salt", bytes(8))
    for text in (repr(info), repr(TrafficKeys.from_crypto_info(info.pack()))):
        assert "SECRET" not in text
        assert "salt" not in text.replace("salt=", "")


def test_counters_advance_as_in_getsockopt() -> None:
    info = CryptoInfo(uapi.TLS_1_2_VERSION, 51, b"\xff" * 8, bytes(16), b"salt", bytes(8))
    later = info.at(3)
    assert later.iv == (2).to_bytes(8, "big")  # wraps silently
    assert later.rec_seq == (3).to_bytes(8, "big")
    tls13 = CryptoInfo(uapi.TLS_1_3_VERSION, 51, b"\xff" * 8, bytes(16), b"salt", bytes(8)).at(3)
    assert tls13.iv == b"\xff" * 8
