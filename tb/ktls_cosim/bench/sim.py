# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim bench sim`: what a record costs in simulation, as ratios of one run.

"Record" is 16 KiB, AES-256, sealed through driver, device and memory, every byte compared
with the golden model; times are CPU time, medians of interleaved runs. Whatever else the
machine does can only add to a time, so the ratios of the fastest runs stand beside them.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ktls import run_sync
from ktls_cosim.errors import CosimError, SimulatorMissing
from ktls_cosim.paths import ROOT, build_root
from ktls_cosim.port import Memory
from ktls_cosim.scenarios.rig import Rig
from ktls_cosim.sim.wire import LINE
from ktls_hw.model import NicModel

ROUNDS = 9
# places of rings that a run without Python uses
_RING = 32


def _in(name: str, simulator: str, run: Callable[[Path], None]) -> dict[str, float]:
    """Run something with `SIM` set and return the figures that it leaves."""
    out = build_root() / f"bench-sim-{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    before = os.environ.get("SIM")
    os.environ["SIM"] = simulator
    try:
        run(out)
    finally:
        if before is None:
            del os.environ["SIM"]
        else:
            os.environ["SIM"] = before
    figures: dict[str, float] = json.loads(out.read_text())
    return figures


def stack(simulator: str) -> float:
    """CPU seconds of a record through the whole stack."""
    from ktls_cosim.sim.runner import Build, run_tests
    from ktls_cosim.sim.wire import BENCH_VARIABLE

    def run(out: Path) -> None:
        results, folder = run_tests(
            Build.device(),
            "ktls_cosim.sim.bench_device",
            env={BENCH_VARIABLE: str(out)},
            name=f"bench-{simulator}",
        )
        if not all(r.passed for r in results):
            raise CosimError(f"the benchmark failed: {results[0].message}\nlog: {folder}")

    return _in(simulator, simulator, run)["record"]


def textbook() -> float:
    """CPU seconds of a record through the textbook bench of `tests/textbook`."""
    from ktls_cosim.sim.runner import Build, run_tests
    from ktls_cosim.sim.wire import BENCH_VARIABLE

    folder = ROOT / "tests" / "textbook"
    paths = [str(folder), str(ROOT / "tests" / "sim")]
    python = os.pathsep.join([*paths, *(p for p in sys.path if p)])

    def run(out: Path) -> None:
        results, log = run_tests(
            Build("textbook_gcm", (folder / "textbook_gcm.v",)),
            "cocotb_textbook",
            env={BENCH_VARIABLE: str(out), "PYTHONPATH": python},
            name="bench-textbook",
        )
        if not all(r.passed for r in results):
            raise CosimError(f"the textbook bench failed: {results[0].message}\nlog: {log}")

    return _in("textbook", "icarus", run)["record"]


class _Recorder:
    """The model, as a port that remembers register writes."""

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

    def now(self) -> int:
        return self.model.now()


class Alone:
    """The same records in vvp without any Python (`hdl/ktls_alone.v`)."""

    def __init__(self) -> None:
        from ktls_cosim.sim.runner import Build, compile_build

        device = Build.device()
        self._folder = compile_build(Build("ktls_alone", device.sources))
        self._files = build_root() / "bench-alone"
        self._files.mkdir(parents=True, exist_ok=True)
        run_sync(self._prepare())

    async def _prepare(self) -> None:
        port = _Recorder()
        rig = Rig(port, sq_log2=5, cq_log2=5)
        await rig.reset()
        await rig.set_context(0, bytes(range(32)))
        setup = [(a, v) for a, v in port.writes[1:] if a < 0x10C or 0x110 < a < 0x12C]
        seals = []
        for number in range(_RING - 2):
            text = bytes((number + i) & 255 for i in range(16384))
            seals.append(rig.seal_descriptor(0, text)[0])
        await rig.post(*seals, bell=False)
        memory = port.mem.read(0, port.mem.size)
        # what the model has completed must look new
        memory = memory[: rig.cq_base] + bytes(32 << 5) + memory[rig.cq_base + (32 << 5) :]
        lines = (memory[i : i + LINE][::-1].hex() for i in range(0, len(memory), LINE))
        (self._files / "image").write_text("\n".join(lines))
        (self._files / "setup").write_text("\n".join(f"{a << 32 | v:x}" for a, v in setup))

    def _run(self, records: int) -> float:
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            ["vvp", str(self._folder / "sim.vvp"), "-none",
             f"+image={self._files / 'image'}", f"+setup={self._files / 'setup'}",
             f"+records={records}"],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        if f"records {records}\n" not in done.stdout:
            raise CosimError(f"the run without Python failed:\n{done.stdout}{done.stderr}")
        return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime

    def record(self) -> float:
        """CPU seconds of a record."""
        few, many = 2, 26
        return (self._run(many) - self._run(few)) / (many - few)


def _wall(*argv: str) -> float:
    """Wall seconds of a command that must succeed."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *argv], check=True, capture_output=True, timeout=120)
    return time.perf_counter() - begin


def _first_record() -> float:
    """Wall seconds from the start of a program to its first checked record."""
    command = [sys.executable, "-m", "ktls_cosim.bench.first_record"]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
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
    "Icarus / Verilator": "at least 8",
}


def _ratios(t: dict[str, float]) -> dict[str, float]:
    """The ratios of `_WANTED` out of seconds by name."""
    values = [
        t["textbook"] / t["icarus"],
        t["icarus"] / t["alone"],
        1 - t["alone"] / t["icarus"],
        t["first record"] / t["import cocotb"],
        t["demo"],
    ]
    if "verilator" in t:
        values.append(t["icarus"] / t["verilator"])
    return dict(zip(_WANTED, values, strict=False))


def run_bench_sim(json_out: Path | None, rounds: int = ROUNDS) -> int:
    """Measure, print, and write JSON if asked."""
    out = Console(highlight=False, width=110)
    alone = Alone()
    measures: dict[str, Callable[[], float]] = {
        "icarus": lambda: stack("icarus"),
        "alone": alone.record,
        "textbook": textbook,
        "import cocotb": lambda: _wall("-c", "import cocotb"),
        "first record": _first_record,
        "demo": lambda: _wall("-m", "ktls_cosim", "demo", "--port", "model"),
        "verilator": lambda: stack("verilator"),
    }
    times: dict[str, list[float]] = {name: [] for name in measures}
    for i in range(rounds + 1):
        for name, measure in list(measures.items()):
            try:
                seconds = measure()
            except SimulatorMissing as e:
                out.print(f"{name} is left out: {e}")
                del measures[name]
                continue
            if i:  # the first round compiles
                times[name].append(seconds)
    medians = {name: statistics.median(v) for name, v in times.items() if v}
    fastest = {name: min(v) for name, v in times.items() if v}
    ratios, best = _ratios(medians), _ratios(fastest)
    table = Table(title="a sealed record of 16 KiB, AES-256, in simulation", box=None)
    for column in ("what", "measured", "wanted", "of the fastest runs"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, value in ratios.items():
        table.add_row(what, f"{value:.2f}", _WANTED[what], f"{best[what]:.2f}")
    for name in medians:
        row = (f"{name}, ms here", f"{1000 * medians[name]:.0f}", "", f"{1000 * fastest[name]:.0f}")
        table.add_row(*row, style="dim")
    out.print(table)
    if json_out:
        figures = {"ratios": ratios, "seconds": medians, "fastest": fastest}
        json_out.write_text(json.dumps(figures, indent=2) + "\n")
    return 0
