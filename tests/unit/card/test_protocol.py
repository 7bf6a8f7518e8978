# SPDX-License-Identifier: Apache-2.0
"""The vfio-user protocol without sockets: framing, requests, replies, bad messages."""

from __future__ import annotations

import errno
import json
import os
import struct

import pytest

from ktls_cosim.card import protocol as p


def raw(command: int, payload: bytes = b"", *, number: int = 7, flags: int = 0) -> bytes:
    return struct.pack("<HHIII", number, command, 16 + len(payload), flags, 0) + payload


def read(data: bytes, step: int = 1 << 20) -> list[p.Message]:
    """Feed bytes in pieces of at most `step`."""
    reader, out = p.Reader(), []
    while data:
        n = min(step, reader.wanted)
        message = reader.feed(data[:n], [])
        data = data[n:]
        if message is not None:
            out.append(message)
    return out


def parse(command: int, payload: bytes = b"") -> p.Request:
    return p.parse(p.Message(1, command, payload))


@pytest.mark.parametrize("step", [1, 5, 1 << 20])
def test_messages_are_cut_at_their_boundaries(step: int) -> None:
    stream = raw(13) + raw(9, bytes(16), number=8) + raw(10, b"x" * 20, flags=16)
    first, second, third = read(stream, step)
    assert (first.id, first.command, first.payload, first.wants_reply) == (7, 13, b"", True)
    assert (second.id, second.payload) == (8, bytes(16))
    assert not third.wants_reply


def test_descriptors_belong_to_the_message_that_they_came_with() -> None:
    reader = p.Reader()
    ends = os.pipe()
    data = raw(2, bytes(32))
    assert reader.feed(data[:16], [ends[0]]) is None
    message = reader.feed(data[16:], [ends[1]])
    assert message is not None
    assert message.fds == list(ends)
    message.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(ends[0])
    assert message.fds == []


def test_descriptors_of_an_unfinished_message_are_closed() -> None:
    reader, (a, b) = p.Reader(), os.pipe()
    reader.feed(raw(2, bytes(32))[:9], [a, b])
    reader.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(a)


