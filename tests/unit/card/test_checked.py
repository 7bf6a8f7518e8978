# SPDX-License-Identifier: Apache-2.0
"""The checks beside the device of a card: what a client does to its memory meanwhile."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ktls_cosim.card.checked import CheckedDevice
from ktls_cosim.card.model import ModelDevice
from ktls_cosim.check.rules import Breach, Rule
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.client_memory import Area
from ktls_hw.faults import Fault
from ktls_hw.layout import CTRL_RESET, Cqe, Opcode, Reg, Sge, SqeCtx, SqeRecord, Status

BASE = 1 << 40
SQ, CQ, SRC, DST = (BASE + n * 0x1000 for n in range(4))
KEY = bytes(range(16))


class Client:
    """A client with one map, whose memory it changes when the device accesses an address."""

    def __init__(self, *, exact: bool = True, cq_log2: int = 4) -> None:
        self.fd = os.memfd_create("client")
        os.truncate(self.fd, 0x4000)
        self.found: list[Breach] = []
        self.scoreboard = Scoreboard()
        self.bare = ModelDevice()
        self.bare.exact = exact
        self.device = CheckedDevice(self.bare, self.scoreboard, self.found.append)
        self.device.bus_master = lambda: True
        self.device.add(Area(BASE, 0x4000, os.dup(self.fd), 0))
        self.prod = 0
        self.write(Reg.CTRL, CTRL_RESET.put(1))
        self.device.read_register(Reg.STATUS)
        for reg, value in ((Reg.RING0_SQ_BASE_LO, SQ), (Reg.RING0_CQ_BASE_LO, CQ)):
            self.write(reg, value & 0xFFFFFFFF)
            self.write(Reg(reg + 4), value >> 32)
        self.write(Reg.RING0_SQ_SIZE, 4)
        self.write(Reg.RING0_CQ_SIZE, cq_log2)
        self.write(Reg.CTRL, 1)

    def write(self, reg: Reg, value: int) -> None:
        self.device.write_register(reg, value)

    def put(self, addr: int, data: bytes) -> None:
        os.pwrite(self.fd, data, addr - BASE)

    def get(self, addr: int, length: int) -> bytes:
        return os.pread(self.fd, length, addr - BASE)

    def post(self, *descriptors: SqeCtx | SqeRecord) -> list[Cqe]:
        """Ring the doorbell and consume the completions."""
        first = self.prod
        for d in descriptors:
            self.put(SQ + self.prod % 16 * 64, d.pack())
            self.prod += 1
        self.write(Reg.RING0_SQ_PROD, self.prod)
        done = [
            Cqe.unpack(self.get(CQ + n % 16 * Cqe.SIZE, Cqe.SIZE)) for n in range(first, self.prod)
        ]
        self.write(Reg.RING0_CQ_CONS, self.prod)
        return done

    def install(self) -> None:
        [done] = self.post(
            SqeCtx(opcode=Opcode.CTX_SET, version=0x0303, cipher=51, salt=b"SALT", key=KEY)
        )
        assert done.status == Status.OK
        self.put(SQ, bytes(64))

    def on_read(self, lo: int, change: int, data: bytes) -> None:
        """Change memory right before the device reads an address."""
        noticed = self.bare.did_read

        def read(addr: int, got: bytes) -> None:
            if addr == lo:
                self.put(change, data)
            noticed(addr, got)

        self.bare.did_read = read

    def on_completion(self, change: int, data: bytes) -> None:
        """Change memory right before the device writes a completion."""
        noticed = self.bare.did_write

        def wrote(addr: int, written: bytes) -> None:
            if CQ <= addr < SRC:
                self.put(change, data)
            noticed(addr, written)

        self.bare.did_write = wrote

    @property
    def rules(self) -> list[Rule]:
        return [b.rule for b in self.found]


SEAL = SqeRecord(
    opcode=Opcode.SEAL, rtype=23, len=100, dst_len=200, src_sg=SRC, dst_sg=DST, src_direct=1,
    dst_direct=1,
)  # fmt: skip


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    client.install()
    yield client
    client.device.clear()
    os.close(client.fd)


def test_a_record_is_compared_with_pyca(client: Client) -> None:
    client.put(SRC, bytes(100))
    [done] = client.post(SEAL)
    assert (done.status, done.len) == (Status.OK, 129)
    assert (client.scoreboard.device_records, client.scoreboard.mismatches) == (1, [])
    assert not client.found


@pytest.mark.parametrize(
    ("fault", "check", "cause"),
    [
        (Fault.COUNTER_START, "golden", "counter"),
        (Fault.DOUBLED_COMPLETION, "completion", "doubled"),
        (Fault.LOST_COMPLETION, "completion", "lost"),
    ],
)
def test_a_fault_of_the_device(fault: Fault, check: str, cause: str, client: Client) -> None:
    client.put(SRC, bytes(range(100)))
    client.bare._nic.inject(fault)
    for _ in range(2):
        client.post(SEAL)
    found = client.scoreboard.mismatches[0]
    assert found.check == check
    assert cause in str(found.cause)


def test_a_source_that_changes_before_it_is_read(client: Client) -> None:
    client.on_read(SQ + 64, SRC + 99, b"x")
    client.post(SEAL)
    assert client.rules == [Rule.OWNED_BUFFER]
    assert "the source of descriptor 1 of ring 0" in client.found[0].text
    assert client.scoreboard.device_spoiled == 1
    # nothing is held against the device, and the next record is checked
    client.bare.did_read = lambda _addr, _data: None
    client.post(SEAL)
    assert (client.scoreboard.device_records, client.scoreboard.mismatches) == (1, [])


@pytest.mark.parametrize(
    ("place", "rule", "text"),
    [
        (SRC, Rule.OWNED_BUFFER, "the source"),
        (DST + 50, Rule.OWNED_BUFFER, "the destination"),
        (SQ + 70, Rule.OWNED_DESCRIPTOR, "the slot"),
    ],
    ids=["source", "destination", "slot"],
)
def test_what_changes_before_the_completion(
    place: int, rule: Rule, text: str, client: Client
) -> None:
    client.on_completion(place, b"\xff")
    client.post(SEAL)
    assert client.rules == [rule]
    assert f"{text} of descriptor 1 of ring 0" in client.found[0].text
    assert client.scoreboard.mismatches == []


def test_lengths_of_a_wild_descriptor_cost_no_memory(client: Client) -> None:
    """The device refuses them, and the checks do not read what it would not."""
    most = (1 << 32) - 1
    direct = replace(SEAL, len=most, dst_len=most)
    [done] = client.post(direct)
    assert done.status == Status.BAD_LENGTH
    client.put(SRC, Sge(0, most).pack() * 64)
    lists = replace(direct, src_direct=0, dst_direct=0, src_cnt=65535, dst_cnt=65535, dst_sg=SRC)
    [done] = client.post(lists)
    assert done.status == Status.BAD_LENGTH
    assert client.scoreboard.mismatches == []


def test_a_driver_that_does_anything(rng: random.Random) -> None:
    """Random descriptors, lists, doorbells and maps: the checks hold nothing against the device."""
    for _ in range(30):
        client = Client(exact=rng.random() < 0.5, cq_log2=rng.choice((0, 2, 4)))
        client.install()
        for _ in range(40):
            places = (SRC, DST, DST + 7, SQ, CQ, 0, (1 << 64) - 16, BASE + 0x4000 - 8)
            lengths = (0, 1, 16, 100, 16384, 16385, (1 << 32) - 1)
            entries = [Sge(rng.choice(places), rng.choice(lengths)) for _ in range(4)]
            client.put(SRC, b"".join(e.pack() for e in entries))
            record = replace(
                SEAL,
                opcode=rng.choice((0, 1, 2, 3, 3, 3, 4, 5, 9)), ctx=rng.choice((0, 0, 1, 99)),
                len=rng.choice(lengths), dst_len=rng.choice(lengths), pad=rng.choice((0, 3)),
                src_sg=rng.choice(places), dst_sg=rng.choice(places),
                src_cnt=rng.choice((0, 3, 65535)), dst_cnt=rng.choice((0, 3, 65535)),
                src_direct=rng.randrange(2), dst_direct=rng.randrange(2),
            )  # fmt: skip
            client.put(SQ + client.prod % 16 * 64, record.pack())
            client.prod += rng.choice((0, 1, 1, 1, 2, 17, -1))
            client.prod &= 0xFFFFFFFF
            client.write(Reg.RING0_SQ_PROD, client.prod)
            client.write(Reg.RING0_CQ_CONS, client.prod - rng.choice((0, 0, 1, 5)) & 0xFFFFFFFF)
            if rng.random() < 0.05:
                client.device.read_register(rng.choice((Reg.STATUS, Reg.RING0_CQ_PROD)))
        client.device.client_gone()
        assert client.scoreboard.mismatches == []
        client.device.reset()
        client.device.clear()
        os.close(client.fd)


def test_the_memory_is_the_clients_behind_the_completion(client: Client) -> None:
    for n in range(40):
        client.put(SRC, bytes([n]) * 100)
        client.post(SEAL, SEAL) if n % 3 == 2 else client.post(SEAL)
        client.put(DST, bytes(200))
    # two records of one doorbell had the same destination
    assert set(client.rules) == {Rule.OWNED_BUFFER}
    assert len(client.rules) == 13
    assert client.scoreboard.mismatches == []


def test_a_result_becomes_a_source_while_others_are_in_flight() -> None:
    """The checks remember what the device has written, but the memory is the client's again."""
    client = Client(exact=False, cq_log2=0)  # one completion at a time
    client.install()
    other = replace(SEAL, dst_sg=DST + 0x400)
    client.prod += 2
    for n, d in enumerate((SEAL, other), 1):
        client.put(SQ + 64 * n, d.pack())
    client.write(Reg.RING0_SQ_PROD, 3)
    client.put(DST, b"new text".ljust(100))
    client.put(SQ + 64 * 3, replace(SEAL, src_sg=DST, dst_sg=DST + 0x800).pack())
    client.write(Reg.RING0_SQ_PROD, 4)
    for index in (2, 3, 4):
        client.write(Reg.RING0_CQ_CONS, index)
    assert (client.scoreboard.device_records, client.scoreboard.mismatches) == (3, [])
    assert not client.found
    client.device.clear()
    os.close(client.fd)


def test_the_end_of_a_client(client: Client) -> None:
    client.put(SQ, SqeCtx(key=KEY).pack())
    client.device.client_gone()
    assert client.rules == [Rule.CONTEXT_LEFT, Rule.KEY_LEFT, Rule.MEMORY_LEFT]
    client.device.reset()
    client.device.clear()
    assert len(client.found) == 3, "once"


def test_a_spoiled_context_command(client: Client) -> None:
    """The keys of the device are not known: its records are not judged until it is deleted."""
    again = SqeCtx(opcode=Opcode.CTX_SET, version=0x0303, cipher=51, key=bytes(16))
    client.on_completion(SQ + 64 + 40, b"\xff")
    client.post(again)
    client.bare.did_write = client.device._wrote
    client.post(SEAL)
    assert client.scoreboard.device_spoiled == 1
    client.post(SqeCtx(opcode=Opcode.CTX_DEL))
    client.post(SqeCtx(opcode=Opcode.CTX_SET, version=0x0303, cipher=51, key=KEY))
    client.post(SEAL)
    assert (client.scoreboard.device_records, client.scoreboard.mismatches) == (1, [])
    assert client.rules == [Rule.OWNED_DESCRIPTOR]
