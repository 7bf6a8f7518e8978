# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim bench sim`: CPU time of a record in simulation, as ratios within one run.

Each record has 16 KiB of text and is sealed with AES-256 through driver, device and memory. The
scoreboard compares every byte with the golden model. The figures are medians of interleaved runs.
Other load on the machine can only add time, so the table also has the ratios of the fastest runs.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ktls import run_sync
from ktls_cosim.bench.c_driver import CDriver
from ktls_cosim.errors import CompilerMissing, CosimError, SimulatorMissing
from ktls_cosim.paths import IN_CHECKOUT, ROOT, build_root
from ktls_cosim.port import Memory
from ktls_cosim.report import console, table, write_json
from ktls_cosim.scenarios.rig import Rig
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.runner import compile_build, run_tests
from ktls_cosim.sim.wire import BENCH_VARIABLE, LINE
from ktls_hw.layout import Cqe, Reg
from ktls_hw.model import NicModel

ROUNDS = 9
# slots of the rings in the run without Python
_RING_LOG2 = 5


def _measure(
    name: str, build: Build, module: str, simulator: str, env: Mapping[str, str] | None = None
) -> float:
    """CPU seconds per record, as the cocotb module writes them to its JSON file."""
    out = build_root() / f"bench-sim-{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    results, log = run_tests(
        build,
        module,
        simulator=simulator,
        env={BENCH_VARIABLE: str(out), **(env or {})},
        name=f"bench-{name}",
    )
    if not all(r.passed for r in results):
        raise CosimError(f"the measurement {name} failed: {results[0].message}\nlog: {log}")
    figures: dict[str, float] = json.loads(out.read_text())
    return figures["record"]


def stack(simulator: str, lanes: int = 1) -> float:
    """CPU seconds of a record through the whole stack."""
    return _measure(
        simulator, Build.device(lanes=lanes), "ktls_cosim.sim.measure_record", simulator
    )


def textbook() -> float:
    """CPU seconds of a record through the textbook bench of `tests/textbook`, in Icarus."""
    folder = ROOT / "tests" / "textbook"
    paths = [str(folder), str(ROOT / "tests" / "sim" / "blocks")]
    python = os.pathsep.join([*paths, *(p for p in sys.path if p)])
    build = Build("textbook_gcm", (folder / "textbook_gcm.v",))
    return _measure("textbook", build, "cocotb_textbook", "icarus", {"PYTHONPATH": python})


class _Recorder:
    """The functional model as a port that records register writes."""

    def __init__(self) -> None:
        self.model = NicModel()
        self.writes: list[tuple[int, int]] = []

    @property
    def mem(self) -> Memory:
        return self.model.mem

    async def read32(self, addr: int) -> int:
        return await self.model.read32(addr)

    async def write32(self, addr: int, value: int) -> None:
        self.writes.append((addr, value))
        await self.model.write32(addr, value)

    async def wait_irq(self) -> bool:
        return await self.model.wait_irq()

    async def wait_message(self) -> int | None:
        return await self.model.wait_message()

    def now(self) -> int:
        return self.model.now()


class Alone:
    """Seals the same records in `vvp` without any Python (`hdl/ktls_alone.v`)."""

    LIMIT_S = 300

    def __init__(self, lanes: int) -> None:
        device = Build.device(lanes=lanes)
        self._folder = compile_build(Build("ktls_alone", device.sources))
        self._files = build_root() / "bench-alone"
        self._files.mkdir(parents=True, exist_ok=True)
        run_sync(self._prepare())

    async def _prepare(self) -> None:
        port = _Recorder()
        rig = Rig(port, sq_log2=_RING_LOG2, cq_log2=_RING_LOG2)
        await rig.reset()
        await rig.set_context(0, bytes(range(32)))
        # `ktls_alone` starts after the power-on reset and writes the ring indices itself
        own = (Reg.RING0_SQ_PROD, Reg.RING0_CQ_CONS)
        setup = [(a, v) for a, v in port.writes[1:] if a not in own]
        seals = []
        for number in range((1 << _RING_LOG2) - 2):
            text = bytes((number + i) & 255 for i in range(16384))
            seals.append(rig.seal_descriptor(0, text)[0])
        await rig.post(*seals, bell=False)
        memory = port.mem.read(0, port.mem.size)
        # the model has written completions: clear the ring again
        ring = Cqe.SIZE << _RING_LOG2
        memory = memory[: rig.cq_base] + bytes(ring) + memory[rig.cq_base + ring :]
        lines = (memory[i : i + LINE][::-1].hex() for i in range(0, len(memory), LINE))
        (self._files / "image").write_text("\n".join(lines))
        (self._files / "setup").write_text("\n".join(f"{a << 32 | v:x}" for a, v in setup))

    def run(self, records: int) -> float:
        """CPU seconds of a run that seals so many records.

        Raises:
            CosimError: It did not seal them.
        """
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            ["vvp", str(self._folder / "sim.vvp"), "-none",
             f"+image={self._files / 'image'}", f"+setup={self._files / 'setup'}",
             f"+records={records}"],
            capture_output=True, text=True, timeout=self.LIMIT_S, check=False,
        )  # fmt: skip
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        if f"records {records}\n" not in done.stdout:
            raise CosimError(f"the run without Python failed:\n{done.stdout}{done.stderr}")
        return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime

    def record(self) -> float:
        """CPU seconds of a record: the slope between a short and a long run."""
        few, many = 2, 26
        return (self.run(many) - self.run(few)) / (many - few)