@pytest.mark.parametrize("size", [0, 15, p.MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_an_impossible_size_ends_the_stream(size: int) -> None:
    reader = p.Reader()
    with pytest.raises(p.BrokenStream) as e:
        reader.feed(struct.pack("<HHIII", 3, 9, size, 0, 0), [])
    assert e.value.number == errno.EINVAL
    assert reader.id == 3


def test_version() -> None:
    text = json.dumps({"capabilities": {"max_msg_fds": 8}}).encode() + b"\0"
    assert parse(1, struct.pack("<HH", 0, 1) + text) == p.Version(1, {"max_msg_fds": 8})
    assert parse(1, struct.pack("<HH", 0, 0)) == p.Version(0, {})
    answer = p.version_payload(9)
    assert struct.unpack_from("<HH", answer) == (0, 1)
    assert json.loads(answer[4:-1])["capabilities"]["write_multiple"] is True


def test_requests() -> None:
    assert parse(2, struct.pack("<IIQQQ", 32, 3, 64, 1 << 40, 8192)) == p.DmaMap(
        1 << 40, 8192, 64, True, True
    )
    top = struct.pack("<IIQQQ", 32, 1, 0, (1 << 64) - 4096, 4096)
    assert parse(2, top) == p.DmaMap((1 << 64) - 4096, 4096, 0, True, False)
    unmap = struct.pack("<IIQQ", 24, 0, 4096, 4096)
    assert parse(3, unmap) == p.DmaUnmap(4096, 4096, False, unmap)
    assert parse(4, struct.pack("<IIII", 16, 0, 0, 0)) == p.DeviceInfo()
    assert parse(5, struct.pack("<IIIIQQ", 32, 0, 7, 0, 0, 0)) == p.RegionInfo(7)
    assert parse(7, struct.pack("<IIII", 16, 0, 2, 0)) == p.IrqInfo(2)
    irqs = struct.pack("<IIIII", 22, 2 | 32, 2, 0, 2) + b"\1\0"
    assert parse(8, irqs) == p.SetIrqs(2, 0, 2, p.IrqData.BOOL, p.IrqAction.TRIGGER, b"\1\0")
    assert parse(9, struct.pack("<QII", 8, 0, 4)) == p.RegionRead(8, 0, 4)
    head = struct.pack("<QII", 8, 0, 4)
    assert parse(10, head + b"abcd") == p.RegionWrite((p.Write(8, 0, b"abcd"),), head)
    assert parse(13) == p.Reset()
    multi = struct.pack("<Q", 2) + struct.pack("<QIIQ", 16, 0, 4, 0x1FFFFFFFF) * 2
    write = p.Write(16, 0, b"\xff\xff\xff\xff")
    assert parse(15, multi) == p.RegionWrite((write, write), multi[:8])


BAD = {
    "an unknown command": (99, b"", errno.EOPNOTSUPP),
    "a later major version": (1, struct.pack("<HH", 1, 0), errno.EINVAL),
    "capabilities that are not JSON": (1, struct.pack("<HH", 0, 1) + b"{\0", errno.EINVAL),
    "capabilities that are a list": (1, struct.pack("<HH", 0, 1) + b"[]\0", errno.EINVAL),
    "deep JSON": (1, struct.pack("<HH", 0, 1) + b"[" * 100_000 + b"\0", errno.EINVAL),
    "a short map": (2, bytes(31), errno.EINVAL),
    "a map without access": (2, struct.pack("<IIQQQ", 32, 0, 0, 0, 4096), errno.EINVAL),
    "a map of half a page": (2, struct.pack("<IIQQQ", 32, 3, 0, 0, 2048), errno.EINVAL),
    "a map of nothing": (2, struct.pack("<IIQQQ", 32, 3, 0, 0, 0), errno.EINVAL),
    "a map beyond the top": (
        2, struct.pack("<IIQQQ", 32, 3, 0, (1 << 64) - 4096, 8192), errno.EINVAL,
    ),
    "a map far inside a file": (2, struct.pack("<IIQQQ", 32, 3, 1 << 63, 0, 4096), errno.EINVAL),
    "dirty pages": (3, struct.pack("<IIQQ", 24, 1, 0, 4096), errno.EINVAL),
    "all maps with an address": (3, struct.pack("<IIQQ", 24, 2, 4096, 0), errno.EINVAL),
    "a small argsz": (5, struct.pack("<IIIIQQ", 31, 0, 0, 0, 0, 0), errno.EINVAL),
    "two actions": (8, struct.pack("<IIIII", 20, 1 | 8 | 16, 2, 0, 1), errno.EINVAL),
    "two kinds of data": (8, struct.pack("<IIIII", 20, 3 | 32, 2, 0, 1), errno.EINVAL),
    "too few values": (8, struct.pack("<IIIII", 20, 2 | 32, 2, 0, 9), errno.EINVAL),
    "a masked descriptor": (8, struct.pack("<IIIII", 20, 4 | 8, 2, 0, 1), errno.EINVAL),
    "a huge read": (9, struct.pack("<QII", 0, 0, p.MAX_DATA + 1), errno.EINVAL),
    "a write without data": (10, struct.pack("<QII", 0, 0, 4), errno.EINVAL),
    "a wrong number of writes": (15, struct.pack("<Q", 1 << 63), errno.EINVAL),
    "a long write of many": (15, struct.pack("<QQIIQ", 1, 0, 0, 9, 0), errno.EINVAL),
}  # fmt: skip


@pytest.mark.parametrize(("command", "payload", "number"), BAD.values(), ids=BAD.keys())
def test_a_bad_message_has_an_error_number(command: int, payload: bytes, number: int) -> None:
    with pytest.raises(p.BadMessage) as e:
        parse(command, payload)
    assert e.value.number == number
    assert p.error(number, 5, command)[:4] == struct.pack("<HH", 5, command)
