# SPDX-License-Identifier: Apache-2.0
"""Socket calls: return values, errnos and records of Linux, in software and on the device."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable

import pytest

from ktls import (
    CryptoInfo,
    KtlsNic,
    KtlsSocket,
    KtlsStack,
    connect_wire,
    run_sync,
    uapi,
)
from ktls_cosim.check.golden import TrafficKeys, open_record, split_records
from ktls_hw.model import NicModel
from support import fails

INFO = CryptoInfo(
    uapi.TLS_1_2_VERSION, 51, bytes(range(8)), bytes(range(16)), b"salt", (5).to_bytes(8, "big")
)
MORE = uapi.MSG_MORE


class Peer:
    """The peer, which opens the records that arrive."""

    def __init__(self, info: CryptoInfo = INFO) -> None:
        self.keys = TrafficKeys.from_crypto_info(info.pack())
        self.wire = bytearray()
        self.records: list[tuple[int, bytes]] = []

    def __call__(self, data: bytes) -> None:
        self.wire += data

    def lengths(self) -> list[tuple[int, int]]:
        """Return the type and length of every record so far."""
        for record in split_records(self.wire):
            opened = open_record(self.keys, len(self.records), record)
            assert opened is not None
            self.records.append(opened)
        return [(t, len(d)) for t, d in self.records]


Connect = Callable[..., tuple[KtlsSocket, Peer]]


@pytest.fixture(params=["software", "device"])
def connect(request: pytest.FixtureRequest) -> Connect:
    def make(info: CryptoInfo = INFO) -> tuple[KtlsSocket, Peer]:
        nic = run_sync(KtlsNic.probe(NicModel())) if request.param == "device" else None
        peer = Peer(info)
        # a signal interrupts every call that would sleep
        sock = connect_wire(KtlsStack(nic, sleep=lambda _what: False), peer)
        sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
        assert (sock.why_not_offloaded is None) == (request.param == "device")
        return sock, peer

    return make


def plain() -> KtlsSocket:
    return connect_wire(KtlsStack(), lambda _data: None)


# ----------------------------------------------------------------------- TCP_ULP


@pytest.mark.parametrize("name", [b"tls", b"tls\0", b"tls\0junk"])
def test_ulp_names_that_linux_accepts(name: bytes) -> None:
    sock = plain()
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, name)
    assert sock.getsockopt(uapi.SOL_TCP, uapi.TCP_ULP, 100) == b"tls".ljust(16, b"\0")
    assert sock.getsockopt(uapi.SOL_TCP, uapi.TCP_ULP, 2) == b"tl"
    fails(errno.EEXIST, sock.setsockopt, uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    fails(errno.ENOENT, sock.setsockopt, uapi.SOL_TCP, uapi.TCP_ULP, b"unknown")


def test_ulp_errors() -> None:
    sock = plain()
    assert sock.getsockopt(uapi.SOL_TCP, uapi.TCP_ULP, 16) == b""
    fails(errno.EINVAL, sock.setsockopt, uapi.SOL_TCP, uapi.TCP_ULP, b"")
    for name in (b"TLS", b"tlsX", b"x" * 40):
        fails(errno.ENOENT, sock.setsockopt, uapi.SOL_TCP, uapi.TCP_ULP, name)
    sock.shutdown(uapi.SHUT_WR)
    fails(errno.ENOTCONN, sock.setsockopt, uapi.SOL_TCP, uapi.TCP_ULP, b"tls")


def test_before_the_ulp() -> None:
    sock = plain()
    fails(errno.ENOPROTOOPT, sock.setsockopt, uapi.SOL_TLS, uapi.TLS_TX, INFO.pack())
    fails(errno.EOPNOTSUPP, sock.getsockopt, uapi.SOL_TLS, uapi.TLS_TX, 40)
    assert sock.send(b"in the clear") == 12


def test_closed_socket() -> None:
    sock = plain()
    sock.close()
    fails(errno.EBADF, sock.send, b"x")
    fails(errno.EBADF, sock.close)
    fails(errno.EBADF, sock.setsockopt, uapi.SOL_TCP, uapi.TCP_ULP, b"tls")


# ------------------------------------------------------------------------ TLS_TX


def test_crypto_info_checks_in_linux_order() -> None:
    sock = plain()
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    blob = INFO.pack()

    def set_tx(value: bytes | None) -> None:
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, value)

    for bad in (
        None,
        b"",
        blob[:3],
        blob[:39],
        blob + b"x",
        b"\x02\x03" + blob[2:],
        blob[:2] + b"\x32\x00" + blob[4:],
        blob[:2] + b"\x3b\x00" + blob[4:],
        b"\x04\x03\x39\x00" + blob[4:],  # ARIA with TLS 1.3
    ):
        fails(errno.EINVAL, set_tx, bad)
    fails(errno.ENOENT, set_tx, blob[:2] + b"\x37\x00" + blob[4:])  # SM4 is not built in
    fails(errno.EBUSY, sock.getsockopt, uapi.SOL_TLS, uapi.TLS_TX, 40)
    set_tx(blob)  # the failed attempts had no effect
    fails(errno.EBUSY, set_tx, blob)
    fails(errno.EINVAL, set_tx, b"")
    fails(errno.ENOPROTOOPT, sock.setsockopt, uapi.SOL_TLS, 77, blob)
    fails(errno.ENOPROTOOPT, sock.getsockopt, uapi.SOL_TLS, 77, 40)


def test_getsockopt_shows_the_counters(connect: Connect) -> None:
    sock, _ = connect()
    for _ in range(3):
        sock.send(b"x")
    assert sock.getsockopt(uapi.SOL_TLS, uapi.TLS_TX, 40) == INFO.at(3).pack()
    assert sock.getsockopt(uapi.SOL_TLS, uapi.TLS_TX, 4) == INFO.pack()[:4]
    for n in (0, 3, 5, 39, 41, 56):
        fails(errno.EINVAL, sock.getsockopt, uapi.SOL_TLS, uapi.TLS_TX, n)


def test_zerocopy_option(connect: Connect) -> None:
    sock, _ = connect()
    for bad in (None, b"", b"\1", bytes(8), b"\2\0\0\0"):
        fails(errno.EINVAL, sock.setsockopt, uapi.SOL_TLS, uapi.TLS_TX_ZEROCOPY_RO, bad)
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX_ZEROCOPY_RO, b"\1\0\0\0")
    assert sock.getsockopt(uapi.SOL_TLS, uapi.TLS_TX_ZEROCOPY_RO, 4) == b"\1\0\0\0"
    fails(errno.EINVAL, sock.getsockopt, uapi.SOL_TLS, uapi.TLS_TX_ZEROCOPY_RO, 8)


# -------------------------------------------------------------------------- send


@pytest.mark.parametrize(
    ("size", "records"),
    [
        (1, [1]),
        (16383, [16383]),
        (16384, [16384]),
        (16385, [16384, 1]),
        (32769, [16384, 16384, 1]),
        (50000, [16384, 16384, 16384, 848]),
    ],
)
def test_record_sizes(connect: Connect, size: int, records: list[int]) -> None:
    sock, peer = connect()
    assert sock.send(bytes(size)) == size
    sock.flush()
    assert peer.lengths() == [(23, n) for n in records]


def test_empty_send_does_nothing(connect: Connect) -> None:
    sock, peer = connect()
    assert sock.send(b"") == 0
    assert sock.send(b"ab", MORE) == 2
    assert sock.send(b"") == 0
    sock.flush()
    assert peer.lengths() == []


def test_msg_more(connect: Connect) -> None:
    sock, peer = connect()
    for n in (10, 16370, 10):
        assert sock.send(bytes(n), MORE) == n
    assert sock.send(bytes(5)) == 5
    assert sock.send(b"ab", MORE) == 2
    assert sock.send(b"cd", uapi.MSG_EOR) == 2
    assert sock.send(b"ef") == 2
    sock.flush()
    assert peer.lengths() == [(23, 16384), (23, 11), (23, 4), (23, 2)]


def test_scatter_list_of_a_thousand(connect: Connect) -> None:
    sock, peer = connect()
    assert sock.sendmsg([b"x"] * 1000) == 1000
    sock.flush()
    assert peer.lengths() == [(23, 1000)]


@pytest.mark.parametrize(
    "flag",
    [0x1, 0x4, 0x10, 0x20, 0x8, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x40000,
     0x4000000, 0x20000000, 0x40000000],
)  # fmt: skip
def test_refused_flags(connect: Connect, flag: int) -> None:
    sock, _ = connect()
    fails(errno.EOPNOTSUPP, sock.send, b"x", flag)


def test_flag_rules(connect: Connect) -> None:
    sock, peer = connect()
    fails(errno.EINVAL, sock.send, b"x", MORE | uapi.MSG_EOR)
    internal = 0x8000000 | 0x10000 | 0x100000
    assert sock.send(b"x", internal | uapi.MSG_DONTWAIT | uapi.MSG_NOSIGNAL) == 1
    fails(errno.EOPNOTSUPP, sock.send, b"x", 0x80000)  # MSG_NO_SHARED_FRAGS: cleared by 7.x
    sock.flush()
    assert peer.lengths() == [(23, 1)]


def test_control_messages(connect: Connect) -> None:
    sock, peer = connect()

    def cmsg(*data: bytes) -> list[tuple[int, int, bytes]]:
        return [(uapi.SOL_TLS, uapi.TLS_SET_RECORD_TYPE, d) for d in data]

    assert sock.send(bytes(10), MORE) == 10
    fails(errno.EINVAL, sock.sendmsg, [b"x"], cmsg(b"\x16"), MORE)
    assert sock.sendmsg([bytes(5)], cmsg(b"\x16")) == 5
    assert sock.send(bytes(3), MORE) == 3
    assert sock.sendmsg([b""], cmsg(b"\x16")) == 0  # flushes and sends no record of its own
    assert sock.sendmsg([bytes(20000)], cmsg(b"\x16")) == 20000
    assert (
        sock.sendmsg([b"x"], cmsg(b"\x15", b"\x64xxxx")) == 1
    )  # the first byte of the last message
    assert sock.sendmsg([b"x"], [(1, 1, b"foreign"), *cmsg(b"\x00")]) == 1
    sock.flush()
    assert peer.lengths() == [
        (23, 10), (22, 5), (23, 3), (22, 16384), (22, 3616), (100, 1), (0, 1)
    ]  # fmt: skip
    for bad in (cmsg(b""), [(uapi.SOL_TLS, 9, b"x")], [(1, 1, b"x")]):
        fails(errno.EINVAL, sock.sendmsg, [b"x"], bad)


def test_sendfile(connect: Connect) -> None:
    sock, peer = connect()
    file = io.BytesIO(bytes(50_000))
    assert sock.sendfile(file, 0, 50_000) == 50_000
    assert sock.send(bytes(100), MORE) == 100
    assert sock.sendfile(file, 45_000, 99_999) == 5000
    assert file.tell() == 0
    assert sock.sendfile(file, None, 7) == 7
    assert file.tell() == 7
    assert sock.sendfile(file, 50_000, 10) == 0
    sock.flush()
    assert peer.lengths() == [(23, 16384)] * 3 + [(23, 848), (23, 5100), (23, 7)]


def test_sendfile_of_exactly_one_record(connect: Connect) -> None:
    sock, peer = connect()
    assert sock.sendfile(io.BytesIO(bytes(16384)), 0, 16384) == 16384
    sock.flush()
    assert peer.lengths() == [(23, 16384)]


# ------------------------------------------------------------------------ memory


def test_no_memory_for_a_record_consumes_nothing(connect: Connect) -> None:
    sock, peer = connect()
    assert sock.send(b"kept ", MORE) == 5
    sock.faults.buffer_mem = 0
    fails(errno.EAGAIN, sock.send, b"lost", uapi.MSG_DONTWAIT)
    assert sock.send(b"data") == 4
    sock.faults.record_alloc = 0
    fails(errno.ENOMEM, sock.send, b"lost")
    sock.faults.buffer_mem = 0
    fails(errno.EINTR, sock.send, b"lost")
    assert sock.send(b"next") == 4
    sock.flush()
    peer.lengths()
    assert peer.records == [(23, b"kept data"), (23, b"next")]


def test_memory_exhaustion_gives_a_short_count(connect: Connect) -> None:
    sock, peer = connect()
    sock.faults.record_alloc = 2
    assert sock.send(bytes(50_000)) == 32768
    sock.flush()
    assert peer.lengths() == [(23, 16384)] * 2


@pytest.mark.parametrize(("succeed", "accepted"), [(0, None), (1, 16384), (2, 32768)])
def test_sendfile_without_memory_loses_nothing(
    connect: Connect, succeed: int, accepted: int | None
) -> None:
    """The count and the file's position agree, so a second call continues after the first."""
    sock, peer = connect()
    content = bytes(i * 7 & 255 for i in range(40_000))
    file = io.BytesIO(content)
    sock.faults.record_alloc = succeed
    if accepted is None:
        fails(errno.ENOMEM, sock.sendfile, file, None, 40_000)
        assert file.tell() == 0
    else:
        assert sock.sendfile(file, None, 40_000) == accepted
        assert file.tell() == accepted
    left = 40_000 - (accepted or 0)
    assert sock.sendfile(file, None, 40_000) == left
    sock.flush()
    peer.lengths()
    assert b"".join(d for _, d in peer.records) == content


