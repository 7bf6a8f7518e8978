# SPDX-License-Identifier: Apache-2.0
"""Failures of the device: connections go on in software and return to the device."""

from __future__ import annotations

import gc
from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest

from chaos import chaos, gone, lost_completion, repair_port, reset_by_somebody
from faulty import TLS12, TLS13, FaultyPort, Peer, stack_on
from ktls import DeviceBusy, KtlsNic, KtlsStack, NotOffloadable, run_sync, uapi
from ktls.dma import DmaBuffers
from ktls.errors import DeviceError, StaleContext
from ktls.nic_health import NicState
from ktls.record import Protection
from ktls.ring import Completion
from ktls_hw import engine
from ktls_hw.engine import Context, Result
from ktls_hw.layout import STATUS_IDLE, Cqe, Opcode, Reg, SqeRecord, ring_of
from ktls_hw.memory import ModelMemory
from ktls_hw.model import NicModel

# ------------------------------------------------------------------ ways to fail


def dead_bus(port: FaultyPort) -> None:
    port.model.mem.hang(after=1)


def completions_not_writable(port: FaultyPort) -> None:
    port.model.mem.fail(0x2000, 0x3000, read=False)


def refused_doorbell(port: FaultyPort) -> None:
    """The next doorbell publishes more than the ring holds."""
    ring = port.model.write32

    async def wrong(addr: int, value: int) -> None:
        if ring_of(addr)[1] == Reg.RING0_SQ_PROD:
            port.model.write32 = ring  # type: ignore[method-assign]
            value += 1000
        await ring(addr, value)

    port.model.write32 = wrong  # type: ignore[method-assign]


def damage(**fields: int) -> Callable[[FaultyPort], None]:
    """Change fields of the next completion."""

    def plant(port: FaultyPort) -> None:
        write = port.model._write_cqe

        def damaged(ring: int, cqe: Cqe) -> None:
            port.model._write_cqe = write  # type: ignore[method-assign]
            write(ring, replace(cqe, **fields))

        port.model._write_cqe = damaged  # type: ignore[method-assign]

    return plant


def repair(port: FaultyPort) -> None:
    """Undo what a fault has done to port and memory."""
    repair_port(port)
    port.model.mem.heal()


FATAL: dict[str, tuple[Callable[[FaultyPort], None], str]] = {
    "gone": (gone, "the device is gone"),
    "reset": (reset_by_somebody, "somebody else has reset the device"),
    "dead bus": (dead_bus, "bus_dead"),
    "cq_error": (completions_not_writable, "cq_error"),
    "refused doorbell": (refused_doorbell, "refused a register write"),
    "lost completion": (lost_completion, "has no completion"),
    "cookie": (damage(cookie=30), "not in flight"),
    "sq_index": (damage(sq_index=99), "not in flight"),
    "opcode": (damage(opcode=0), "has opcode 0"),
    "context": (damage(ctx=7), "has context 7"),
    "generation": (damage(gen=77), "has generation 77"),
    "length": (damage(len=1), "reports 1 bytes"),
    "huge length": (damage(len=0xFFFFFFFF), "reports 4294967295 bytes"),
    "record number": (damage(rec_seq=99), "under number 99"),
    "no record number": (damage(numbered=0), "consumed no record number"),
}


