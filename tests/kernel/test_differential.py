# SPDX-License-Identifier: Apache-2.0
"""Random scripts on the model and on a real kernel; `make kernel` runs thousands of them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from ktls import KtlsSocket
from ktls_cosim.conformance.run import play
from ktls_cosim.conformance.scenario import Obs, Step, load
from ktls_cosim.errors import CosimError
from ktls_cosim.kernel import differential
from ktls_cosim.kernel.generate_wide import make_script
from ktls_cosim.kernel.uml import (
    KernelMissing,
    KernelUnusable,
    LiveKernel,
    find_kernel,
    run_on_kernel,
)

SCRIPTS = 80


@cache
def release() -> str:
    """Return the version of the real kernel; skip the test if there is none."""
    try:
        run_on_kernel([[{"op": "pair"}]])
        return find_kernel().release
    except (KernelMissing, KernelUnusable) as e:
        # a console of a kernel that fails to boot would bury the summary
        reason = str(e).partition(":\n")[0]
        pytest.skip(f"{reason}; `ktls-cosim kernel` shows the details")


def _differences(seed: int, live: LiveKernel) -> list[str]:
    kernel = differential.personality(live.release)
    return [
        f"script {f.number}: {f.differences[0]}"
        for batch in differential.find_differences(SCRIPTS, seed, 1, kernel, live)
        for f in batch
    ]


def test_model_and_kernel_agree(seed: int) -> None:
    release()
    findings = _differences(seed, find_kernel())
    assert not findings, f"repeat with: ktls-cosim kernel --seed {seed} --scripts {SCRIPTS}"


@pytest.mark.parametrize("series", ["6.12", "7.2"])
def test_model_and_newer_kernels_agree(seed: int, series: str) -> None:
    release()  # skips where no kernel can boot
    try:
        live = find_kernel(series)
    except KernelMissing as e:
        pytest.skip(str(e))
    findings = _differences(seed, live)
    assert not findings, (
        f"repeat with: ktls-cosim kernel --kernel {series} --seed {seed} --scripts {SCRIPTS}"
    )


def test_wrong_rule_is_found_and_minimised(seed: int, tmp_path: Path) -> None:
    """A model that treats MSG_EOR unlike the kernel is found, minimised and saved."""
    right = differential.personality(release())
    wrong = replace(right, send_flags=right.send_flags ^ 0x80)
    findings = [f for b in differential.find_differences(SCRIPTS, seed, 1, wrong) for f in b]
    assert findings
    small = differential.shrink(findings[0], wrong, run_on_kernel, rounds=5)
    assert len(small.script) < len(findings[0].script)
    last = small.script[small.differences[0].step]
    assert last["flags"] & 0x80
    path = tmp_path / "found.jsonl"
    path.write_text(differential.recording(small, release(), seed) + "\n", encoding="ascii")
    (scenario,) = load([path])
    assert play(scenario, right.name, None).passed


# ---------------------------------------------------------------------- without a kernel


def test_scripts_depend_on_seed_and_number_alone() -> None:
    assert make_script(3, 7) == make_script(3, 7)
    assert make_script(3, 7) != make_script(4, 7)
    ops = {step["op"] for n in range(300) for step in make_script(1, n)}
    assert ops >= {
        "send", "sendto", "sendmsg", "sendmmsg", "write", "writev", "sendfile", "splice", "recv",
        "recvmsg", "inject", "drip", "drain", "poll", "soerr", "inq", "setsockopt", "getsockopt",
        "shutdown", "close", "reset", "listen", "disconnect", "stat",
    }  # fmt: skip


def test_shrinking_on_a_fake_kernel() -> None:
    """Shrink on a fake kernel that fails every send of more than 5 bytes."""

    def pretend(scripts: list[list[Step]]) -> list[list[Obs] | None]:
        out: list[list[Obs] | None] = []
        for script in scripts:
            if not script or script[0]["op"] != "pair":
                out.append(None)
                continue
            observed: list[Obs] = []
            for step in script:
                if step["op"] == "send":
                    n = step["n"]
                    assert isinstance(n, int)
                    observed.append({"rc": n} if n <= 5 else {"rc": -1, "err": "EIO"})
                else:
                    observed.append({"rc": 0})
            out.append(observed)
        return out

    kernel = differential.personality("6.12.1")
    sizes = (1, 2, 9, 3, 4, 8, 5)
    script: list[Step] = [
        {"op": "pair"},
        *({"op": "send", "fd": "a", "n": n, "seed": 1, "flags": 0} for n in sizes),
    ]
    (observed,) = pretend([script])
    assert observed is not None
    first = differential.Finding(
        0, script, observed, differential.examine(kernel, script, observed)
    )
    small = differential.shrink(first, kernel, pretend)
    assert [s.get("n") for s in small.script] == [None, 8] or [
        s.get("n") for s in small.script
    ] == [None, 9]
    assert json.loads(differential.recording(small, "6.12.1", 0))["name"] == "live/0_0"


def test_shrinking_keeps_the_same_difference() -> None:
    """Regression: a difference of a send was made smaller to one of a poll."""

    def pretend(scripts: list[list[Step]]) -> list[list[Obs] | None]:
        wrong: dict[str, Obs] = {
            "send": {"rc": -1, "err": "EIO"},
            "poll": {"rc": 0, "revents": "0"},
        }
        return [[wrong.get(s["op"], {"rc": 0}) for s in script] for script in scripts]

    kernel = differential.personality("6.12.1")
    send: Step = {"op": "send", "fd": "a", "n": 1, "seed": 1, "flags": 0}
    poll: Step = {"op": "poll", "fd": "a", "events": 4, "ms": 0}
    script: list[Step] = [{"op": "pair"}, send, send, poll, poll]
    (observed,) = pretend([script])
    assert observed is not None
    first = differential.Finding(
        0, script, observed, differential.examine(kernel, script, observed)
    )
    small = differential.shrink(first, kernel, pretend)
    assert [s["op"] for s in small.script] == ["pair", "send"]
    assert differential.kind(small.differences) == differential.kind(first.differences)


def test_a_crash_of_the_model_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a crash counted as an invalid script, so it was no difference."""

    def crash(*_: object) -> int:
        raise KeyError("a bug")

    monkeypatch.setattr(KtlsSocket, "send", crash)
    script: list[Step] = [
        {"op": "pair"},
        {"op": "send", "fd": "a", "n": 1, "seed": 1, "flags": 0},
    ]
    kernel = differential.personality("6.12.1")
    (difference,) = differential.examine(kernel, script, [{"rc": 0}, {"rc": 1}])
    assert "a bug" in str(difference)


def test_personalities() -> None:
    assert differential.personality("6.1.176").name == "6.1.176"
    assert differential.personality("6.1.999").name == "6.1"
    assert differential.personality("7.4.1").name == "7.x"
    with pytest.raises(CosimError, match="no personality"):
        differential.personality("5.15.1")


def test_a_kernel_without_its_modules_is_named(tmp_path: Path) -> None:
    """Regression: with one script, the failure of the set-up looked like a result."""
    release()
    modules = tmp_path / "7.7.7"
    modules.mkdir()
    live = replace(find_kernel(), modules=modules)
    with pytest.raises(KernelUnusable, match=r"(?s)Linux 7\.7\.7 cannot be set up.*modules\.dep"):
        run_on_kernel([[{"op": "pair"}]], live)
