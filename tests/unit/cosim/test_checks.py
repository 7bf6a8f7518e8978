# SPDX-License-Identifier: Apache-2.0
"""Each check of the scoreboard, the lockstep port and the driver catches a lie of the device.

`CASES` has a row for every place in `ktls_cosim.check` that reports a mismatch;
`test_every_report_has_a_case` finds a place without one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import ktls_cosim.check.device as device_checks
from ktls import CryptoInfo, DeviceError, KtlsNic, KtlsStack, Wire, connect_wire, run_sync, uapi
from ktls.record import Protection
from ktls_cosim.check.access import Burst
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.check.lockstep import LockstepError, LockstepPort
from ktls_cosim.check.mismatch import Mismatch, MismatchError
from ktls_cosim.check.rules import on_purpose
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.scenarios.rig import Rig
from ktls_hw.layout import Cqe, Opcode, Reg, SqeCtx, Status
from ktls_hw.model import NicModel
from liar import Liar

INFO = CryptoInfo(uapi.TLS_1_2_VERSION, 51, bytes(range(8)), b"K" * 16, b"salt", bytes(8))
KEYS = TrafficKeys.from_crypto_info(INFO.pack())
TEXT = b"text" * 20
NONCE = bytes(range(12))

# ------------------------------------------------------------------------ at the device


def about(opcode: Opcode, /, **changes: int) -> Callable[[Cqe], Cqe]:
    """Return a lie: these fields, in every completion with this opcode."""
    return lambda cqe: replace(cqe, **changes) if cqe.opcode == opcode else cqe


async def seal(rig: Rig) -> None:
    await rig.set_context(0, INFO.key, salt=INFO.salt, iv=INFO.iv)
    await rig.run(rig.seal_descriptor(0, TEXT)[0])


async def seal_without_context(rig: Rig) -> None:
    await rig.run(rig.seal_descriptor(5, TEXT)[0])


async def seal_too_much(rig: Rig) -> None:
    await rig.set_context(0, INFO.key, salt=INFO.salt, iv=INFO.iv)
    await rig.run(replace(rig.seal_descriptor(0, bytes(16384))[0], len=16385))


def opening(spoil: int = 0) -> Callable[[Rig], Awaitable[None]]:
    async def go(rig: Rig) -> None:
        await rig.set_context(0, INFO.key, salt=INFO.salt, iv=INFO.iv, receive=True)
        record = bytearray(seal_record(KEYS, 0, 23, TEXT).wire)
        record[-1] ^= spoil
        descriptor, (place,) = rig.open_descriptor(0, bytes(record))
        await rig.post(descriptor)
        if spoil:
            # the device has finished; the checker reads the destination when CQ_CONS moves
            rig.port.mem.write(place.addr, b"leak")
        await rig.reap(1)

    return go


async def resync(rig: Rig) -> None:
    await rig.set_context(0, INFO.key, seq=10)
    await rig.resync(0, 20)
    await rig.resync(0, 15)


async def resync_without_context(rig: Rig) -> None:
    await rig.resync(5, 20)


async def plain_gcm(rig: Rig) -> None:
    await rig.run(SqeCtx(opcode=Opcode.CTX_SET, ctx=0, cipher=51, key=INFO.key))
    await rig.run(rig.gcm_descriptor(0, Opcode.SEAL, NONCE, b"aad", TEXT)[0])


async def two_seals(rig: Rig) -> None:
    await rig.set_context(0, INFO.key, salt=INFO.salt, iv=INFO.iv)
    await rig.run(rig.seal_descriptor(0, TEXT)[0], rig.seal_descriptor(0, TEXT)[0])


async def unread(rig: Rig) -> None:
    await rig.set_context(0, INFO.key, salt=INFO.salt, iv=INFO.iv)
    await rig.post(rig.seal_descriptor(0, TEXT)[0])


def later(cqe: Cqe) -> Cqe:
    """A lie: the second descriptor completes first."""
    return replace(cqe, sq_index=2) if cqe.sq_index == 1 else cqe


@dataclass(frozen=True)
class AtDevice:
    """Steps of a driver, a lie of the device, and the check that must catch it."""

    steps: Callable[[Rig], Awaitable[None]]
    lie: Callable[[Cqe], Cqe]
    check: str
    field: str | None = None

    def run(self) -> Scoreboard:
        async def go() -> None:
            liar = Liar(NicModel(), completion=self.lie)
            rig = Rig(CheckedPort(liar, scoreboard, breach=on_purpose))
            await rig.reset()
            await self.steps(rig)

        scoreboard = Scoreboard()
        run_sync(go())
        return scoreboard


OK = int(Status.OK)
AT_DEVICE = {
    "a completion of another opcode": AtDevice(
        seal, about(Opcode.SEAL, opcode=int(Opcode.OPEN)), "completion"
    ),
    "a completion out of order": AtDevice(two_seals, later, "completion"),
    "an unread completion": AtDevice(unread, about(Opcode.SEAL), "completion"),
    "another record number": AtDevice(seal, about(Opcode.SEAL, rec_seq=7), "number"),
    "OK without a context": AtDevice(
        seal_without_context, about(Opcode.SEAL, status=OK), "completion"
    ),
    "OK for a text that is too long": AtDevice(
        seal_too_much, about(Opcode.SEAL, status=OK, len=16414), "completion"
    ),
    "OK without a record number": AtDevice(seal, about(Opcode.SEAL, numbered=0), "completion"),
    "a sealed record that is too short": AtDevice(
        seal, about(Opcode.SEAL, len=100), "golden", "tag"
    ),
    "OK for a forged record": AtDevice(opening(1), about(Opcode.OPEN, status=OK), "open"),
    "AUTH_FAILED for a good record": AtDevice(
        opening(), about(Opcode.OPEN, status=int(Status.AUTH_FAILED)), "open"
    ),
    "text of a forged record": AtDevice(opening(1), about(Opcode.OPEN), "open"),
    "another type of an opened record": AtDevice(opening(), about(Opcode.OPEN, rtype=22), "open"),
    "another length of an opened record": AtDevice(opening(), about(Opcode.OPEN, len=79), "open"),
    "DST_SHORT for a sufficient destination": AtDevice(
        seal, about(Opcode.SEAL, status=int(Status.DST_SHORT)), "completion"
    ),
    "DST_SHORT for a sufficient destination of OPEN": AtDevice(
        opening(), about(Opcode.OPEN, status=int(Status.DST_SHORT)), "completion"
    ),
    "RESYNC goes back": AtDevice(resync, about(Opcode.RESYNC, status=OK), "number"),
    "RESYNC without a context": AtDevice(
        resync_without_context, about(Opcode.RESYNC, status=OK), "completion"
    ),
    "plain AES-GCM with a record number": AtDevice(
        plain_gcm, about(Opcode.SEAL, numbered=1), "number"
    ),
    "a latency longer than the time that passed": AtDevice(
        seal, about(Opcode.SEAL, latency=1 << 20), "completion"
    ),
    "more cycles than latency": AtDevice(seal, about(Opcode.SEAL, latency=1), "completion"),
    "plain AES-GCM that failed": AtDevice(
        plain_gcm, about(Opcode.SEAL, status=int(Status.AUTH_FAILED)), "golden"
    ),
}


@dataclass(frozen=True)
class NotOpened:
    """Golden model and device seal with the same mistake; only opening the record reveals it."""

    check = "open"
    field = None

    def run(self) -> Scoreboard:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(device_checks, "open_record", lambda *_: (23, b"another text"))
            return AtDevice(seal, about(Opcode.SEAL), "open").run()


class Watched(Liar):
    """A device whose bursts are those that the test names."""

    beat = 16

    def __init__(self, model: NicModel, bursts: list[Burst]) -> None:
        super().__init__(model)
        self._bursts = bursts

    def bursts(self) -> list[Burst]:
        bursts, self._bursts = self._bursts, []
        return bursts


@dataclass(frozen=True)
class Touches:
    """The device touches what nothing names."""

    burst: Burst
    check = "access"
    field = None

    def run(self) -> Scoreboard:
        async def go() -> None:
            device = Watched(NicModel(), [])
            rig = Rig(CheckedPort(device, scoreboard))
            await rig.reset()
            await rig.set_context(0, INFO.key, salt=INFO.salt, iv=INFO.iv)
            descriptor, (place,) = rig.seal_descriptor(0, TEXT)
            await rig.post(descriptor)
            source = rig.first_source(descriptor)
            named = [
                Burst(False, rig.sq_base + 64, 64),
                Burst(False, descriptor.src_sg, 16),
                Burst(False, descriptor.dst_sg, 16),
                Burst(False, source, len(TEXT)),
                Burst(True, place.addr, 112),
                Burst(True, rig.cq_base + 32, 32),
            ]
            device._bursts = [*named, self.burst] if self.burst.length else named
            await rig.reap(1)

        scoreboard = Scoreboard()
        run_sync(go())
        return scoreboard


@dataclass(frozen=True)
class Pushes:
    """The driver pushes another descriptor than the one in the slot."""

    differs: bool = True
    check = "push"
    field = None

    def run(self) -> Scoreboard:
        async def go() -> None:
            rig = Rig(CheckedPort(NicModel(), scoreboard))
            await rig.reset()
            await rig.set_context(0, INFO.key, salt=INFO.salt, iv=INFO.iv)
            await rig.post(rig.seal_descriptor(0, TEXT)[0], bell=False)
            await rig.fill_window()
            if self.differs:
                await rig.port.write32(Reg.PUSH0_WORD + 4, 7)
            await rig.port.write32(Reg.RING0_SQ_PUSH, rig.sq_prod)
            await rig.reap(1)

        scoreboard = Scoreboard()
        run_sync(go())
        return scoreboard


def test_a_pushed_copy_passes() -> None:
    assert not Pushes(differs=False).run().mismatches


def test_named_accesses_pass() -> None:
    assert not Touches(Burst(False, 0, 0)).run().mismatches


# -------------------------------------------------------------------------- on the wire


def sealed(number: int, text: bytes, *, iv: int = 0, rtype: int = 23) -> bytes:
    """Return a record sealed in software, with an explicit nonce that is `iv` too high."""
    explicit = int.from_bytes(INFO.iv, "big") + number + iv
    return b"".join(Protection(INFO).seal_at(number, explicit, rtype, text))


@dataclass(frozen=True)
class OnWire:
    """The application sends "one"; `wire` reaches the wire."""

    wire: bytes
    check: str
    field: str | None = None

    def run(self) -> Scoreboard:
        scoreboard = Scoreboard()
        scoreboard.tx_configured(1, INFO.pack())
        scoreboard.app_sent(1, 23, b"one")
        scoreboard.wire_sent(1, self.wire)
        return scoreboard


@dataclass(frozen=True)
class Received:
    """The peer sends the record `wire`; the application receives `got`."""

    got: bytes
    wire: bytes = sealed(0, b"one")
    rtype: int = 23
    check = "received"
    field = None

    def run(self) -> Scoreboard:
        scoreboard = Scoreboard()
        scoreboard.rx_configured(1, INFO.pack(), b"")
        scoreboard.wire_received(1, self.wire)
        scoreboard.app_received(1, self.rtype, self.got)
        return scoreboard


@dataclass(frozen=True)
class Breaks:
    """The driver breaks a rule; `test_audit.py` has them all."""

    check = "driver"
    field = None

    def run(self) -> Scoreboard:
        scoreboard = Scoreboard()
        run_sync(CheckedPort(NicModel(), scoreboard).write32(Reg.IRQ_ENABLE, 1))
        return scoreboard


CASES: dict[str, AtDevice | Breaks | NotOpened | OnWire | Pushes | Received | Touches] = {
    **AT_DEVICE,
    "another descriptor in the push window": Pushes(),
    "a register that is written too early": Breaks(),
    "a read that nothing names": Touches(Burst(False, 0x80000, 64)),
    "a write that nothing names": Touches(Burst(True, 0x80000, 64)),
    "a write to the source": Touches(Burst(True, 0x21000, 16)),
    "a read of the completion ring": Touches(Burst(False, 0x9020, 32)),
    "a write to the next entry of the completion ring": Touches(Burst(True, 0x9060, 32)),
    "a sealed record that does not open": NotOpened(),
    "nothing on the wire": OnWire(b"", "leftover"),
    "half a record on the wire": OnWire(sealed(0, b"one")[:-1], "leftover"),
    "a forged record on the wire": OnWire(sealed(0, b"one")[:-1] + b"\0", "open"),
    "another text on the wire": OnWire(sealed(0, b"two"), "stream"),
    "another type on the wire": OnWire(sealed(0, b"one", rtype=22), "stream"),
    "another explicit nonce on the wire": OnWire(sealed(0, b"one", iv=5), "golden", "nonce"),
    "more than was received": Received(b"one+"),
    "another text than was received": Received(b"two"),
    "another type than was received": Received(b"one", rtype=22),
    "the text of a forged record": Received(b"one", wire=sealed(0, b"one")[:-1] + b"\0"),
}


@pytest.mark.parametrize("name", CASES)
def test_lie_is_caught(name: str) -> None:
    case = CASES[name]
    scoreboard = case.run()
    with pytest.raises(MismatchError) as e:
        scoreboard.finish()
    first = e.value.mismatches[0]
    assert (first.check, first.field) == (case.check, case.field), str(first)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("a forged record on the wire", "byte"),
        ("another text on the wire", "data path"),
        ("another explicit nonce on the wire", "explicit nonce"),
    ],
)
def test_the_wire_names_a_cause(name: str, cause: str) -> None:
    """Also for records that no device sealed: the scoreboard knows the text."""
    (found,) = CASES[name].run().mismatches
    assert found.cause is not None
    assert cause in found.cause
    assert any(line.startswith("nonce ") for line in found.details)
    assert any("^^" in line for line in found.details)


def test_a_mismatch_names_time_and_connection() -> None:
    """The device-side checker finds the connection by its keys."""
    scoreboard = Scoreboard()
    scoreboard.tx_configured(7, INFO.pack())
    assert scoreboard.connection_with(KEYS) == 7
    assert scoreboard.connection_with(replace(KEYS, salt=b"else")) is None
    scoreboard.clock = lambda: 1000
    scoreboard.report(Mismatch("golden", "record 0", ()), KEYS)
    expected = "golden check at 1000 ns (cycle 250): connection 7, record 0"
    assert str(scoreboard.mismatches[0]) == expected


def test_the_honest_device_passes() -> None:
    """Without its lie a case passes, except where the steps themselves write wrong bytes."""
    for name, case in AT_DEVICE.items():
        if "forged" not in name:
            assert not replace(case, lie=lambda cqe: cqe).run().mismatches, name


def test_every_report_has_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of `report` in `ktls_cosim.check` is reached by a case."""
    places: set[tuple[str, int]] = set()
    report = Scoreboard.report

    def noted(self: Scoreboard, *args: object) -> None:
        frame = sys._getframe(1)
        places.add((Path(frame.f_code.co_filename).name, frame.f_lineno))
        report(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Scoreboard, "report", noted)
    for case in CASES.values():
        scoreboard = case.run()
        with pytest.raises(MismatchError):
            scoreboard.finish()
    calls: dict[tuple[str, int], range] = {}
    for path in Path(device_checks.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "report"
            ):
                assert node.end_lineno is not None
                calls[path.name, node.lineno] = range(node.lineno, node.end_lineno + 1)
    assert len(calls) > 15
    for (file, line), lines in calls.items():
        assert any(f == file and at in lines for f, at in places), f"{file}:{line} has no case"


