# SPDX-License-Identifier: Apache-2.0
"""An exception at each access of a connection's life in turn: nothing is lost, nothing leaks."""

from __future__ import annotations

import errno

import pytest

from faulty import TLS12, TLS13, FaultyPort, Peer, stack_on
from ktls import KtlsOSError, run_sync, uapi
from ktls.crypto_info import CryptoInfo
from ktls_cosim.check.golden import TrafficKeys
from ktls_hw.memory import ModelMemory
from ktls_hw.model import NicModel

NEW_KEY = b"fedcba9876543210"
SIZES = (20, 320, 1, 0, 5000, 20_000, 77)


class Life:
    """One connection from its keys to close(2), and what came of it."""

    def __init__(self, port: FaultyPort, info: CryptoInfo) -> None:
        self.port = port
        self.info = info
        self.stack = stack_on(port, kernel="7.x", sq_log2=2, cq_log2=2)
        self.expected = b""
        self.received = b""

    def run(self) -> None:
        """Send, receive and, in TLS 1.3, rekey; then close the socket."""
        peer = Peer(self.stack, self.info)
        self.send(peer)
        for i, size in enumerate(SIZES[:5]):
            peer.send(bytes((97 + i,)) * size)
        self.read(peer, sum(SIZES[:5]))
        assert peer.received() == self.expected
        if self.info is TLS13:
            mark, self.expected = len(peer.wire), b""
            peer.send(b"\x18\x00\x00\x01\x00", 22)  # KeyUpdate
            peer.sock.recvmsg(100, 64)
            peer.rekey(NEW_KEY, uapi.TLS_RX)
            peer.rekey(NEW_KEY, uapi.TLS_TX)
            peer.send(b"after the rekey")
            self.read(peer, 15)
            self.send(peer)
            keys = TrafficKeys.from_crypto_info(peer.sock.getsockopt(uapi.SOL_TLS, 1, 40))
            first = TrafficKeys(keys.version, keys.cipher, keys.key, keys.salt, keys.iv, 0)
            assert peer.received(first, mark) == self.expected
        peer.sock.close()

    def send(self, peer: Peer) -> None:
        for i, size in enumerate(SIZES):
            text = bytes((65 + i,)) * size
            assert peer.sock.send(text) == size
            self.expected += text
        peer.sock.flush()

    def read(self, peer: Peer, count: int) -> None:
        got = b""
        while len(got) < count:
            got += peer.sock.recv(1 << 16, uapi.MSG_DONTWAIT)
        assert len(got) == count
        with pytest.raises(KtlsOSError) as e:
            peer.sock.recv(1, uapi.MSG_DONTWAIT)
        assert e.value.errno == errno.EAGAIN

    def check_clean(self) -> None:
        """No key and no text is left, and the next connection is offloaded."""
        run_sync(self.stack.settle())
        nic = self.stack.nic
        assert nic is not None
        assert self.port.model._ctx == {}
        assert nic.contexts_in_use == 0
        assert nic.buffers.available == nic.buffers.count
        assert self.port.secrets(NEW_KEY, b"A" * 20, b"F" * 20, b"a" * 20) == 0
        fresh = Peer(self.stack, self.info)
        assert fresh.sock.why_not_offloaded is None
        assert fresh.sock.why_rx_not_offloaded is None
        before = nic.records
        fresh.sock.send(b"fresh")
        fresh.sock.flush()
        assert fresh.received() == b"fresh"
        assert nic.records == before + 1


def live(info: CryptoInfo, lazy: bool, fail_at: int, error: type[Exception]) -> int:
    """Run a life in which one access fails; returns the number of accesses."""
    port = FaultyPort(NicModel(ModelMemory(1 << 19)), lazy=lazy)
    life = Life(port, info)
    port.accesses.clear()  # failures during probe() reach its caller
    port.fail_at, port.error = fail_at, error
    life.run()
    accesses, port.fail_at = port.accesses.total(), 0
    life.check_clean()
    return accesses


@pytest.mark.parametrize("lazy", [False, True], ids=["prompt", "lazy"])
@pytest.mark.parametrize("info", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_each_access_may_fail(info: CryptoInfo, lazy: bool) -> None:
    accesses = live(info, lazy, 0, OSError)
    assert accesses > 100
    for number in range(1, accesses + 1):
        live(info, lazy, number, (MemoryError, OSError)[number % 2])