@pytest.mark.parametrize("info", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", FATAL)
def test_a_failed_device_costs_nothing(name: str, info: object) -> None:
    fault, why = FATAL[name]
    port = FaultyPort(lazy=True)
    stack = stack_on(port)
    nic = stack.nic
    assert nic is not None
    a, b = (Peer(stack, TLS12 if info is TLS12 else TLS13) for _ in range(2))
    for peer in (a, b):
        peer.sock.send(b"before ")
        peer.sock.flush()
        peer.send(b"in ")
    fault(port)
    for peer in (a, b):
        for text in (b"during ", b"the ", b"failure "):
            assert peer.sock.send(text) == len(text)
        peer.send(b"time ")
        peer.sock.flush()
        assert peer.sock.recv(100) == b"in time "
    repair(port)
    assert nic.events["down"] >= 1
    assert why in str(nic.why_down) or nic.events["recoveries"]
    assert run_sync(stack.recover())
    records = nic.records
    for peer in (a, b):
        peer.sock.send(b"after")
        peer.send(b"again")
        peer.sock.flush()
        assert peer.sock.recv(100) == b"again"
        assert peer.received() == b"before during the failure after"
        assert peer.sock.why_not_offloaded is None
        peer.sock.close()
    assert nic.records == records + 4  # the device does the work again
    assert nic.contexts_in_use == len(port.model._ctx) == 0
    assert port.secrets() == 0


@pytest.mark.parametrize("name", FATAL)
def test_a_strict_driver_raises_the_failure_and_loses_nothing(name: str) -> None:
    fault, why = FATAL[name]
    port = FaultyPort()
    stack = KtlsStack(run_sync(KtlsNic.probe(port, strict=True)))
    peer = Peer(stack, TLS12, receive=False)
    peer.sock.send(b"before ")
    fault(port)

    def send() -> None:
        peer.sock.send(b"during ")
        peer.sock.flush()

    with pytest.raises(DeviceError, match=why):
        send()
    repair(port)
    peer.sock.send(b"after")
    peer.sock.close()
    assert peer.received() == b"before during after"
    assert stack.nic is not None
    assert stack.nic.state is NicState.DOWN


def test_a_device_that_stays_away_is_given_up() -> None:
    port = FaultyPort()
    stack = stack_on(port)
    old = Peer(stack, TLS13)
    port.gone = True
    for _ in range(20):
        old.sock.send(b"text ")
        old.sock.flush()
    assert stack.nic is not None
    assert stack.nic.events["recoveries"] == 3
    new = Peer(stack, TLS12)
    assert "the device is down" in str(new.sock.why_not_offloaded)
    new.sock.send(b"software")
    new.sock.close()
    assert new.received() == b"software"
    assert "down" in str(old.sock.why_not_offloaded)
    old.sock.close()
    assert old.received() == b"text " * 20
    port.gone = False
    assert run_sync(stack.recover())
    assert Peer(stack, TLS12).sock.why_not_offloaded is None


# ---------------------------------------------------------------- interrupts


@pytest.mark.parametrize("line", [False, True], ids=["low", "high"])
def test_a_stuck_interrupt_line_costs_only_time(line: bool) -> None:
    port = FaultyPort(lazy=True)
    port.line = line
    stack = stack_on(port)
    peer = Peer(stack, TLS12)
    for _ in range(100):
        peer.sock.send(b"text")
    peer.sock.close()
    assert peer.received() == b"text" * 100
    assert stack.nic is not None
    assert stack.nic.events["down"] == 0
    assert (stack.nic.events["lost_interrupts"] > 0) == (not line)


# ------------------------------------------------------------------- one owner


def test_a_device_has_one_driver() -> None:
    port = FaultyPort()
    first = stack_on(port)
    a = Peer(first, TLS12)
    with pytest.raises(DeviceBusy):
        run_sync(KtlsNic.probe(port))
    a.sock.send(b"still mine ")
    second = KtlsStack(run_sync(KtlsNic.probe(port, takeover=True)))
    b = Peer(second, replace(TLS12, key=b"B" * 16))
    b.sock.send(b"text of B")
    a.sock.send(b"in software")
    assert "removed" in str(a.sock.why_not_offloaded)
    for peer in (a, b):
        peer.sock.close()
    assert a.received() == b"still mine in software"
    assert b.received() == b"text of B"


def test_two_drivers_behind_two_ports_never_share_a_key() -> None:
    """The claim cannot see that both ports lead to one device; the generations can."""
    model = NicModel()
    first = stack_on(FaultyPort(model))
    a = Peer(first, TLS12)
    a.sock.send(b"before ")
    second = stack_on(FaultyPort(model))
    b = Peer(second, replace(TLS12, key=b"B" * 16))
    b.sock.send(b"B0")
    for _ in range(3):
        a.sock.send(b"text of A ")
        b.sock.send(b" B")
    for peer in (a, b):
        peer.sock.close()
    assert a.received() == b"before text of A text of A text of A "
    assert b.received() == b"B0 B B B"


def test_a_driver_that_nobody_has_any_more_frees_the_device() -> None:
    port = FaultyPort()
    Peer(stack_on(port), TLS12).sock.send(b"x")
    run_sync(KtlsNic.probe(port))


def test_remove_wipes_and_releases_the_device() -> None:
    port = FaultyPort()
    stack = stack_on(port)
    nic = stack.nic
    assert nic is not None
    peer = Peer(stack, TLS13)
    peer.sock.send(b"a secret text")
    run_sync(nic.remove())
    run_sync(nic.remove())
    assert nic.state is NicState.REMOVED
    assert (port.model._ctx, port.secrets(b"a secret text")) == ({}, 0)
    with pytest.raises(NotOffloadable, match="removed"):
        run_sync(nic.tls_dev_add(uapi.TLS_TX, TLS12))
    assert not run_sync(nic.recover())
    peer.sock.send(b" in software")
    peer.sock.close()
    assert peer.received() == b"a secret text in software"
    run_sync(KtlsNic.probe(port))


def test_what_a_failed_device_writes_late_is_wiped_by_the_recovery() -> None:
    port = FaultyPort(lazy=True)
    nic = run_sync(KtlsNic.probe(port))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, TLS12))
    run_sync(nic.xmit(context, 23, b"a long text", lambda _done: None))
    nic.fail(DeviceError("for the test"))
    assert port.secrets(b"a long text") == 0
    port.model.mem.write(nic.buffers.base + DmaBuffers.DST, b"a late text")
    assert run_sync(nic.recover())
    assert port.secrets(b"a late text") == 0


