# SPDX-License-Identifier: Apache-2.0
"""The items that travel between the two ends of a connection, and an end outside the model.

Items travel in order: bytes, a FIN, a reset. Bytes that a device has not sealed yet travel
as a `Sealed` placeholder and hold up everything after them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ktls.record import Buffer


class Sealed:
    """A placeholder for bytes of known length that a device is still producing.

    Args:
        length: number of bytes.

    Attributes:
        length: number of bytes.
        data: the bytes, None until they are known.
        ready: called when they are.
    """

    __slots__ = ("data", "length", "ready")

    def __init__(self, length: int) -> None:
        self.length = length
        self.data: bytes | None = None
        self.ready: Callable[[], None] | None = None

    def __len__(self) -> int:
        return self.length

    def fill(self, data: bytes) -> None:
        """Supply the bytes.

        Raises:
            ValueError: the length is not the announced one.
        """
        if len(data) != self.length:
            raise ValueError(f"{len(data)} bytes instead of {self.length}")
        self.data = data
        if self.ready is not None:
            self.ready()


Chunk = Buffer | Sealed
"""Bytes on their way through TCP."""


class Fin:
    """The end of the stream, queued after its bytes."""


class Reset:
    """A reset of the connection, queued after the bytes in flight."""


Item = tuple[Chunk, int, int] | Fin | Reset
"""Bytes of a chunk from a start to a stop offset, a FIN, or a reset."""


class Far(Protocol):
    """The other end of a connection, as the sender sees it."""

    def window(self) -> int:
        """Return how many bytes the end accepts now."""

    def put(self, item: Item) -> None:
        """Deliver an item."""


class Line:
    """Delivers items in order; an unfilled `Sealed` holds up everything after it.

    Args:
        data: receives bytes.
        fin: called for a FIN.
        reset: called for a reset.
    """

    def __init__(
        self,
        data: Callable[[bytes], None],
        fin: Callable[[], None],
        reset: Callable[[], None],
    ) -> None:
        self._items: deque[Item] = deque()
        self._data = data
        self._fin = fin
        self._reset = reset

    def put(self, item: Item) -> None:
        """Queue an item and deliver what can be delivered."""
        self._items.append(item)
        if len(self._items) == 1:
            self._advance()

    def _advance(self) -> None:
        while self._items:
            item = self._items[0]
            if isinstance(item, tuple):
                chunk, start, stop = item
                if isinstance(chunk, Sealed):
                    if chunk.data is None:
                        chunk.ready = self._advance
                        return
                    chunk = chunk.data
                self._items.popleft()
                self._data(bytes(chunk) if stop - start == len(chunk) else bytes(chunk[start:stop]))
            else:
                self._items.popleft()
                (self._fin if isinstance(item, Fin) else self._reset)()

    def clear(self) -> None:
        """Discard everything that waits."""
        self._items.clear()

    @property
    def bytes_waiting(self) -> int:
        """Number of bytes queued."""
        return sum(i[2] - i[1] for i in self._items if isinstance(i, tuple))


class Wire:
    """The far end of a connection to the outside; see `ktls.connect.connect_wire`.

    Args:
        sink: receives the bytes that the near end sends.
        eof: called when the near end has sent its FIN.
        reset: called when the near end resets the connection.

    Attributes:
        sink: receives the bytes that the near end sends.
        near: the TCP end inside the model.
    """

    def __init__(
        self,
        sink: Callable[[bytes], None],
        eof: Callable[[], None] | None = None,
        reset: Callable[[], None] | None = None,
    ) -> None:
        def nothing() -> None:
            pass

        self.sink = sink
        self.near: Far | None = None
        self._line = Line(self._deliver, eof or nothing, reset or nothing)

    def _deliver(self, data: bytes) -> None:
        try:
            self.sink(data)
        except Exception:
            # bytes are lost, so the connection must not seem to work
            self._line.clear()
            if self.near is not None:
                self.near.put(Reset())
            raise

    def watch(self, watcher: Callable[[bytes], None]) -> None:
        """Pass outgoing bytes to `watcher` before `sink` receives them."""
        sink = self.sink

        def both(data: bytes) -> None:
            watcher(data)
            sink(data)

        self.sink = both

    def window(self) -> int:
        """Return how many bytes the outside accepts: practically all."""
        return 1 << 30

    def put(self, item: Item) -> None:
        """Deliver an item from the near end."""
        self._line.put(item)

    def feed(self, data: Buffer) -> None:
        """Deliver bytes from the outside to the near end."""
        assert self.near is not None
        self.near.put((bytes(data), 0, len(data)))

    def feed_eof(self) -> None:
        """Deliver a FIN from the outside to the near end."""
        assert self.near is not None
        self.near.put(Fin())

    def feed_reset(self) -> None:
        """Deliver a reset from the outside to the near end."""
        assert self.near is not None
        self.near.put(Reset())
