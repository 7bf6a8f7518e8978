# SPDX-License-Identifier: Apache-2.0
"""The scenarios of `ktls_cosim.scenarios` that concern a driver, played by the C driver.

On the model and on the RTL, with golden model, scoreboard and audit beside each record, and pyca's
answers for what the application gets.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cards import CardProcess, Work, build, card, play
from support import have_simulator

VERSIONS = (0x0303, 0x0304)
CONTEXTS = 64  # of the card
SCENARIOS: dict[str, Callable[[Work], None]] = {}


def scenario(f: Callable[[Work], None]) -> Callable[[Work], None]:
    SCENARIOS[f.__name__] = f
    return f


@scenario
def every_suite(w: Work) -> None:
    """Both versions, key sizes and directions; no text, and lengths around a block."""
    name = 0
    for version in VERSIONS:
        for key in (16, 32):
            for opens in (False, True):
                w.add(name, version=version, key=key, opens=opens)
                for size in (0, 1, 15, 16, 17):
                    w.record(name, size)
                name += 1
    for n in range(name):
        w.remove(n)


@scenario
def every_tail(w: Work) -> None:
    """Each length of the last block, sealed and opened, in one piece and in several."""
    for name, (version, opens) in enumerate((v, o) for v in VERSIONS for o in (False, True)):
        w.add(name, version=version, opens=opens)
        for size in range(16, 33):
            w.record(name, size, pieces=1 + 2 * (size % 2))
        w.remove(name)


@scenario
def padding(w: Work) -> None:
    for name, opens in enumerate((False, True)):
        w.add(name, version=0x0304, opens=opens)
        for pad in (0, 1, 15, 16, 255):
            w.record(name, 20, pad=pad)
        w.remove(name)


@scenario
def largest_records(w: Work) -> None:
    """16,384 bytes; in TLS 1.3 text and padding together."""
    w.add(0, version=0x0303, opens=False)
    w.record(0, 16384, pieces=16)
    w.add(1, version=0x0304, opens=True)
    w.record(1, 16000, pad=384, wrong=False)
    w.remove(0)
    w.remove(1)


@scenario
def forged_records(w: Work) -> None:
    """A wrong tag ends with AUTH_FAILED and consumes its number; the next record opens."""
    for name, version in enumerate(VERSIONS):
        w.add(name, version=version, opens=True)
        for n in range(6):
            w.record(name, 100, wrong=n % 2 == 0)
        w.remove(name)


@scenario
def rekey_with_records_queued(w: Work) -> None:
    for name, opens in enumerate((False, True)):
        w.add(name, opens=opens)
        for _ in range(4):
            w.record(name, 60)
            w.rekey(name)
            w.record(name, 60)
        w.remove(name)


@scenario
def resync(w: Work) -> None:
    """Forward in both directions; backward is refused."""
    for name, opens in enumerate((False, True)):
        w.add(name, opens=opens, seq=1 << 20)
        w.record(name, 50)
        w.resync(name)
        w.record(name, 50)
    w.put("resync 0 5", "5 -22 12")
    w.record(0, 50)
    w.remove(0)
    w.remove(1)


@scenario
def record_numbers_run_out(w: Work) -> None:
    """The last number is refused instead of wrapping; new keys start a new count."""
    w.add(0, opens=False, seq=(1 << 64) - 3)
    w.record(0, 30)
    w.record(0, 30)
    w.put("seal 0 23 0 1 00", "3 -75 5 23 -")
    w.put("seal 0 23 0 1 00", "3 -75 5 23 -")
    w.rekey(0)
    w.record(0, 30)
    w.remove(0)


@scenario
def contexts_run_out(w: Work) -> None:
    """The driver knows the number of contexts, and uses freed ones again."""
    for name in range(CONTEXTS):
        w.add(name, opens=False)
    w.add(CONTEXTS, opens=False)
    w.expected[len(w.commands)] = "refused -28"
    w.remove(7)
    w.put("wait")
    w.add(7, opens=False)
    w.record(7, 40)
    for name in range(CONTEXTS):
        w.remove(name)


@scenario
def wrong_calls(w: Work) -> None:
    """The driver refuses what the card would refuse."""
    w.add(0, opens=False, version=0x0303)
    w.put("seal 0 23 1 1 00", "refused -22")  # padding in TLS 1.2
    w.put("seal 1 23 0 1 00", "refused -2")  # no such context
    w.put(f"open 0 23 {bytes(8).hex()} 1 {bytes(32).hex()}", "refused -22")  # the direction
    w.record(0, 10)
    w.remove(0)


@scenario
def foreign_reset(w: Work) -> None:
    """Somebody resets the card behind the driver, which notices it and starts again."""
    w.add(0, opens=False)
    for _ in range(3):
        w.record(0, 40)
    w.put("wait")
    w.put("recover")
    w.put("seal 0 23 0 1 00", "refused -2")
    w.add(0, opens=True)
    w.record(0, 40)
    w.remove(0)


@scenario
def mixed(w: Work) -> None:
    """Sealing and opening on all rings, with everything that can happen to a context."""
    w.fill(30, (0, 16, 300, 1500), contexts=6)


@dataclass
class Card:
    """A running card and the records that it must have checked."""

    process: CardProcess
    records: int = field(default=0)


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("c"), SANITIZE="address,undefined") / "ktls_play"


@pytest.fixture(scope="module", params=["model", "sim"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Card]:
    """One card for all scenarios: each is a client of its own."""
    if request.param == "sim":
        have_simulator()
    options = ("--port", request.param, "--strict")
    with card(tmp_path_factory.mktemp("card"), *options) as process:
        running = Card(process)
        yield running
        assert process.stop() == 0, process.output
        assert running.records
        assert f"records verified: {running.records}, " in process.output
        assert "spoiled by the driver: 0, mismatches: 0\n" in process.output
        assert "breaches of rules by drivers: 0\n" in process.output


@pytest.mark.parametrize(("rings", "log2"), [(1, 1), (4, 4)], ids=["small ring", "four rings"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(
    name: str, rings: int, log2: int, running: Card, player: Path, rng: random.Random
) -> None:
    work = Work(rng, rings)
    SCENARIOS[name](work)
    done = play(player, running.process.socket, rings, log2, work.commands, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert not work.differences(done.stdout)
    good = ("3 0 ", "4 0 ")
    running.records += sum(line.startswith(good) for line in work.expected.values())