@pytest.mark.parametrize("step", [0, 2_000_000], ids=["20,000 waits", "10 ms"])
def test_a_device_that_works_for_ever_has_failed(step: int) -> None:
    class Busy(FaultyPort):
        """A device that is never idle; each look at the clock takes `step` nanoseconds."""

        time = 0

        async def read32(self, addr: int) -> int:
            value = await super().read32(addr)
            assert self.accesses.total() < 1_000_000, "the driver waits for ever"
            return value & ~STATUS_IDLE.put(1) if addr == Reg.STATUS else value

        def now(self) -> int:
            self.time += step
            return self.time

    port = Busy()
    nic = run_sync(KtlsNic.probe(port))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, TLS12))
    port.mem.hide = True
    done: list[Completion] = []
    run_sync(nic.xmit(context, 23, b"text", done.append))
    run_sync(nic.flush())
    assert [completion.code for completion in done] == [None]
    waits = 20_001 if step == 0 else 6
    assert nic.why_down == f"the device works without completing anything ({waits} waits)"


# ------------------------------------------------------------ handles and arguments


def test_a_deleted_context_can_do_nothing() -> None:
    nic = run_sync(KtlsNic.probe(NicModel()))
    old = run_sync(nic.tls_dev_add(uapi.TLS_TX, TLS12))
    run_sync(nic.tls_dev_del(old))
    done: list[Completion] = []
    for call in (
        nic.xmit(old, 23, b"text", done.append),
        nic.tls_dev_del(old),
        nic.tls_dev_resync(old, 5),
    ):
        with pytest.raises(StaleContext):
            run_sync(call)
    assert not done
    assert nic.buffers.available == nic.buffers.count


def test_refused_arguments_take_nothing() -> None:
    nic = run_sync(KtlsNic.probe(NicModel()))
    tx = run_sync(nic.tls_dev_add(uapi.TLS_TX, TLS12))
    rx = run_sync(nic.tls_dev_add(uapi.TLS_RX, TLS12))
    rx13 = run_sync(nic.tls_dev_add(uapi.TLS_RX, TLS13))
    done: list[Completion] = []
    wrong: tuple[Callable[[], Coroutine[None, None, None]], ...] = (
        lambda: nic.xmit(tx, 256, b"", done.append),
        lambda: nic.xmit(tx, -1, b"", done.append),
        lambda: nic.xmit(tx, 23, bytes(16385), done.append),
        lambda: nic.xmit(tx, 23, b"", done.append, pad=1),
        lambda: nic.xmit(rx, 23, b"", done.append),
        lambda: nic.open(rx, 23, bytes(8), bytes(15), done.append),
        lambda: nic.open(rx, 23, bytes(9), bytes(20), done.append),
        lambda: nic.open(rx, 23, bytes(8), bytes(16401), done.append),
        lambda: nic.open(rx13, 23, bytes(8), bytes(20), done.append),
        lambda: nic.open(tx, 23, bytes(8), bytes(20), done.append),
        lambda: nic.post_record(tx, SqeRecord(), bytes(30_000), 10, done.append),
    )
    for call in wrong * 10:
        with pytest.raises(ValueError, match=r"\d"):
            run_sync(call())
    assert nic.buffers.available == nic.buffers.count
    run_sync(nic.xmit(tx, 23, b"good", done.append))
    run_sync(nic.flush())
    assert [c.ok for c in done] == [True]


