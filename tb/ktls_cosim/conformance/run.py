# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim conformance`: compare the model with recordings of real kernels."""

from __future__ import annotations

import os
import random
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from pathlib import Path

from rich.table import Table

from ktls import KERNELS, KtlsError, KtlsNic, run_sync
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.mismatch import MismatchError, NothingChecked
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.conformance.compare import compare
from ktls_cosim.conformance.player import Player, Unplayable
from ktls_cosim.conformance.scenario import Scenario, ScenarioError, load
from ktls_cosim.parallel import spread, step
from ktls_cosim.port import Port
from ktls_cosim.report import console, progress, table, write_json
from ktls_cosim.reproduce import command_line
from ktls_cosim.session import open_port
from ktls_cosim.target import Target
from ktls_hw.model import NicModel

SOFTWARE = "software"


@dataclass(slots=True)
class Result:
    """The result of one scenario.

    Attributes:
        name, category: As in the file.
        differences: Differences as text; empty if the model agrees with the kernel.
        skipped: Reason for skipping the scenario, or None.
        device_records: Number of records of the device that equal the golden model.
    """

    name: str
    category: str
    differences: list[str] = field(default_factory=list)
    skipped: str | None = None
    device_records: int = 0

    @property
    def passed(self) -> bool:
        """True if the scenario was played and the model agrees."""
        return not self.differences and self.skipped is None


def play(scenario: Scenario, kernel: str | None, port: Port | None) -> Result:
    """Play one scenario and compare.

    Args:
        scenario: Recording.
        kernel: Key of `ktls.KERNELS`; None: the kernel that was recorded.
        port: Device; None for software mode.
    """
    kernel = kernel or scenario.personality
    result = Result(scenario.name, scenario.category)
    device = "model" if isinstance(port, NicModel) else "sim"
    scoreboard = Scoreboard(
        command_line(
            "ktls-cosim", "conformance", scenario.source, "--kernel", kernel, "--port", device
        )
    )
    try:
        nic = None
        if port is not None:
            nic = run_sync(KtlsNic.probe(CheckedPort(port, scoreboard), strict=True))
        player = Player(KERNELS[kernel], nic)
        got = player.play(scenario.steps)
        player.close()
        result.differences = [str(d) for d in compare(scenario, got, kernel)]
        if port is not None:
            scoreboard.finish()
    except Unplayable as e:
        result.skipped = str(e)
    except NothingChecked:
        pass  # the device seals no record of this scenario
    except (KtlsError, ScenarioError, MismatchError) as e:
        result.differences.append(f"{type(e).__name__}: {e}")
    except Exception:
        result.differences.append(traceback.format_exc())
    result.device_records = scoreboard.device_records
    return result


def _play_all(
    port_kind: str, target: Target | None, kernel: str | None, numbered: tuple[int, list[Scenario]]
) -> Iterator[Result]:
    number, scenarios = numbered
    with ExitStack() as stack:
        port = None
        if port_kind != SOFTWARE:
            port = stack.enter_context(
                open_port(port_kind, target=target, name=f"conformance-{number}")
            )
        for s in scenarios:
            result = play(s, kernel, port)
            step()
            yield result


def _play_list(
    port_kind: str, target: Target | None, kernel: str | None, numbered: tuple[int, list[Scenario]]
) -> list[Result]:
    """Play scenarios in a process of their own, which cannot return an iterator."""
    return list(_play_all(port_kind, target, kernel, numbered))


