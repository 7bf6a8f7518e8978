# SPDX-License-Identifier: Apache-2.0
"""What `serve` and `fetch` refuse, limit and survive."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ktls import uapi
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.cli import main
from ktls_cosim.https import handshake
from ktls_cosim.https.certificate import self_signed
from ktls_cosim.https.client import connect
from ktls_cosim.https.connection import Connection
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.files import byte_range
from ktls_cosim.https.limits import Timeouts
from ktls_cosim.https.server import HttpsServer, running
from ktls_cosim.machine import Machine, open_machine
from tls_client import Client

TEXT = bytes(range(256)) * 8
SHORT = Timeouts(handshake=1.0, header=1.0, idle=1.0, progress=5.0)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with open_machine("model", "pytest tests/live", name="limits") as machine:
        yield machine


@contextmanager
def serving(
    machine: Machine, folder: Path, version: str | None = None, timeouts: Timeouts = SHORT
) -> Iterator[HttpsServer]:
    tls = HandshakeContext(server=True, version=version, cert=str(self_signed()))
    server = HttpsServer(("127.0.0.1", 0), folder, machine, tls, None, timeouts)
    with running(server):
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "www"
    out.mkdir()
    (out / "file.bin").write_bytes(TEXT)
    (tmp_path / "secret.txt").write_text("secret")
    (out / "link").symlink_to(tmp_path / "secret.txt")
    (out / "inner").symlink_to(out / "file.bin")
    (out / "loop").symlink_to(out / "loop")
    os.mkfifo(out / "fifo")
    return out


def _client(server: HttpsServer, machine: Machine) -> Connection:
    tls = HandshakeContext(server=False, verify=False)
    return connect(machine, tls, "127.0.0.1", server.server_address[1])


def _tcp(server: HttpsServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_address[1]), 10)


def ask(server: HttpsServer, machine: Machine, request: bytes) -> bytes:
    """The whole answer to one request."""
    connection = _client(server, machine)
    try:
        connection.sendall(request + b"Connection: close\r\n\r\n")
        out = b""
        while piece := connection.recv(1 << 16):
            out += piece
        return out
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /file.bin", 200), ("GET /inner", 200), ("GET /", 200), ("HEAD /file.bin", 200),
        ("GET /link", 404), ("GET /loop", 404), ("GET /fifo", 404), ("GET /%00", 404),
        ("GET /../secret.txt", 404), ("GET /%2e%2e/secret.txt", 404), ("GET /file.bin/", 404),
        ("GET /file.bin%00.txt", 404), ("HEAD /fifo", 404), ("PUT /file.bin", 501),
        ("GET /" + "a" * 70_000, 414), ("GET /" + "a" * 4000, 404),
    ],
)  # fmt: skip
def test_files(machine: Machine, folder: Path, request_line: str, status: int) -> None:
    with serving(machine, folder) as server:
        answer = ask(server, machine, f"{request_line} HTTP/1.1\r\nHost: x\r\n".encode())
        assert answer.split(b" ", 2)[1] == str(status).encode()
        assert b"secret" not in answer.split(b"\r\n\r\n", 1)[1]
        if request_line.startswith("HEAD"):
            assert answer.endswith(b"\r\n\r\n")
    assert server.refused == 0


@pytest.mark.parametrize(
    ("length", "status"), [("0xb2", 400), ("\u00b2", 400), ("-1", 400), ("+5", 400), ("1_0", 400)]
)
def test_length_of_a_body(machine: Machine, folder: Path, length: str, status: int) -> None:
    with serving(machine, folder) as server:
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        assert ask(server, machine, head.encode("latin-1")).split()[1] == str(status).encode()
    assert server.refused == 0


@pytest.mark.parametrize(
    ("header", "want"),
    [
        (None, None), ("bytes=0-9", range(10)), ("bytes=5-", range(5, 100)),
        ("bytes=-10", range(90, 100)), ("bytes=-1000", range(100)),
        ("bytes=50-1000", range(50, 100)),
        ("bytes=100-", range(100, 100)), ("bytes=-0", range(100, 100)), ("bytes=9-5", None),
        ("bytes=0-1,3-4", None), ("items=0-1", None), ("bytes=-", None), ("bytes=\u00b2-", None),
    ],
)  # fmt: skip
def test_byte_range(header: str | None, want: range | None) -> None:
    assert byte_range(header, 100) == want


def test_ranges_of_a_file(machine: Machine, folder: Path) -> None:
    with serving(machine, folder) as server:
        head = b"GET /file.bin HTTP/1.1\r\nHost: x\r\nRange: bytes="
        got = ask(server, machine, head + b"1000-1099\r\n")
        assert got.startswith(b"HTTP/1.1 206 ")
        assert b"Content-Range: bytes 1000-1099/2048\r\n" in got
        assert got.endswith(b"\r\n\r\n" + TEXT[1000:1100])
        got = ask(server, machine, head + b"5000-\r\n")
        assert got.startswith(b"HTTP/1.1 416 ")
        assert b"Content-Range: bytes */2048\r\n" in got


# ------------------------------------------------------------------------------- time


def test_an_idle_connection_ends_with_close_notify(machine: Machine, folder: Path) -> None:
    with serving(machine, folder) as server:
        connection = _client(server, machine)
        connection.sendall(b"GET /file.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        while len(got) < len(TEXT) or not got.endswith(TEXT):
            got += connection.recv(1 << 16)
        start = time.monotonic()
        assert connection.recv(10) == b""  # a PeerError without close_notify
        assert 0.5 < time.monotonic() - start < 4
        connection.close()
    assert server.refused == 0


def test_header_and_file_share_a_record(machine: Machine, folder: Path) -> None:
    """A small response is one record; HEAD and an empty file send their header all the same."""
    (folder / "empty").write_bytes(b"")
    with serving(machine, folder) as server:
        connection = _client(server, machine)
        for request, size in (
            ("GET /file.bin", len(TEXT)), ("HEAD /file.bin", 0), ("GET /empty", 0),
            ("GET /file.bin", len(TEXT)),
        ):  # fmt: skip
            before = machine.scoreboard.wire_records
            connection.sendall(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = connection.recv(1 << 16)
            head, _, body = got.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), request
            assert body == TEXT[:size], request
            # the request and the response
            assert machine.scoreboard.wire_records - before == 2, request
        connection.close()


def test_a_slow_header_is_cut(machine: Machine, folder: Path) -> None:
    with serving(machine, folder) as server:
        connection = _client(server, machine)
        start = time.monotonic()
        cut = False
        for byte in b"GET /file.bin HTTP/1.1\r\n" * 100:
            try:
                connection.sendall(bytes((byte,)))
            except OSError:
                cut = True
                break
            time.sleep(0.05)
        assert cut
        assert time.monotonic() - start < 8
        connection.abort()


def test_a_slow_handshake_is_cut(machine: Machine, folder: Path) -> None:
    with serving(machine, folder) as server:
        with closing(_tcp(server)) as raw:
            start = time.monotonic()
            raw.sendall(b"\x16\x03\x01\x00")
            assert raw.recv(100) == b""
            assert time.monotonic() - start < 4
        deadline = time.monotonic() + 5
        while server.refused == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert server.refused == 1


# -------------------------------------------------------------------------- handshake


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("size", [1, 2, 5, 20, 37, 100])
def test_a_client_hello_in_pieces(machine: Machine, folder: Path, version: str, size: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with serving(machine, folder, version) as server:
        client = Client(server.server_address[1], context)
        send = client.raw.sendall

        class Cut:
            """The socket of the client; it cuts the first flight into records of `size` bytes."""

            first = True

            def sendall(self, data: bytes) -> None:
                if self.first:
                    self.first = False
                    body = data[5:]
                    pieces = [body[at : at + size] for at in range(0, len(body), size)]
                    head = data[:3]
                    data = b"".join(head + struct.pack(">H", len(p)) + p for p in pieces)
                send(data)

            def __getattr__(self, name: str) -> object:
                return getattr(raw, name)

        raw = client.raw
        client.raw = Cut()  # type: ignore[assignment]
        client.handshake()
        client.raw.sendall(bytes(client.sealed(b"GET /file.bin HTTP/1.0\r\n\r\n")))
        assert client.answer().endswith(TEXT)


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.0 400 "),
        (b"\x18\x03\x03\x00\x03abc", b"\x15\x03\x03\x00\x02\x02\x0a"),
        (b"\x16\x03\x03\xff\xff", b"\x15\x03\x03\x00\x02\x02\x16"),
    ],
    ids=["http", "heartbeat", "overflow"],
)
def test_what_is_no_handshake_gets_an_answer(
    machine: Machine, folder: Path, first: bytes, answer: bytes
) -> None:
    with serving(machine, folder) as server, closing(_tcp(server)) as raw:
        raw.sendall(first)
        assert raw.recv(200).startswith(answer)


# ------------------------------------------------------- messages after the handshake


def _alert_of(server: HttpsServer, machine: Machine, rtype: int, *messages: bytes) -> int:
    """Send control records and return the number of the alert that answers."""
    connection = _client(server, machine)
    try:
        for message in messages:
            connection._send_control(rtype, message)
        with pytest.raises(ConnectionError, match="sent alert") as e:
            connection.recv(1 << 16)
        return int(str(e.value).rsplit(" ", 1)[1])
    finally:
        connection.abort()


@pytest.mark.parametrize(
    ("messages", "alert"),
    [
        ([b"\x18\0\0\1\2"], 47), ([b"\x18\0\0\1\xff"], 47), ([b"\x18\0\0\2\0\0"], 50),
        ([b"\x18\0\0\0"], 50), ([b"\x18\0\0\1\0\x18"], 10), ([b"\x04\0\0\2ab"], 10),
        ([b"\x01\0\0\1\0"], 10), ([b"\x18\0", b"\0\1\2"], 47),
    ],
)  # fmt: skip
def test_wrong_messages_after_the_handshake(
    machine: Machine, folder: Path, messages: list[bytes], alert: int
) -> None:
    with serving(machine, folder, "1.3") as server:
        assert _alert_of(server, machine, 22, *messages) == alert


@pytest.mark.parametrize("cuts", [(1,), (2,), (4,), (1, 2, 3, 4)])
def test_a_key_update_in_several_records(
    machine: Machine, folder: Path, cuts: tuple[int, ...]
) -> None:
    """Linux's kTLS stops reading after the first of them."""
    with serving(machine, folder, "1.3") as server:
        connection = _client(server, machine)
        secret = connection._tx_secret
        assert secret is not None
        for start, end in zip((0, *cuts), (*cuts, 5), strict=True):
            connection._send_control(22, b"\x18\0\0\1\1"[start:end])
        key = secret.next().info().pack()
        with machine.lock:
            connection.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, key)
        connection.sendall(b"GET /file.bin HTTP/1.0\r\n\r\n")
        assert connection.makefile().read().endswith(TEXT)
        assert connection.key_updates == 1  # the answer
        connection.close()


