# SPDX-License-Identifier: Apache-2.0
"""Packets of captures and socket addresses of `run`, byte by byte."""

from __future__ import annotations

import socket
import struct

import pytest

from ktls_cosim.capture.packet import ACK, SYN, checksum, tcp_packet
from ktls_cosim.run import sockaddr


def test_checksum_of_rfc_1071() -> None:
    """The example of RFC 1071 section 3: the sum is ddf2."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF
    assert checksum(b"\x01") == 0x0100 ^ 0xFFFF


@pytest.mark.parametrize("data", [b"", b"odd", b"even"])
def test_ipv4_packet(data: bytes) -> None:
    raw = tcp_packet(("192.0.2.1", 443), ("192.0.2.2", 50000), 7, 9, SYN | ACK, data)
    assert (raw[0], len(raw)) == (0x45, 40 + len(data))
    assert int.from_bytes(raw[2:4], "big") == len(raw)
    assert checksum(raw[:20]) == 0
    pseudo = raw[12:20] + struct.pack(">BBH", 0, 6, len(raw) - 20)
    assert checksum(pseudo + raw[20:]) == 0
    assert struct.unpack(">HHIIBB", raw[20:34]) == (443, 50000, 7, 9, 0x50, SYN | ACK)
    assert raw[40:] == data


def test_ipv6_packet() -> None:
    raw = tcp_packet(("2001:db8::1", 443), ("2001:db8::2", 50000), 7, 9, ACK, b"text")
    assert (raw[0] >> 4, raw[6], int.from_bytes(raw[4:6], "big")) == (6, 6, 24)
    pseudo = raw[8:40] + struct.pack(">II", 24, 6)
    assert checksum(pseudo + raw[40:]) == 0


@pytest.mark.parametrize(
    ("family", "host", "raw"),
    [
        (socket.AF_INET, "192.0.2.1", "020001bbc00002010000000000000000"),
        (socket.AF_INET6, "2001:db8::1",
         "0a0001bb0000000020010db800000000000000000000000100000000"),
    ],
)  # fmt: skip
def test_socket_addresses(family: int, host: str, raw: str) -> None:
    assert sockaddr.pack(family, host, 443).hex() == raw
    assert sockaddr.unpack(bytes.fromhex(raw)) == (host, 443)
