# SPDX-License-Identifier: Apache-2.0
"""Compare the observations of the model with those of a kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ktls import uapi
from ktls_cosim.check.golden import open_record, split_records
from ktls_cosim.conformance.records import pattern, traffic_keys
from ktls_cosim.conformance.scenario import Obs, Scenario, Step, digest

MAX_TEXT = 16384
# fields that depend on the room in full buffers, which varies between runs
_VARIABLE = {"sendloop": {"rcs", "total"}, "getsockopt": {"data"}, "drain": {"rc", "wire"}}

_INFO = uapi.SOL_TCP, uapi.TCP_INFO


def _judged(info: str | None) -> tuple[str, int] | None:
    """The state in a `tcp_info`, and its length; the rest are measurements of the connection."""
    return None if info is None else (info[:2], len(info))


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which the model and the kernel disagree.

    Attributes:
        step: Number of the step.
        op: Its operation.
        field: Field of the observation.
        kernel: Value of the kernel, as text.
        model: Value of the model, as text.
    """

    step: int
    op: str
    field: str
    kernel: str
    model: str

    def __str__(self) -> str:
        return (
            f"step {self.step} ({self.op}): {self.field}: kernel {self.kernel}, model {self.model}"
        )


def same(expected: Any, got: Any) -> bool:
    """Return whether two values of a field are equal.

    Args:
        expected: Value of the recording; a digest if the bytes are long.
        got: Value of the model.
    """
    if isinstance(expected, dict) and "sha256" in expected and isinstance(got, str):
        return bool(digest(bytes.fromhex(got)) == expected)
    return bool(expected == got)


def _show(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value['len']} bytes {value['head'][:32]}..."
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def observations_differ(
    steps: list[Step], expected: list[Obs], got: list[Obs], timing: bool = False
) -> Iterator[Difference]:
    """Yield all differences, in the order of the steps.

    Args:
        steps: Steps of the scenario.
        expected: Observations of the kernel.
        got: Observations of the model.
        timing: Ignore fields that depend on the room in full buffers.
    """
    for number, (step, want, have) in enumerate(zip(steps, expected, got, strict=True)):
        ignored = _VARIABLE.get(step["op"], set()) if timing else set()
        for field in sorted((want.keys() | have.keys()) - ignored):
            expects, found = want.get(field), have.get(field)
            if field == "data" and (step.get("level"), step.get("opt")) == _INFO:
                expects, found = _judged(expects), _judged(found)
            if not same(expects, found):
                yield Difference(
                    number,
                    step["op"],
                    field,
                    _show(want.get(field, "nothing")),
                    _show(have.get(field, "nothing")),
                )


def compare(scenario: Scenario, got: list[Obs], kernel: str) -> list[Difference]:
    """Compare a scenario.

    Args:
        scenario: Recording.
        got: Observations of the model.
        kernel: Key of `ktls.KERNELS`.
    """
    expected = scenario.expected(kernel)
    found = observations_differ(scenario.steps, expected, got, scenario.timing)
    out = [d for d in found if d.step not in scenario.unstable]
    if scenario.timing:
        out += _invariants(scenario, got)
    return out


def _invariants(scenario: Scenario, got: list[Obs]) -> Iterator[Difference]:
    """Check order, record numbers and limits, which hold for any room in full buffers."""
    taken = _taken(scenario.steps, got)
    wire = bytearray()
    last = 0
    for number, (step, obs) in enumerate(zip(scenario.steps, got, strict=True)):
        if step["op"] == "sendloop":
            rcs = [rc for rc, _ in obs["rcs"]]
            if rcs[0] <= 0 or any(rc > step["n"] for rc in rcs):
                yield Difference(number, "sendloop", "rcs", "some bytes taken", _show(obs["rcs"]))
        if step["op"] == "drain":
            wire += bytes.fromhex(obs["wire"])
            last = number
    suite = next((s["suite"] for s in scenario.steps if "suite" in s), None)
    if suite is None:
        return
    keys = traffic_keys(suite)
    first = int(suite["seq"], 16)
    text = b""
    for index, record in enumerate(split_records(wire)):
        opened = open_record(keys, first + index, record)
        if opened is None or len(opened[1]) > MAX_TEXT:
            yield Difference(last, "drain", "wire", f"record {index} opens", "it does not")
            return
        text += opened[1]
    cut = any(obs.get("eof") for obs in got)
    if text != taken[: len(text)] or (len(text) != len(taken) and not cut):
        yield Difference(
            last, "drain", "wire", f"the {len(taken)} bytes taken", f"{len(text)} bytes"
        )


def _taken(steps: list[Step], got: list[Obs]) -> bytes:
    """Return the bytes that send calls accepted."""
    out = b""
    for step, obs in zip(steps, got, strict=True):
        if step["op"] == "sendloop":
            out += pattern(step["seed"], obs["total"])
        elif step["op"] in ("send", "sendmsg") and obs["rc"] > 0:
            out += pattern(step["seed"], obs["rc"], step.get("off", 0))
    return out
