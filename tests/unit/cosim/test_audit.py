# SPDX-License-Identifier: Apache-2.0
"""Each rule of the audit is broken once; a driver that follows the rules breaks none."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable

import pytest

from ktls import CryptoInfo, KtlsNic, run_sync, uapi
from ktls_cosim.check.audit import Audit
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.mismatch import MismatchError
from ktls_cosim.check.owned import OwnedMemory, Range, Use
from ktls_cosim.check.rings import Rings
from ktls_cosim.check.rules import Breach, Rule
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.paths import ROOT
from ktls_cosim.scenarios.rig import Piece, Rig
from ktls_hw.layout import CTRL_RESET, Cqe, Opcode, Reg, SqeCtx, Status
from ktls_hw.model import NicModel

KEY = bytes(range(16))
INFO = CryptoInfo(
    uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_128, bytes(8), KEY, b"SALT", bytes(8)
)


class Broken:
    """A verification driver with one context, and what the audit says about it."""

    def __init__(self) -> None:
        self.found: list[Breach] = []
        self.port = CheckedPort(NicModel(), Scoreboard(), breach=self.found.append)
        self.rig = Rig(self.port, sq_log2=3, cq_log2=3)

    async def start(self) -> Rig:
        await self.rig.reset()
        await self.rig.set_context(0, KEY)
        self.wipe()
        return self.rig

    def wipe(self) -> None:
        self.port.mem.write(self.rig.sq_base, bytes(64))

    async def stop(self) -> None:
        """Delete the context and unbind."""
        await self.rig.run(self.rig.delete_descriptor(0))
        await self.port.write32(Reg.CTRL, CTRL_RESET.put(1))

    async def write(self, reg: Reg, value: int) -> None:
        await self.port.write32(reg, value)


async def early_read(b: Broken) -> None:
    rig = await b.start()
    seal, dst = rig.seal_descriptor(0, b"text")
    await rig.post(seal)
    rig.get_pieces(dst, 8)


async def owned_descriptor(b: Broken) -> None:
    rig = await b.start()
    await rig.post(rig.seal_descriptor(0, b"text")[0])
    b.port.mem.write(rig.sq_base + 64, bytes(64))


async def owned_source(b: Broken) -> None:
    rig = await b.start()
    src = [Piece(rig.alloc(5000), 5000)]
    await rig.post(rig.seal_descriptor(0, bytes(5000), src=src)[0])
    b.port.mem.write(src[0].addr + 4999, b"x")


async def owned_list(b: Broken) -> None:
    rig = await b.start()
    seal, _ = rig.seal_descriptor(0, b"text")
    await rig.post(seal)
    b.port.mem.write(seal.dst_sg + 8, b"\xff")


async def owned_completion(b: Broken) -> None:
    rig = await b.start()
    await rig.post(rig.seal_descriptor(0, b"text")[0])
    b.port.mem.write(rig.cq_slot, bytes(32))


async def destination_in_use(b: Broken) -> None:
    rig = await b.start()
    dst = [Piece(rig.alloc(64), 64)]
    for text in (b"one", b"two"):
        await rig.post(rig.seal_descriptor(0, text, dst=dst)[0])


async def result_as_source(b: Broken) -> None:
    rig = await b.start()
    first, dst = rig.seal_descriptor(0, b"text")
    await rig.post(first, rig.seal_descriptor(0, bytes(33), src=dst)[0])


async def empty_descriptor(b: Broken) -> None:
    rig = await b.start()
    await b.write(Reg.RING0_SQ_PROD, rig.sq_prod + 1)


async def swapped_number(b: Broken) -> None:
    await b.start()
    await b.rig.set_context(1, KEY, seq=int.from_bytes((5).to_bytes(8, "little"), "big"))


async def swapped_resync(b: Broken) -> None:
    rig = await b.start()
    await rig.run(SqeCtx(opcode=Opcode.RESYNC, rec_seq=(9).to_bytes(8, "little")))


async def too_many(b: Broken) -> None:
    rig = await b.start()
    await b.write(Reg.RING0_SQ_PROD, rig.sq_prod + 9)


async def backward(b: Broken) -> None:
    await b.start()
    await b.write(Reg.RING0_SQ_PROD, 0)


async def stale_completion(b: Broken) -> None:
    await b.start()
    await b.write(Reg.RING0_CQ_CONS, b.rig.cq_cons + 1)


async def unread_completion(b: Broken) -> None:
    """The device has written it, but the driver cannot know."""
    rig = await b.start()
    await rig.post(rig.seal_descriptor(0, b"text")[0])
    await b.write(Reg.RING0_CQ_CONS, b.rig.cq_cons + 1)


async def backward_completion(b: Broken) -> None:
    await b.start()
    await b.write(Reg.RING0_CQ_CONS, 0)


async def not_ready(b: Broken) -> None:
    await b.write(Reg.CTRL, CTRL_RESET.put(1))
    await b.write(Reg.IRQ_ENABLE, 1)


async def moved_ring(b: Broken) -> None:
    rig = await b.start()
    await rig.post(rig.seal_descriptor(0, b"text")[0])
    await b.write(Reg.RING0_SQ_BASE_LO, 1 << 16)


async def moved_completions(b: Broken) -> None:
    rig = await b.start()
    await rig.post(rig.seal_descriptor(0, b"text")[0])
    await b.write(Reg.RING0_CQ_SIZE, 5)


async def misaligned_ring(b: Broken) -> None:
    await b.start()
    await b.write(Reg.RING0_CQ_BASE_LO, 0x1020)


async def no_ring(b: Broken) -> None:
    await b.start()
    await b.write(Reg(Reg.RING0_SQ_PROD), b.rig.sq_prod)
    await b.port.write32(Reg.RING0_SQ_PROD + 0x40, 1)


async def missing_ring(b: Broken) -> None:
    await b.start()
    await b.port.read32(Reg.CAPS)
    await b.port.write32(Reg.RING0_IRQ_MOD + 7 * 0x40, 1)


async def failed_device(b: Broken) -> None:
    rig = await b.start()
    model = b.port._port
    assert isinstance(model, NicModel)
    model.mem.fail(rig.cq_base, rig.cq_base + 4096)
    await rig.post(rig.seal_descriptor(0, b"text")[0])
    await b.port.read32(Reg.STATUS)
    await rig.post(rig.seal_descriptor(0, b"text")[0])


async def left_completion(b: Broken) -> None:
    """The driver has read it, but not written CQ_CONS."""
    rig = await b.start()
    await rig.post(rig.delete_descriptor(0))
    b.port.mem.read(rig.cq_slot, 32)
    await b.write(Reg.CTRL, CTRL_RESET.put(1))


async def left_descriptors(b: Broken) -> None:
    rig = await b.start()
    await rig.run(rig.delete_descriptor(0))
    for _ in range(2):
        await rig.post(rig.seal_descriptor(0, b"text")[0])
    await b.write(Reg.CTRL, CTRL_RESET.put(1))


async def left_context(b: Broken) -> None:
    await b.start()
    await b.write(Reg.CTRL, CTRL_RESET.put(1))


async def left_key(b: Broken) -> None:
    await b.rig.reset()
    await b.rig.set_context(0, KEY)
    await b.stop()


async def left_memory(b: Broken) -> None:
    b.port.audit.mapped(0x1000, 0x2000)
    b.port.audit.mapped(0x8000, 0x1000)
    b.port.audit.unmapped(0x8000, 0x1000)
    await b.start()
    await b.stop()


BREAKS: list[tuple[Callable[[Broken], Awaitable[None]], Rule, str]] = [
    (early_read, Rule.EARLY_READ, "the destination of descriptor 1 of ring 0 at .* was read"),
    (owned_descriptor, Rule.OWNED_DESCRIPTOR, "the slot of descriptor 1 of ring 0"),
    (owned_source, Rule.OWNED_BUFFER, "the source of descriptor 1 .* was written before"),
    (owned_list, Rule.OWNED_BUFFER, "a list of descriptor 1"),
    (owned_completion, Rule.OWNED_BUFFER, "the completion slot of descriptor 1"),
    (destination_in_use, Rule.OWNED_BUFFER, "destination of descriptor 2 .* overlaps the dest"),
    (result_as_source, Rule.OWNED_BUFFER, "source of descriptor 2 .* overlaps the destination"),
    (empty_descriptor, Rule.EMPTY_DESCRIPTOR, "the doorbell came before the descriptor"),
    (swapped_number, Rule.RECORD_NUMBER, "is it 5 in the wrong order"),
    (swapped_resync, Rule.RECORD_NUMBER, "is it 9 in the wrong order"),
    (too_many, Rule.DOORBELL_RANGE, "publishes 9 descriptors beside 0 in flight.* 8 slots"),
    (backward, Rule.DOORBELL_RANGE, "went backward from 1 to 0"),
    (stale_completion, Rule.COMPLETION_RANGE, "consumes 1 completions, 0 are new.* must be 1"),
    (unread_completion, Rule.COMPLETION_RANGE, "consumes 1 completions, 0 are new"),
    (backward_completion, Rule.COMPLETION_RANGE, "went backward from 1 to 0"),
    (not_ready, Rule.REGISTER_STATE, "IRQ_ENABLE was written before STATUS.ready"),
    (moved_ring, Rule.REGISTER_STATE, "RING0_SQ_BASE_LO was written while 1 descriptors"),
    (moved_completions, Rule.REGISTER_STATE, "RING0_CQ_SIZE was written while 1 completions"),
    (misaligned_ring, Rule.REGISTER_STATE, "0x1020, no multiple of 64"),
    (no_ring, Rule.REGISTER_STATE, "RING1_SQ_PROD was written before the addresses"),
    (missing_ring, Rule.REGISTER_STATE, "RING7_IRQ_MOD was written on a device with 4 rings"),
    (failed_device, Rule.REGISTER_STATE, "although STATUS reports a failure"),
    (left_completion, Rule.COMPLETION_LEFT, "1 completions of ring 0 .* the first one is 1"),
    (left_descriptors, Rule.COMPLETION_LEFT, "waited for descriptor 2 of ring 0 and 1 behind"),
    (left_context, Rule.CONTEXT_LEFT, "context 0, installed by descriptor 0 of ring 0"),
    (left_key, Rule.KEY_LEFT, "the slot at 0x1000 still holds the key"),
    (left_memory, Rule.MEMORY_LEFT, "0x2000 bytes at 0x1000 were never unmapped"),
]


@pytest.mark.parametrize(("steps", "rule", "text"), BREAKS, ids=[b[0].__name__ for b in BREAKS])
def test_a_broken_rule_is_reported(
    steps: Callable[[Broken], Awaitable[None]], rule: Rule, text: str
) -> None:
    """Once, in one line, with the place of the rule, and no other rule beside it."""
    broken = Broken()
    run_sync(steps(broken))  # type: ignore[arg-type]
    broken.port.audit.end(gone=rule in (Rule.KEY_LEFT, Rule.MEMORY_LEFT))
    [found] = broken.found
    assert found.rule is rule
    assert re.search(text, found.text), found.text
    assert str(found).endswith(f"(docs/programmers-guide.md#{rule})")
    assert "\n" not in str(found)


def test_every_rule_is_broken_and_documented() -> None:
    assert {rule for _, rule, _ in BREAKS} == set(Rule)
    guide = (ROOT / "docs" / "programmers-guide.md").read_text()
    for rule in Rule:
        assert f"\n### {rule}\n" in guide
        assert f"[{rule}](#{rule})" in guide


def test_a_driver_that_follows_the_rules() -> None:
    """With full rings, several of them, lists and a recovery."""

    async def go() -> None:
        await b.start()
        other = await b.rig.add_ring(1, 2, 2)
        rng = random.Random(3)
        for n in range(60):
            rig = (b.rig, other)[n % 2]
            data = rng.randbytes(rng.randrange(300))
            src, dst = (rig.random_pieces(rng, n) for n in (len(data), len(data) + 29))
            await rig.post(rig.seal_descriptor(0, data, src=src, dst=dst)[0])
        await other.drain()
        await b.rig.drain()
        await b.rig.reset()  # contexts are still there: it is a recovery, not the end
        await b.start()
        await b.stop()

    b = Broken()
    run_sync(go())
    b.port.audit.end(gone=True)
    assert not b.found


def test_the_slot_is_free_once_sq_cons_has_passed() -> None:
    async def go() -> None:
        rig = await b.start()
        await rig.post(rig.seal_descriptor(0, b"text")[0])
        assert await b.port.read32(Reg.RING0_SQ_CONS) == 2
        b.port.mem.write(rig.sq_base + 64, bytes(64))

    b = Broken()
    run_sync(go())
    assert not b.found


def test_completions_may_be_counted_by_cq_prod() -> None:
    async def go() -> None:
        rig = await b.start()
        seal, dst = rig.seal_descriptor(0, b"text")
        await rig.post(seal)
        await b.port.read32(Reg.RING0_CQ_PROD)
        rig.get_pieces(dst, 33)

    b = Broken()
    run_sync(go())
    assert not b.found


def test_a_device_that_accepts_what_the_driver_could_not_know() -> None:
    """The doorbell is a breach, and the records behind it are checked all the same."""

    async def go() -> None:
        rig = await b.start()
        for _ in range(8):
            await rig.post(rig.seal_descriptor(0, b"text")[0], bell=False)
        await rig.bell()
        # the device has executed them, but the driver has read no completion
        rig.port.mem.write(rig.sq_slot, rig.seal_descriptor(0, b"text")[0].pack())

    b = Broken()
    run_sync(go())
    assert [f.rule for f in b.found] == [Rule.OWNED_DESCRIPTOR]
    b.found.clear()
    run_sync(b.port.write32(Reg.RING0_SQ_PROD, 10))
    assert [f.rule for f in b.found] == [Rule.DOORBELL_RANGE]


def test_the_scoreboard_fails() -> None:
    """Without another receiver a breach is a finding like any other."""
    scoreboard = Scoreboard()
    port = CheckedPort(NicModel(), scoreboard)
    run_sync(port.write32(Reg.IRQ_ENABLE, 1))
    with pytest.raises(MismatchError, match=r"driver check at 0 ns.*: register-state: IRQ_ENABLE"):
        scoreboard.finish()


def test_the_python_driver_from_probe_to_removal() -> None:
    """It leaves nothing behind; with a context that is not deleted it does."""

    async def go(*, delete: bool) -> list[str]:
        found: list[Breach] = []
        port = CheckedPort(NicModel(), Scoreboard(), breach=found.append)
        nic = await KtlsNic.probe(port, strict=True, rings=2, sq_log2=2, cq_log2=2)
        for number in range(3):
            context = await nic.tls_dev_add(uapi.TLS_TX, INFO)
            for size in (0, 5, 9000):
                await nic.xmit(context, 23, bytes(size), lambda _completion: None)
            await nic.flush()
            if delete or number:
                await nic.tls_dev_del(context)
        await nic.remove()
        port.audit.end(gone=True)
        return [str(f.rule) for f in found]

    assert not run_sync(go(delete=True))
    assert run_sync(go(delete=False)) == ["context-left"]


# ---------------------------------------------------------- memory that is only observed


class Engine:
    """The engine alone: one descriptor in flight, its source at 0x100, its result at 0x200."""

    def __init__(self) -> None:
        self.memory = bytearray(0x2000)
        self.found: list[Breach] = []
        rings = Rings()
        rings.write(Reg.RING0_SQ_BASE_LO, 0x1000)
        rings.write(Reg.RING0_CQ_BASE_LO, 0x1800)
        self.audit = Audit(rings, self.peek, self.found.append)
        self.raw = bytes([Opcode.SEAL]).ljust(64, b"\1")
        self.memory[0x1000:0x1040] = self.raw
        self.memory[0x100:0x110] = b"sixteen bytes..."
        source = (Use.SOURCE, 0x100, self.peek(0x100, 16))
        self.audit.published(0, 0, self.raw, [source, (Use.DESTINATION, 0x200, 45)])

    def peek(self, addr: int, length: int) -> bytes:
        return bytes(self.memory[addr : addr + length])

    @property
    def rules(self) -> list[Rule]:
        return [f.rule for f in self.found]


def test_the_device_reads_what_was_there_at_the_doorbell() -> None:
    e = Engine()
    e.audit.device_read(0x0F0, e.peek(0x0F0, 64))
    e.audit.device_read(0x1000, e.raw)
    assert not e.found
    e.memory[0x10F] = 0
    e.audit.device_read(0x0F0, e.peek(0x0F0, 31))
    assert not e.found
    e.audit.device_read(0x0F0, e.peek(0x0F0, 64))
    e.audit.device_read(0x0F0, e.peek(0x0F0, 64))
    assert e.rules == [Rule.OWNED_BUFFER]
    e.audit.device_read(0x1000, bytes(64))
    assert e.rules == [Rule.OWNED_BUFFER, Rule.OWNED_DESCRIPTOR]
    assert "was changed between doorbell and completion" in e.found[1].text


@pytest.mark.parametrize("unchanged", [True, False])
def test_what_has_changed_at_the_completion(*, unchanged: bool) -> None:
    """Only if nobody can have seen the completion yet: afterwards the memory is the driver's."""
    e = Engine()
    e.memory[0x100] = 0
    if unchanged:
        e.audit.unchanged(0)
    assert e.audit.spoiled(0, 0) == unchanged
    e.audit.completed(0, Cqe(status=Status.OK))
    assert e.rules == [Rule.OWNED_BUFFER] * unchanged
    e.audit.driver_wrote(0x100, 0x200)
    assert len(e.found) == unchanged


def test_unmapped_memory_in_flight() -> None:
    e = Engine()
    e.audit.mapped(0, 0x1000)
    e.audit.unmapped(0, 0x1000)
    assert e.rules == [Rule.OWNED_BUFFER]
    assert "was unmapped" in e.found[0].text


def test_owned_memory_agrees_with_a_list(rng: random.Random) -> None:
    owned, plain = OwnedMemory(), list[Range]()
    for _ in range(500):
        lo = rng.randrange(1 << 16)
        if plain and rng.random() < 0.4:
            owned.remove(plain.pop(rng.randrange(len(plain))))
        else:
            hi = lo + rng.choice((1, 16, 300, 4096, 20000))
            plain.append(Range(Use.SOURCE, lo, hi, 0, 0))
            owned.add(plain[-1])
        lo = rng.randrange(1 << 16)
        hi = lo + rng.choice((1, 100, 5000, 40000))
        got = list(owned.touched(lo, hi))
        assert len(got) == len(set(map(id, got)))
        assert set(map(id, got)) == {id(r) for r in plain if r.lo < hi and lo < r.hi}
    for r in plain:
        owned.remove(r)
    assert not list(owned.touched(0, 1 << 20))
