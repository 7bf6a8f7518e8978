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
LATENCIES = (50, 200, 500)
"""Cycles that the memory takes to answer: 0.2, 0.8 and 2 us at 250 MHz."""
OPS = {"seal": (False,), "open": (True,), "mixed": (False, True)}
"""Directions of the records of each measurement."""
SIZES = {16384: 8, 1460: 40, 64: 100}
"""Bytes of text, and number of records whose rate is measured."""
_RING_LOG2 = 9
_TABLES = ("device", "idle", "idle_plain")


def measure_core(lanes: int, target: Target) -> list[dict[str, Any]]:
    """Measure the GCM core with the cocotb module `sim.measure_core`.

    Args:
        lanes: 16-byte blocks per cycle (1, 2, 4 or 8).
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


def warm_up(size: int, lanes: int) -> int:
    """Return the number of records before the measured ones, and as many behind them.

    They fill the windows of the device: records in flight and descriptors fetched ahead, 96 with
    one lane and 192 with more, or 8 KiB of source per lane.

    Args:
        size: Bytes of text per record.
        lanes: 16-byte blocks per cycle.
    """
    return 8 if size > 8192 else 100 if lanes == 1 else 200


def measure_device(
    lanes: int, target: Target, advance: Callable[[int], None] = lambda _n: None
) -> dict[str, list[dict[str, Any]]]:
    """Measure the device at each of `LATENCIES`.

    Args:
        lanes: 16-byte blocks per cycle (1, 2, 4 or 8).
        target: Simulator and core.
        advance: Called with 1 after each measurement.

    Returns:
        Rows of figures: the rate of records in steady state (`device`), the time of one record
        from the doorbell to the interrupt with pushed descriptor and ordered writes (`idle`), and
        without both (`idle_plain`).
    """
    out: dict[str, list[dict[str, Any]]] = {"device": [], "idle": [], "idle_plain": []}
    scoreboard = Scoreboard(this_command())
    can = target.can
    build = Build.device(lanes=lanes, own=target.rtl)
    with RemoteSim(build, simulator=target.simulator, name="bench-device") as sim:
        port = CheckedPort(sim, scoreboard)
        for latency, size, (op, directions) in product(LATENCIES, SIZES, OPS.items()):
            if not can.allows(size) or not set(directions) <= set(can.directions):
                continue
            sim.knob("latency", latency)
            row = {"lanes": lanes, "latency": latency, "bytes": size, "op": op}
            first, count = warm_up(size, lanes), SIZES[size]
            marks = (first, first + count, first + count + first)
            begin, end, _ = run_sync(_span(port, size, marks, op, can))
            cycles = (end - begin) / count
            law = -(-size // (16 * lanes)) + 2
            out["device"].append({**row, "cycles": cycles, "law": law})
            if op != "mixed":
                for name, fast in (("idle", True), ("idle_plain", False)):
                    (span,) = run_sync(_span(port, size, (1,), op, can, fast=fast))
                    out[name].append({**row, "cycles": span})
            advance(1)
    scoreboard.finish()
    return out


async def _span(
    port: CheckedPort,
    size: int,
    marks: Sequence[int],
    op: str,
    can: Capabilities,
    *,
    fast: bool = False,
) -> list[int]:
    """Seal or open records of two contexts in turn, posted with one doorbell.

    All records are TLS 1.2, since the expected rate counts blocks of text. Source and destination
    are one buffer each, without a list.

    Args:
        port: The device.
        size: Bytes of text per record.
        marks: Numbers of completions, ascending; the last is that of all records.
        op: `seal`, `open`, or `mixed` (pairs of each in turn).
        can: Capabilities of the core.
        fast: Push the descriptor, and let writes keep their order. The time begins with the
            doorbell, after the descriptor has been written to ring and window.

    Returns:
        Cycles from the doorbell to the interrupt for each of `marks`.
    """
    rig = Rig(port, sq_log2=_RING_LOG2, cq_log2=_RING_LOG2)
    rig.direct = True
    rig.ordered = fast
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
    for i in range(marks[-1]):
        which = i % 2
        if op == "seal" or (op == "mixed" and i // 2 % 2):
            posted.append(rig.seal_descriptor(which, data)[0])
            continue
        cipher, key = suites[which]
        traffic = TrafficKeys(0x0303, cipher, key, b"SALT", bytes(8), 0)
        record = seal_record(traffic, opened[which], 23, data).wire
        opened[which] += 1
        posted.append(rig.open_descriptor(2 + which, record)[0])
    await port.write32(Reg.RING0_IRQ_MOD, RING0_IRQ_MOD_COUNT.put(marks[0]))
    await rig.post(*posted, bell=False)
    if fast:
        await rig.fill_window()
    begin = port.now()
    await port.write32(Reg.RING0_SQ_PUSH if fast else Reg.RING0_SQ_PROD, rig.sq_prod)
    out = []
    for mark in marks:
        if mark != marks[0]:
            await port.write32(Reg.RING0_IRQ_MOD, RING0_IRQ_MOD_COUNT.put(mark))
        if not await port.wait_irq():
            raise CosimError("the device never finished")
        out.append((port.now() - begin) // NS_PER_CYCLE)
    done = await rig.drain()
    if any(c.status != Status.OK for c in done):
        raise CosimError("the device refused a record of the benchmark")
    return out


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


def _device_table(lanes: int, figures: dict[str, list[dict[str, Any]]]) -> Table:
    title = f"device, LANES={lanes}, two contexts in turn, steady state"
    columns = (
        "latency", "bytes", "op", "cycles/record", "law", "of the law", "bytes/cycle",
        "one idle record", "without push",
    )  # fmt: skip
    out = table(columns, left=("op",), title=title)

    def idle(name: str, row: dict[str, Any]) -> str:
        keys = ("latency", "bytes", "op")
        found = [f for f in figures[name] if all(f[key] == row[key] for key in keys)]
        return str(found[0]["cycles"]) if found else ""

    for f in figures["device"]:
        out.add_row(
            str(f["latency"]),
            str(f["bytes"]),
            f["op"],
            f"{f['cycles']:.1f}",
            str(f["law"]),
            f"{100 * f['law'] / f['cycles']:.1f} %",
            f"{f['bytes'] / f['cycles']:.2f}",
            idle("idle", f),
            idle("idle_plain", f),
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
    core: dict[int, list[dict[str, Any]]] = {}
    device: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for lanes in widths:
        with progress("runs") as bar:
            task = bar.add_task(f"core, LANES={lanes}", total=1)
            core[lanes] = measure_core(lanes, target)
            bar.advance(task)
        out.print(_core_table(lanes, core[lanes]), "")
    out.print(
        "n: words of 16 LANES bytes; first out: cycles from a word of text to its ciphertext; "
        "tag: cycles after the last\n"
    )
    for lanes in widths:
        with progress("runs") as bar:
            total = len(LATENCIES) * len(SIZES) * len(OPS)
            task = bar.add_task(f"device, LANES={lanes}", total=total)
            device[lanes] = measure_device(lanes, target, partial(bar.advance, task))
        out.print(_device_table(lanes, device[lanes]), "")
    counts = ", ".join(f"{count} of {size} bytes" for size, count in SIZES.items())
    out.print(
        f"latency: cycles that memory takes to answer; cycles/record: of {counts}, measured in "
        "steady state, between records that fill the windows of the device; one idle record: "
        "doorbell to interrupt, with a pushed descriptor and ordered writes, and without both"
    )
    if left_out := target.can.left_out():
        out.print(f"left out: {'; '.join(left_out)}")
    figures = {name: [f for rows in device.values() for f in rows[name]] for name in _TABLES}
    figures["core"] = [{"lanes": lanes, **f} for lanes, rows in core.items() for f in rows]
    write_json(json_out, figures)
    return 0