def test_a_record_without_a_type(machine: Machine, folder: Path) -> None:
    """An inner plaintext of zeros, and ChangeCipherSpec: unexpected_message (RFC 8446, 5)."""
    with serving(machine, folder, "1.3") as server:
        assert _alert_of(server, machine, 0, bytes(3)) == 10
        connection = _client(server, machine)
        connection._raw.sendall(b"\x14\x03\x03\0\1\1")
        with pytest.raises(ConnectionError, match="sent alert 10"):
            connection.recv(10)
        connection.abort()


def test_renegotiation_is_declined_and_the_connection_goes_on(
    machine: Machine, folder: Path
) -> None:
    with serving(machine, folder, "1.2") as server:
        connection = _client(server, machine)
        connection._send_control(22, b"\x01\0\0\x20" + bytes(32))
        with pytest.raises(ConnectionError, match="sent alert 100"):
            connection.recv(100)
        connection.sendall(b"GET /file.bin HTTP/1.0\r\n\r\n")
        got = b""
        while piece := connection.recv(1 << 16):
            got += piece
        assert got.endswith(TEXT)
        connection.close()


# ------------------------------------------------------------------------------ fetch


def test_a_cut_transfer_leaves_no_file(
    machine: Machine, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server ends the connection in the middle of the content."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed())
    listener = socket.create_server(("127.0.0.1", 0))

    def cut() -> None:
        raw, _ = listener.accept()
        with context.wrap_socket(raw, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            tls.unwrap()

    thread = threading.Thread(target=cut)
    thread.start()
    out = tmp_path / "out"
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
    assert main(["fetch", "--insecure", "-o", str(out), url]) == 1
    thread.join()
    listener.close()
    assert "996 bytes early" in capsys.readouterr().err
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("out")]


def test_a_capture_is_private(tmp_path: Path) -> None:
    """Also if the file exists and others may read it."""
    for path in (tmp_path / "new", tmp_path / "old"):
        if path.name == "old":
            path.touch(0o644)
        Capture(path).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_finished_in_pieces_counts_as_several_records() -> None:
    """TLS 1.2: the first record of the application has the number behind them."""
    direction = handshake._Direction()
    whole = b"\x16\x03\x03\0\1x"
    direction.add(whole + b"\x14\x03\x03\0\1\1")
    assert direction.protected() == 0
    direction.add(whole * 3)
    assert direction.protected() == 3
