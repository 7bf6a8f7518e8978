# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim kernel`: compare random scripts on the model and on a real kernel."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ktls import KERNELS, Kernel, KtlsError, kernels
from ktls_cosim.conformance.compare import Difference, observations_differ
from ktls_cosim.conformance.player import Player, Unplayable
from ktls_cosim.conformance.scenario import Obs, ScenarioError, Step
from ktls_cosim.errors import CosimError
from ktls_cosim.kernel.generate_wide import make_script
from ktls_cosim.kernel.uml import (
    KernelFailed,
    LiveKernel,
    find_kernel,
    run_on_kernel,
    unpack_kernel,
)
from ktls_cosim.parallel import spread
from ktls_cosim.paths import build_root
from ktls_cosim.report import progress, write_json

# scripts per boot of the kernel
BATCH = 250
# number of findings to minimise, and boots for each
SHRINK_AT_MOST = 3
SHRINK_ROUNDS = 40
_SHORT = 16

RunOnKernel = Callable[[list[list[Step]]], list[list[Obs] | None]]
"""Plays scripts and returns the observations of each; None for a script that it cannot play."""


@dataclass(slots=True)
class Finding:
    """A script on which model and kernel disagree.

    Attributes:
        number: Number of the script in its run.
        script: Steps.
        observed: Observations of the kernel.
        differences: Fields in which the model differs.
    """

    number: int
    script: list[Step]
    observed: list[Obs] = field(repr=False)
    differences: list[Difference]


def personality(release: str) -> Kernel:
    """Return the kernel of the model that corresponds to a real one.

    Args:
        release: Version of the real kernel, such as 6.1.176.

    Raises:
        CosimError: The model does not know this kernel.
    """
    found = kernels.personality(release)
    if found is None:
        raise CosimError(
            f"the model has no personality for Linux {release}; it knows {', '.join(KERNELS)} "
            "(driver/ktls/kernels.py)"
        )
    return found


def examine(kernel: Kernel, script: list[Step], observed: list[Obs] | None) -> list[Difference]:
    """Play a script on the model and compare.

    Args:
        kernel: Kernel to model.
        script: Steps.
        observed: Observations of the real kernel; None if it could not play the script.

    Returns:
        The differences; none if there are no observations.
    """
    if observed is None:
        return []
    try:
        got = Player(kernel).play(script)
    except (KtlsError, Unplayable, ScenarioError) as e:
        return [Difference(0, "model", type(e).__name__, "plays the script", str(e))]
    return list(observations_differ(script, observed, got))


def kind(differences: list[Difference]) -> tuple[str, str, str, str]:
    """Return what the first difference is; equal kinds most likely have the same cause."""
    first = differences[0]
    # long values are data, which change with every removed step
    kernel, model = (v if len(v) <= _SHORT else "data" for v in (first.kernel, first.model))
    return first.op, first.field, kernel, model


