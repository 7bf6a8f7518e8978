# SPDX-License-Identifier: Apache-2.0
"""kTLS receive with a device that opens records as they arrive."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from ktls import (
    KERNELS,
    CryptoInfo,
    KtlsNic,
    KtlsSocket,
    KtlsStack,
    Wire,
    connect_wire,
    run_sync,
    uapi,
)
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.check.wire import Scoreboard
from ktls_hw.model import NicModel
from support import fails

TLS12 = CryptoInfo(0x0303, 51, bytes(range(8)), bytes(range(16)), b"salt", bytes(8))
TLS13 = replace(TLS12, version=0x0304)


class Connection:
    """A receiving socket on a checked device, and a peer that seals records for it."""

    def __init__(self, info: CryptoInfo, *, receive: bool = True, kernel: str = "6.12") -> None:
        self.model = NicModel(suites=0x3FF if receive else 0x30F)
        self.scoreboard = Scoreboard()
        nic = run_sync(KtlsNic.probe(CheckedPort(self.model, self.scoreboard)))
        self.stack = KtlsStack(nic, self.scoreboard, kernel=KERNELS[kernel])
        self.far = Wire(lambda _data: None)
        self.sock: KtlsSocket = connect_wire(self.stack, self.far)
        self.sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        self.set_key(info)

    def set_key(self, info: CryptoInfo) -> None:
        self.keys = TrafficKeys.from_crypto_info(info.pack())
        self.index = 0
        self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, info.pack())

    def record(self, text: bytes, rtype: int = 23) -> bytes:
        self.index += 1
        return seal_record(self.keys, self.index - 1, rtype, text).wire

    def recv(self, size: int = 1000) -> bytes:
        return self.sock.recvmsg(size, 64, uapi.MSG_DONTWAIT).data

    @property
    def opened(self) -> int:
        """Number of records that the device has opened, all of them checked."""
        run_sync(self.stack.settle())
        assert not self.scoreboard.mismatches
        return self.scoreboard.device_records


@pytest.mark.parametrize("info", [TLS12, TLS13])
def test_the_device_opens_arriving_records(info: CryptoInfo) -> None:
    c = Connection(info)
    assert c.sock.why_rx_not_offloaded is None
    stream = b"".join(c.record(bytes([i]) * (100 * i)) for i in range(30))
    for at in range(0, len(stream), 777):
        c.far.feed(stream[at : at + 777])
    assert c.opened == 30
    got = b""
    while len(got) < 43_500:
        got += c.recv(5000)
    assert got == b"".join(bytes([i]) * (100 * i) for i in range(30))
    stat = c.stack.tls_stat
    assert (stat["TlsRxDevice"], stat["TlsCurrRxDevice"], stat["TlsRxSw"]) == (1, 1, 0)
    c.sock.close()
    assert stat["TlsCurrRxDevice"] == 0
    assert run_sync(c.stack.nic.stats())["tx_tls_ctx"] == 0  # type: ignore[union-attr]


def test_types_and_peeking_are_as_in_software() -> None:
    c = Connection(TLS13)
    c.far.feed(c.record(b"data") + c.record(b"\x01\x00", 21) + c.record(b""))
    assert c.opened == 3
    assert c.sock.recv(100, uapi.MSG_PEEK | uapi.MSG_DONTWAIT) == b"data"
    assert c.recv() == b"data"
    got = c.sock.recvmsg(100, 64, uapi.MSG_DONTWAIT)
    assert (got.data, got.record_type) == (b"\x01\x00", 21)
    fails(errno.EAGAIN, c.recv)


@pytest.mark.parametrize("info", [TLS12, TLS13])
def test_a_bad_record_ends_the_offload_and_reaches_the_application(info: CryptoInfo) -> None:
    c = Connection(info)
    bad = bytearray(c.record(b"never"))
    bad[-1] ^= 1
    c.far.feed(bytes(bad))
    c.far.feed(c.record(b"after"))
    for attempt in (1, 2, 3):
        fails(errno.EBADMSG, c.recv)
        assert c.stack.tls_stat["TlsDecryptError"] == attempt
    assert run_sync(c.stack.nic.stats())["rx_tls_err"] >= 1  # type: ignore[union-attr]


def test_after_a_bus_error_the_device_opens_again() -> None:
    """The CPU opens the failed records; a RESYNC names the next one."""
    c = Connection(TLS12)
    c.far.feed(c.record(b"one "))
    assert c.opened == 1
    c.model.mem.fail(0x2000, c.model.mem.size, write=False)
    c.far.feed(c.record(b"two ") + c.record(b"three"))
    run_sync(c.stack.settle())
    c.model.mem.heal()
    c.far.feed(c.record(b" four"))
    assert c.recv() == b"one two three four"
    assert c.opened == 2
    assert run_sync(c.stack.nic.stats())["rx_tls_resync_res_ok"] > 0  # type: ignore[union-attr]


def test_a_device_that_only_seals_leaves_receive_to_software() -> None:
    c = Connection(TLS12, receive=False)
    assert c.sock.why_rx_not_offloaded == "the device does not offload receive"
    c.far.feed(c.record(b"in software"))
    assert c.recv() == b"in software"
    assert (c.opened, c.stack.tls_stat["TlsRxSw"]) == (0, 1)


def test_contexts_run_out_in_the_receive_direction_too() -> None:
    c = Connection(TLS12)
    socks = []
    for _ in range(64):
        sock = connect_wire(c.stack, lambda _data: None)
        sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, TLS12.pack())
        socks.append(sock)
    assert socks[-1].why_rx_not_offloaded is not None
    assert "contexts" in socks[-1].why_rx_not_offloaded
    socks[0].close()
    sock = connect_wire(c.stack, lambda _data: None)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, TLS12.pack())
    assert sock.why_rx_not_offloaded is None


def test_a_rekey_moves_to_a_new_context() -> None:
    c = Connection(TLS13, kernel="7.x")
    new = replace(TLS13, key=b"N" * 16)
    c.far.feed(c.record(b"old") + c.record(b"\x18\x00\x00\x01\x00", 22))
    assert c.recv() == b"old"
    assert c.recv() == b"\x18\x00\x00\x01\x00"
    fails(errno.EKEYEXPIRED, c.recv)
    early = seal_record(TrafficKeys.from_crypto_info(new.pack()), 0, 23, b"early").wire
    c.far.feed(early)  # the device tries the old key and fails
    c.set_key(new)
    c.index = 1
    c.far.feed(c.record(b" new"))
    assert c.recv() == b"early new"
    assert c.opened == 4
    assert run_sync(c.stack.nic.stats())["rx_tls_ctx"] == 1  # type: ignore[union-attr]


def test_a_broken_header_reaches_the_application() -> None:
    c = Connection(TLS12)
    c.far.feed(c.record(b"good") + b"\x17\x03\x01\x00\x20" + bytes(40))
    assert c.recv() == b"good"
    fails(errno.EINVAL, c.recv)
    assert c.opened == 1


def test_a_rekey_of_the_transmit_direction_moves_to_a_new_context() -> None:
    """The device seals the records before and after a rekey, each with its own key."""
    scoreboard = Scoreboard()
    nic = run_sync(KtlsNic.probe(CheckedPort(NicModel(), scoreboard)))
    stack = KtlsStack(nic, scoreboard, kernel=KERNELS["7.x"])
    wire = bytearray()
    sock = connect_wire(stack, wire.extend)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    for i in range(4):
        info = replace(TLS13, key=bytes((i,)) * 16)
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
        sock.send(b"before")
        sock.send(b"after")
        keys = TrafficKeys.from_crypto_info(info.pack())
        want = [seal_record(keys, n, 23, text).wire for n, text in enumerate((b"before", b"after"))]
        assert bytes(wire) == b"".join(want)
        wire.clear()
        assert nic.contexts_in_use == 1
    assert stack.tls_stat["TlsTxDevice"] == stack.tls_stat["TlsCurrTxDevice"] == 1
    sock.close()
    assert nic.contexts_in_use == 0
    scoreboard.finish()
    assert (scoreboard.device_records, scoreboard.wire_records) == (8, 8)
