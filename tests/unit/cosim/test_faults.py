# SPDX-License-Identifier: Apache-2.0
"""The intended check catches each fault of the functional model."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from ktls import (
    CryptoInfo,
    DeviceError,
    KtlsNic,
    KtlsStack,
    Pipe,
    Wire,
    connect_wire,
    run_sync,
    tls_rx,
    uapi,
)
from ktls.record import Protection
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.check.mismatch import MismatchError, NothingChecked
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.scenarios.rig import Rig
from ktls_hw.layout import SqeRecord
from ktls_hw.model import Fault, NicModel, OpenFault

INFO = CryptoInfo(uapi.TLS_1_2_VERSION, 51, bytes(range(8)), b"K" * 16, b"salt", bytes(8))


def sealed(number: int, text: bytes) -> bytes:
    """Return a record that software has sealed."""
    iv = int.from_bytes(INFO.iv, "big") + number
    return b"".join(Protection(INFO).seal_at(number, iv, 23, text))


# fault: the device-side check that catches it, the wrong field, part of the reported cause
AT_THE_DEVICE = {
    Fault.WRONG_NONCE: ("golden", "ciphertext", "nonce of record"),
    Fault.WRONG_AAD_LENGTH: ("golden", "tag", "AAD"),
    Fault.COUNTER_START: ("golden", "ciphertext", "starts at 3"),
    Fault.SWAPPED_TAG_BYTES: ("golden", "tag", "reverse byte order"),
    Fault.FLIPPED_CIPHERTEXT_BIT: ("golden", "ciphertext", "single wrong byte"),
    Fault.WRONG_HEADER_LENGTH: ("golden", "header", "length of the header"),
    Fault.LOST_COMPLETION: ("completion", None, "lost"),
    Fault.DOUBLED_COMPLETION: ("completion", None, "doubled"),
    Fault.SWAPPED_RECORDS: ("golden", "nonce", "explicit nonce"),
}


@pytest.mark.parametrize("fault", Fault)
def test_fault_is_caught_at_the_device(fault: Fault) -> None:
    """Ten records of equal size through raw descriptors; the fault breaks the third."""

    async def go() -> None:
        rig = Rig(CheckedPort(model, scoreboard))
        await rig.reset()
        await rig.set_context(0, bytes(range(16)), iv=bytes(range(8)))
        model.inject(fault, record=2)
        seals: list[SqeRecord] = []
        for i in range(10):
            seals.append(rig.seal_descriptor(0, bytes((i + k) & 255 for k in range(100)))[0])
        await rig.post(*seals)
        await rig.reap(9 if fault == Fault.LOST_COMPLETION else 10)

    model = NicModel()
    scoreboard = Scoreboard("the command")
    run_sync(go())
    assert model.faults_done == [fault]
    with pytest.raises(MismatchError) as e:
        scoreboard.finish()
    first = e.value.mismatches[0]
    check, field, cause = AT_THE_DEVICE[fault]
    assert (first.check, first.field) == (check, field), str(first)
    assert first.cause is not None
    assert cause in first.cause
    assert "reproduce: the command" in str(e.value)
    if fault == Fault.SWAPPED_RECORDS:
        assert len([m for m in e.value.mismatches if m.check == "golden"]) == 2


@pytest.mark.parametrize("fault", Fault)
def test_fault_is_caught_by_the_product(fault: Fault) -> None:
    """The same through sockets: the scoreboard or the driver stops the run."""
    model = NicModel()
    scoreboard = Scoreboard()
    nic = run_sync(KtlsNic.probe(CheckedPort(model, scoreboard), strict=True))
    sock = connect_wire(KtlsStack(nic, scoreboard), lambda _data: None)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, INFO.pack())
    model.inject(fault, record=2)
    expected: type[Exception] = MismatchError
    if fault in (Fault.LOST_COMPLETION, Fault.DOUBLED_COMPLETION):
        expected = DeviceError

    def run() -> None:
        for i in range(10):
            sock.send(bytes([i]) * 100)
        sock.close()
        scoreboard.finish()

    with pytest.raises(expected):
        run()


@pytest.mark.parametrize("version", [0x0303, 0x0304])
@pytest.mark.parametrize("fault", OpenFault)
def test_fault_of_an_open_is_caught(fault: OpenFault, version: int) -> None:
    """The second of three records breaks; it is forged for faults that concern forged records."""
    model = NicModel()
    scoreboard = Scoreboard()
    info = replace(INFO, version=version)
    keys = TrafficKeys.from_crypto_info(info.pack())

    async def go() -> None:
        rig = Rig(CheckedPort(model, scoreboard))
        await rig.reset()
        await rig.set_context(
            0, info.key, salt=info.salt, iv=info.iv, version=version, receive=True
        )
        for index in range(3):
            record = bytearray(seal_record(keys, index, 23, b"text" * 20).wire)
            if index == 1:
                if fault in (OpenFault.BAD_TAG_ACCEPTED, OpenFault.TEXT_RELEASED):
                    record[-1] ^= 1
                model.inject(fault)
            await rig.run(rig.open_descriptor(0, bytes(record), tls13=version == 0x0304)[0])

    run_sync(go())
    assert model.faults_done == [fault]
    with pytest.raises(MismatchError) as e:
        scoreboard.finish()
    (mismatch,) = e.value.mismatches
    assert (mismatch.check, "record 1" in mismatch.where) == ("open", True)


def test_wire_check_catches_faults_that_the_device_check_misses() -> None:
    """Bytes lost, repeated or in the wrong order between application and wire."""

    def run(texts: list[bytes], wire: list[tuple[int, bytes]]) -> MismatchError:
        scoreboard = Scoreboard()
        scoreboard.tx_configured(1, INFO.pack())
        for t in texts:
            scoreboard.app_sent(1, 23, t)
        for number, text in wire:
            scoreboard.wire_sent(1, sealed(number, text))
        with pytest.raises(MismatchError) as e:
            scoreboard.finish()
        return e.value

    good = [b"one", b"two"]
    assert run(good, [(0, b"one")]).mismatches[0].check == "leftover"
    assert run(good, [(0, b"one"), (1, b"one")]).mismatches[0].check == "stream"
    assert run(good, [(0, b"one"), (1, b"two"), (2, b"x")]).mismatches[0].check == "stream"
    assert run(good, [(0, b"two"), (1, b"one")]).mismatches[0].check == "stream"
    assert run(good, [(1, b"one")]).mismatches[0].check == "open"
    # valid tag and length, wrong bytes: round-trip tests miss this class of faults
    assert run(good, [(0, b"onE"), (1, b"two")]).mismatches[0].check == "stream"


def test_nothing_checked_is_a_failure() -> None:
    with pytest.raises(NothingChecked):
        Scoreboard().finish()


def test_a_record_cut_off_at_the_end_is_found() -> None:
    scoreboard = Scoreboard()
    scoreboard.tx_configured(1, INFO.pack())
    scoreboard.app_sent(1, 23, b"whole")
    scoreboard.wire_sent(1, sealed(0, b"whole")[:-1])
    with pytest.raises(MismatchError, match="not a complete record"):
        scoreboard.finish()


# --------------------------------------------------- between the wire and the application


def receive(scoreboard: Scoreboard, wire: bytes) -> None:
    """Receive a stream in pieces that split its records, and splice the rest."""
    stack = KtlsStack(None, scoreboard)
    far = Wire(lambda _data: None)
    sock = connect_wire(stack, far)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    far.feed(wire[:50])
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, INFO.pack())
    far.feed(wire[50:])
    for size in (10, 30, 100):
        sock.recv(size, uapi.MSG_DONTWAIT | uapi.MSG_PEEK)
        sock.recv(size, uapi.MSG_DONTWAIT)
    sock.splice_to(Pipe(), 1000, uapi.SPLICE_F_NONBLOCK)


STREAM = b"".join(sealed(i, bytes((i,)) * 90) for i in range(3))


def test_bytes_delivered_to_the_application_are_checked() -> None:
    scoreboard = Scoreboard()
    receive(scoreboard, STREAM)
    assert scoreboard.received_bytes == 180
    assert not scoreboard.mismatches


def test_a_wrong_byte_on_the_way_to_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tls_rx._Call.copy

    def spoilt(self: tls_rx._Call, text: bytes) -> None:
        copy(self, text)
        self.memory[-1] ^= 1

    monkeypatch.setattr(tls_rx._Call, "copy", spoilt)
    only_received(STREAM)


def test_a_record_that_is_delivered_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_rx, "deque", _Stuck)
    only_received(STREAM)


class _Stuck(deque[tls_rx.Opened]):
    """A queue that never loses its first entry."""

    def popleft(self) -> tls_rx.Opened:
        return self[0]


def test_a_forged_record_that_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protection, "open", lambda _self, record: bytes(len(record) - 29))
    only_received(STREAM[:-1] + bytes((STREAM[-1] ^ 1,)))


def only_received(wire: bytes) -> None:
    scoreboard = Scoreboard()
    receive(scoreboard, wire)
    assert {m.check for m in scoreboard.mismatches} == {"received"}
    with pytest.raises(MismatchError, match="between wire and application"):
        scoreboard.finish()
