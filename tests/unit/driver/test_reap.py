# SPDX-License-Identifier: Apache-2.0
"""Each contradiction between a completion and its descriptor is found and named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ktls import uapi
from ktls.dma import DmaBuffers
from ktls.nic_reap import Reaper
from ktls.ring import Completion, Posted, Ring, RingPair
from ktls_hw.layout import Cqe, Opcode, SqeRecord, Status
from ktls_hw.model import NicModel

TEXT = b"opened text"
SLOTS_LOG2 = 2
# a descriptor that has gone round the ring once
INDEX = 5
PLACE = INDEX % (1 << SLOTS_LOG2)
SEALED = 40


class Bench:
    """A ring with two descriptors in flight, and a memory for completions and results.

    Args:
        opcode: of both descriptors.
    """

    def __init__(self, opcode: Opcode) -> None:
        self.port = NicModel()
        self.events: Counter[str] = Counter()
        self.done: list[tuple[Posted, Completion]] = []
        self.pair = RingPair(0, Ring(0x1000, SLOTS_LOG2, SqeRecord.SIZE), Ring(0x2000, 2, Cqe.SIZE))
        buffers = DmaBuffers(0x4000, self.port.mem.size, 2)
        self.reaper = Reaper(self.port, buffers, self.events)
        sq, cq = self.pair.sq, self.pair.cq
        sq.cons = cq.cons = INDEX
        # the completions of the round before
        self.port.mem.write(cq.base, Cqe(phase=1 - cq.phase()).pack() * cq.entries)
        opening = opcode == Opcode.OPEN
        version = uapi.TLS_1_3_VERSION if opening else uapi.TLS_1_2_VERSION
        room = len(TEXT) + 4 if opening else SEALED
        for index in (INDEX, INDEX + 1):
            descriptor = SqeRecord(opcode=opcode, ctx=3, gen=9, cookie=sq.slot(index))
            posted = Posted(index, descriptor, version, buffers.take(), (50, room), lambda _c: None)
            self.pair.posted[sq.slot(index)] = posted
            sq.prod = index + 1
        # the inner plaintext: text, type, padding
        self.port.mem.write(0x4000 + DmaBuffers.DST, TEXT + b"\x16" + bytes(3))
        self.honest = Cqe(
            cookie=PLACE,
            status=Status.OK,
            opcode=opcode,
            ctx=3,
            rtype=22,
            gen=9,
            len=len(TEXT) if opening else SEALED,
            rec_seq=1,
            numbered=1,
            sq_index=INDEX,
            phase=cq.phase(),
        )

    def collect(self, cqe: Cqe) -> str | None:
        """Place a completion and take it off the ring."""
        self.port.mem.write(self.pair.cq.address(INDEX), cqe.pack())
        return self.reaper.collect(self.pair, self.done)


def test_an_honest_completion_is_taken() -> None:
    for opcode in (Opcode.SEAL, Opcode.OPEN):
        bench = Bench(opcode)
        assert bench.collect(bench.honest) is None
        [(posted, completion)] = bench.done
        assert (posted.sq_index, completion.ok) == (INDEX, True)
        assert opcode == Opcode.SEAL or (completion.rtype, completion.data) == (22, TEXT)
        assert (bench.pair.sq.cons, bench.pair.cq.cons) == (INDEX + 1, INDEX + 1)


@pytest.mark.parametrize(
    ("opcode", "lie", "why"),
    [
        (Opcode.SEAL, {"cookie": 0}, "names cookie 0, descriptor 5, which is not in flight"),
        (Opcode.SEAL, {"cookie": 7}, "names cookie 7, descriptor 5, which is not in flight"),
        (Opcode.SEAL, {"sq_index": 9}, "names cookie 1, descriptor 9, which is not in flight"),
        (
            Opcode.SEAL,
            {"sq_index": 6, "cookie": 2},
            "is of descriptor 6, but descriptor 5 has no completion yet",
        ),
        (Opcode.SEAL, {"opcode": Opcode.OPEN}, "has opcode 4, not 3"),
        (Opcode.SEAL, {"ctx": 4}, "has context 4, not 3"),
        (Opcode.SEAL, {"gen": 8}, "has generation 8, not 9"),
        (Opcode.SEAL, {"len": 39}, "reports 39 bytes, the destination has 40"),
        (
            Opcode.SEAL,
            {"status": Status.AUTH_FAILED, "len": 41},
            "reports 41 bytes, the destination has 40",
        ),
        (Opcode.OPEN, {"len": 16}, "reports 16 bytes, the destination has 15"),
        (Opcode.OPEN, {"len": 10}, "reports 10 bytes and type 22, which the opened text"),
        (Opcode.OPEN, {"rtype": 23}, "reports 11 bytes and type 23, which the opened text"),
    ],
)
def test_a_contradiction_is_named(opcode: Opcode, lie: dict[str, int], why: str) -> None:
    bench = Bench(opcode)
    found = bench.collect(replace(bench.honest, **lie))
    assert found is not None
    assert why in found
    assert not bench.done
    assert len(bench.pair.posted) == 2


def test_an_unread_descriptor_has_only_its_index() -> None:
    """The device reports SQ_BUS_ERROR without cookie, opcode and context."""
    bench = Bench(Opcode.SEAL)
    unread = Cqe(status=Status.SQ_BUS_ERROR, sq_index=INDEX, phase=bench.honest.phase)
    assert bench.collect(unread) is None
    assert [completion.status for _, completion in bench.done] == [Status.SQ_BUS_ERROR]


def test_an_unknown_status_is_a_failed_descriptor() -> None:
    bench = Bench(Opcode.SEAL)
    assert bench.collect(replace(bench.honest, status=200)) is None
    [(_, completion)] = bench.done
    assert (completion.ok, completion.why) == (False, "unknown status 200")
    assert bench.events["unknown_status"] == 1
