# SPDX-License-Identifier: Apache-2.0
"""The stream parser of the ULP: finds records in TCP's byte stream (net/tls/tls_strp.c)."""

from __future__ import annotations

import errno

from ktls import uapi
from ktls.record import Protection
from ktls.tcp import TcpSock


class StreamParser:
    """Splits a TCP receive queue into records.

    Args:
        tcp: the connection.
        protection: the framing of its records.

    Attributes:
        full_len: bytes of the record at the head, 0 until its header has arrived.
        ready: the record at the head is complete.
        stopped: a header was invalid; the parser no longer looks at the queue.
    """

    def __init__(self, tcp: TcpSock, protection: Protection) -> None:
        self.full_len = 0
        self.ready = False
        self.stopped = False
        self._tcp = tcp
        self._protection = protection
        self._taken = bytearray()
        self._busy = False

    def check(self) -> None:
        """Look for a complete record (`tls_strp_check_rcv`)."""
        if self.stopped or self.ready or self._busy:
            return
        queue = self._tcp.rcvq
        while True:
            have = len(self._taken) + len(queue)
            if not self.full_len and have >= self._protection.prepend:
                err = self._header(bytes(self._taken + queue[: uapi.TLS_HEADER_SIZE]))
                if err:
                    self.stopped = True
                    self._tcp.sk_err = err
                    return
            if self.full_len and have >= self.full_len:
                self.ready = True
                return
            # a record larger than the receive window can only arrive if its first bytes
            # leave the queue (`tls_strp_read_copy`)
            if not queue or not (self._taken or self._tcp.window() == 0):
                return
            self._take()

    def _take(self) -> None:
        self._busy = True
        room = (self.full_len or self._protection.prepend) - len(self._taken)
        self._taken += self._tcp.consume(room)
        self._busy = False

    def _header(self, header: bytes) -> int:
        """Parse a header and set `full_len` (`tls_rx_msg_size`); returns an errno or 0."""
        p = self._protection
        length = int.from_bytes(header[3:5], "big")
        extra = uapi.TLS_TAG_SIZE + (8 if p.explicit else 0)
        if length > uapi.TLS_MAX_PAYLOAD_SIZE + extra + p.tail:
            return errno.EMSGSIZE
        if length < extra:
            return errno.EBADMSG
        if header[1:3] != b"\x03\x03":
            return errno.EINVAL
        self.full_len = uapi.TLS_HEADER_SIZE + length
        return 0

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset` in the stream on; its head has offset 0."""
        taken = len(self._taken)
        out = bytes(self._taken[offset : offset + count])
        at = max(0, offset - taken)
        return out + bytes(self._tcp.rcvq[at : at + count - len(out)])

    @property
    def record(self) -> memoryview:
        """The complete record at the head of the stream."""
        rest = self.full_len - len(self._taken)
        return memoryview(bytes(self._taken + self._tcp.rcvq[:rest]))

    def done(self) -> None:
        """Remove the record at the head and look for the next (`tls_strp_msg_done`)."""
        rest = self.full_len - len(self._taken)
        self.full_len, self.ready = 0, False
        self._taken.clear()
        self._tcp.consume(rest)
        self.check()
