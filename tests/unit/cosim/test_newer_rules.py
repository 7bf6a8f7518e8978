# SPDX-License-Identifier: Apache-2.0
"""Each rule that the newer recordings taught: a planted wrong rule is found by one of them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ktls import (
    KERNELS,
    CryptoInfo,
    KtlsOSError,
    KtlsStack,
    Pipe,
    cmsg,
    socketpair,
    sockopt,
    uapi,
)
from ktls import socket as ktls_socket
from ktls.socket import KtlsSocket
from ktls.tcp import TcpSock
from ktls.tls_main import TlsContext
from ktls.tls_rx import TlsRx
from ktls_cosim.conformance import run
from ktls_cosim.conformance.scenario import load

NEWER = Path(__file__).parents[2] / "oracle" / "newer"
INFO = CryptoInfo(uapi.TLS_1_3_VERSION, 51, bytes(8), bytes(16), bytes(4), bytes(8)).pack()
Plant = Callable[[pytest.MonkeyPatch], None]


def differing() -> set[str]:
    """Return the names of the scenarios that differ, without their group."""
    results = run.run_scenarios(list(load([NEWER])), kernel=None, port="software", jobs=1)
    return {r.name.split("/")[1] for r in results if r.differences}


def wrap(patch: pytest.MonkeyPatch, owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Replace a function by `change`, which gets the original as its first argument."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *a, **k: change(original, *a, **k))


def personality(name: str, **changes: Any) -> Plant:
    return lambda patch: patch.setitem(KERNELS, name, replace(KERNELS[name], **changes))


def key_update_only_in_tls13(patch: pytest.MonkeyPatch) -> None:
    def check(original: Any, self: TlsRx, opened: Any) -> None:
        if self.protection.tls13:
            original(self, opened)

    wrap(patch, TlsRx, "_check_key_update", check)


def poll_shows_the_key_update(patch: pytest.MonkeyPatch) -> None:
    hides = property(lambda s: s._kernel.poll_hides_partial_record and not s.readable)
    patch.setattr(TlsRx, "hides_input", hides)


def parsed_below_the_low_water_mark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TcpSock, "_data_ready", lambda s: s.on_data and s.on_data())


def splice_follows_the_socket(patch: pytest.MonkeyPatch) -> None:
    def splice(original: Any, self: KtlsSocket, pipe: Pipe, count: int, flags: int) -> Any:
        return original(self, pipe, count, flags | (2 if self.nonblocking else 0))

    wrap(patch, KtlsSocket, "splice_to", splice)


def reading_nothing_reaches_tcp(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KtlsSocket, "readv", lambda s, n, fault_at=None: s.recvmsg(n).data)


def negative_length_is_short(patch: pytest.MonkeyPatch) -> None:
    def get(original: Any, self: TlsContext, option: int, optlen: int, null: bool) -> Any:
        return original(self, option, max(optlen, 0), null)

    wrap(patch, TlsContext, "get_option", get)


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (key_update_only_in_tls13, "13e_tls12_key_update"),
        (poll_shows_the_key_update, "13d_peeked_key_update"),
        (parsed_below_the_low_water_mark, "21_rcvlowat_poll"),
        (personality("7.2.7", reports_new_parse_error=False), "21c_rcvlowat_error"),
        (personality("6.1.176", reports_new_parse_error=True), "21c_rcvlowat_error"),
        (splice_follows_the_socket, "56_nonblock"),
        (personality("6.12.113", stripped_flags=0x8_0000), "33_internal_flags"),
        (lambda p: p.setattr(ktls_socket, "_MAX_OFFSET", 1 << 70), "08b_sendfile_overflow"),
        (reading_nothing_reaches_tcp, "readv_of_nothing"),
        (lambda p: p.setattr(cmsg, "check_socket_messages", lambda _c: None), "34_plain_ulp_only"),
        (negative_length_is_short, "27_getsockopt_odd"),
        (personality("7.2.7", rekey=False), "10"),
        (personality("7.2.7", max_buffer=212_992), "option_1_7"),
        (personality("6.1.176", tcp_info_size=248), "option_6_11"),
        (personality("6.12.113", hz=250), "soerr"),
        (personality("7.2.7", priority_message=False), "sendmsg"),
        (personality("6.1.176", peek_off=True), "option_1_42"),
        (lambda p: p.setattr(sockopt, "_STORED", {}), "option_6_9"),
    ],
    ids=lambda x: x if isinstance(x, str) else getattr(x, "__name__", ""),
)
def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch, plant: Plant, found: str) -> None:
    plant(monkeypatch)
    # a scenario about options has its number in front of its name
    assert any(name == found or name.partition("_")[2] == found for name in differing())


# ------------------------------------------------- rules that no recording can show


def tls_pair(kernel: str) -> tuple[KtlsSocket, KtlsSocket]:
    a, b = socketpair(KtlsStack(kernel=KERNELS[kernel]))
    for sock, option in ((a, uapi.TLS_RX), (b, uapi.TLS_TX)):
        sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        sock.setsockopt(uapi.SOL_TLS, option, INFO)
    return a, b


def number(call: Callable[..., object], *args: object) -> int | None:
    with pytest.raises(KtlsOSError) as raised:
        call(*args)
    return raised.value.errno


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.x"])
def test_a_fragment_takes_one_buffer_of_a_pipe(kernel: str) -> None:
    """Seen on 6.1.176, 6.12.113 and 7.2.7; the pipes of the recordings never fill."""
    a, b = tls_pair(kernel)
    b.send(bytes(16384))
    pipe = Pipe(slots=2)
    assert a.splice_to(pipe, 100_000, uapi.SPLICE_F_NONBLOCK) == 8192
    assert a.splice_to(pipe, 100_000, uapi.SPLICE_F_NONBLOCK) == 4096
    assert number(a.splice_to, pipe, 100_000, uapi.SPLICE_F_NONBLOCK) == errno.EAGAIN
    assert pipe.read(20_000) == bytes(12_288)
    # the record's memory is a block of 16 KiB, its header in front, and one for the rest
    assert a.splice_to(pipe, 100_000, uapi.SPLICE_F_NONBLOCK) == 4096
    assert [len(p) for p in pipe.pages] == [4096 - 5, 5]


def test_kernels_with_32_bit_programs_refuse_their_flag() -> None:
    """MSG_CMSG_COMPAT; User-Mode Linux runs no 32-bit programs, so there it is unknown."""
    flag = uapi.MSG_CMSG_COMPAT
    for kernel, refused in (("6.12", errno.EINVAL), ("6.12.113", errno.EOPNOTSUPP)):
        _, b = tls_pair(kernel)
        assert number(b.sendmsg, [b"x"], (), flag) == refused
        if kernel == "6.12":
            assert b.send(b"x", flag) == 1
        else:
            assert number(b.send, b"x", flag) == errno.EOPNOTSUPP
    a, _ = tls_pair("6.1")
    assert number(a.recvmsg, 10, 0, flag | uapi.MSG_DONTWAIT) == errno.EINVAL


def test_a_build_of_6_12_has_the_padding_bug() -> None:
    """CVE-2026-74611 was fixed in 6.12.114."""
    assert KERNELS["6.12.113"].nopad_retry_misplaces
    assert not KERNELS["6.12"].nopad_retry_misplaces


def test_an_empty_record_writes_its_type() -> None:
    """The call fails with EAGAIN, but the control message is in the program's buffer."""
    a, b = tls_pair("7.x")
    # an empty record, as of a MSG_MORE whose bytes could not be read
    p = b.tx.protection if b.tx is not None else None
    assert p is not None
    a.tcp.put((b"".join(p.seal_at(0, p.iv, 23, b"")), 0, 22))
    with pytest.raises(KtlsOSError) as raised:
        a.recvmsg(100, 64, uapi.MSG_DONTWAIT)
    assert raised.value.errno == errno.EAGAIN
    assert raised.value.cmsgs == [(uapi.SOL_TLS, uapi.TLS_GET_RECORD_TYPE, b"\x17")]


