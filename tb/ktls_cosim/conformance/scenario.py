# SPDX-License-Identifier: Apache-2.0
"""Scenario files: one JSON object per line; format: tests/oracle/README.md."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ktls.kernels import DEFAULT_KERNEL, personality
from ktls_cosim.conformance.records import build_record
from ktls_cosim.errors import CosimError

Step = dict[str, Any]
Obs = dict[str, Any]


class ScenarioError(CosimError):
    """A scenario file cannot be used."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One recorded scenario.

    Attributes:
        name, category: As in the file.
        kernel: Version of the recorded kernel.
        steps: Inputs of each step.
        observed: Observations of the recorded kernel, by step.
        variants: Observations of other kernels, by kernel and step number.
        timing: The room in full buffers varies between runs.
        unstable: Numbers of steps that are not compared.
        source: File and line.
    """

    name: str
    category: str
    kernel: str
    steps: list[Step] = field(repr=False)
    observed: list[Obs] = field(repr=False)
    variants: dict[str, dict[int, Obs]] = field(repr=False)
    timing: bool
    unstable: frozenset[int]
    source: str

    @property
    def personality(self) -> str:
        """Key of `ktls.KERNELS`: the recorded kernel, or the default if the model has no such."""
        return (personality(self.kernel) or DEFAULT_KERNEL).name

    def expected(self, kernel: str) -> list[Obs]:
        """Return the observations of a kernel: the recording with its variants applied.

        Args:
            kernel: Key of `ktls.KERNELS`.
        """
        out = list(self.observed)
        for name, changes in self.variants.items():
            if name.split("/")[0].startswith(kernel + "."):
                for step, obs in changes.items():
                    out[step] = obs
        return out


def parse_scenario(line: str, source: str) -> Scenario:
    """Parse one line.

    Args:
        line: A JSON object.
        source: File and line, for messages.

    Raises:
        ScenarioError: The line is not a scenario.
    """
    try:
        raw = json.loads(line)
        steps = [{k: v for k, v in s.items() if k != "obs"} for s in raw["steps"]]
        observed = [s["obs"] for s in raw["steps"]]
        for step in steps:
            if not isinstance(step["op"], str):
                raise TypeError("op is not a string")
        return Scenario(
            raw["name"],
            raw.get("category") or raw["name"].split("/")[0],
            raw["kernel"],
            steps,
            observed,
            {
                kernel: {int(n): obs for n, obs in changes.items()}
                for kernel, changes in raw.get("variants", {}).items()
            },
            bool(raw.get("timing")),
            frozenset(raw.get("unstable_steps", ())),
            source,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ScenarioError(
            f"{source} is not a scenario ({type(e).__name__}: {e}); for the format see "
            "tests/oracle/README.md"
        ) from None


def load(paths: Iterable[Path]) -> Iterator[Scenario]:
    """Yield the scenarios of files, and of all *.jsonl files in folders.

    FILE:LINE selects one scenario, as failures name it.

    Raises:
        ScenarioError: A path does not exist, a file is invalid or there is no scenario.
    """
    found = False
    for path in paths:
        chosen = re.fullmatch(r"(.+):(\d+)", str(path))
        if chosen and not path.exists():
            path, only = Path(chosen[1]), int(chosen[2])
        else:
            only = 0
        if path.is_dir():
            files = sorted(path.rglob("*.jsonl"))
        elif path.is_file():
            files = [path]
        else:
            raise ScenarioError(f"{path} does not exist; name a .jsonl file or a folder of them")
        for file in files:
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                if line.strip() and only in (0, number):
                    found = True
                    yield parse_scenario(line, f"{file}:{number}")
    if not found:
        raise ScenarioError("no scenario found; name a .jsonl file or a folder of them")


def digest(data: bytes) -> dict[str, Any]:
    """Return the form in which scenario files store long bytes."""
    return {
        "len": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "head": data[:64].hex(),
    }


def injected(step: Step) -> bytes:
    """Return the bytes of an inject or drip step.

    Raises:
        ScenarioError: The step stores only a digest, and the rebuilt bytes do not match it.
    """
    kept = step["hex"]
    if isinstance(kept, str):
        return bytes.fromhex(kept)
    data = b"".join(build_record(step["suite"], r) for r in step["records"])
    if digest(data) != kept:
        raise ScenarioError("the bytes to inject do not match their digest")
    return data
