# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim card` as a process: clients that come, go, die and send nonsense."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cards import CardProcess, card
from ktls_hw.layout import Reg

VERSION = struct.pack("<HH", 0, 1) + b'{"capabilities":{}}\0'
READ_ID = struct.pack("<QII", Reg.ID, 0, 4)
MAP = struct.pack("<IIQQQ", 32, 3, 0, 1 << 33, 1 << 16)
IRQ = struct.pack("<IIIII", 20, 4 | 32, 2, 0, 1)
REGION = struct.pack("<IIIIQQ", 32, 0, 0, 0, 0, 0)
INFO = struct.pack("<IIII", 16, 0, 2, 0)
DOORBELL = struct.pack("<QIII", Reg.RING0_SQ_PROD, 0, 4, 1)
MULTI = struct.pack("<QQIIQ", 1, Reg.IRQ_ENABLE, 0, 4, 3)
UNMAP = struct.pack("<IIQQ", 24, 0, 1 << 33, 1 << 16)
VALID = (
    (1, VERSION), (2, MAP), (3, UNMAP), (4, INFO), (5, REGION), (6, INFO), (7, INFO), (8, IRQ),
    (9, READ_ID), (10, DOORBELL), (13, b""), (15, MULTI),
)  # fmt: skip


def header(command: int, size: int, number: int = 1, flags: int = 0) -> bytes:
    return struct.pack("<HHIII", number, command, 16 + size, flags, 0)


class Client:
    """A client that speaks the protocol by hand."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(path))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes, fds: list[int] | None = None) -> None:
        socket.send_fds(self.sock, [data], fds or [])

    def receive(self) -> tuple[int, int, bytes]:
        """Receive a reply: number, errno and payload."""
        head = self.sock.recv(16, socket.MSG_WAITALL)
        if len(head) < 16:
            raise EOFError
        number, _, size, _, error = struct.unpack("<HHIII", head)
        payload = self.sock.recv(size - 16, socket.MSG_WAITALL) if size > 16 else b""
        return number, error, payload

    def ask(self, command: int, payload: bytes = b"", fds: list[int] | None = None) -> int:
        self.send(header(command, len(payload)) + payload, fds)
        return self.receive()[1]


def works(process: CardProcess) -> None:
    """A new client is served; it may have to wait until the last one is gone."""
    for _ in range(200):
        with Client(process.socket) as client:
            error = client.ask(1, VERSION)
            if error == errno.EBUSY:
                time.sleep(0.02)
                continue
            assert error == 0
            client.send(header(9, 16) + READ_ID)
            assert client.receive() == (1, 0, READ_ID + b"SLTK")
            return
    pytest.fail("the card serves nobody")


def settled(process: CardProcess, descriptors: int) -> None:
    """No descriptor is left of the clients."""
    for _ in range(100):
        if process.descriptors == descriptors:
            return
        time.sleep(0.02)
    pytest.fail(f"{process.descriptors} descriptors, {descriptors} at the beginning")


def at_rest(process: CardProcess) -> int:
    """The number of descriptors without a client; the last one may just be leaving."""
    count = -1
    while (now := process.descriptors) != count:
        count = now
        time.sleep(0.1)
    return count


def test_a_second_client_is_refused_and_the_next_one_served(tmp_path: Path) -> None:
    with card(tmp_path) as process:
        before = at_rest(process)
        with Client(process.socket) as first, Client(process.socket) as second:
            assert first.ask(1, VERSION) == 0
            assert second.ask(1, VERSION) == errno.EBUSY
            assert second.sock.recv(1) == b""
            assert first.ask(13) == 0
        works(process)
        settled(process, before)
        assert process.stop() == 0
    assert "another client was refused: the card has one client at a time" in process.output
    assert not process.socket.exists()


def test_mutated_messages(tmp_path: Path, rng: random.Random) -> None:
    """10,000 messages with wrong bits, lengths and descriptors: answers, never an end."""
    with card(tmp_path) as process:
        works(process)
        before = at_rest(process)
        sent = errors = 0
        while sent < 10_000:
            with Client(process.socket) as client:
                if client.ask(1, VERSION) == errno.EBUSY:
                    continue
                for _ in range(100):
                    data, fds = mutated(rng)
                    client.send(data, fds)
                    sent += 1
                    for fd in fds:
                        os.close(fd)
                    if len(data) < 16 or int.from_bytes(data[4:8], "little") != len(data):
                        break  # the server sees other boundaries
                    # the answer to a read shows that the server follows
                    try:
                        client.send(header(9, 16, 2) + READ_ID)
                        number = 0
                        while number != 2:
                            number, error, _ = client.receive()
                            errors += error != 0
                    except (EOFError, ConnectionError):
                        break
        assert process.process.poll() is None
        works(process)
        settled(process, before)
        assert errors > 1000
        process.stop()
    assert "Traceback" not in process.output


def mutated(rng: random.Random) -> tuple[bytes, list[int]]:
    """A message with one or more mistakes, and descriptors of any kind."""
    command, payload = rng.choice(VALID)
    if rng.random() < 0.1:
        command = rng.randrange(1 << 16)
    body = bytearray(payload)
    for _ in range(rng.randrange(4)):
        if body:
            body[rng.randrange(len(body))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
    if rng.random() < 0.2:
        body = body[: rng.randrange(len(body) + 1)]
    if rng.random() < 0.1:
        body += rng.randbytes(rng.randrange(100))
    data = bytearray(header(command, len(body), 1, rng.choice((0, 0, 0, 1, 16, 0xFFFFFFFF))) + body)
    if rng.random() < 0.03:
        data[4 + rng.randrange(4)] ^= 1 << rng.randrange(8)
    if rng.random() < 0.02:
        data = data[: rng.randrange(1, len(data) + 1)]
    fds = []
    for _ in range(rng.choice((0, 0, 1, 1, 2, 20))):
        kind = rng.randrange(3)
        if kind == 0:
            fds.append(os.memfd_create("mutated"))
            os.truncate(fds[-1], rng.choice((0, 4096, 1 << 16, 1 << 20)))
        elif kind == 1:
            fds.append(os.eventfd(0))
        else:
            fds.append(os.open("/dev/null", os.O_RDONLY))
    return bytes(data), fds


VICTIM = """
import os, socket, struct, sys, time
path, seed = sys.argv[1:]
import random
rng = random.Random(int(seed))
s = socket.socket(socket.AF_UNIX)
s.connect(path)
def message(command, payload=b"", fds=()):
    socket.send_fds(s, [struct.pack("<HHIII", 1, command, 16 + len(payload), 0, 0) + payload], fds)
