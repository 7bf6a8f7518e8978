# SPDX-License-Identifier: Apache-2.0
"""One seal and one open connection on a device behind the hostile slave."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Any

import cocotb

from hostile_slave import Hostile, Policy
from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.errors import CosimError
from ktls_cosim.scenarios.rig import Piece, Rig
from ktls_hw import layout
from ktls_hw.layout import Cqe, Reg, SqeRecord, Status

SEALING, OPENING = 0, 1


@dataclass
class Job:
    """A posted record and its right result.

    Attributes:
        descriptor: The descriptor.
        pieces: Its destination.
        text: Plaintext.
        right: What the destination holds after it.
        forged: The tag of the record to open is wrong.
    """

    descriptor: SqeRecord
    pieces: list[Piece]
    text: bytes
    right: bytes
    forged: bool = False


class Bench:
    """The device, the driver of the scenarios, and the right results.

    Attributes:
        host: The hostile slave.
        rig: The driver.
    """

    host: Hostile
    rig: Rig

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        # a long run has several parts with the same seed
        part = os.environ.get("KTLS_PART", "0")
        self.rng = random.Random(f"{cocotb.RANDOM_SEED} {part}")
        self.keys: list[TrafficKeys] = []

    @classmethod
    async def create(cls, dut: Any, policy: Policy | None = None) -> Bench:
        bench = cls(dut)
        bench.host = Hostile(dut, bench.rng)
        if policy:
            bench.host.policy = policy
        await bench.host.start()
        bench.rig = Rig(bench.host)
        await bench.begin()
        return bench

    async def begin(self, version: int = 0x0303) -> None:
        """Reset the device and install new keys in both contexts."""
        await self.rig.reset()
        self.rig.release()
        self.keys = []
        self.sequence = [0, 0]
        for ctx in (SEALING, OPENING):
            key = self.rng.randbytes(self.rng.choice((16, 32)))
            keys = TrafficKeys(
                version, 52 if len(key) == 32 else 51, key, self.rng.randbytes(4),
                self.rng.randbytes(8), 0,
            )  # fmt: skip
            done = await self.rig.set_context(
                ctx, key, salt=keys.salt, iv=keys.iv, version=version, receive=ctx == OPENING
            )
            assert done.status == Status.OK
            self.keys.append(keys)

    def seal(self, length: int, src: list[Piece] | None = None) -> Job:
        text = self.rng.randbytes(length)
        descriptor, dst = self.rig.seal_descriptor(SEALING, text, src=src)
        return Job(descriptor, dst, text, self._record(SEALING, text))

    def open(self, length: int, *, forged: bool = False) -> Job:
        text = self.rng.randbytes(length)
        record = bytearray(self._record(OPENING, text))
        if forged:
            record[-1 - self.rng.randrange(16)] ^= 1 << self.rng.randrange(8)
        tls13 = self.keys[OPENING].version == 0x0304
        descriptor, dst = self.rig.open_descriptor(OPENING, bytes(record), tls13=tls13)
        return Job(descriptor, dst, text, bytes(len(text)) if forged else text, forged)

    def _record(self, ctx: int, text: bytes) -> bytes:
        number = self.sequence[ctx]
        self.sequence[ctx] += 1
        return seal_record(self.keys[ctx], number, 23, text).wire

    def is_right(self, job: Job, done: Cqe) -> bool:
        """Whether the destination holds the right bytes of a job that completed OK."""
        return self.rig.get_pieces(job.pieces, len(job.right)) == job.right

    async def run(self, job: Job) -> Cqe:
        (done,) = await self.rig.run(job.descriptor)
        return done

    async def assert_right(self, *jobs: Job) -> None:
        """Run jobs; all must be right."""
        for job, done in zip(jobs, await self.rig.run(*(j.descriptor for j in jobs)), strict=True):
            assert done.status == Status.OK, Status(done.status).name
            assert self.is_right(job, done), "wrong bytes"

    async def outcome(self, jobs: list[Job]) -> list[Cqe]:
        """Collect the completions of posted jobs until all are there or the device halts."""
        out: list[Cqe] = []
        while len(out) < len(jobs):
            try:
                out += await self.rig.reap(1)
            except CosimError:
                break
        return out

    async def status(self) -> int:
        return await self.host.read32(Reg.STATUS)

    async def is_dead(self) -> bool:
        return bool(layout.STATUS_BUS_DEAD.get(await self.status()))

    async def recover(self) -> None:
        """Reset the device, and a dead bus; the next records must be right."""
        self.host.policy = Policy()
        if await self.is_dead():
            self.host.reset_bus()
        await self.begin()
        await self.assert_right(self.seal(100), self.open(60))

    def allowed_writes(self, jobs: list[Job]) -> set[int]:
        """The bytes that the device may write: destinations and the completion ring."""
        ranges = [p for job in jobs for p in job.pieces]
        ranges.append(Piece(self.rig.cq_base, Cqe.SIZE << self.rig.cq_log2))
        return {a for p in ranges for a in range(p.addr, p.addr + p.length)}