# ------------------------------------------------------------------------- in lockstep


def test_lockstep_compares_registers() -> None:
    liar = Liar(NicModel(), register=lambda addr, value: value ^ (addr == Reg.CNT_RECORDS))
    port = LockstepPort(NicModel(), liar)
    assert run_sync(port.read32(Reg.ID))
    with pytest.raises(LockstepError, match="register"):
        run_sync(port.read32(Reg.CNT_RECORDS))


def test_lockstep_compares_what_depends_on_time_when_idle() -> None:
    liar = Liar(NicModel(), register=lambda addr, value: value ^ (addr == Reg.RING0_CQ_PROD))
    run_sync(LockstepPort(NicModel(), NicModel()).compare_quiet())
    with pytest.raises(LockstepError, match="CQ_PROD"):
        run_sync(LockstepPort(NicModel(), liar).compare_quiet())


def test_lockstep_compares_cycles_with_the_law() -> None:
    async def go(lie: Callable[[Cqe], Cqe]) -> None:
        rig = Rig(LockstepPort(Liar(NicModel(), completion=lie), NicModel()))
        await rig.reset()
        await seal(rig)

    run_sync(go(lambda cqe: cqe))
    with pytest.raises(LockstepError, match="law"):
        run_sync(go(about(Opcode.SEAL, cycles=1)))


