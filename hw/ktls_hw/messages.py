# SPDX-License-Identifier: Apache-2.0
"""The interrupt messages of a device: which are due, and which the host has not taken yet.

The causes of a device with n rings are n + 2 bits: a request of each ring, then a refused register
write, then a fatal error. The last two share the vector n.
"""

from __future__ import annotations

from ktls_hw import layout


class Messages:
    """Turns the causes of interrupts into messages.

    Args:
        rings: number of ring pairs.
    """

    def __init__(self, rings: int) -> None:
        self._rings = rings
        self.reset()

    def reset(self) -> None:
        """Mask all vectors, and forget the messages that the host has not taken."""
        self._enabled = [False] * (self._rings + 1)
        self._causes = 0
        self._sent = 0  # the causes whose message was sent
        self._arrived: dict[int, None] = {}

    def _bits(self, vector: int) -> int:
        """Return the causes of a vector."""
        return 3 << vector if vector == self._rings else 1 << vector

    def enable(self, vector: int, enabled: bool) -> None:
        """Enable or mask a vector; a cause that is present becomes due again."""
        self._enabled[vector] = enabled
        self.acknowledge(vector)

    def acknowledge(self, vector: int) -> None:
        """Let a vector send another message if its cause stays."""
        self._sent &= ~self._bits(vector)

    def update(self, causes: int) -> None:
        """Send every message that is due; `causes` has the present causes."""
        self._causes = causes
        self._sent &= causes
        for vector, enabled in enumerate(self._enabled):
            if enabled and self._due(vector):
                self._sent |= causes & self._bits(vector)
                self._arrived[vector] = None

    def _due(self, vector: int) -> int:
        return self._causes & ~self._sent & self._bits(vector)

    def register(self, vector: int) -> int:
        """Return the value of RINGn_MSG, or of ERROR_MSG for the last vector."""
        enabled, pending = int(self._enabled[vector]), int(self._due(vector) != 0)
        return layout.ERROR_MSG_ENABLE.put(enabled) | layout.ERROR_MSG_PENDING.put(pending)

    def take(self) -> int | None:
        """Take a message that has arrived; returns its vector, None without one."""
        for vector in self._arrived:
            del self._arrived[vector]
            return vector
        return None
