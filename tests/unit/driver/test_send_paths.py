# SPDX-License-Identifier: Apache-2.0
"""The fast path of send and sendfile against the general path, over random calls.

Two sockets have the same keys and execute the same calls; one of them never takes the fast
path. After every call both have the same result, bytes on the wire, counters and errors.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ktls import KERNELS, CryptoInfo, Kernel, KtlsOSError, KtlsStack, Wire, connect_wire, uapi
from ktls.record import MAX_NUMBER, Buffer

LIMIT = uapi.TLS_MAX_PAYLOAD_SIZE
SIZES = (0, 1, 2, 100, LIMIT - 1, LIMIT, LIMIT + 1)
FILE = random.Random(7).randbytes(20 * LIMIT + 123)
ROUNDS = 4
CALLS = 40


class Reports:
    """An observer that keeps the bytes that the application sent, by record type."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.dropped = 0

    def app_sent(self, _conn: int, rtype: int, data: bytes) -> None:
        if self.sent and self.sent[-1][0] == rtype:
            data = self.sent.pop()[1] + data
        self.sent.append((rtype, data))

    def app_dropped(self, _conn: int, count: int) -> None:
        self.dropped += count

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args: None


class End:
    """A sending socket and everything that shows its state.

    Attributes:
        fast: Number of records that took the fast path.
    """

    def __init__(self, kernel: Kernel, info: CryptoInfo, fast: bool, observed: bool) -> None:
        self.bytes = bytearray()
        self.fast = 0
        self.reports = Reports()
        self.wire = Wire(self.bytes.extend)
        observer: Any = self.reports if observed else None
        self.sock = connect_wire(KtlsStack(None, observer, kernel=kernel), self.wire)
        self.sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
        tx = self.sock.tx
        assert tx is not None
        original = tx.send_record

        def send_record(data: Buffer) -> bool:
            taken = fast and original(data)
            self.fast += taken
            return taken

        tx.send_record = send_record  # type: ignore[method-assign]

    def call(self, name: str, args: tuple[Any, ...]) -> object:
        """Execute a call of the socket, or an event around it."""
        try:
            if name == "fail":
                setattr(self.sock.faults, *args)
                return None
            if name == "reset":
                self.wire.feed_reset()
                return None
            return getattr(self.sock, name)(*args)
        except KtlsOSError as e:
            return e.errno

    def state(self) -> tuple[object, ...]:
        """Return everything that a caller, a peer or an observer has seen since the last state."""
        sock = self.sock
        sent, dropped = self.reports.sent, self.reports.dropped
        wire = bytes(self.bytes)
        self.bytes.clear()
        self.reports.sent, self.reports.dropped = [], 0
        if sock.closed:
            return wire, sent, dropped
        tx = sock.tx
        assert tx is not None
        return (
            wire,
            sent,
            dropped,
            tx.protection.info.pack(),
            tx.open_bytes,
            tx.has_open_record,
            sock.tcp.sk_err,
            sock.sigpipe,
            sock.poll(uapi.POLLOUT | uapi.POLLIN),
        )


def random_call(rng: random.Random, file: BinaryIO, info: CryptoInfo) -> tuple[str, Any]:
    """Return a call as a name and its arguments; plain sends and files are the most frequent."""
    data = rng.randbytes(rng.choice(SIZES))
    flags = rng.choice((uapi.MSG_MORE, uapi.MSG_NOSIGNAL, uapi.MSG_DONTWAIT, uapi.MSG_OOB))
    control = [(uapi.SOL_TLS, uapi.TLS_SET_RECORD_TYPE, bytes((rng.randrange(256),)))]
    count = rng.choice((0, 1, LIMIT, 2 * LIMIT, 17 * LIMIT + 5, len(FILE)))
    limit = rng.choice((64, 1000, LIMIT)).to_bytes(2, "little")
    calls: list[tuple[int, str, tuple[Any, ...]]] = [
        (30, "send", (data,)),
        (10, "send", (data, flags)),
        (5, "write", (data,)),
        (20, "sendfile", (file, rng.randrange(len(FILE) + 10), count)),
        (5, "sendmsg", ([data], control)),
        (3, "setsockopt", (uapi.SOL_TLS, uapi.TLS_TX_MAX_PAYLOAD_LEN, limit)),
        (1, "setsockopt", (uapi.SOL_TLS, uapi.TLS_TX, info.pack())),
        (5, "fail", ("record_alloc", rng.randrange(3))),
        (1, "getsockopt", (uapi.SOL_SOCKET, uapi.SO_ERROR, 4)),
    ]
    rare: list[tuple[str, tuple[Any, ...]]] = [
        ("reset", ()), ("shutdown", (uapi.SHUT_WR,)), ("shutdown", (uapi.SHUT_RD,)), ("close", ()),
    ]  # fmt: skip
    if rng.random() < 0.015:
        return rng.choice(rare)
    (chosen,) = rng.choices(calls, [weight for weight, _, _ in calls])
    return chosen[1:]


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("start", [0, MAX_NUMBER - 3], ids=["first", "last"])
@pytest.mark.parametrize("version", [uapi.TLS_1_2_VERSION, uapi.TLS_1_3_VERSION])
@pytest.mark.parametrize("kernel", KERNELS)
def test_fast_path_equals_general_path(
    kernel: str, version: int, start: int, observed: bool, seed: int, tmp_path: Path
) -> None:
    rng = random.Random(f"{seed} {kernel} {version} {start} {observed}")
    path = tmp_path / "file"
    path.write_bytes(FILE)
    info = CryptoInfo(version, 51, bytes(range(8)), bytes(16), b"salt", start.to_bytes(8, "big"))
    taken = 0
    with path.open("rb") as file:
        for _ in range(ROUNDS):
            ends = [End(KERNELS[kernel], info, fast, observed) for fast in (True, False)]
            for i in range(CALLS):
                name, args = random_call(rng, file, info)
                results = [end.call(name, args) for end in ends]
                assert results[0] == results[1], (i, name)
                states = [end.state() for end in ends]
                assert states[0] == states[1], (i, name)
            assert ends[1].fast == 0
            taken += ends[0].fast
    assert taken > 0
