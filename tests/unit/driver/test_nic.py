# SPDX-License-Identifier: Apache-2.0
"""The NIC driver on the functional model: set-up, device errors and fallback."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from faulty import FaultyPort
from ktls import (
    CryptoInfo,
    DeviceError,
    DeviceIdle,
    KtlsNic,
    KtlsSocket,
    KtlsStack,
    connect_wire,
    run_sync,
    uapi,
)
from ktls.dma import DmaBuffers, page_entries
from ktls.errors import NotOffloadable, PortSuspended
from ktls.nic_aead import aead, aead_add
from ktls.ring import Completion, Ring
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.port import Port
from ktls_hw import layout
from ktls_hw.layout import Opcode, Reg, Sge, SqeRecord, Status
from ktls_hw.model import Fault, ModelMemory, NicModel
from liar import Liar

INFO = CryptoInfo(uapi.TLS_1_2_VERSION, 51, bytes(8), b"K" * 16, b"salt", bytes(8))


def connection(
    model: Port, scoreboard: Scoreboard, info: CryptoInfo = INFO
) -> tuple[KtlsNic, KtlsSocket]:
    nic = run_sync(KtlsNic.probe(CheckedPort(model, scoreboard), strict=True))
    sock = connect_wire(KtlsStack(nic, scoreboard), lambda _data: None)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
    return nic, sock


class Other(NicModel):
    """A device with a different value in one register."""

    def __init__(self, reg: Reg, value: int) -> None:
        super().__init__()
        self.answer = {reg: value}

    async def read32(self, addr: int) -> int:
        value = self.answer.get(Reg(addr))
        return await super().read32(addr) if value is None else value


@pytest.mark.parametrize(
    ("reg", "value", "message"),
    [
        (Reg.ID, 0xFFFFFFFF, "ID is 0xffffffff"),
        (Reg.VERSION, 0x00020000, "version 2.0"),
        (Reg.STATUS, 0, "stays 0"),
    ],
)
def test_probe_refuses_unknown_devices(reg: Reg, value: int, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        run_sync(KtlsNic.probe(Other(reg, value)))


def test_probe_needs_memory() -> None:
    with pytest.raises(DeviceError, match="hold no record buffer"):
        run_sync(KtlsNic.probe(NicModel(ModelMemory(16384))))


def test_a_failed_record_is_sealed_in_software_under_its_number() -> None:
    """After bus errors on source, destination and lists the peer still sees a valid stream."""
    model = NicModel()
    scoreboard = Scoreboard()
    nic, sock = connection(model, scoreboard)
    base = nic.buffers.base
    for offset in (DmaBuffers.SRC, DmaBuffers.DST, DmaBuffers.SRC_LIST, DmaBuffers.DST_LIST):
        sock.send(b"before " * 10)
        sock.flush()
        for n in range(nic.buffers.count):
            model.mem.fail(
                base + n * DmaBuffers.SIZE + offset, base + n * DmaBuffers.SIZE + offset + 8
            )
        sock.send(b"fails on the device " * 300)  # more than a page, so it has lists
        sock.flush()
        model.mem.heal()
        sock.send(b"after")
    sock.close()
    scoreboard.finish()
    assert scoreboard.wire_records == 12
    assert scoreboard.device_records == 8
    assert scoreboard.device_refused == 4


def test_lost_completion_is_an_error_with_registers_not_a_hang() -> None:
    model = NicModel()
    _, sock = connection(model, Scoreboard())
    model.inject(Fault.LOST_COMPLETION, record=0)
    sock.send(b"lost")
    with pytest.raises(DeviceIdle, match="1 descriptor has no completion") as e:
        sock.flush()
    assert e.value.registers["RING0_SQ_CONS"] == e.value.registers["RING0_SQ_PROD"]
    assert e.value.rings["in_flight"] == 1
    assert "no doorbell" not in str(e.value)
    assert max(map(len, str(e.value).splitlines())) <= 100


def test_a_missing_doorbell_is_named() -> None:
    class Deaf(NicModel):
        """A device that receives no doorbell."""

        async def write32(self, addr: int, value: int) -> None:
            if addr != Reg.RING0_SQ_PROD:
                await super().write32(addr, value)

    with pytest.raises(DeviceIdle, match=r"no doorbell: .* descriptor 1, but RING0_SQ_PROD is 0"):
        connection(Deaf(), Scoreboard())


def test_a_wrong_byte_order_of_the_number_is_named() -> None:
    liar = Liar(NicModel(), completion=lambda c: replace(c, rec_seq=1 << 56) if c.numbered else c)
    _, sock = connection(liar, Scoreboard(), INFO.at(1))
    with pytest.raises(DeviceError, match=r"record 1 .* \(0x100000000000000\); .* byte order"):
        sock.send(b"number 1")


def test_keys_do_not_stay_in_the_ring() -> None:
    model = NicModel()
    connection(model, Scoreboard())
    assert INFO.key not in model.mem.read(0, model.mem.size)


def test_many_records_with_tiny_rings() -> None:
    model = NicModel()
    scoreboard = Scoreboard()
    nic = run_sync(KtlsNic.probe(CheckedPort(model, scoreboard), sq_log2=1, cq_log2=0))
    sock = connect_wire(KtlsStack(nic, scoreboard), lambda _data: None)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, INFO.pack())
    for n in range(50):
        sock.send(bytes(n + 1))
    sock.close()
    scoreboard.finish()
    assert scoreboard.device_records == 50


def test_contexts_are_spread_over_the_rings() -> None:
    """The driver uses as many rings as requested, but no more than the device has."""
    for wanted, have, used in ((1, 4, 1), (3, 4, 3), (8, 2, 2)):
        nic = run_sync(KtlsNic.probe(NicModel(rings=have), rings=wanted))
        for _ in range(6):
            run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO))
        assert [pair.cq.cons for pair in nic.pairs] == [6 // used] * used
        registers = run_sync(nic.registers())
        assert [f"RING{n}_CQ_PROD" in registers for n in range(4)] == [n < used for n in range(4)]
        assert [registers[f"RING{n}_CQ_PROD"] for n in range(used)] == [6 // used] * used


def test_a_completion_lost_in_a_later_ring_is_found() -> None:
    model = NicModel(rings=2)
    nic = run_sync(KtlsNic.probe(model, rings=2, strict=True))
    contexts = [run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO)) for _ in range(2)]
    model.inject(Fault.LOST_COMPLETION, record=0)
    run_sync(nic.xmit(contexts[1], 23, b"lost", lambda _done: None))
    with pytest.raises(DeviceIdle, match="1 descriptor has no completion") as e:
        run_sync(nic.flush())
    assert e.value.rings["ring1_sq_prod"] == 2
    assert e.value.registers["RING1_SQ_CONS"] == 2


def test_same_driver_under_asyncio() -> None:
    async def main() -> bytes:
        wire = bytearray()
        stack = KtlsStack(await KtlsNic.probe(NicModel()), settle_at_once=False)
        sock = connect_wire(stack, wire.extend)
        sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, INFO.pack())
        sock.send(b"hello")
        sock.close()
        await stack.settle()
        return bytes(wire)

    assert len(asyncio.run(main())) == 34


def test_run_sync_rejects_a_port_that_suspends() -> None:
    class Suspension:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def suspends() -> None:
        await Suspension()

    with pytest.raises(PortSuspended, match="inside cocotb"):
        run_sync(suspends())


def test_ring_indices_wrap_at_32_bits() -> None:
    ring = Ring(0x1000, 2, 32, prod=0xFFFFFFFE, cons=0xFFFFFFFE)
    phases = []
    for _ in range(4):
        ring.produce()
        phases.append(ring.phase())
        ring.consume()
    assert ring.prod == ring.cons == 2
    assert phases == [0, 0, 1, 1]
    for _ in range(4):
        ring.produce()
    assert ring.full
    assert ring.address(0xFFFFFFFF) == 0x1000 + 3 * 32


def test_page_entries() -> None:
    assert page_entries(4096, 0) == []
    assert page_entries(4090, 10) == [Sge(addr=4090, len=6), Sge(addr=4096, len=4)]
    assert [e.len for e in page_entries(8192, 16384)] == [4096] * 4


def test_plain_gcm_resync_and_padding_through_the_driver() -> None:
    """The calls that kTLS itself does not use."""
    scoreboard = Scoreboard()
    model = NicModel()
    nic = run_sync(KtlsNic.probe(CheckedPort(model, scoreboard), strict=True))
    done: list[Completion] = []
    key, nonce, aad = bytes(range(32)), bytes(12), b"additional"
    for direction, opcode, data in (
        (uapi.TLS_TX, Opcode.SEAL, b"a text"),
        (uapi.TLS_RX, Opcode.OPEN, AESGCM(key).encrypt(nonce, b"a text", aad)[:-4]),
    ):
        context = run_sync(aead_add(nic, direction, key))
        run_sync(aead(nic, context, opcode, nonce, aad, data, done.append, 12))
        run_sync(nic.flush())
        run_sync(nic.tls_dev_del(context))
    assert [c.data for c in done] == [AESGCM(key).encrypt(nonce, b"a text", aad)[:-4], b"a text"]
    with pytest.raises(ValueError, match="nonce has 11"):
        run_sync(aead(nic, context, Opcode.OPEN, nonce[1:], b"", b"", done.append))
    with pytest.raises(ValueError, match="a buffer holds"):
        run_sync(aead(nic, context, Opcode.OPEN, nonce, bytes(16384), bytes(16384), done.append))
    with pytest.raises(NotOffloadable, match="24 bytes"):
        run_sync(aead_add(nic, uapi.TLS_TX, bytes(24)))

    info = replace(INFO, version=uapi.TLS_1_3_VERSION)
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, info))
    run_sync(nic.tls_dev_resync(context, 7))
    run_sync(nic.xmit(context, 23, b"padded", done.append, pad=100))
    run_sync(nic.flush())
    assert (done[-1].rec_seq, len(done[-1].data)) == (7, 5 + 6 + 1 + 100 + 16)
    with pytest.raises(DeviceError, match="BAD_SEQ"):
        run_sync(nic.tls_dev_resync(context, 7))
    run_sync(nic.tls_dev_del(context))
    scoreboard.finish()


def test_a_key_near_its_limit_is_announced() -> None:
    scoreboard = Scoreboard()
    model = NicModel()
    nic = run_sync(KtlsNic.probe(CheckedPort(model, scoreboard), strict=True))
    run_sync(model.write32(Reg.KEY_WARN, 2))
    run_sync(model.write32(Reg.KEY_LIMIT, 3))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO))
    done: list[Completion] = []
    for _ in range(4):
        run_sync(nic.xmit(context, 23, b"x", done.append))
    run_sync(nic.flush())
    assert [c.rekey for c in done] == [False, True, True, True]
    assert [c.status for c in done] == [Status.OK] * 3 + [Status.KEY_EXHAUSTED]


def test_scatter_gather_lists_are_padded_with_zeros() -> None:
    model = NicModel()
    nic = run_sync(KtlsNic.probe(model))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO))
    run_sync(nic.xmit(context, 23, bytes(4097), lambda _done: None))
    source = model.mem.read(nic.buffers.base + DmaBuffers.SRC_LIST, 256)
    assert [Sge.unpack(source[at : at + Sge.SIZE]).len for at in (0, Sge.SIZE)] == [4096, 1]
    assert source[2 * Sge.SIZE :] == bytes(256 - 2 * Sge.SIZE)


class Watched(NicModel):
    """A model of some minor version that notes the doorbells and the descriptors behind them."""

    def __init__(self, minor: int = layout.VERSION_MINOR_RESET) -> None:
        super().__init__()
        self.minor = minor
        self.doorbells: list[Reg] = []
        self.records: list[SqeRecord] = []

    async def read32(self, addr: int) -> int:
        value = await super().read32(addr)
        return value & ~0xFFFF | self.minor if addr == Reg.VERSION else value

    async def write32(self, addr: int, value: int) -> None:
        if addr in (Reg.RING0_SQ_PROD, Reg.RING0_SQ_PUSH):
            self.doorbells.append(Reg(addr))
            slot = await self.read32(Reg.RING0_SQ_BASE_LO) + 64 * ((value - 1) % 32)
            self.records.append(SqeRecord.unpack(self.mem.read(slot, 64)))
        await super().write32(addr, value)


def watched_records(minor: int, **kw: bool) -> Watched:
    """Seal records of 1, 1000 and 6000 bytes."""
    model = Watched(minor)
    nic = run_sync(KtlsNic.probe(model, **kw))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO))
    done: list[Completion] = []
    for size in (1, 1000, 6000):
        run_sync(nic.xmit(context, 23, bytes(size), done.append))
        run_sync(nic.flush())
    assert [c.status for c in done] == [Status.OK] * 3
    return model


def test_a_buffer_inside_a_page_has_no_list() -> None:
    model = watched_records(5)
    seals = model.records[1:]
    assert [(d.src_direct, d.dst_direct) for d in seals] == [(1, 1), (1, 1), (0, 0)]
    assert [d.src_cnt for d in seals][:2] == [0, 0]
    assert set(model.doorbells) == {Reg.RING0_SQ_PROD}


def test_contiguous_buffers_need_no_list_at_any_size() -> None:
    model = watched_records(5, contiguous=True)
    assert all(d.src_direct and d.dst_direct for d in model.records[1:])
    older = watched_records(4, contiguous=True)
    assert [(d.src_cnt, d.dst_cnt) for d in older.records[1:]] == [(1, 1)] * 3


def test_an_older_device_gets_lists_and_plain_doorbells() -> None:
    model = watched_records(4, push=True, ordered=True)
    assert not any(d.src_direct or d.dst_direct for d in model.records[1:])
    assert set(model.doorbells) == {Reg.RING0_SQ_PROD}
    assert run_sync(model.read32(Reg.CTRL)) == layout.CTRL_ENABLE.put(1)


def test_push_and_ordered() -> None:
    model = watched_records(5, push=True, ordered=True)
    assert set(model.doorbells) == {Reg.RING0_SQ_PUSH}
    assert run_sync(model.read32(Reg.CTRL)) == layout.CTRL_ENABLE.put(1) | layout.CTRL_ORDERED.put(
        1
    )


def test_only_an_empty_ring_is_pushed_to() -> None:
    model = Watched()
    nic = run_sync(KtlsNic.probe(model, push=True))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO))
    run_sync(model.write32(Reg.CTRL, 0))
    for _ in range(3):
        run_sync(nic.xmit(context, 23, b"x", lambda _done: None))
    assert model.doorbells[1:] == [Reg.RING0_SQ_PUSH, Reg.RING0_SQ_PROD, Reg.RING0_SQ_PROD]


class Waits(FaultyPort):
    """A device that works while the driver waits, and notes how it waits.

    Args:
        messages: Whether the device has messages.
    """

    def __init__(self, *, messages: bool) -> None:
        super().__init__(lazy=True)
        self.messages = messages
        self.waits: list[int | bool | None] = []

    async def read32(self, addr: int) -> int:
        value = await super().read32(addr)
        hidden = addr == Reg.CAPS and not self.messages
        return value & ~layout.CAPS_MESSAGES.put(1) if hidden else value

    async def wait_irq(self) -> bool:
        raised = await super().wait_irq()
        self.waits.append(raised)
        return raised

    async def wait_message(self) -> int | None:
        vector = await super().wait_message()
        self.waits.append(vector)
        return vector


def _seal_on_two_rings(model: Waits) -> KtlsNic:
    nic = run_sync(KtlsNic.probe(model, strict=True, rings=2, messages=True))
    for _ in range(2):
        context = run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO))
        run_sync(nic.xmit(context, 23, b"text", lambda done: None))
        run_sync(nic.flush())
    return nic


def test_messages_name_the_ring() -> None:
    model = Waits(messages=True)
    nic = _seal_on_two_rings(model)
    assert model.waits == [0, 0, 1, 1]
    assert nic.records == 2
    assert not nic.events
    assert run_sync(model.read32(Reg.IRQ_ENABLE)) == 0


def test_a_device_without_messages_uses_the_level() -> None:
    model = Waits(messages=False)
    _seal_on_two_rings(model)
    assert model.waits == [True] * 4
    assert run_sync(model.read32(Reg.RING0_MSG)) & 1 == 0


def test_an_error_message_ends_the_wait() -> None:
    model = Waits(messages=True)
    nic = run_sync(KtlsNic.probe(model, messages=True))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO))
    model.model.mem.fail(nic.pairs[0].cq.base, nic.pairs[0].cq.base + 4096, read=False)
    done: list[Completion] = []
    run_sync(nic.xmit(context, 23, b"text", done.append))
    run_sync(nic.flush())
    assert model.waits[-1] == model.model.rings
    assert nic.why_down == "STATUS.cq_error: the device could not write a completion"
    assert [c.status for c in done] == [None]


def test_a_lost_message_is_found_by_polling() -> None:
    port = FaultyPort(lazy=True)
    port.line = False
    nic = run_sync(KtlsNic.probe(port, strict=True, messages=True))
    context = run_sync(nic.tls_dev_add(uapi.TLS_TX, INFO))
    run_sync(nic.xmit(context, 23, b"text", lambda done: None))
    run_sync(nic.flush())
    assert nic.events["lost_interrupts"] == 2
    assert nic.records == 1
