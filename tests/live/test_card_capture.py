# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim card --capture`: tshark finds the text of each context in a stream of its own."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from cards import Work, build, card, play
from peers import needs, plaintext
from support import have_simulator

APPLICATION_DATA = 23


def streams(work: Work) -> list[tuple[bool, bytes]]:
    """Return for each `add`, in order, whether it opens, and its application data."""
    out: list[tuple[bool, bytes]] = []
    current: dict[str, int] = {}
    for number, command in enumerate(work.commands, 1):
        what, *words = command.split(" ")
        if what == "add":
            current[words[0]] = len(out)
            out.append((words[2] == "1", b""))
            continue
        got = work.expected.get(number, "").split(" ")
        if what == "seal" and int(words[1]) == APPLICATION_DATA:
            text = words[4]
        elif what == "open" and got[:2] == ["4", "0"] and int(got[3]) == APPLICATION_DATA:
            text = got[6]
        else:
            continue
        opens, data = out[current[words[0]]]
        out[current[words[0]]] = opens, data + (b"" if text == "-" else bytes.fromhex(text))
    return out


def senders(file: Path, stream: int) -> set[str]:
    """Return the ports that send application data."""
    done = subprocess.run(
        [needs("tshark"), "-r", file, "-T", "fields", "-e", "tcp.srcport", "-Y",
         f"tcp.stream == {stream} && tls.record.content_type == {APPLICATION_DATA}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("port", ["model", "sim"])
def test_streams_of_contexts(port: str, tmp_path: Path, rng: random.Random) -> None:
    """Both versions and directions, new keys, forged records, contexts that come and go."""
    if port == "sim":
        have_simulator()
    program = build(tmp_path / "c") / "ktls_play"
    work = Work(rng, rings=1)
    for opens in (False, True):
        for version in (0x0303, 0x0304):
            work.add(0, opens=opens, version=version)
            for n in range(12):
                if n == 6:
                    work.rekey(0)
                work.record(0, rng.randrange(400), wrong=n == 8)
            work.remove(0)
    file = tmp_path / "card.pcapng"
    with card(tmp_path, "--port", port, "--strict", "--capture", str(file)) as process:
        done = play(program, process.socket, 1, 3, work.commands)
        assert (done.returncode, done.stderr) == (0, "")
        assert not work.differences(done.stdout)
        assert process.stop() == 0, process.output
    want = streams(work)
    assert len(want) == 4
    for number, (opens, data) in enumerate(want):
        assert data
        assert b"".join(plaintext(file, number)) == data
        assert (senders(file, number) == {"443"}) == opens


def test_a_reset_ends_the_streams(tmp_path: Path) -> None:
    """The context that is installed behind it has another one."""
    program = build(tmp_path / "c") / "ktls_play"
    work = Work(random.Random(1), rings=1)
    work.add(0, opens=False, version=0x0303)
    work.put("seal 0 23 0 1 6f6e65", "3 0")
    work.put("wait")
    work.put("recover")
    work.add(0, opens=False, version=0x0303)
    work.put("seal 0 23 0 1 74776f", "3 0")
    work.remove(0)
    file = tmp_path / "card.pcapng"
    with card(tmp_path, "--capture", str(file)) as process:
        play(program, process.socket, 1, 3, work.commands)
        assert process.stop() == 0
    assert plaintext(file, 0) == (b"one", b"")
    assert plaintext(file, 1) == (b"two", b"")
    assert plaintext(file, 2) == (b"", b"")
