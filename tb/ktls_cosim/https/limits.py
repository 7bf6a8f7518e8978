# SPDX-License-Identifier: Apache-2.0
"""How long `serve` and `fetch` wait, and how much they accept from a peer."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CONNECTIONS = 512
"""Connections that `serve` holds at the same time."""
MAX_KEY_UPDATES = 1000
"""KeyUpdate messages without application data between them."""
MAX_MESSAGE = 1 << 17
"""Bytes of one handshake message after the handshake; a session ticket may have 2^16."""


@dataclass(frozen=True)
class Timeouts:
    """Time limits in seconds.

    Attributes:
        handshake: For the whole handshake.
        header: For the whole header of a request, from its first byte.
        idle: Between two requests of a connection.
        progress: For each wait during a transfer.
    """

    handshake: float = 30.0
    header: float = 30.0
    idle: float = 60.0
    progress: float = 120.0


DEFAULT = Timeouts()
