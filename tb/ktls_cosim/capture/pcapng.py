# SPDX-License-Identifier: Apache-2.0
"""Write TCP conversations as pcapng files with the secrets inside.

Packets are made here from the bytes that passed: what is right are the bytes, their
order and their time; segmentation, acknowledgements and options are not the network's.

pcapng: draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interface
description), 4.3 (enhanced packet) and 4.7 (decryption secrets, TLS key log). Link type
101 is raw IP.
"""

from __future__ import annotations

import ipaddress
import struct
import threading
import time
from pathlib import Path
from types import TracebackType

_SHB, _IDB, _EPB, _DSB = 0x0A0D0D0A, 1, 6, 10
_MAGIC = 0x1A2B3C4D
_LINKTYPE_RAW = 101
_TLS_KEY_LOG = 0x544C534B
_HTTPS = 443
_SEGMENT = 32768
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16

Address = tuple[str, int]


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = (12 + len(body)).to_bytes(4, "little")
    return kind.to_bytes(4, "little") + size + body + size


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Capture:
    """A pcapng file; conversations may be written from several threads.

    Args:
        path: the file, overwritten.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._lock = threading.Lock()
        self._open: set[Conversation] = set()
        self._ends: set[tuple[Address, Address]] = set()
        self._file.write(_block(_SHB, struct.pack("<IHHq", _MAGIC, 1, 0, -1)))
        # if_tsresol (option 9): nanoseconds
        options = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
        self._file.write(_block(_IDB, struct.pack("<HHI", _LINKTYPE_RAW, 0, 0) + options))

    def conversation(self, client: Address, server: Address) -> Conversation:
        """Begin a TCP conversation: the three packets that open it.

        The server's port is shown as that of HTTPS, because analysers choose a protocol by
        the ports, the lower one first, and many numbers belong to one; but not where the
        two ends would be those of another conversation.
        """
        ends = (client, (server[0], _HTTPS))
        if ends in self._ends:
            ends = (client, server)
        self._ends.add(ends)
        conversation = Conversation(self, *ends)
        self._open.add(conversation)
        return conversation

    def write(self, secrets: str, packets: list[tuple[int, bytes]]) -> None:
        """Append secrets and the packets (time in ns, bytes) that they are for."""
        with self._lock:
            if self._file.closed:
                return
            if secrets:
                data = secrets.encode()
                self._file.write(_block(_DSB, struct.pack("<II", _TLS_KEY_LOG, len(data)) + data))
            for when, packet in packets:
                head = struct.pack(
                    "<IIIII", 0, when >> 32, when & 0xFFFFFFFF, len(packet), len(packet)
                )
                self._file.write(_block(_EPB, head + packet))
            self._file.flush()

    def forget(self, conversation: Conversation) -> None:
        """A conversation is over."""
        self._open.discard(conversation)

    def close(self) -> None:
        """Write what conversations still hold back, and close the file."""
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

    Packets are held back until the secrets are known: a reader needs those first.
    """

    def __init__(self, capture: Capture, client: Address, server: Address) -> None:
        self._capture = capture
        self._ends = (client, server)
        self._seq = [1_000_000, 2_000_000]
        self._held: list[tuple[int, bytes]] | None = []
        self._over = False
        self._packet(0, _SYN)
        self._seq[0] += 1
        self._packet(1, _SYN | _ACK)
        self._seq[1] += 1
        self._packet(0, _ACK)

    def secrets(self, lines: str) -> None:
        """The lines of a key log that open this conversation; the first call counts."""
        if self._held is not None:
            held, self._held = self._held, None
            self._capture.write(lines, held)

    def client(self, data: bytes) -> None:
        """Bytes from client to server."""
        self._data(0, data)

    def server(self, data: bytes) -> None:
        """Bytes from server to client."""
        self._data(1, data)

    def end(self) -> None:
        """Both ends close."""
        if not self._over:
            self._over = True
            for side in (0, 1):
                self._packet(side, _FIN | _ACK)
                self._seq[side] += 1
            self._packet(0, _ACK)
            self.secrets("")
            self._capture.forget(self)

    def _data(self, side: int, data: bytes) -> None:
        if self._over:
            return
        for at in range(0, len(data), _SEGMENT):
            piece = data[at : at + _SEGMENT]
            self._packet(side, _PSH | _ACK, piece)
            self._seq[side] = (self._seq[side] + len(piece)) & 0xFFFFFFFF

    def _packet(self, side: int, flags: int, data: bytes = b"") -> None:
        (source, sport), (target, dport) = self._ends[side], self._ends[1 - side]
        ack = self._seq[1 - side] if flags & _ACK else 0
        src, dst = ipaddress.ip_address(source), ipaddress.ip_address(target)
        size = 20 + len(data)
        tcp = struct.pack(
            ">HHIIBBHHH", sport, dport, self._seq[side], ack, 5 << 4, flags, 65535, 0, 0
        )
        if src.version == 4:
            pseudo = src.packed + dst.packed + struct.pack(">BBH", 0, 6, size)
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, 6, 0)
            ip += src.packed + dst.packed
            ip = ip[:10] + _checksum(ip).to_bytes(2, "big") + ip[12:]
        else:
            pseudo = src.packed + dst.packed + struct.pack(">II", size, 6)
            ip = struct.pack(">IHBB", 6 << 28, size, 6, 64) + src.packed + dst.packed
        check = _checksum(pseudo + tcp + data)
        packet = ip + tcp[:16] + check.to_bytes(2, "big") + tcp[18:] + data
        now = time.time_ns()
        if self._held is not None:
            self._held.append((now, packet))
        else:
            self._capture.write("", [(now, packet)])


class EndTap:
    """Shows one end's view of a connection to a conversation (`handshake.Tap`)."""

    def __init__(self, conversation: Conversation, server: bool) -> None:
        self._conversation = conversation
        self._server = server

    def sent(self, data: bytes) -> None:
        (self._conversation.server if self._server else self._conversation.client)(data)

    def received(self, data: bytes) -> None:
        (self._conversation.client if self._server else self._conversation.server)(data)

    def closed(self) -> None:
        self._conversation.end()
