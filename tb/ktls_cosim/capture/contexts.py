# SPDX-License-Identifier: Apache-2.0
"""Captures of a card: it has contexts and records, but no connections and no handshakes.

Each context becomes a TCP connection with a synthetic handshake (`transcript`). Its records are
sealed again under the keys of that handshake: they have the types and the text of the card's, in
the same order, but other ciphertext.
"""

from __future__ import annotations

from dataclasses import dataclass

from ktls_cosim.capture.pcapng import Capture, Conversation
from ktls_cosim.capture.secrets import Suite
from ktls_cosim.capture.transcript import SyntheticHandshake
from ktls_cosim.check.golden import TrafficKeys, seal_record

_HOST, _PEER = "192.0.2.1", "192.0.2.2"  # RFC 5737
_FIRST_PORT, _PORTS = 1024, 64512


@dataclass(slots=True)
class _Stream:
    """The connection of one context.

    Attributes:
        keys: Those of the synthetic handshake.
        count: Records so far.
    """

    conversation: Conversation
    keys: TrafficKeys
    opens: bool
    count: int = 0


class ContextCapture:
    """Writes the records of a card into a capture; see `check.device.RecordObserver`.

    Args:
        capture: Receives the conversations. The host is the client.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._streams: dict[int, _Stream] = {}
        self._number = 0  # of connections

    def installed(self, ctx: int, keys: TrafficKeys, *, opens: bool) -> None:
        """A context has keys; new keys of an installed context continue its connection."""
        old = self._streams.get(ctx)
        if old is not None and old.opens == opens:
            return
        self.deleted(ctx)
        here = _HOST, _FIRST_PORT + self._number % _PORTS
        handshake = SyntheticHandshake(Suite(keys.cipher), f"context {self._number}".encode())
        self._number += 1
        conversation = self._capture.conversation(here, (_PEER, 443))
        handshake.write(conversation)
        info = handshake.server if opens else handshake.client
        own = TrafficKeys.from_crypto_info(info.pack())
        self._streams[ctx] = _Stream(conversation, own, opens)

    def deleted(self, ctx: int) -> None:
        """A context has no keys any more: its connection ends."""
        stream = self._streams.pop(ctx, None)
        if stream is not None:
            stream.conversation.end()

    def reset(self) -> None:
        """The card was reset: all connections end."""
        for ctx in list(self._streams):
            self.deleted(ctx)

    def record(self, ctx: int, rtype: int, text: bytes) -> None:
        """The card has sealed or opened a record."""
        stream = self._streams.get(ctx)
        if stream is None:
            return
        wire = seal_record(stream.keys, stream.count, rtype, text).wire
        stream.count += 1
        (stream.conversation.server if stream.opens else stream.conversation.client)(wire)
