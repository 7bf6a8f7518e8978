# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim bench rtl`: cycles of the core and of the whole device, from simulation.

The checkers verify every measured record. Cycle counts do not depend on the machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from rich.table import Table

from ktls import run_sync
from ktls_cosim.capabilities import Capabilities
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.golden import TrafficKeys, seal_record
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.errors import CosimError
from ktls_cosim.paths import build_root
from ktls_cosim.report import console, progress, table, write_json
from ktls_cosim.reproduce import this_command
from ktls_cosim.scenarios.rig import Rig
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.remote import RemoteSim
from ktls_cosim.sim.runner import run_tests
from ktls_cosim.sim.wire import BENCH_VARIABLE
from ktls_cosim.target import Target
from ktls_hw.layout import RING0_IRQ_MOD_COUNT, Reg, SqeRecord, Status

NS_PER_CYCLE = 4
CORE_MODULE = "ktls_cosim.sim.measure_core"
MEMORY_LATENCY = 50
JOBS = {"seal": (False,), "open": (True,), "mixed": (False, True)}
"""Directions of the records of each job."""
# bytes of text, and records of the short and of the long run
SIZES = ((16384, 2, 6), (1460, 4, 20), (64, 4, 28))


def measure_core(lanes: int, target: Target) -> list[dict[str, Any]]:
    """Measure the GCM core with the cocotb module `sim.measure_core`.

    Args:
        lanes: 16-byte blocks per cycle (1, 2 or 4).
        target: Simulator and core.

    Returns:
        One row of figures per size and choice of keys.

    Raises:
        CosimError: A record is wrong.
    """
    out = build_root() / "bench-core.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    results, folder = run_tests(
        Build.block("ktls_gcm", target.rtl, LANES=lanes), CORE_MODULE, simulator=target.simulator,
        env={BENCH_VARIABLE: str(out)}, name="bench-core",
    )  # fmt: skip
    if not all(r.passed for r in results) or not out.exists():
        raise CosimError(
            f"the core with LANES={lanes} gave wrong results; log: {folder / 'run.log'}"
        )
    figures: list[dict[str, Any]] = json.loads(out.read_text())
    return figures


