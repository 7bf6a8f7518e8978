# SPDX-License-Identifier: Apache-2.0
"""`struct sockaddr_in` and `struct sockaddr_in6` (include/uapi/linux/in.h, in6.h)."""

from __future__ import annotations

import socket

_IN_PADDING = bytes(8)
_FLOWINFO = _SCOPE_ID = bytes(4)


def pack(family: int, host: str, port: int) -> bytes:
    """Return the structure for an address; flow information and scope are 0.

    Args:
        family: AF_INET or AF_INET6.
        host: Numeric address.
        port: Port number.
    """
    head = family.to_bytes(2, "little") + port.to_bytes(2, "big")
    if family == socket.AF_INET:
        return head + socket.inet_pton(socket.AF_INET, host) + _IN_PADDING
    return head + _FLOWINFO + socket.inet_pton(socket.AF_INET6, host) + _SCOPE_ID


def unpack(raw: bytes) -> tuple[str, int]:
    """Return numeric host and port of a structure; any family but AF_INET6 is AF_INET."""
    family = int.from_bytes(raw[:2], "little")
    port = int.from_bytes(raw[2:4], "big")
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port
    return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