def test_lockstep_compares_the_interrupt() -> None:
    async def go(shadow: Liar) -> None:
        rig = Rig(LockstepPort(NicModel(), shadow))
        await rig.reset()
        await rig.post(rig.seal_descriptor(0, TEXT)[0])
        await rig.port.wait_irq()

    run_sync(go(Liar(NicModel())))
    with pytest.raises(LockstepError, match="interrupt"):
        run_sync(go(Liar(NicModel(), interrupt=lambda _line: False)))


def test_lockstep_compares_the_messages() -> None:
    async def go(primary: Liar) -> None:
        rig = Rig(LockstepPort(primary, NicModel()))
        await rig.reset()
        await rig.port.write32(rig.reg(Reg.RING0_MSG), 1)
        for _ in range(3):
            await rig.post(rig.seal_descriptor(0, TEXT)[0])
            assert await rig.port.wait_message() == 0
            await rig.reap(1)
            assert await rig.port.wait_message() is None

    run_sync(go(Liar(NicModel())))
    for lie, wrong in (
        (lambda vector: None, "shadow sends a message of vector 0, the primary does not"),
        (lambda vector: 1, "primary sends a message of vector 1, the shadow does not"),
        (lambda vector: 0, "primary sends a message of vector 0, the shadow does not"),
    ):
        with pytest.raises(LockstepError, match=wrong):
            run_sync(go(Liar(NicModel(), message=lie)))