@pytest.mark.parametrize(
    "arguments",
    [{"sq_log2": -1}, {"cq_log2": 16}, {"mem_base": 100}, {"mem_base": 0}, {"rings": 0}],
    ids=str,
)
def test_probe_checks_its_arguments(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        run_sync(KtlsNic.probe(NicModel(), **arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["lanes", "rings", "contexts"])
def test_impossible_capabilities_are_refused(field: str) -> None:
    model = NicModel(**{field: 0})  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=f"no {field}"):
        run_sync(KtlsNic.probe(model))


def test_a_callback_that_raises_costs_no_other_completion() -> None:
    nic = run_sync(KtlsNic.probe(FaultyPort(lazy=True)))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, TLS12))
    done: list[Completion] = []

    def broken(_completion: Completion) -> None:
        raise RuntimeError("callback")

    for callback in (broken, done.append, done.append):
        run_sync(nic.xmit(context, 23, b"text", callback))
    with pytest.raises(RuntimeError, match="callback"):
        run_sync(nic.flush())
    assert [c.ok for c in done] == [True, True]
    assert nic.buffers.available == nic.buffers.count


def test_a_wire_that_fails_ends_its_connection_loudly() -> None:
    stack = stack_on(FaultyPort())
    peer = Peer(stack, TLS12, receive=False)

    def broken(_data: bytes) -> None:
        raise RuntimeError("no wire")

    peer.sock.tcp.far.sink = broken  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="no wire"):
        peer.sock.send(b"lost")
    for _ in range(3):
        with pytest.raises(OSError, match=r"ECONNRESET|EPIPE"):
            peer.sock.send(b"later")
    peer.sock.close()


# ---------------------------------------------------------------------- resources


def test_dropped_sockets_give_their_contexts_back() -> None:
    port = FaultyPort()
    stack = stack_on(port)
    for _ in range(300):
        Peer(stack, TLS13).sock.send(b"x")
    gc.collect()
    assert stack.nic is not None
    assert stack.nic.contexts_in_use == len(port.model._ctx) == 0
    assert Peer(stack, TLS12).sock.why_not_offloaded is None


def test_text_and_keys_leave_dma_memory() -> None:
    port = FaultyPort()
    peer = Peer(stack_on(port), TLS12)
    peer.sock.send(b"a marker in the text" * 50)
    peer.send(b"another marker")
    assert peer.sock.recv(100) == b"another marker"
    assert port.secrets(b"marker") == 0


# ------------------------------------------------------------------ usage of a key


def test_a_used_up_key_leads_to_a_notice_and_to_software() -> None:
    stack = stack_on(FaultyPort(), key_warn=3, key_limit=5)
    peer = Peer(stack, TLS13, receive=False)
    wanted = []
    for _ in range(8):
        peer.sock.send(b"text ")
        peer.sock.flush()
        wanted.append(peer.sock.rekey_wanted)
    assert wanted == [False, False, True, True, True, True, True, True]
    assert "usage limit" in str(peer.sock.why_not_offloaded)
    peer.sock.close()
    assert peer.received() == b"text " * 8
    assert stack.nic is not None
    assert stack.nic.records == 5


# -------------------------------------------------------------------- many faults


class NonceWatch:
    """Every record that CPU or device seals: no nonce may serve two texts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: dict[tuple[bytes, int, int], tuple[int, bytes]] = {}
        seal_at = Protection.seal_at

        def watched(p: Protection, seq: int, iv: int, rtype: int, data: bytes) -> object:
            self.note(p.info.key, p.version, iv if p.explicit else seq, rtype, bytes(data))
            return seal_at(p, seq, iv, rtype, data)

        monkeypatch.setattr(Protection, "seal_at", watched)

    def device(self, ctx: Context, d: SqeRecord, source: bytes) -> Result:
        """Seal or open as the model does."""
        if d.opcode == Opcode.SEAL:
            nonce = ctx.iv if ctx.version == engine.VERSION_1_2 else ctx.seq
            self.note(ctx.key, ctx.version, nonce, d.rtype, source)
        return engine.process(ctx, d, source)

    def note(self, key: bytes, version: int, nonce: int, rtype: int, text: bytes) -> None:
        before = self.seen.setdefault((key, version, nonce), (rtype, text))
        assert before == (rtype, text), f"nonce {nonce} serves two records"


def many_faults(seed: int, connections: int, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = NonceWatch(monkeypatch)
    port = FaultyPort(NicModel(ModelMemory(1 << 20), record_engine=watch.device), lazy=True)
    chaos(seed, connections, port, [fault for fault, _ in FATAL.values()], repair)
    assert not port.model._ctx


@pytest.mark.parametrize("seed", range(4))
def test_random_faults_of_the_device(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    many_faults(seed, 30, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_thousand_connections_under_faults(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    many_faults(seed, 100, monkeypatch)
