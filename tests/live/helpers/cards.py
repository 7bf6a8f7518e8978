# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim card` as a process, and random work for the C driver with pyca's answers."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_cosim.paths import ROOT
from support import missing

SOURCES = ROOT / "driver" / "c"
WORD = struct.Struct("<I")


def build(out: Path, sources: Path = SOURCES, **variables: str) -> Path:
    """Build the C driver into a folder and return it; skips the test without make or compiler."""
    compiler = variables.get("CC", "cc")
    for program in ("make", compiler):
        if shutil.which(program) is None:
            missing(program, "apt-get install make gcc libc6-dev")
    done = subprocess.run(
        ["make", "-C", sources, f"OUT={out}", *(f"{k}={v}" for k, v in variables.items())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class CardProcess:
    """A running card."""

    def __init__(self, process: subprocess.Popen[str], socket: Path, log: Path) -> None:
        self.process = process
        self.socket = socket
        self.log = log
        self.output = ""

    @property
    def descriptors(self) -> int:
        """Number of open descriptors of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> int:
        """Send SIGINT; return the exit status."""
        self.process.send_signal(signal.SIGINT)
        self.output, _ = self.process.communicate(timeout=60)
        self.output += self.log.read_text()
        return self.process.returncode


@contextlib.contextmanager
def card(folder: Path, *options: str) -> Iterator[CardProcess]:
    """Start a card and wait until it listens."""
    socket = folder / "card"
    command = [sys.executable, "-m", "ktls_cosim", "card", "--socket", str(socket), *options]
    log = folder / "card.log"
    # a pipe that nobody reads would stop a card that reports much
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            banner = process.stdout.readline()
            assert banner.startswith("card at "), log.read_text()
            yield CardProcess(process, socket, log)
        finally:
            process.kill()


@dataclass
class Side:
    """The keys of one context and the numbers of its next record."""

    opens: bool
    version: int
    salt: bytes
    iv: int
    seq: int
    key: bytes = field(repr=False)

    def seal(self, rtype: int, text: bytes, pad: int) -> tuple[bytes, bytes]:
        """Seal the next record; returns its explicit nonce and ciphertext with tag."""
        aead = AESGCM(self.key)
        if self.version == 0x0303:
            explicit = (self.iv % (1 << 64)).to_bytes(8, "big")
            aad = self.seq.to_bytes(8, "big") + struct.pack(">BHH", rtype, 0x0303, len(text))
            body = aead.encrypt(self.salt + explicit, text, aad)
            self.iv += 1
        else:
            explicit = b""
            static = int.from_bytes(self.salt + self.iv.to_bytes(8, "big"), "big")
            nonce = (static ^ self.seq).to_bytes(12, "big")
            inner = text + bytes([rtype]) + bytes(pad)
            body = aead.encrypt(nonce, inner, struct.pack(">BHH", 23, 0x0303, len(inner) + 16))
        self.seq += 1
        return explicit, body

    def words(self) -> str:
        """The arguments of `add` behind the ring."""
        cipher = 51 if len(self.key) == 16 else 52
        iv, seq = self.iv.to_bytes(8, "big"), self.seq.to_bytes(8, "big")
        return (
            f"{int(self.opens)} {self.version} {cipher} {self.salt.hex()} {iv.hex()} "
            f"{seq.hex()} {self.key.hex()}"
        )


class Work:
    """Random commands for `ktls_play` and the lines that it must print.

    Args:
        rng: Source of all choices.
        rings: Number of ring pairs.

    Attributes:
        commands: The commands.
        expected: The line of each command's completion, by number of the command.
    """

    def __init__(self, rng: random.Random, rings: int) -> None:
        self.commands: list[str] = []
        self.expected: dict[int, str] = {}
        self._rng = rng
        self._rings = rings
        self._sides: dict[int, Side] = {}

    def put(self, command: str, expected: str | None = None) -> None:
        """Add a command and the beginning of the line that it must print."""
        self.commands.append(command)
        if expected is not None:
            self.expected[len(self.commands)] = expected

    def add(
        self, name: int, *, opens: bool | None = None, version: int | None = None,
        seq: int | None = None, key: int | None = None,
    ) -> None:  # fmt: skip
        """Install a context; what is not given is random."""
        rng = self._rng
        side = Side(
            rng.random() < 0.5 if opens is None else opens,
            rng.choice((0x0303, 0x0304)) if version is None else version,
            rng.randbytes(4),
            rng.getrandbits(64),
            rng.choice((0, rng.getrandbits(32), rng.getrandbits(62))) if seq is None else seq,
            rng.randbytes(rng.choice((16, 32)) if key is None else key),
        )
        self._sides[name] = side
        self.put(f"add {name} {rng.randrange(self._rings)} {side.words()}", "1 0 0 0 - 0 -")

    def record(
        self, name: int, size: int, *, pad: int | None = None, pieces: int | None = None,
        wrong: bool | None = None,
    ) -> None:  # fmt: skip
        """Seal or open a record of a context; what is not given is random."""
        rng = self._rng
        side = self._sides[name]
        text, rtype = rng.randbytes(size), rng.choice((21, 22, 23))
        tls13 = side.version == 0x0304
        if pad is None:
            much = tls13 and rng.random() < 0.3
            pad = rng.randrange(0, min(300, 16384 - size) + 1) if much else 0
        pieces = rng.choice((1, 1, 2, 3, 7, 16)) if pieces is None else pieces
        number = side.seq
        explicit, body = side.seal(rtype, text, pad)
        if side.opens:
            wrong = rng.random() < 0.02 if wrong is None else wrong
            sent = body[:-1] + bytes([body[-1] ^ 1]) if wrong else body
            kind = 23 if tls13 else rtype
            result = "4 -74 11" if wrong else f"4 0 0 {rtype} {number} 0 {text.hex() or '-'}"
            self.put(f"open {name} {kind} {explicit.hex() or '-'} {pieces} {sent.hex()}", result)
        else:
            head = struct.pack(">BHH", 23 if tls13 else rtype, 0x0303, len(explicit + body))
            # the completion repeats the type of the descriptor
            result = f"3 0 0 {rtype} {number} 0 {(head + explicit + body).hex()}"
            self.put(f"seal {name} {rtype} {pad} {pieces} {text.hex() or '-'}", result)

    def resync(self, name: int) -> None:
        """Move the number of a context forward."""
        side = self._sides[name]
        distance = self._rng.randrange(1, 1000)
        if side.version == 0x0303:
            side.iv += distance
        side.seq += distance
        self.put(f"resync {name} {side.seq}", "5 0 0 0 - 0 -")

    def remove(self, name: int) -> None:
        """Delete a context."""
        del self._sides[name]
        self.put(f"del {name}", "2 0 0 0 - 0 -")

    def rekey(self, name: int) -> None:
        """Give a context new keys."""
        side = self._sides[name]
        side.key = self._rng.randbytes(len(side.key))
        side.seq = 0
        self.put(f"rekey {name} {side.words()}", "1 0 0 0 - 0 -")

    def fill(self, records: int, sizes: Sequence[int], contexts: int = 24) -> None:
        """Add random work with so many records; `sizes` are limits of their lengths."""
        rng = self._rng
        for name in range(contexts):
            self.add(name, opens=bool(name % 2))
        for _ in range(records):
            name = rng.randrange(contexts)
            chance = rng.random()
            if chance < 0.01:
                self.remove(name)
                self.add(name)
            elif chance < 0.02:
                self.resync(name)
            elif chance < 0.03:
                self.rekey(name)
            elif chance < 0.035:
                self.put("wait")
            self.record(name, rng.randrange(rng.choice(sizes) + 1))
        for name in list(self._sides):
            self.remove(name)

    def differences(self, output: str) -> list[str]:
        """Compare the output of `ktls_play`; returns what differs."""
        got = dict(line.split(" ", 1) for line in output.splitlines())
        return [
            f"{self.commands[n - 1][:80]}: {got.get(str(n), 'no completion')[:120]}, "
            f"not {want[:120]}"
            for n, want in self.expected.items()
            if not got.get(str(n), "").startswith(want)
        ] + [f"line {n} is unexpected" for n in got if int(n) not in self.expected]


def play(
    program: Path,
    socket: Path,
    rings: int,
    log2: int,
    commands: Sequence[str],
    timeout: float = 550,
) -> subprocess.CompletedProcess[str]:
    """Run `ktls_play` with commands."""
    return subprocess.run(
        [program, socket, str(rings), str(log2)],
        input="".join(f"{c}\n" for c in commands),
        capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip
