# SPDX-License-Identifier: Apache-2.0
"""Build IP packets with one TCP segment (RFC 791, RFC 8200, RFC 9293)."""

from __future__ import annotations

import ipaddress
import struct

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

Address = tuple[str, int]
"""Numeric host and port."""

_TCP = 6
_TCP_HEADER = 20
_IPV4_HEADER = 20
_TTL = 64
_DONT_FRAGMENT = 0x4000
_WINDOW = 65535


def tcp_packet(
    source: Address, target: Address, seq: int, ack: int, flags: int, data: bytes = b""
) -> bytes:
    """Return an IPv4 or IPv6 packet with valid checksums.

    Args:
        source: Address of the sender; its IP version is that of the packet.
        target: Address of the receiver.
        seq: Sequence number, 32 bits.
        ack: Acknowledgement number, 32 bits.
        flags: TCP flags, such as `SYN | ACK`.
        data: Payload, at most 65,495 bytes.
    """
    (shost, sport), (thost, tport) = source, target
    src, dst = ipaddress.ip_address(shost), ipaddress.ip_address(thost)
    size = _TCP_HEADER + len(data)
    tcp = struct.pack(
        ">HHIIBBHHH", sport, tport, seq, ack, _TCP_HEADER // 4 << 4, flags, _WINDOW, 0, 0
    )
    if src.version == 4:
        pseudo = src.packed + dst.packed + struct.pack(">BBH", 0, _TCP, size)
        ip = struct.pack(
            ">BBHHHBBH", 0x45, 0, _IPV4_HEADER + size, 0, _DONT_FRAGMENT, _TTL, _TCP, 0
        )
        ip += src.packed + dst.packed
        ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    else:
        pseudo = src.packed + dst.packed + struct.pack(">II", size, _TCP)
        ip = struct.pack(">IHBB", 6 << 28, size, _TCP, _TTL) + src.packed + dst.packed
    check = checksum(pseudo + tcp + data)
    return ip + tcp[:16] + check.to_bytes(2, "big") + tcp[18:] + data


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071), 16 bits."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