def run_scenarios(
    scenarios: Sequence[Scenario],
    *,
    kernel: str | None,
    port: str,
    jobs: int,
    target: Target | None = None,
    advance: Callable[[int], None] = lambda _n: None,
) -> Iterator[Result]:
    """Play scenarios and yield the results in the same order.

    Args:
        scenarios: Recordings.
        kernel: Key of `ktls.KERNELS`; None: those that were recorded.
        port: `software`, `model` or `sim`.
        jobs: Number of processes.
        target: Simulator and lanes of `sim`.
        advance: Called with the number of scenarios played since its last call.
    """
    if jobs == 1:
        for result in _play_all(port, target, kernel, (0, list(scenarios))):
            advance(1)
            yield result
        return
    # neighbours in a file cost about the same, so each process gets every jobs-th scenario
    shares = [(i, list(scenarios[i::jobs])) for i in range(jobs)]
    results = list(spread(partial(_play_list, port, target, kernel), shares, jobs, advance))
    for i in range(len(scenarios)):
        yield results[i % jobs][i // jobs]


def pick(scenarios: Sequence[Scenario], count: int, seed: int) -> list[Scenario]:
    """Choose random scenarios, evenly from all categories.

    Args:
        scenarios: Recordings.
        count: Number to choose.
        seed: Seed of the choice.
    """
    rng = random.Random(seed)
    groups: dict[str, list[Scenario]] = defaultdict(list)
    for s in scenarios:
        groups[s.category].append(s)
    for group in groups.values():
        rng.shuffle(group)
    chosen: list[Scenario] = []
    while len(chosen) < min(count, len(scenarios)):
        for name in sorted(groups):
            if groups[name] and len(chosen) < count:
                chosen.append(groups[name].pop())
    return chosen


def _offloaded(scenarios: list[Scenario], kernel: str | None) -> list[Scenario]:
    """Return the scenarios with records for the device; the others do not exercise it."""
    tried = run_scenarios(scenarios, kernel=kernel, port="model", jobs=1)
    return list(compress(scenarios, [r.device_records > 0 for r in tried]))


def _table(results: list[Result], port: str) -> Table:
    columns = ["category", "scenarios", "passed", "failed", "skipped"]
    if port != SOFTWARE:
        columns.append("device records")
    out = table(columns, left=("category",))
    groups: dict[str, list[Result]] = defaultdict(list)
    for r in results:
        groups[r.category].append(r)
    groups["total"] = results
    for name, group in groups.items():
        failed = sum(bool(r.differences) for r in group)
        skipped = sum(r.skipped is not None for r in group)
        row = [name, len(group), len(group) - failed - skipped, failed, skipped]
        if port != SOFTWARE:
            row.append(sum(r.device_records for r in group))
        out.add_row(*map(str, row))
    return out


def run_conformance(
    paths: list[Path],
    *,
    kernel: str | None,
    port: str,
    target: Target | None = None,
    jobs: int | None,
    json_out: Path | None,
    sample: int | None = None,
    seed: int = 1,
) -> int:
    """Play the scenarios of files, and print differences and a table.

    Args:
        paths: Scenario files, or folders of them.
        kernel: Key of `ktls.KERNELS`; None: those that were recorded.
        port: `software`, `model` or `sim`.
        jobs: Number of processes; None: one per CPU.
        json_out: File for a summary.
        sample: Number of scenarios to choose; None: all.
        seed: Seed of the choice.

    Returns:
        0 if every played scenario agrees, 1 on any difference or if none was played.

    Raises:
        ScenarioError: A file cannot be used.
    """
    out = console()
    scenarios = list(load(paths))
    if sample is not None:
        if port != SOFTWARE:
            scenarios = _offloaded(scenarios, kernel)
        everything = len(scenarios)
        scenarios = pick(scenarios, sample, seed)
        out.print(f"{len(scenarios)} of {everything} scenarios, chosen with --seed {seed}")
    jobs = min(jobs or os.cpu_count() or 1, len(scenarios))
    name = kernel or ", ".join(sorted({s.personality for s in scenarios}))
    start = time.monotonic()
    with progress("scenarios") as bar:
        played = partial(bar.advance, bar.add_task(f"kernel {name}", total=len(scenarios)))
        results = list(
            run_scenarios(
                scenarios, kernel=kernel, port=port, jobs=jobs, target=target, advance=played
            )
        )
    took = time.monotonic() - start
    for r in results:
        for line in r.differences:
            out.print(f"{r.name}: {line}", markup=False)
        if r.skipped is not None:
            out.print(f"{r.name}: skipped: {r.skipped}", markup=False)
    out.print(_table(results, port))
    passed = sum(r.passed for r in results)
    failed = [r.name for r in results if r.differences]
    skipped = [{"name": r.name, "why": r.skipped} for r in results if r.skipped is not None]
    print(
        f"kernel {name}, port {port}: {passed} of {len(results)} scenarios agree, "
        f"{len(failed)} differ, {len(skipped)} skipped, {took:.1f} s"
    )
    summary = {
        "scenarios": len(results),
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
    }
    write_json(json_out, summary)
    # a run without any comparison proves nothing
    return 1 if failed or not passed else 0