message(1, struct.pack("<HH", 0, 1))
fd = os.memfd_create("victim")
os.truncate(fd, 1 << 16)
message(2, struct.pack("<IIQQQ", 32, 3, 0, 0, 1 << 16), [fd])
message(8, struct.pack("<IIIII", 20, 36, 2, 0, 1), [os.eventfd(0)])
print("ready", flush=True)
while True:
    message(9, struct.pack("<QII", 0, 0, 4))
    if rng.random() < 0.5:
        s.recv(1000)
"""


def test_clients_that_die(tmp_path: Path, rng: random.Random) -> None:
    """200 clients are killed at random moments; nothing of them stays."""
    program = tmp_path / "victim.py"
    program.write_text(VICTIM)
    with card(tmp_path) as process:
        works(process)
        before = at_rest(process)
        for start in range(0, 200, 4):
            # four at once: three are refused, and die as well
            victims = [
                subprocess.Popen(
                    [sys.executable, "-S", program, process.socket, str(start + i)],
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )
                for i in range(4)
            ]  # fmt: skip
            time.sleep(rng.random() * 0.12)
            for victim in victims:
                victim.kill()
                victim.communicate()
        works(process)
        settled(process, before)
        process.stop()
    assert "Traceback" not in process.output


def test_a_client_that_truncates_its_memory(tmp_path: Path) -> None:
    """The device sees a bus error; a server that maps the file would die of SIGBUS."""
    with card(tmp_path) as process, Client(process.socket) as client:
        assert client.ask(1, VERSION) == 0
        fd = os.memfd_create("short")
        os.truncate(fd, 1 << 16)
        assert client.ask(2, struct.pack("<IIQQQ", 32, 3, 0, 1 << 16, 1 << 16), [fd]) == 0
        os.truncate(fd, 0)

        def write(offset: int, value: int, region: int = 0) -> None:
            assert client.ask(10, struct.pack("<QIII", offset, region, 4, value)) == 0

        def read(offset: int) -> int:
            request = struct.pack("<QII", offset, 0, 4)
            client.send(header(9, 16) + request)
            _, error, data = client.receive()
            assert error == 0
            return int.from_bytes(data[16:], "little")

        write(4, 6, region=7)
        write(Reg.CTRL, 2)
        assert read(Reg.STATUS) & 1
        write(Reg.RING0_SQ_BASE_LO, 1 << 16)
        write(Reg.RING0_CQ_BASE_LO, (1 << 16) + 4096)
        write(Reg.CTRL, 1)
        write(Reg.RING0_SQ_PROD, 1)
        assert read(Reg.STATUS) & 4, "cq_error"
        write(Reg.CTRL, 2)
        assert read(Reg.STATUS) & 5 == 1
        os.close(fd)


def test_a_path_in_use_and_a_stale_one(tmp_path: Path) -> None:
    with card(tmp_path) as process:
        argv = [sys.executable, "-m", "ktls_cosim", "card", "--socket", str(process.socket)]
        second = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 2
        assert "choose another --socket" in second.stderr
        process.process.kill()
        process.process.wait()
        assert process.socket.exists()
    with card(tmp_path) as process:
        works(process)
        assert process.stop() == 0
    file = tmp_path / "file"
    file.write_text("text")
    for path, text in ((file, "is not a socket"), (tmp_path / ("x" * 200), "cannot listen")):
        done = subprocess.run(
            [*argv[:-1], str(path)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 2, done.stderr
        assert text in done.stderr
    assert file.read_text() == "text"


def test_a_card_without_clients_has_shown_nothing(tmp_path: Path) -> None:
    with card(tmp_path) as process:
        assert process.stop() == 130
