# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim kernel`: random scripts on the model and on a real kernel, and compare."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ktls import KERNELS, Kernel, KtlsError
from ktls_cosim.conformance.compare import Difference, observations_differ
from ktls_cosim.conformance.player import Player, Unplayable
from ktls_cosim.conformance.scenario import Obs, ScenarioError, Step
from ktls_cosim.errors import CosimError
from ktls_cosim.kernel.generate import make_script
from ktls_cosim.kernel.uml import KernelFailed, kernel_release, run_on_kernel
from ktls_cosim.paths import build_root

BATCH = 250
SHRINK_AT_MOST = 3
SHRINK_ROUNDS = 40

RunOnKernel = Callable[[list[list[Step]]], list[list[Obs] | None]]


@dataclass(slots=True)
class Finding:
    """A script on which model and kernel disagree.

    Attributes:
        number: of the script in its run.
        script: its steps.
        observed: what the kernel did.
        differences: where the model does something else.
    """

    number: int
    script: list[Step]
    observed: list[Obs] = field(repr=False)
    differences: list[Difference]


def personality(release: str) -> Kernel:
    """The model's kernel that stands for a real one.

    Raises:
        CosimError: there is none.
    """
    exact = KERNELS.get(release)
    series = KERNELS.get(".".join(release.split(".")[:2])) or KERNELS.get(
        release.split(".")[0] + ".x"
    )
    found = exact or series
    if found is None:
        raise CosimError(
            f"Linux {release} has no personality; the model knows {', '.join(KERNELS)} "
            "(driver/ktls/kernels.py)"
        )
    return found


def examine(kernel: Kernel, script: list[Step], observed: list[Obs] | None) -> list[Difference]:
    """Play a script on the model and compare; nothing if the kernel could not play it."""
    if observed is None:
        return []
    try:
        got = Player(kernel).play(script)
    except (KtlsError, Unplayable, ScenarioError) as e:
        return [Difference(0, "model", type(e).__name__, "plays the script", str(e))]
    return list(observations_differ(script, observed, got))


def _unplayed(differences: list[Difference]) -> bool:
    """Is the difference that the model cannot play the script?"""
    return any(d.op == "model" for d in differences)


def shrink(
    finding: Finding, kernel: Kernel, run: RunOnKernel, rounds: int = SHRINK_ROUNDS
) -> Finding:
    """Take steps away as long as a difference stays.

    All candidates of a round are played in one boot of the kernel.
    """
    size = max(1, len(finding.script) // 2)
    for _ in range(rounds):
        script = finding.script
        candidates = [script[:i] + script[i + size :] for i in range(1, len(script), size)]
        smaller = None
        try:
            observations = run(candidates)
        except KernelFailed:
            # a candidate has brought the kernel down, which is not what is looked for
            observations = [None] * len(candidates)
        for candidate, observed in zip(candidates, observations, strict=True):
            differences = examine(kernel, candidate, observed)
            # a step may need one that was taken away: that is another matter
            same_kind = _unplayed(differences) == _unplayed(finding.differences)
            if differences and observed is not None and same_kind:
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
    """A finding as one line of a scenario file, so that it can become a test."""
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


def _batch(kernel: Kernel, seed: int, numbers: range) -> list[Finding]:
    scripts = [make_script(seed, n) for n in numbers]
    out = []
    for number, script, observed in zip(numbers, scripts, run_on_kernel(scripts), strict=True):
        if observed is None:
            raise CosimError(f"the kernel cannot play script {number} of seed {seed}")
        differences = examine(kernel, script, observed)
        if differences:
            out.append(Finding(number, script, observed, differences))
    return _seen_again(kernel, out)


def _seen_again(kernel: Kernel, findings: list[Finding]) -> list[Finding]:
    """Those that differ a second time: a busy machine can make a call look blocked."""
    if not findings:
        return []
    again = run_on_kernel([f.script for f in findings])
    out = []
    for finding, observed in zip(findings, again, strict=True):
        if observed is not None and examine(kernel, finding.script, observed):
            out.append(finding)
    return out


def find_differences(count: int, seed: int, jobs: int, kernel: Kernel) -> Iterator[list[Finding]]:
    """Run `count` scripts in batches; the findings of each batch as it is done."""
    batches = [range(at, min(at + BATCH, count)) for at in range(0, count, BATCH)]
    if jobs == 1:
        yield from map(partial(_batch, kernel, seed), batches)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(_batch, kernel, seed), batches)


def run_kernel(count: int, seed: int, jobs: int | None) -> int:
    """Run the command.

    Returns:
        0 if model and kernel agree on every script, else 1.
    """
    release = kernel_release()
    kernel = personality(release)
    jobs = jobs or os.cpu_count() or 1
    print(f"Linux {release} (User-Mode Linux) against personality {kernel.name}, seed {seed}")
    start = time.monotonic()
    findings: list[Finding] = []
    done = 0
    for found in find_differences(count, seed, jobs, kernel):
        done += min(BATCH, count - done)
        findings += found
        print(f"{done} of {count} scripts, {len(findings)} differ", flush=True)
    for finding in findings[:SHRINK_AT_MOST]:
        small = shrink(finding, kernel, run_on_kernel)
        print(f"\nscript {finding.number}, made smaller from {len(finding.script)} steps:")
        for step in small.script:
            print("  " + json.dumps(step))
        for difference in small.differences:
            print(f"  {difference}")
        folder = build_root() / "kernel"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"seed{seed}_{finding.number}.jsonl"
        path.write_text(recording(small, release, seed) + "\n", encoding="ascii")
        print(f"  kept as a recording: ktls-cosim conformance --kernel {kernel.name} {path}")
    print(
        f"\n{count} scripts, {len(findings)} differ, {time.monotonic() - start:.0f} s; "
        f"repeat with --seed {seed}"
    )
    return 1 if findings else 0