def _wall(*argv: str) -> float:
    """Wall seconds of a command that must succeed."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *argv], check=True, capture_output=True, timeout=120)
    return time.perf_counter() - begin


def _first_record(lanes: int) -> float:
    """Wall seconds from the start of a program to its first checked record."""
    env = {**os.environ, "LANES": str(lanes)}
    command = [sys.executable, "-m", "ktls_cosim.bench.first_record"]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "1 record checked\n":
            raise CosimError("the first record was not checked")
        return time.perf_counter() - begin


_WANTED = {
    "textbook bench / Icarus": "at least 25",
    "whole stack / vvp alone": "at most 1.35",
    "Python's share of a record": "",
    "first record / import cocotb": "at most 3",
    "demo --port model, seconds": "below 1",
    "C driver, memory outside / Icarus": "",
    "Icarus / Verilator": "at least 8",
}


def _ratios(t: dict[str, float]) -> dict[str, float]:
    """The ratios that `_WANTED` names, from seconds by name."""
    values: list[float | None] = [
        t["textbook"] / t["icarus"],
        t["icarus"] / t["alone"],
        1 - t["alone"] / t["icarus"],
        t["first record"] / t["import cocotb"],
        t["demo"],
        t["C driver"] / t["icarus"] if "C driver" in t else None,
        t["icarus"] / t["verilator"] if "verilator" in t else None,
    ]
    return {k: v for k, v in zip(_WANTED, values, strict=True) if v is not None}


def run_bench_sim(json_out: Path | None, *, lanes: int = 1, rounds: int = ROUNDS) -> int:
    """Measure everything in turn and print the table.

    Args:
        json_out: File for the figures.
        lanes: 16-byte blocks per cycle of the device (1, 2, 4 or 8).
        rounds: Number of rounds, after a first one that compiles.

    Raises:
        CosimError: This is not a checkout, or a measurement failed.
    """
    if not IN_CHECKOUT:
        raise CosimError("`bench sim` needs a checkout: a wheel does not contain tests/textbook")
    out = console(110)
    alone = Alone(lanes)
    measures: dict[str, Callable[[], float]] = {
        "icarus": lambda: stack("icarus", lanes),
        "alone": alone.record,
        "textbook": textbook,
        "import cocotb": lambda: _wall("-c", "import cocotb"),
        "first record": lambda: _first_record(lanes),
        "demo": lambda: _wall("-m", "ktls_cosim", "demo", "--port", "model"),
        "C driver": lambda: CDriver(lanes).record(),
        "verilator": lambda: stack("verilator", lanes),
    }
    times: dict[str, list[float]] = {name: [] for name in measures}
    for i in range(rounds + 1):
        for name, measure in list(measures.items()):
            try:
                seconds = measure()
            except (CompilerMissing, SimulatorMissing) as e:
                out.print(f"{name} is left out: {e}", markup=False)
                del measures[name]
                continue
            if i:  # the first round compiles
                times[name].append(seconds)
    medians = {name: statistics.median(v) for name, v in times.items() if v}
    fastest = {name: min(v) for name, v in times.items() if v}
    ratios, best = _ratios(medians), _ratios(fastest)
    rows = table(
        ("what", "measured", "wanted", "of the fastest runs"),
        left=("what",),
        title="a sealed record of 16 KiB, AES-256, in simulation",
    )
    for what, value in ratios.items():
        rows.add_row(what, f"{value:.2f}", _WANTED[what], f"{best[what]:.2f}")
    for name in medians:
        row = (f"{name}, ms here", f"{1000 * medians[name]:.0f}", "", f"{1000 * fastest[name]:.0f}")
        rows.add_row(*row, style="dim")
    out.print(rows)
    write_json(json_out, {"ratios": ratios, "seconds": medians, "fastest": fastest})
    return 0