# ----------------------------------------------------------------- close and shutdown


def test_close_and_shutdown_drop_the_open_record(connect: Connect) -> None:
    sock, peer = connect()
    sock.send(b"sent")
    sock.send(b"dropped", MORE)
    sock.shutdown(uapi.SHUT_WR)
    assert peer.lengths() == [(23, 4)]
    # Linux reports success, raises SIGPIPE and sends nothing
    assert sock.send(b"after") == 5
    assert sock.sigpipe == 1
    sock.close()
    assert peer.lengths() == [(23, 4)]
    sock, peer = connect()
    sock.send(b"dropped", MORE)
    sock.close()
    assert peer.lengths() == []
    fails(errno.EINVAL, connect()[0].shutdown, 9)


def test_the_last_record_number_is_refused(connect: Connect) -> None:
    info = CryptoInfo(
        uapi.TLS_1_2_VERSION, 51, bytes(8), bytes(16), b"salt", (2**64 - 2).to_bytes(8, "big")
    )
    sock, peer = connect(info)
    assert sock.send(b"last") == 4
    fails(errno.EBADMSG, sock.send, b"wraps")
    fails(errno.EBADMSG, sock.send, b"again")
    sock.flush()
    assert peer.lengths() == [(23, 4)]


def test_a_record_held_by_an_error_leaves_before_later_records(connect: Connect) -> None:
    """The record that wraps the number is held; it must not be overtaken after SO_ERROR."""
    info = CryptoInfo(
        uapi.TLS_1_2_VERSION, 51, bytes(8), bytes(16), b"salt", (2**64 - 1).to_bytes(8, "big")
    )
    sock, peer = connect(info)
    fails(errno.EBADMSG, sock.send, b"held")
    assert sock.getsockopt(uapi.SOL_SOCKET, uapi.SO_ERROR, 4) == errno.EBADMSG.to_bytes(4, "little")
    assert sock.send(b"later") == 5
    sock.flush()
    assert [int.from_bytes(r[5:13], "big") for r in split_records(peer.wire)] == [0, 1]


def test_tls_stat_counts() -> None:
    nic = run_sync(KtlsNic.probe(NicModel()))
    stack = KtlsStack(nic)
    socks = []
    for cipher, size in ((51, 16), (54, 32)):
        desc_iv, salt = (8, b"salt") if cipher == 51 else (12, b"")
        info = CryptoInfo(0x0303, cipher, bytes(desc_iv), bytes(size), salt, bytes(8))
        sock = connect_wire(stack, lambda _data: None)
        sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
        socks.append(sock)
    assert socks[1].why_not_offloaded == (
        "the device does not support CHACHA20-POLY1305 in TLS 1.2"
    )
    assert dict(stack.tls_stat) == {
        "TlsTxDevice": 1, "TlsCurrTxDevice": 1, "TlsTxSw": 1, "TlsCurrTxSw": 1
    }  # fmt: skip
    for sock in socks:
        sock.close()
    assert stack.tls_stat["TlsCurrTxDevice"] == stack.tls_stat["TlsCurrTxSw"] == 0