# ------------------------------------------------------------------------ in the driver


def transmit(lie: Callable[[Cqe], Cqe]) -> None:
    """One record through the driver in the transmit direction, without any checker."""
    stack = KtlsStack(run_sync(KtlsNic.probe(Liar(NicModel(), completion=lie), strict=True)))
    sock = connect_wire(stack, lambda _data: None)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, INFO.pack())
    sock.send(b"hello")
    sock.close()


def receive(lie: Callable[[Cqe], Cqe]) -> None:
    """One record through the driver in the receive direction, without any checker."""
    stack = KtlsStack(run_sync(KtlsNic.probe(Liar(NicModel(), completion=lie), strict=True)))
    far = Wire(lambda _data: None)
    sock = connect_wire(stack, far)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, INFO.pack())
    far.feed(sealed(0, b"hello"))
    assert sock.recv(10) == b"hello"


@pytest.mark.parametrize(
    ("work", "lie"),
    [
        (transmit, about(Opcode.SEAL, sq_index=9)),
        (transmit, about(Opcode.SEAL, cookie=9)),
        (transmit, about(Opcode.SEAL, rec_seq=9)),
        (receive, about(Opcode.OPEN, rec_seq=9)),
    ],
    ids=["descriptor", "cookie", "number of SEAL", "number of OPEN"],
)
def test_the_driver_compares_completions(
    work: Callable[[Callable[[Cqe], Cqe]], None], lie: Callable[[Cqe], Cqe]
) -> None:
    work(lambda cqe: cqe)
    with pytest.raises(DeviceError):
        work(lie)


@pytest.mark.parametrize("register", [Reg.ID, Reg.VERSION])
def test_the_driver_refuses_another_device(register: Reg) -> None:
    liar = Liar(NicModel(), register=lambda addr, value: value ^ (addr == register) << 16)
    with pytest.raises(DeviceError):
        run_sync(KtlsNic.probe(liar))
