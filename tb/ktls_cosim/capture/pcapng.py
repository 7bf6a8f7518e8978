# SPDX-License-Identifier: Apache-2.0
"""Write TCP conversations as pcapng files that contain their secrets.

The packets are built from the bytes of the connection. Bytes, order and time are those of
the connection; segmentation, acknowledgements and options are not.

Format: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface
description), 4.3 (enhanced packet) and 4.7 (decryption secrets, TLS key log). Link type
101 is raw IP.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
import time
from pathlib import Path
from types import TracebackType

from ktls_cosim.capture import packet
from ktls_cosim.capture.packet import Address

_SHB, _IDB, _EPB, _DSB = 0x0A0D0D0A, 1, 6, 10
_MAGIC = 0x1A2B3C4D
_LINKTYPE_RAW = 101
_TLS_KEY_LOG = 0x544C534B
_HTTPS = 443
_SEGMENT = 32768


def _block(kind: int, body: bytes) -> bytes:
    """Return a block: padded to 32 bits, its length before and after the body."""
    body += bytes(-len(body) % 4)
    size = (12 + len(body)).to_bytes(4, "little")
    return kind.to_bytes(4, "little") + size + body + size


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner may read, also if it exists."""
    fd = os.open(path, flags, 0o600)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.fchmod(fd, 0o600)
    return fd


class Capture:
    """A pcapng file; several threads may write conversations.

    Args:
        path: File to write; an existing file is replaced. Only its owner may read it, because it
            contains secrets.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb", opener=_private)  # noqa: SIM115
        self._lock = threading.Lock()
        self._open: set[Conversation] = set()
        self._ends: set[tuple[Address, Address]] = set()
        self._file.write(_block(_SHB, struct.pack("<IHHq", _MAGIC, 1, 0, -1)))
        # if_tsresol (option 9): nanoseconds
        options = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
        self._file.write(_block(_IDB, struct.pack("<HHI", _LINKTYPE_RAW, 0, 0) + options))

    def conversation(self, client: Address, server: Address) -> Conversation:
        """Begin a TCP conversation with its three-way handshake.

        The capture shows the server's port as 443. Analysers select a protocol by the port
        numbers, the lower one first, and many numbers belong to some protocol. If another
        conversation already has these two ends, the real port is kept.

        Args:
            client: Address of the client.
            server: Address of the server.
        """
        ends = (client, (server[0], _HTTPS))
        if ends in self._ends:
            ends = (client, server)
        self._ends.add(ends)
        conversation = Conversation(self, *ends)
        self._open.add(conversation)
        return conversation

    def write(self, secrets: str, packets: list[tuple[int, bytes]]) -> None:
        """Append secrets, then packets.

        Args:
            secrets: Lines of a key log, or an empty string.
            packets: Time in nanoseconds since the epoch, and bytes, of each packet.
        """
        with self._lock:
            if self._file.closed:
                return
            if secrets:
                data = secrets.encode()
                self._file.write(_block(_DSB, struct.pack("<II", _TLS_KEY_LOG, len(data)) + data))
            for when, raw in packets:
                head = struct.pack("<IIIII", 0, when >> 32, when & 0xFFFFFFFF, len(raw), len(raw))
                self._file.write(_block(_EPB, head + raw))
            self._file.flush()

    def forget(self, conversation: Conversation) -> None:
        """Stop tracking a conversation that has ended."""
        self._open.discard(conversation)

    def close(self) -> None:
        """End all conversations and close the file."""
        for conversation in list(self._open):
            conversation.end()
        with self._lock:
            self._file.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Conversation:
    """One TCP connection in a capture.

    Packets are held back until the secrets are known, because a reader needs the secrets
    first.

    Args:
        capture: File to write to.
        client: Address of the client.
        server: Address of the server.
    """

    def __init__(self, capture: Capture, client: Address, server: Address) -> None:
        self._capture = capture
        self._ends = (client, server)
        self._seq = [1_000_000, 2_000_000]
        self._held: list[tuple[int, bytes]] | None = []
        self._over = False
        self._packet(0, packet.SYN)
        self._seq[0] += 1
        self._packet(1, packet.SYN | packet.ACK)
        self._seq[1] += 1
        self._packet(0, packet.ACK)

    def secrets(self, lines: str) -> None:
        """Write the secrets of this conversation; only the first call has an effect.

        Args:
            lines: Lines of a key log.
        """
        if self._held is not None:
            held, self._held = self._held, None
            self._capture.write(lines, held)

    def client(self, data: bytes) -> None:
        """Add bytes from client to server."""
        self._data(0, data)

    def server(self, data: bytes) -> None:
        """Add bytes from server to client."""
        self._data(1, data)

    def end(self) -> None:
        """Close both directions."""
        if not self._over:
            self._over = True
            for side in (0, 1):
                self._packet(side, packet.FIN | packet.ACK)
                self._seq[side] += 1
            self._packet(0, packet.ACK)
            self.secrets("")
            self._capture.forget(self)

    def _data(self, side: int, data: bytes) -> None:
        if self._over:
            return
        for at in range(0, len(data), _SEGMENT):
            piece = data[at : at + _SEGMENT]
            self._packet(side, packet.PSH | packet.ACK, piece)
            self._seq[side] = (self._seq[side] + len(piece)) & 0xFFFFFFFF

    def _packet(self, side: int, flags: int, data: bytes = b"") -> None:
        ack = self._seq[1 - side] if flags & packet.ACK else 0
        raw = packet.tcp_packet(
            self._ends[side], self._ends[1 - side], self._seq[side], ack, flags, data
        )
        now = time.time_ns()
        if self._held is not None:
            self._held.append((now, raw))
        else:
            self._capture.write("", [(now, raw)])


class EndTap:
    """Adds the bytes of one end to a conversation; implements `https.handshake.Tap`.

    Args:
        conversation: Conversation to add to.
        server: Whether the end is the server.
    """

    def __init__(self, conversation: Conversation, server: bool) -> None:
        self._conversation = conversation
        self._server = server

    def sent(self, data: bytes) -> None:
        """Add bytes that this end sent."""
        (self._conversation.server if self._server else self._conversation.client)(data)

    def received(self, data: bytes) -> None:
        """Add bytes that this end received."""
        (self._conversation.client if self._server else self._conversation.server)(data)

    def closed(self) -> None:
        """End the conversation."""
        self._conversation.end()
