# SPDX-License-Identifier: Apache-2.0
"""The send buffer of one end of a connection (net/ipv4/tcp_output.c)."""

from __future__ import annotations

from collections import deque

from ktls.wire import Chunk, Far, Fin

DEFAULT_BUFFER = 4 << 20
"""Bytes of a send or receive buffer by default."""
_SKB_DATA = 2048
_SKB_OVERHEAD = 832
_MIN_SNDBUF = 4608


class SendQueue:
    """Bytes and a FIN on their way to the far end, with Linux's accounting of memory.

    Attributes:
        limit: SO_SNDBUF as Linux stores it, in bytes.
        wmem_queued: used bytes of the send buffer.
    """

    def __init__(self) -> None:
        self.limit = DEFAULT_BUFFER
        self.wmem_queued = 0
        self._chunks: deque[tuple[Chunk, int, int, int]] = deque()
        self._tail_room = 0
        self._fin = False

    def set_limit(self, size: int) -> None:
        """Set SO_SNDBUF; Linux doubles the number."""
        self.limit = max(2 * size, _MIN_SNDBUF)

    @property
    def memory_free(self) -> bool:
        """Whether there is room for another packet (`sk_stream_memory_free`)."""
        return self.wmem_queued < self.limit

    @property
    def writable(self) -> bool:
        """Whether poll reports POLLOUT (`sk_stream_is_writeable`)."""
        return self.limit - self.wmem_queued >= self.wmem_queued >> 1

    @property
    def empty(self) -> bool:
        """Whether no bytes are queued."""
        return not self._chunks

    def add(self, chunk: Chunk, start: int, far: Far) -> int:
        """Queue bytes, as many as there is room for, and transmit.

        Args:
            chunk: the bytes.
            start: offset of the first byte to queue.
            far: the other end.

        Returns:
            Number of queued bytes.
        """
        total = len(chunk)
        at = start
        while at < total:
            overhead = 0
            if self._tail_room == 0:
                if not self.memory_free:
                    break
                self._tail_room = _SKB_DATA
                overhead = _SKB_OVERHEAD
            n = min(total - at, self._tail_room)
            self._tail_room -= n
            self.wmem_queued += n + overhead
            self._chunks.append((chunk, at, at + n, overhead))
            at += n
            if len(self._chunks) == 1:
                self.transmit(far)
        return at - start

    def add_fin(self) -> None:
        """Queue a FIN after all bytes."""
        self._fin = True

    def transmit(self, far: Far) -> bool:
        """Move as many bytes as the far end accepts, then a queued FIN.

        Returns:
            Whether the FIN has just been sent.
        """
        while self._chunks:
            chunk, start, stop, overhead = self._chunks[0]
            n = min(stop - start, far.window())
            if n == 0:
                break
            self.wmem_queued -= n
            if n == stop - start:
                self._chunks.popleft()
                self.wmem_queued -= overhead
            else:
                self._chunks[0] = (chunk, start + n, stop, overhead)
            far.put((chunk, start, start + n))
            if not self._chunks:
                self.wmem_queued = 0
                self._tail_room = 0
        if self._fin and not self._chunks:
            self._fin = False
            far.put(Fin())
            return True
        return False

    def clear(self) -> None:
        """Discard everything."""
        self._chunks.clear()
        self.wmem_queued = 0
        self._tail_room = 0
        self._fin = False
