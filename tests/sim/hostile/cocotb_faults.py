# SPDX-License-Identifier: Apache-2.0
"""Random faults of the bus: each ends in right statuses or in an error that a reset ends.

A fault is a kind, a channel and a moment. Whatever it is, no wrong byte is called right, nothing
is written outside of destinations and completion ring, and the next record is right.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from hostile_bench import SEALING, Bench, Job
from hostile_slave import CHANNELS, EXOKAY, Policy, ReadBeat
from ktls_cosim.check.golden import seal_record
from ktls_hw import layout
from ktls_hw.layout import Cqe, Opcode, Reg, Status

WATCHDOG = 400
_BOUND = 9 * WATCHDOG  # cycles from the doorbell to the end of each case
_BUS_ERRORS = (Status.SRC_BUS_ERROR, Status.DST_BUS_ERROR, Status.SQ_BUS_ERROR)


class Fault:
    """One fault, drawn at random.

    Attributes:
        kind: Name of the fault.
        dead: Whether it may end in STATUS.bus_dead.
        failed: Whether it may end in STATUS.cq_error.
        statuses: Statuses other than OK that it may cause.
    """

    def __init__(self, bench: Bench) -> None:
        rng = self.rng = bench.rng
        self.bench = bench
        self.kind = rng.choice(
            ("dead", "pause", "read error", "early last", "missing last", "unasked r",
             "write error", "early b", "unasked b", "late beat", "reset")
        )  # fmt: skip
        self.channel = rng.choice(CHANNELS)
        self.moment = rng.randrange(160)
        self.nth = rng.randrange(60)  # which beat or response
        self.resp = rng.choice((EXOKAY, 2, 3))
        breaks = ("dead", "early last", "missing last", "unasked r", "early b", "unasked b")
        self.dead = self.kind in breaks
        self.failed = self.kind == "write error"
        self.statuses = {
            "read error": _BUS_ERRORS,
            "write error": (Status.DST_BUS_ERROR,),
        }.get(self.kind, ())

    def __str__(self) -> str:
        return f"{self.kind} {self.channel} at {self.moment}, number {self.nth}"

    def arm(self, policy: Policy) -> None:
        """Prepare the faults that strike at a beat or a response."""
        count = Counter[str]()

        def on_read(beat: ReadBeat) -> None:
            count["beat"] += 1
            struck = count["beat"] == self.nth + 1
            if self.kind == "read error" and struck:
                beat.resp = self.resp
                beat.data = b"\xee" * len(beat.data)
            elif self.kind == "late beat" and struck:
                beat.delay = WATCHDOG - 20
            elif self.kind == "early last" and count["beat"] > self.nth and not beat.last:
                beat.last = count["early"] == 0
                count["early"] += 1
            elif self.kind == "missing last" and count["beat"] > self.nth and beat.last:
                beat.last = count["late"] > 0
                count["late"] += 1

        def on_response(_addr: int, resp: int) -> int:
            count["response"] += 1
            struck = self.kind == "write error" and count["response"] == self.nth % 12 + 1
            return self.resp if struck else resp

        policy.on_read = on_read
        policy.on_response = on_response

    def strike(self, policy: Policy) -> None:
        """Begin the faults that strike at a moment."""
        if self.kind == "dead" or self.kind == "pause":
            policy.blocked = {self.channel}
        elif self.kind == "unasked r":
            policy.unasked_r = 1 + self.nth % 3
        elif self.kind == "unasked b":
            policy.unasked_b = 1
        elif self.kind == "early b":
            policy.early_b = 1


def _jobs(bench: Bench) -> list[Job]:
    sizes = (1, 16, 100, 333, 900)
    out = []
    for _ in range(3):
        out.append(bench.seal(bench.rng.choice(sizes)))
        out.append(bench.open(bench.rng.choice(sizes), forged=bench.rng.random() < 0.2))
    return out


async def _case(bench: Bench, tally: Counter[str]) -> None:
    host, rig = bench.host, bench.rig
    host.policy = Policy(
        latency=bench.rng.choice((1, 3, 12)), b_latency=bench.rng.choice((1, 5, 30)),
        pause=bench.rng.choice((0.0, 0.3)), visible_at_b=True,
    )  # fmt: skip
    await host.write32(Reg.WATCHDOG, WATCHDOG)
    fault = Fault(bench)
    jobs = _jobs(bench)
    allowed = bench.allowed_writes(jobs)
    await rig.post(*(j.descriptor for j in jobs), bell=False)
    host.writes.clear()
    fault.arm(host.policy)
    start = host.cycle
    cocotb.start_soon(_strike(bench, fault))
    host.wait_limit = _BOUND
    await host.write32(Reg.RING0_SQ_PROD, rig.sq_prod)
    done = await bench.outcome(jobs)
    assert host.cycle - start < _BOUND + 200, f"{fault}: {host.cycle - start} cycles"
    lost = 0
    for job, c in zip(jobs, done, strict=False):
        _check(bench, fault, job, c, bool(lost))
        lost += c.status == Status.SQ_BUS_ERROR
    status = await bench.status()
    dead = bool(layout.STATUS_BUS_DEAD.get(status))
    failed = bool(layout.STATUS_CQ_ERROR.get(status))
    assert not dead or fault.dead, f"{fault}: the bus is dead"
    assert not failed or fault.failed, f"{fault}: cq_error"
    if fault.kind != "reset":
        assert dead or failed or len(done) == len(jobs), f"{fault}: {len(done)} completions"
    strays = [a for w in host.writes for a in w.written if a not in allowed]
    assert not strays, f"{fault}: writes at {[hex(a) for a in strays[:4]]}"
    tally[f"{fault.kind}: " + ("bus_dead" if dead else "cq_error" if failed else "statuses")] += 1
    if dead or failed:
        await bench.recover()
    else:
        host.policy = Policy()
        # a fault of the bus that has not struck yet must not strike the next case
        await bench.begin()
        await bench.assert_right(bench.seal(40))


async def _strike(bench: Bench, fault: Fault) -> None:
    policy, host = bench.host.policy, bench.host
    for _ in range(fault.moment):
        await RisingEdge(bench.dut.clk)
    fault.strike(policy)
    if fault.kind == "pause":
        for _ in range(WATCHDOG - 40):
            await RisingEdge(bench.dut.clk)
        policy.blocked = set()
    if fault.kind == "reset":
        await host.write32(Reg.CTRL, layout.CTRL_RESET.put(1))


def _check(bench: Bench, fault: Fault, job: Job, done: Cqe, lost: bool) -> None:
    """Check one completion; after a lost descriptor the numbers of the next records are lower."""
    status = Status(done.status)
    if status == Status.OK:
        assert not job.forged, f"{fault}: a forged record is OK"
        if lost and done.opcode == Opcode.SEAL:
            job.right = seal_record(bench.keys[SEALING], done.rec_seq, 23, job.text).wire
        assert bench.is_right(job, done), f"{fault}: wrong bytes called OK"
    elif status == Status.AUTH_FAILED:
        assert job.forged or lost, f"{fault}: a right record is refused"
        assert not any(bench.rig.get_pieces(job.pieces, len(job.right))), f"{fault}: text is left"
    else:
        assert status in fault.statuses, f"{fault}: {status.name}"


@cocotb.test(timeout_time=2000, timeout_unit="ms")
async def random_faults(dut: Any) -> None:
    bench = await Bench.create(dut)
    tally = Counter[str]()
    count = int(os.environ["KTLS_FAULTS"])
    for _ in range(count):
        await _case(bench, tally)
    assert sum(tally.values()) == count
    for name, n in sorted(tally.items()):
        dut._log.info("RESULT %s: %d", name, n)
