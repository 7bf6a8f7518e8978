# SPDX-License-Identifier: Apache-2.0
"""Captures of conversations without an observed handshake.

A TLS analyser starts from a handshake. If none was observed, this module writes a synthetic
TLS 1.2 handshake: two hellos and ChangeCipherSpec, with its own randoms and master secret,
from which the keys derive (RFC 5246 section 6.3). `Transcript` opens each record of the
connection with the real keys and seals it again under the synthetic ones. The capture has
the same records, types and bytes, but other ciphertext.
"""

from __future__ import annotations

import hashlib

from ktls import CryptoInfo, uapi
from ktls_cosim.capture.packet import Address
from ktls_cosim.capture.pcapng import Capture, Conversation, EndTap
from ktls_cosim.capture.secrets import Suite, key_block, log_lines, tls12_info
from ktls_cosim.check.golden import TrafficKeys, open_record, seal_record, split_records

# TLS_RSA_WITH_AES_256_GCM_SHA384 and TLS_RSA_WITH_AES_128_GCM_SHA256 (RFC 5288 section 3)
_SUITE_NUMBERS = {52: 0x009D, 51: 0x009C}
_CHANGE_CIPHER_SPEC = bytes.fromhex("140303000101")


class SyntheticHandshake:
    """The messages of a TLS 1.2 handshake that an analyser needs.

    Attributes:
        client, server: crypto_info of the two directions; the next record is number 0.

    Args:
        suite: An AES-GCM suite.
        seed: Source of randoms and master secret; must be unique to the conversation.
    """

    def __init__(self, suite: Suite, seed: bytes) -> None:
        self._suite = suite
        digest = hashlib.shake_256(seed).digest(32 + 32 + 48)
        self._randoms = digest[:32], digest[32:64]
        self._master = digest[64:]
        keys = key_block(suite, self._master, *self._randoms)
        self.client: CryptoInfo
        self.server: CryptoInfo
        self.client, self.server = (tls12_info(suite, *k, bytes(8), 0) for k in keys)

    def write(self, conversation: Conversation) -> None:
        """Write secrets and handshake at the beginning of a conversation."""
        client_random, server_random = self._randoms
        number = _SUITE_NUMBERS[self._suite.cipher].to_bytes(2, "big")
        hello = b"\x03\x03" + client_random + b"\0" + b"\0\x02" + number + b"\x01\0"
        answer = b"\x03\x03" + server_random + b"\0" + number + b"\0"
        conversation.client(_handshake_record(1, hello))
        conversation.server(_handshake_record(2, answer))
        conversation.client(_CHANGE_CIPHER_SPEC)
        conversation.server(_CHANGE_CIPHER_SPEC)
        conversation.secrets(log_lines(client_random, {"CLIENT_RANDOM": self._master}))


def _handshake_record(kind: int, body: bytes) -> bytes:
    message = bytes((kind,)) + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


class Resealed:
    """Seals the records of one direction again under other keys.

    Args:
        keys: `struct tls12_crypto_info_*` of the connection.
        instead: crypto_info for the capture.
    """

    def __init__(self, keys: bytes, instead: CryptoInfo) -> None:
        self._keys = TrafficKeys.from_crypto_info(keys)
        self._instead = TrafficKeys.from_crypto_info(instead.pack())
        self._stream = bytearray()
        self._read = self._written = 0

    def rekey(self, keys: bytes) -> None:
        """Continue with new keys of the connection."""
        self._keys = TrafficKeys.from_crypto_info(keys)
        self._read = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the connection; return complete records for the capture.

        A record that does not authenticate is omitted, because no byte of it was received.
        """
        out = b""
        self._stream += data
        for record in split_records(self._stream):
            opened = open_record(self._keys, self._read, record)
            if opened is None:
                continue
            self._read += 1
            rtype, text = opened
            out += seal_record(self._instead, self._written, rtype, text).wire
            self._written += 1
        return out


class Transcript:
    """Captures a connection without an observed handshake.

    Args:
        capture: Receives the conversation once a direction has keys.
        here: Address of this end. The end with the lower port counts as the server.
        there: Address of the peer.
    """

    def __init__(self, capture: Capture, here: Address, there: Address) -> None:
        self._capture = capture
        self._server = here[1] < there[1]
        self._ends = (there, here) if self._server else (here, there)
        self._tap: EndTap | None = None
        self._tx: Resealed | None = None
        self._rx: Resealed | None = None

    def keys_set(self, option: int, blob: bytes, waiting: bytes) -> None:
        """Note new keys of a direction.

        Args:
            option: TLS_TX or TLS_RX.
            blob: `struct tls12_crypto_info_*`.
            waiting: Received bytes that no call has read yet.
        """
        cipher = int.from_bytes(blob[2:4], "little")
        if cipher not in _SUITE_NUMBERS:
            # the synthetic handshake supports no suite with this cipher
            return
        if self._tap is None:
            self._handshake = SyntheticHandshake(Suite(cipher), repr(self._ends).encode())
            conversation = self._capture.conversation(*self._ends)
            self._handshake.write(conversation)
            self._tap = EndTap(conversation, self._server)
        h = self._handshake
        mine, theirs = (h.server, h.client) if self._server else (h.client, h.server)
        if option == uapi.TLS_TX:
            self._tx = _rekeyed(self._tx, blob, mine)
        else:
            self._rx = _rekeyed(self._rx, blob, theirs)
            self.received(waiting)

    def sent(self, data: bytes) -> None:
        """Add bytes that this end sent."""
        if self._tap is not None and self._tx is not None:
            self._tap.sent(self._tx.feed(data))

    def received(self, data: bytes) -> None:
        """Add bytes that this end received."""
        if self._tap is not None and self._rx is not None:
            self._tap.received(self._rx.feed(data))

    def closed(self) -> None:
        """End the conversation."""
        if self._tap is not None:
            self._tap.closed()


def _rekeyed(direction: Resealed | None, blob: bytes, instead: CryptoInfo) -> Resealed:
    if direction is None:
        return Resealed(blob, instead)
    direction.rekey(blob)
    return direction
