# SPDX-License-Identifier: Apache-2.0
"""Receive, key updates and record limits of Linux 7.x; docs/ktls.md names the sources."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from ktls import (
    KERNELS,
    BlocksForever,
    CryptoInfo,
    KtlsOSError,
    KtlsSocket,
    KtlsStack,
    Pipe,
    Wire,
    connect_wire,
    socketpair,
    uapi,
)
from ktls.record import Protection
from support import fails

OLD = CryptoInfo(0x0304, 51, bytes(range(8)), bytes(range(16)), b"salt", bytes(8))
NEW = replace(OLD, key=b"N" * 16, rec_seq=(3).to_bytes(8, "big"))
TLS12 = replace(OLD, version=0x0303)
DONTWAIT = uapi.MSG_DONTWAIT
KEY_UPDATE = b"\x18\x00\x00\x01\x00"
READABLE = uapi.POLLIN


def keyed_pair(info: CryptoInfo, kernel: str = "7.x") -> tuple[KtlsSocket, KtlsSocket]:
    """Return a socket that receives with the keys `info`, and its peer without keys."""
    a, b = socketpair(KtlsStack(kernel=KERNELS[kernel]))
    a.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    a.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, info.pack())
    return a, b


class Sender:
    """Seals the records that the peer without keys sends."""

    def __init__(self, info: CryptoInfo) -> None:
        self.protection = Protection(info)

    def __call__(self, rtype: int, data: bytes) -> bytes:
        p = self.protection
        record = b"".join(p.seal_at(p.seq, p.iv, rtype, data))
        p.advance()
        return record


def stat(sock: KtlsSocket, name: str) -> int:
    return sock.stack.tls_stat[name]


# --------------------------------------------------------------------- key updates


def test_key_update_stops_reading_until_the_new_key() -> None:
    a, b = keyed_pair(OLD)
    old, new = Sender(OLD), Sender(NEW)
    b.send(old(23, b"before") + old(22, KEY_UPDATE))
    assert a.recvmsg(100, 64, DONTWAIT).data == b"before"
    got = a.recvmsg(100, 64, DONTWAIT)
    assert (got.data, got.record_type) == (KEY_UPDATE, 22)
    b.send(new(23, b"after"))
    for flags in (DONTWAIT, DONTWAIT | uapi.MSG_PEEK):
        fails(errno.EKEYEXPIRED, a.recvmsg, 100, 64, flags)
    fails(errno.EKEYEXPIRED, a.splice_to, Pipe(), 100, uapi.SPLICE_F_NONBLOCK)
    assert not a.poll(READABLE) & READABLE
    assert stat(a, "TlsRxRekeyReceived") == 1
    a.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, NEW.pack())
    assert a.poll(READABLE) & READABLE
    assert a.recv(100, DONTWAIT) == b"after"
    assert stat(a, "TlsRxRekeyOk") == 1
    assert a.getsockopt(uapi.SOL_TLS, uapi.TLS_RX, 40) == NEW.at(1).pack()


def test_a_record_under_the_old_key_after_the_new_one_is_bad() -> None:
    a, b = keyed_pair(OLD)
    old = Sender(OLD)
    b.send(old(22, KEY_UPDATE) + old(23, b"too late"))
    assert a.recvmsg(100, 64, DONTWAIT).data == KEY_UPDATE
    a.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, NEW.pack())
    fails(errno.EBADMSG, a.recv, 100, DONTWAIT)


@pytest.mark.parametrize(
    ("rtype", "data", "pauses"),
    [
        (22, b"\x18", True),  # only the first byte counts
        (22, b"\x04\x00\x00\x00" + KEY_UPDATE, False),  # after another message
        (21, KEY_UPDATE, False),
        (22, b"", False),
    ],
)
def test_key_update_detection(rtype: int, data: bytes, pauses: bool) -> None:
    a, b = keyed_pair(OLD)
    b.send(Sender(OLD)(rtype, data))
    assert a.recvmsg(100, 64, DONTWAIT).data == data
    fails(errno.EKEYEXPIRED if pauses else errno.EAGAIN, a.recv, 100, DONTWAIT)


def test_opened_bytes_stay_readable_across_a_rekey() -> None:
    a, b = keyed_pair(OLD)
    b.send(Sender(OLD)(23, b"0123456789"))
    assert a.recv(4, DONTWAIT) == b"0123"
    a.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, NEW.pack())
    b.send(Sender(NEW)(23, b"abc"))
    assert a.recv(100, DONTWAIT) == b"456789abc"


def test_transmit_rekey_seals_an_open_record_with_the_new_key() -> None:
    wire = bytearray()
    sock = connect_wire(KtlsStack(kernel=KERNELS["7.x"]), wire.extend)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, OLD.pack())
    sock.send(b"old")
    sock.send(b"open ", uapi.MSG_MORE)
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, NEW.pack())
    sock.send(b"record")
    assert bytes(wire) == Sender(OLD)(23, b"old") + Sender(NEW)(23, b"open record")
    assert sock.stack.tls_stat["TlsTxRekeyOk"] == 1


@pytest.mark.parametrize("option", [uapi.TLS_TX, uapi.TLS_RX])
def test_refused_rekeys_leave_the_old_key_in_force(option: int) -> None:
    a, b = keyed_pair(OLD)
    if option == uapi.TLS_TX:
        a.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, OLD.pack())
    name = "TlsTxRekeyError" if option == uapi.TLS_TX else "TlsRxRekeyError"
    other = replace(OLD, cipher=53)
    for bad in (TLS12.pack(), other.pack(), NEW.pack()[:-1], NEW.pack() + b"x"):
        fails(errno.EINVAL, a.setsockopt, uapi.SOL_TLS, option, bad)
    assert stat(a, name) == 4
    fails(errno.EINVAL, a.setsockopt, uapi.SOL_TLS, option, b"\x04\x03")
    assert stat(a, name) == 4  # a value that is too short is not counted
    b.send(Sender(OLD)(23, b"still"))
    assert a.recv(10, DONTWAIT) == b"still"
    if option == uapi.TLS_TX:
        a.send(b"out")
        assert b.recv(100, DONTWAIT) == Sender(OLD)(23, b"out")


def test_tls12_and_older_kernels_refuse_a_second_key() -> None:
    for info, kernel in ((TLS12, "7.x"), (OLD, "6.12"), (OLD, "6.1")):
        a, _ = keyed_pair(info, kernel)
        fails(errno.EBUSY, a.setsockopt, uapi.SOL_TLS, uapi.TLS_RX, info.pack())
        assert stat(a, "TlsRxRekeyError") == (1 if kernel == "7.x" else 0)


# ------------------------------------------------------------------- record limit


def test_record_limit() -> None:
    wire = bytearray()
    sock = connect_wire(KtlsStack(kernel=KERNELS["7.x"]), wire.extend)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")

    def set_limit(value: bytes | None) -> None:
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX_MAX_PAYLOAD_LEN, value)

    def get_limit(size: int = 2) -> bytes:
        return sock.getsockopt(uapi.SOL_TLS, uapi.TLS_TX_MAX_PAYLOAD_LEN, size)

    assert get_limit() == (16384).to_bytes(2, "little")
    assert len(get_limit(8)) == 2
    fails(errno.EINVAL, get_limit, 1)
    for bad in (None, b"", b"d", b"d\0\0\0", (63).to_bytes(2, "little"), b"\x01\x40"):
        fails(errno.EINVAL, set_limit, bad)
    set_limit((100).to_bytes(2, "little"))
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, OLD.pack())
    assert sock.send(bytes(250)) == 250
    sealer = Sender(OLD)
    assert bytes(wire) == b"".join(sealer(23, bytes(n)) for n in (100, 100, 50))
    set_limit((63).to_bytes(2, "little"))  # TLS 1.3 counts the inner type
    sock.send(b"open", uapi.MSG_MORE)
    fails(errno.EBUSY, set_limit, b"")
    sock.send(b"")
    assert get_limit() == (63).to_bytes(2, "little")


def test_record_limit_is_unknown_to_older_kernels() -> None:
    a, _ = keyed_pair(OLD, "6.12")
    fails(errno.ENOPROTOOPT, a.setsockopt, uapi.SOL_TLS, uapi.TLS_TX_MAX_PAYLOAD_LEN, b"\x64\x00")


# ------------------------------------------------------------------- other


def test_a_wire_feeds_a_socket() -> None:
    """Bytes from outside in pieces, an end of the stream within a record, and a reset."""
    for end in ("eof", "reset"):
        far = Wire(lambda _data: None)
        sock = connect_wire(KtlsStack(), far)
        sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, TLS12.pack())
        seal = Sender(TLS12)
        record = seal(23, b"in two pieces")
        far.feed(record[:20])
        fails(errno.EAGAIN, sock.recv, 100, DONTWAIT)
        far.feed(record[20:])
        assert sock.recv(100) == b"in two pieces"
        far.feed(seal(23, b"cut off")[:-1])
        if end == "eof":
            far.feed_eof()
            assert sock.recv(100) == b""  # Linux does not distinguish truncation
        else:
            far.feed_reset()
            fails(errno.ECONNRESET, sock.recv, 100)
            assert sock.recv(100) == b""


def test_a_call_that_would_block_forever_raises() -> None:
    a, _ = keyed_pair(TLS12)
    with pytest.raises(BlocksForever, match="MSG_DONTWAIT"):
        a.recv(1)
    a.setsockopt(uapi.SOL_SOCKET, uapi.SO_RCVTIMEO, (0).to_bytes(8, "little") + b"\x01" + bytes(7))
    fails(errno.EAGAIN, a.recv, 1)


def test_proc_net_tls_stat() -> None:
    a, b = keyed_pair(OLD)
    record = bytearray(Sender(OLD)(23, b"x"))
    record[-1] ^= 1
    b.send(bytes(record))
    fails(errno.EBADMSG, a.recv, 1)
    lines = a.stack.proc_net_tls_stat().splitlines()
    assert lines[0] == "TlsCurrTxSw                     \t0"
    table = dict(line.split() for line in lines)
    assert len(table) == 17
    assert (table["TlsCurrRxSw"], table["TlsDecryptError"]) == ("1", "1")
    a.close()
    assert a.stack.tls_stat["TlsCurrRxSw"] == 0
    older = KtlsStack(kernel=KERNELS["6.12"]).proc_net_tls_stat()
    assert len(older.splitlines()) == 12


def test_peers_through_small_buffers() -> None:
    """A non-blocking writer and reader alternate: counts are whole records, no byte is lost."""
    a, b = socketpair(KtlsStack())
    for sock in (a, b):
        sock.setsockopt(uapi.SOL_SOCKET, uapi.SO_SNDBUF, (2048).to_bytes(4, "little"))
        sock.setsockopt(uapi.SOL_SOCKET, uapi.SO_RCVBUF, (2048).to_bytes(4, "little"))
        sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    a.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, TLS12.pack())
    b.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, TLS12.pack())
    text = bytes(i * 13 >> 3 & 255 for i in range(100_000))

    def unless_it_waits(call: Callable[..., int | bytes], what: bytes | int) -> int | bytes | None:
        try:
            return call(what, DONTWAIT)
        except KtlsOSError as e:
            if e.errno != errno.EAGAIN:
                raise
            return None

    sent = blocked = 0
    got = b""
    for _ in range(10_000):
        if sent < len(text):
            n = unless_it_waits(a.send, text[sent:])
            if n is None:
                blocked += 1
                assert not a.poll(uapi.POLLOUT)
            else:
                assert isinstance(n, int)
                assert n % 16384 == 0 or sent + n == len(text)
                sent += n
        data = unless_it_waits(b.recv, 5000)
        got += data if isinstance(data, bytes) else b""
        if len(got) == len(text):
            break
    assert got == text
    assert blocked > 0
