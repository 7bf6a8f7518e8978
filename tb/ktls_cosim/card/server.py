# SPDX-License-Identifier: Apache-2.0
"""The loop of `ktls-cosim card`: sockets, one client at a time, and the device's own activity."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import selectors
import socket
import stat
from array import array
from collections.abc import Callable
from pathlib import Path

from ktls_cosim.card import protocol as p
from ktls_cosim.card.device import Device
from ktls_cosim.card.function import PciFunction
from ktls_cosim.card.session import Session
from ktls_cosim.errors import CosimError

_REFUSED_LIMIT = 16  # further clients that wait for their refusal
_ANCILLARY = socket.CMSG_LEN(p.MAX_FDS * array("i").itemsize)
_UNSENT_LIMIT = 4 * p.MAX_MESSAGE
_log = logging.getLogger("ktls.card")


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Return the descriptors that came with a message; `socket.recv_fds` takes twice the time."""
    fds = array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


class _Gone(Exception):
    """The client has closed its connection, or broken it."""


class _Connection:
    """The socket of a client: whole messages in, bytes out; never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._reader = p.Reader()
        self._unsent = bytearray()

    def receive(self) -> p.Message | None:
        """Receive what is there up to the end of one message; returns it if it is complete.

        Raises:
            _Gone: The connection has ended.
            BrokenStream: The client sent nonsense.
        """
        message = None
        while message is None:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(self._reader.wanted, _ANCILLARY)
            except BlockingIOError:
                return None
            except OSError as e:
                raise _Gone from e
            fds = _descriptors(ancillary) if ancillary else []
            if not data:
                for fd in fds:
                    os.close(fd)
                raise _Gone
            message = self._reader.feed(data, fds)
        return message

    def send(self, data: bytes = b"") -> None:
        """Send bytes, or keep them until the socket takes them.

        Raises:
            _Gone: The connection has ended, or the client reads nothing.
        """
        self._unsent += data
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent)]
        except BlockingIOError:
            if len(self._unsent) > _UNSENT_LIMIT:
                raise _Gone from None
        except OSError as e:
            raise _Gone from e

    @property
    def congested(self) -> bool:
        """Whether replies wait for the client; it then gets no further ones."""
        return bool(self._unsent)

    @property
    def id(self) -> int:
        """Number of the message that is being received."""
        return self._reader.id

    def close(self) -> None:
        """Close the socket and all descriptors that came through it."""
        self._reader.close()
        self.sock.close()


def listen(path: Path) -> socket.socket:
    """Listen at a path; the socket of a server that has ended is replaced.

    Raises:
        CosimError: Another server uses the path, or it is not a socket.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise CosimError(f"{path} exists and is not a socket; choose another --socket")
        with socket.socket(socket.AF_UNIX) as other:
            try:
                other.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise CosimError(f"a server uses {path} already; choose another --socket")
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
        sock.listen()
    except OSError as e:
        sock.close()
        # a path of more than 107 bytes has no errno
        raise CosimError(f"cannot listen at {path}: {e.strerror or e}") from e
    return sock


class Server:
    """Serves a card to one client after the other.

    Args:
        path: Path of the socket.
        device: The device of the card.
        gone: Called when a client has gone, before the reset of the card.

    Attributes:
        clients: Number of clients that were served.
    """

    def __init__(self, path: Path, device: Device, gone: Callable[[], None] = lambda: None) -> None:
        self.clients = 0
        self._gone = gone
        self._device = device
        self._function = PciFunction(device)
        device.bus_master = lambda: self._function.bus_master
        device.interrupt = self._function.interrupt
        self._client: _Connection | None = None
        self._session: Session | None = None
        self._congested = False  # the selector waits until the client reads
        self._refused: dict[int, _Connection] = {}
        self._listener = listen(path)
        self._path = path
        self._stopping = False
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        number = device.fileno()
        if number is not None:
            self._selector.register(number, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopping:
            self._step()

    def stop(self) -> None:
        """Let `run` return after its present step; a signal handler may call this."""
        self._stopping = True
        self._wake.send(b"x")

    def _step(self) -> None:
        """Wait for one or more events and handle them."""
        for key, _ in self._selector.select():
            if key.fileobj is self._listener:
                self._accept()
            elif self._client is not None and key.fileobj is self._client.sock:
                self._serve(self._client)
            elif key.fd in self._refused:
                self._refuse(self._refused[key.fd])
            elif key.fileobj is not self._woken:
                self._device.progress()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as e:
            # the client may have gone already, or this process has no descriptor left
            _log.warning("accept: %s", e)
            return
        connection = _Connection(sock)
        if self._client is None:
            self._client, self._session = connection, Session(self._function, self._device)
            self._congested = False
            self.clients += 1
            _log.info("client %d", self.clients)
        elif len(self._refused) < _REFUSED_LIMIT:
            # the refusal answers its first message
            self._refused[sock.fileno()] = connection
        else:
            connection.close()
            return
        self._selector.register(sock, selectors.EVENT_READ)

    def _serve(self, client: _Connection) -> None:
        assert self._session is not None
        try:
            if client.congested:
                client.send()
            else:
                message = client.receive()
                if message is not None:
                    client.send(self._session.answer(message))
        except p.BrokenStream as e:
            _log.warning("connection ends: %s", e)
            with contextlib.suppress(_Gone):
                client.send(p.error(e.number, client.id))
            self._drop()
            return
        except _Gone:
            self._drop()
            return
        if client.congested != self._congested:
            self._congested = client.congested
            wait = selectors.EVENT_WRITE if client.congested else selectors.EVENT_READ
            self._selector.modify(client.sock, wait)

    def _drop(self) -> None:
        """End the session of the client."""
        if self._client is not None and self._session is not None:
            _log.info("client %d has gone", self.clients)
            self._selector.unregister(self._client.sock)
            self._client.close()
            self._client = None
            self._gone()
            self._session.close()
            self._session = None

    def _refuse(self, connection: _Connection) -> None:
        """Answer the first message of a further client with EBUSY and hang up."""
        try:
            message = connection.receive()
            if message is None:
                return
            message.close()
            _log.warning("another client was refused: the card has one client at a time")
            connection.send(p.error(errno.EBUSY, message.id, message.command))
        except (_Gone, p.BrokenStream):
            pass
        del self._refused[connection.sock.fileno()]
        self._selector.unregister(connection.sock)
        connection.close()

    def close(self) -> None:
        """End all connections and remove the socket."""
        self._drop()
        for connection in self._refused.values():
            connection.close()
        self._refused.clear()
        self._selector.close()
        for sock in (self._listener, self._wake, self._woken):
            sock.close()
        self._path.unlink(missing_ok=True)
