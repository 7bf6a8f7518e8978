# SPDX-License-Identifier: Apache-2.0
"""Control messages in a msghdr, byte for byte (include/linux/socket.h, net/core/scm.c).

`struct cmsghdr` is, on 64-bit Linux: cmsg_len (8 bytes), cmsg_level and cmsg_type (4
each), host byte order; every message starts at a multiple of 8.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ktls import uapi
from ktls.errors import KtlsOSError

_HEAD = struct.Struct("=Qii")

# messages of level SOL_SOCKET that TCP accepts
_IGNORED = (uapi.SCM_RIGHTS, uapi.SCM_CREDENTIALS)
# SOF_TIMESTAMPING_TX_RECORD_MASK
_TX_TIMESTAMPS = 0x1 | 0x2 | 0x100 | 0x200
_STAMPS = (uapi.SO_TIMESTAMPING, uapi.SO_TIMESTAMPING_NEW)
_INTS = (uapi.SO_MARK, *_STAMPS)

AncillaryData = Sequence[tuple[int, int, bytes]]
"""Control messages as (level, type, data)."""


@dataclass(frozen=True, slots=True)
class Cmsg:
    """A control message as a receiver finds it.

    Attributes:
        level: cmsg_level.
        kind: cmsg_type.
        length: cmsg_len, which includes the header.
        data: the bytes after the header.
    """

    level: int
    kind: int
    length: int
    data: bytes


def _align(n: int) -> int:
    return (n + 7) & ~7


def pack(ancdata: AncillaryData) -> bytes:
    """Return a control buffer with these messages."""
    out = b""
    for level, kind, data in ancdata:
        head = _HEAD.pack(_HEAD.size + len(data), level, kind)
        out += head + data.ljust(_align(len(data)), b"\0")
    return out


def walk(control: bytes) -> Iterator[Cmsg]:
    """Yield the messages of a control buffer (`for_each_cmsghdr`).

    Raises:
        KtlsOSError: EINVAL, a cmsg_len does not fit into the buffer (`CMSG_OK`).
    """
    at = 0
    while at + _HEAD.size <= len(control):
        length, level, kind = _HEAD.unpack_from(control, at)
        if not _HEAD.size <= length <= len(control) - at:
            raise KtlsOSError(errno.EINVAL, f"cmsg_len {length} does not fit")
        yield Cmsg(level, kind, length, bytes(control[at + _HEAD.size : at + length]))
        at += _align(length)


def check_socket_messages(control: bytes, more: Sequence[int] = ()) -> None:
    """Check the messages of level SOL_SOCKET in a send without keys (`sock_cmsg_send`).

    Args:
        control: the control buffer.
        more: types that this kernel accepts besides those of all kernels.

    Raises:
        KtlsOSError: EINVAL, a cmsg_len or a type is wrong.
    """
    for message in walk(control):
        if message.level != uapi.SOL_SOCKET or message.kind in _IGNORED:
            continue
        good = message.kind in (*_INTS, *more) and len(message.data) == 4
        if message.kind in _STAMPS and good:
            good = not int.from_bytes(message.data, "little") & ~_TX_TIMESTAMPS
        if not good:
            raise KtlsOSError(errno.EINVAL, f"type {message.kind} of SOL_SOCKET")


class ControlBuffer:
    """A receiver's control buffer, which the kernel fills.

    Args:
        size: msg_controllen of the caller.

    Attributes:
        cmsgs: the messages in the buffer.
        used: msg_controllen after the call.
        truncated: a message did not fit (MSG_CTRUNC).
    """

    __slots__ = ("_size", "cmsgs", "truncated", "used")

    def __init__(self, size: int) -> None:
        self._size = size
        self.cmsgs: list[Cmsg] = []
        self.used = 0
        self.truncated = False

    def put(self, level: int, kind: int, data: bytes) -> None:
        """Add a message, truncated if the room is too small (`put_cmsg`)."""
        room = self._size - self.used
        if room < _HEAD.size:
            self.truncated = True
            return
        length = _HEAD.size + len(data)
        if room < length:
            self.truncated = True
            length = room
        self.cmsgs.append(Cmsg(level, kind, length, data[: length - _HEAD.size]))
        self.used += min(uapi.CMSG_HEADER_SIZE + _align(len(data)), room)