def test_splice_without_keys_follows_the_socket() -> None:
    """`tcp_splice_read` looks at O_NONBLOCK alone."""
    a, _ = socketpair(KtlsStack(sleep=lambda _what: False))
    assert number(a.splice_to, Pipe(), 10, uapi.SPLICE_F_NONBLOCK) == errno.EINTR
    a.nonblocking = True
    assert number(a.splice_to, Pipe(), 10, 0) == errno.EAGAIN


def test_writing_nothing_does_not_reach_tcp() -> None:
    """Seen in `vfs_writev`: even behind SHUT_WR."""
    a, _ = socketpair(KtlsStack())
    a.shutdown(uapi.SHUT_WR)
    assert a.writev([b"", b""]) == 0
    assert number(a.sendmsg, [b"x"]) == errno.EPIPE


def test_a_reset_parses_nothing_below_the_low_water_mark() -> None:
    """A reset wakes the reader, but is no data (`tcp_reset`); recv finds the record first."""
    a, b = tls_pair("7.x")
    a.setsockopt(uapi.SOL_SOCKET, uapi.SO_RCVLOWAT, (1000).to_bytes(4, "little"))
    b.send(b"hello")
    b.reset()
    assert a._ulp is not None
    assert a._ulp.rx is not None
    assert not a._ulp.rx.readable
    assert a.getsockopt(uapi.SOL_SOCKET, uapi.SO_ERROR, 4) != bytes(4)
    assert a.recv(10) == b"hello"


def test_sending_nothing_reports_an_error() -> None:
    """Seen on 6.1.176, 6.12.113 and 7.2.7: write(2) of 0 bytes, unlike writev(2), reaches TCP."""
    a, b = socketpair(KtlsStack())
    assert a.write(b"") == 0
    b.reset()
    assert a.writev([b""]) == 0
    assert number(a.write, b"") == errno.ECONNRESET
    assert number(a.write, b"") == errno.EPIPE


def test_a_truncating_peek_of_tcp_copies_nothing() -> None:
    """Found by `make kernel` on 7.2.7 and 6.12.113 (seed 2026, script 4289)."""
    a, b = socketpair(KtlsStack())
    b.send(b"data")
    peek = uapi.MSG_PEEK | uapi.MSG_DONTWAIT
    assert a.recv(100, peek | uapi.MSG_TRUNC) == bytes(4)
    assert a.recv(100, peek) == b"data"
