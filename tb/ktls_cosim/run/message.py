# SPDX-License-Identifier: Apache-2.0
"""iovec arrays and `struct msghdr` in the memory of another process (64-bit Linux)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from ktls import KtlsOSError, KtlsSocket, cmsg, uapi
from ktls_cosim.run.process import Iov, Process

_MSGHDR = struct.Struct("=QI4xQQQQi4x")
_CONTROLLEN_AT, _FLAGS_AT = 40, 48
# struct mmsghdr: a msghdr and msg_len
MMSGHDR_SIZE = 64
_MMSG_LEN_AT = 56
_IOVEC = struct.Struct("=QQ")


class Message:
    """A `struct msghdr` of a process.

    Attributes:
        iov: Its buffers.
        controllen: Size of its control buffer in bytes.

    Args:
        process: Owner of the memory.
        address: Address of the structure.

    Raises:
        KtlsOSError: EMSGSIZE, too many buffers.
        OSError: EFAULT.
    """

    def __init__(self, process: Process, address: int) -> None:
        self._process = process
        self._address = address
        fields = _MSGHDR.unpack(process.read_exactly(address, _MSGHDR.size))
        _name, _namelen, iov, count, self._control, self.controllen, _flags = fields
        if count > uapi.UIO_MAXIOV:
            raise KtlsOSError(errno.EMSGSIZE, f"{count} iovecs")
        self.iov = read_iov(process, iov, count)

    @property
    def size(self) -> int:
        """Size of all buffers in bytes."""
        return sum(length for _, length in self.iov)

    def send(self, sock: KtlsSocket, flags: int) -> int:
        """Send the message on a socket of the model.

        Args:
            sock: The kTLS socket.
            flags: MSG_* flags.

        Returns:
            Bytes sent.
        """
        data, fault_at = gather(self._process, self.iov)
        control = b""
        if self.controllen:
            control = self._process.read_exactly(self._control, self.controllen)
        return sock.sendmsg([data], control, flags, fault_at=fault_at)

    def write_length(self, count: int) -> None:
        """Write msg_len, if the message is that of a `struct mmsghdr`."""
        self._process.write(self._address + _MMSG_LEN_AT, count.to_bytes(4, "little"))

    def scatter(self, data: bytes) -> None:
        """Write received bytes into the buffers."""
        scatter(self._process, self.iov, data)

    def write_cmsgs(self, messages: cmsg.AncillaryData) -> None:
        """Write control messages into the program's buffer, which a failed call does, too."""
        packed = cmsg.pack(messages)[: self.controllen]
        if packed:
            self._process.write(self._control, packed)

    def write_control(self, messages: Sequence[cmsg.Cmsg], used: int, flags: int) -> None:
        """Write control messages, msg_controllen and msg_flags as the kernel would.

        Args:
            messages: Control messages.
            used: New msg_controllen.
            flags: New msg_flags.
        """
        self.write_cmsgs([(m.level, m.kind, m.data) for m in messages])
        self._process.write(self._address + _CONTROLLEN_AT, used.to_bytes(8, "little"))
        self._process.write(self._address + _FLAGS_AT, flags.to_bytes(4, "little"))


def read_iov(process: Process, address: int, count: int) -> Iov:
    """Read `count` iovecs; return address and length of each."""
    raw = process.read_exactly(address, _IOVEC.size * count)
    return list(_IOVEC.iter_unpack(raw))


def gather(process: Process, iov: Iov) -> tuple[bytes, int | None]:
    """Read the buffers of an iovec array.

    Returns:
        Their bytes, and the offset of the first byte at a bad address, or None. Bytes from
        that offset on are 0.
    """
    parts = []
    for address, length in iov:
        part = process.read(address, length) if length else b""
        parts.append(part)
        if len(part) < length:
            at = sum(map(len, parts))
            rest = sum(length for _, length in iov) - at
            return b"".join(parts) + bytes(rest), at
    return b"".join(parts), None


def scatter(process: Process, iov: Iov, data: bytes) -> None:
    """Write bytes into the buffers of an iovec array.

    Raises:
        OSError: EFAULT.
    """
    at = 0
    for address, length in iov:
        piece = data[at : at + length]
        if piece:
            process.write(address, piece)
        at += len(piece)