def shrink(
    finding: Finding, kernel: Kernel, run: RunOnKernel, rounds: int = SHRINK_ROUNDS
) -> Finding:
    """Remove steps while the same difference remains the first.

    All candidates of a round run in one boot of the kernel.

    Args:
        finding: Finding to minimise.
        kernel: Kernel to model.
        run: Plays scripts on the real kernel.
        rounds: Maximum number of rounds.
    """
    wanted = kind(finding.differences)
    size = max(1, len(finding.script) // 2)
    for _ in range(rounds):
        script = finding.script
        candidates = [script[:i] + script[i + size :] for i in range(1, len(script), size)]
        smaller = None
        try:
            observations = run(candidates)
        except KernelFailed:
            # a candidate crashed the kernel, which is a finding of its own
            observations = [None] * len(candidates)
        for candidate, observed in zip(candidates, observations, strict=True):
            differences = examine(kernel, candidate, observed)
            # a step may depend on a removed one, which makes another difference
            if differences and observed is not None and kind(differences) == wanted:
                smaller = Finding(finding.number, candidate, observed, differences)
                break
        if smaller is not None:
            finding = smaller
            size = min(size, max(1, len(finding.script) // 2))
        elif size == 1:
            break
        else:
            size //= 2
    return finding


def recording(finding: Finding, release: str, seed: int) -> str:
    """Return a finding as one line of a scenario file, so that it can become a test.

    Args:
        finding: Finding to keep.
        release: Version of the real kernel.
        seed: Seed of the run.
    """
    steps = [
        {**step, "obs": obs} for step, obs in zip(finding.script, finding.observed, strict=True)
    ]
    scenario: dict[str, Any] = {
        "name": f"live/{seed}_{finding.number}",
        "category": "live",
        "kernel": release,
        "steps": steps,
    }
    return json.dumps(scenario, separators=(",", ":"))


def _batch(kernel: Kernel, seed: int, live: LiveKernel | None, numbers: range) -> list[Finding]:
    scripts = [make_script(seed, n, kernel.rekey) for n in numbers]
    out = []
    for number, script, observed in zip(
        numbers, scripts, run_on_kernel(scripts, live), strict=True
    ):
        if observed is None:
            raise CosimError(f"the kernel cannot play script {number} of seed {seed}")
        differences = examine(kernel, script, observed)
        if differences:
            out.append(Finding(number, script, observed, differences))
    return _seen_again(kernel, live, out)


def _seen_again(kernel: Kernel, live: LiveKernel | None, findings: list[Finding]) -> list[Finding]:
    """Return the findings that repeat; on a busy machine a call can look blocked."""
    if not findings:
        return []
    again = run_on_kernel([f.script for f in findings], live)
    out = []
    for finding, observed in zip(findings, again, strict=True):
        if observed is not None and examine(kernel, finding.script, observed):
            out.append(finding)
    return out


def find_differences(
    count: int, seed: int, jobs: int, kernel: Kernel, live: LiveKernel | None = None
) -> Iterator[list[Finding]]:
    """Run scripts in batches and yield the findings of each batch.

    Args:
        count: Number of scripts.
        seed: Seed of the scripts.
        jobs: Number of kernels that run at the same time.
        kernel: Kernel to model.
        live: Kernel to boot; None: the installed one.

    Raises:
        CosimError: There is no kernel, or it cannot play a script.
    """
    batches = [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)]
    if jobs == 1:
        yield from map(partial(_batch, kernel, seed, live), batches)
        return
    yield from spread(partial(_batch, kernel, seed, live), batches, jobs)


def run_kernel(
    count: int,
    seed: int,
    jobs: int | None,
    json_out: Path | None = None,
    series: str | None = None,
) -> int:
    """Compare scripts, minimise the first findings and print them.

    Args:
        count: Number of scripts.
        seed: Seed of the scripts.
        jobs: Number of kernels that run at the same time; None: one per CPU.
        json_out: File for the result.
        series: A key of `uml.SUITES`, which is unpacked if it is not here; None: the installed
            kernel.

    Returns:
        0 if model and kernel agree on every script, else 1.
    """
    live = find_kernel() if series is None else unpack_kernel(series)
    release = live.release
    kernel = personality(release)
    jobs = jobs or os.cpu_count() or 1
    print(f"Linux {release} (User-Mode Linux) against personality {kernel.name}, seed {seed}")
    start = time.monotonic()
    findings: list[Finding] = []
    done = 0
    with progress("scripts") as bar:
        task = bar.add_task(f"seed {seed}", total=count)
        for found in find_differences(count, seed, jobs, kernel, live):
            findings += found
            done = min(done + BATCH, count)
            bar.update(task, completed=done, description=f"seed {seed}, {len(findings)} differ")
    for finding in findings[:SHRINK_AT_MOST]:
        play = partial(run_on_kernel, kernel=live)
        _show(shrink(finding, kernel, play), len(finding.script), kernel, release, seed)
    print(
        f"\n{count} scripts, {len(findings)} differ, {time.monotonic() - start:.0f} s; "
        f"repeat with --seed {seed}"
    )
    summary = {
        "kernel": release,
        "personality": kernel.name,
        "scripts": count,
        "seed": seed,
        "differ": [
            {"script": f.number, "differences": [str(d) for d in f.differences]} for f in findings
        ],
        "passed": not findings,
    }
    write_json(json_out, summary)
    return 1 if findings else 0


def _show(finding: Finding, size: int, kernel: Kernel, release: str, seed: int) -> None:
    """Print a minimised finding, whose script had `size` steps, and save it as a recording."""
    print(f"\nscript {finding.number}, minimised from {size} steps:")
    for step in finding.script:
        print("  " + json.dumps(step))
    for difference in finding.differences:
        print(f"  {difference}")
    folder = build_root() / "kernel"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed{seed}_{finding.number}.jsonl"
    path.write_text(recording(finding, release, seed) + "\n", encoding="ascii")
    print(f"  saved as a recording: ktls-cosim conformance --kernel {kernel.name} {path}")