def measure_device(
    lanes: int, target: Target, advance: Callable[[int], None] = lambda _n: None
) -> list[dict[str, Any]]:
    """Measure the device with a memory latency of `MEMORY_LATENCY` cycles.

    Args:
        lanes: 16-byte blocks per cycle (1, 2 or 4).
        target: Simulator and core.
        advance: Called with 1 after each row.

    Returns:
        One row of figures per size and job.
    """
    out = []
    scoreboard = Scoreboard(this_command())
    can = target.can
    build = Build.device(lanes=lanes, own=target.rtl)
    with RemoteSim(build, simulator=target.simulator, name="bench-device") as sim:
        sim.knob("latency", MEMORY_LATENCY)
        for (size, few, many), (job, directions) in product(SIZES, JOBS.items()):
            if can.allows(size) and set(directions) <= set(can.directions):
                a = run_sync(_span(CheckedPort(sim, scoreboard), size, few, job, can))
                b = run_sync(_span(CheckedPort(sim, scoreboard), size, many, job, can))
                latency = run_sync(_span(CheckedPort(sim, scoreboard), size, 1, job, can))
                out.append(
                    {
                        "size": size,
                        "job": job,
                        "per_record": (b - a) / (many - few),
                        "law": -(-size // (16 * lanes)) + 2,
                        "idle_latency": latency,
                    }
                )
                advance(1)
    scoreboard.finish()
    return out


async def _span(port: CheckedPort, size: int, count: int, job: str, can: Capabilities) -> int:
    """Cycles from the doorbell to the interrupt for records of two contexts in turn.

    All records are TLS 1.2, since the expected rate counts blocks of text.

    Args:
        port: The device.
        size: Bytes of text per record.
        count: Number of records.
        job: `seal`, `open`, or `mixed` (pairs of each in turn).
        can: Capabilities of the core.
    """
    rig = Rig(port, sq_log2=5, cq_log2=5)
    await rig.reset()
    data = bytes(i & 255 for i in range(size))
    keys = [bytes(range(can.key_bytes[-1])), bytes(range(can.key_bytes[0]))]
    suites = [(52 if len(key) == 32 else 51, key) for key in keys]
    for number, key in enumerate(keys):
        if can.seal:
            await rig.set_context(number, key)
        if can.open:
            await rig.set_context(2 + number, key, receive=True)
    posted: list[SqeRecord] = []
    opened = [0, 0]
    for i in range(count):
        which = i % 2
        if job == "seal" or (job == "mixed" and i // 2 % 2):
            posted.append(rig.seal_descriptor(which, data)[0])
            continue
        cipher, key = suites[which]
        traffic = TrafficKeys(0x0303, cipher, key, b"SALT", bytes(8), 0)
        record = seal_record(traffic, opened[which], 23, data).wire
        opened[which] += 1
        posted.append(rig.open_descriptor(2 + which, record)[0])
    await port.write32(Reg.RING0_IRQ_MOD, RING0_IRQ_MOD_COUNT.put(count))
    await rig.post(*posted, bell=False)
    begin = port.now()
    await port.write32(Reg.RING0_SQ_PROD, rig.sq_prod)
    if not await port.wait_irq():
        raise CosimError("the device never finished")
    end = port.now()
    done = await rig.drain()
    if any(c.status != Status.OK for c in done):
        raise CosimError("the device refused a record of the benchmark")
    return (end - begin) // NS_PER_CYCLE


def _core_table(lanes: int, figures: list[dict[str, Any]]) -> Table:
    title = f"GCM core, LANES={lanes}, records back to back"
    columns = (
        "bytes", "keys", "cycles/record", "n + 2", "extra", "bytes/cycle",
        "bytes/cycle inside", "first out", "tag",
    )  # fmt: skip
    out = table(columns, left=("keys",), title=title)
    for f in figures:
        out.add_row(
            str(f["size"]),
            f["keys"],
            f"{f['per_record']:.2f}",
            str(f["law"]),
            f"{f['per_record'] - f['law']:.2f}",
            f"{f['size'] / f['per_record']:.2f}",
            f"{16 * lanes / f['inside']:.2f}" if f["inside"] else "",
            str(f["first_ciphertext"]),
            str(f["tag_after_last_block"]),
        )
    return out


def _device_table(lanes: int, figures: list[dict[str, Any]]) -> Table:
    title = f"device, LANES={lanes}, two contexts in turn, memory latency {MEMORY_LATENCY} cycles"
    columns = (
        "bytes", "job", "cycles/record", "of the core's rate", "bytes/cycle", "one idle record",
    )  # fmt: skip
    out = table(columns, left=("job",), title=title)
    for f in figures:
        out.add_row(
            str(f["size"]),
            f["job"],
            f"{f['per_record']:.1f}",
            f"{100 * f['law'] / f['per_record']:.1f} %",
            f"{f['size'] / f['per_record']:.2f}",
            f"{f['idle_latency']} cycles",
        )
    return out


def run_bench_rtl(json_out: Path | None, target: Target, widths: Sequence[int]) -> int:
    """Measure core and device, and print the tables.

    Args:
        json_out: File for the figures.
        target: Simulator and core; the figures do not depend on the simulator.
        widths: Numbers of lanes to measure.
    """
    out = console(110)
    figures: dict[str, dict[int, list[dict[str, Any]]]] = {"core": {}, "device": {}}
    for lanes in widths:
        with progress("runs") as bar:
            task = bar.add_task(f"core, LANES={lanes}", total=1)
            figures["core"][lanes] = measure_core(lanes, target)
            bar.advance(task)
        out.print(_core_table(lanes, figures["core"][lanes]), "")
    out.print(
        "n: words of 16 LANES bytes; first out: cycles from a word of text to its ciphertext; "
        "tag: cycles after the last\n"
    )
    for lanes in widths:
        with progress("runs") as bar:
            task = bar.add_task(f"device, LANES={lanes}", total=len(SIZES) * len(JOBS))
            figures["device"][lanes] = measure_device(lanes, target, partial(bar.advance, task))
        out.print(_device_table(lanes, figures["device"][lanes]), "")
    out.print("one idle record: doorbell write to interrupt")
    if left_out := target.can.left_out():
        out.print(f"left out: {'; '.join(left_out)}")
    write_json(json_out, figures)
    return 0
