# SPDX-License-Identifier: Apache-2.0
"""The golden model and the software path equal the records of real kernels."""

from __future__ import annotations

import doctest

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls import CryptoInfo, KtlsStack, connect_wire, uapi
from ktls_cosim.check import golden
from ktls_cosim.check.golden import TrafficKeys, open_record, seal_record
from ktls_cosim.vectors.cases import cavp_encrypt

# records of Linux 7.2.7 and 6.1.176: key 00 01 .., salt "SALT", iv a0..a7, rec_seq 0;
# record 0 is data "hello", record 1 is the alert 01 00
KERNEL = {
    (0x0303, 51): (
        "170303001da0a1a2a3a4a5a6a7d4f1b86258af8d52d6dc228ab116d75f84f9818a60",
        "150303001aa0a1a2a3a4a5a6a879944e041c9b5c55bd6776dcd2fcbfeb4638",
    ),
    (0x0303, 52): (
        "170303001da0a1a2a3a4a5a6a733340f9571d4549bed93321bb135538a15c900524d",
        "150303001aa0a1a2a3a4a5a6a8ffb37263759aea4ce18f8bd77a590052a77e",
    ),
    (0x0303, 53): (
        "170303001da0a1a2a3a4a5a6a74e7149b0e5094c1ca0a3c35c0e7b5281dc06a144e2",
        "150303001aa0a1a2a3a4a5a6a8bdfcd41c23654bc6d8bbbb66a0c800be27a1",
    ),
    (0x0303, 54): (
        "170303001527052282a4afc0fe12f76fc26f96e532b8d38ea951",
        "1503030012780e249f8fbd3cd920bb004d65ae565fcec3",
    ),
    (0x0304, 51): (
        "1703030016d4f1b86258e1b714ed9df6cdbede586e6ce9a6e103d8",
        "1703030013e74ac1f92625181b9d3159ef7bf2d4d3e5e1f2",
    ),
    (0x0304, 52): (
        "170303001633340f95715d79c3bdd4b1928a2c9c99fcdc0b419574",
        "170303001305e09ec1260cdf61fc7f8dd1734ebc302165f2",
    ),
    (0x0304, 53): (
        "17030300164e7149b0e57c5cfd099795f34e8c85d6d8d1c9b8acf9",
        "1703030013bfb84602cf48143d3a7bff55440fdc079c9b05",
    ),
    (0x0304, 54): (
        "170303001627052282a44f1ae4b44d5b4d4c3cb973e47c98a403b2",
        "1703030013780ede8398ed1bc67bc5bded6ce943588e7028",
    ),
}
JOBS = [(23, b"hello"), (21, b"\x01\x00")]


def info_of(version: int, cipher: int) -> CryptoInfo:
    iv = bytes(range(0xA0, 0xA8))
    if cipher == 54:
        return CryptoInfo(version, cipher, b"SALT" + iv, bytes(range(32)), b"", bytes(8))
    key = bytes(range(32 if cipher == 52 else 16))
    return CryptoInfo(version, cipher, iv, key, b"SALT", bytes(8))


@pytest.mark.parametrize(("version", "cipher"), sorted(KERNEL))
def test_golden_records_equal_the_kernel(version: int, cipher: int) -> None:
    keys = TrafficKeys.from_crypto_info(info_of(version, cipher).pack())
    for index, (rtype, data) in enumerate(JOBS):
        record = seal_record(keys, index, rtype, data)
        assert record.wire.hex() == KERNEL[version, cipher][index]
        assert open_record(keys, index, record.wire) == (rtype, data)
        assert open_record(keys, index + 1, record.wire) is None
        damaged = record.wire[:-1] + bytes([record.wire[-1] ^ 1])
        assert open_record(keys, index, damaged) is None


@pytest.mark.parametrize(("version", "cipher"), sorted(KERNEL))
def test_software_path_equals_the_kernel(version: int, cipher: int) -> None:
    wire = bytearray()
    sock = connect_wire(KtlsStack(), wire.extend)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info_of(version, cipher).pack())
    assert sock.why_not_offloaded == "there is no offload device"
    assert sock.send(b"hello") == 5
    assert sock.sendmsg([b"\x01\x00"], [(282, 1, b"\x15")]) == 2
    assert wire.hex() == "".join(KERNEL[version, cipher])


def test_example_in_the_docstring() -> None:
    results = doctest.testmod(golden)
    assert results.attempted >= 2
    assert results.failed == 0


def test_cavp_slice_through_pyca() -> None:
    """pyca/cryptography agrees with every case that the reader returns."""
    for bits in (128, 256):
        cases = list(cavp_encrypt(bits))
        assert len(cases) == 375
        for c in cases:
            assert len(c.key) * 8 == bits
            assert AESGCM(c.key).encrypt(c.nonce, c.plaintext, c.aad) == c.ciphertext + c.tag
