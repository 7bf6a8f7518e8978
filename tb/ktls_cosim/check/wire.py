# SPDX-License-Identifier: Apache-2.0
"""The socket-side checker: compare the bytes on the wire with the bytes of the application."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ktls_cosim.check.diagnosis import diagnose
from ktls_cosim.check.golden import (
    TrafficKeys,
    open_body,
    open_record,
    seal_record,
    split_records,
)
from ktls_cosim.check.mismatch import Mismatch, MismatchError, NothingChecked

_TAG = 16
_HEADER = 5
_MATCH = 8  # bytes that must agree before text counts as moved
_log = logging.getLogger("ktls.check")


@dataclass(slots=True)
class _Received:
    """The receive direction of a connection.

    Attributes:
        keys: Current keys.
        records: Number of records opened under the current keys.
        before: Replaced keys and the number of records opened under them. A call may have
            opened a record under the old keys before the application set the new ones.
        wire: Bytes from the peer that have not been opened yet.
        rtype: Type of the last opened record.
        text: Bytes of the last opened record that the application has not received yet.
    """

    keys: TrafficKeys
    records: int = 0
    before: tuple[TrafficKeys, int] | None = None
    wire: bytearray = field(default_factory=bytearray)
    rtype: int = -1
    text: bytes = b""

    def next(self) -> bool | None:
        """Open the next record.

        Returns:
            None if no complete record has arrived, False if the record does not authenticate.
        """
        record = next(split_records(self.wire), None)
        if record is None:
            return None
        opened = _open_as_linux(self.keys, self.records, record)
        if opened is not None:
            self.records += 1
        elif self.before is not None:
            keys, index = self.before
            opened = _open_as_linux(keys, index, record)
            self.before = keys, index + 1
        if opened is None:
            return False
        self.rtype, self.text = opened
        return True


def _open_as_linux(keys: TrafficKeys, index: int, record: bytes) -> tuple[int, bytes] | None:
    """Open a record without checking the outer type of TLS 1.3, as Linux does."""
    at = _HEADER + len(keys.explicit_nonce(index))
    if len(record) < at + _TAG:
        return None
    return open_body(keys, index, record[0], record[_HEADER:at], record[at:])


@dataclass(slots=True)
class _Connection:
    """Expected bytes and wire bytes of one connection.

    Attributes:
        expected: Bytes that the application sent and the wire has not carried yet, with
            their record type.
        wire: Bytes of a record that is not complete yet.
        records: Number of records on the wire under the current keys.
        broken: A check failed, so later records are not checked.
    """

    keys: TrafficKeys | None = None
    expected: deque[tuple[int, bytearray]] = field(default_factory=deque)
    wire: bytearray = field(default_factory=bytearray)
    records: int = 0
    broken: bool = False
    received: _Received | None = None


def _compare(
    c: _Connection, keys: TrafficKeys, index: int, record: bytes
) -> tuple[tuple[str, ...], str | None]:
    """Compare a record with the golden record of the text that the application sent next.

    Returns:
        Lines that show the difference, and a likely cause; nothing if no such text is left.
    """
    rtype, text = next(((t, bytes(data)) for t, data in c.expected if data), (-1, b""))
    overhead = len(seal_record(keys, index, max(rtype, 0), b"").wire)
    if rtype < 0 or not 0 <= len(record) - overhead <= len(text):
        return (), None
    _, lines, cause = diagnose(keys, index, rtype, text[: len(record) - overhead], record)
    return lines, cause


class Scoreboard:
    """Collects the findings of all checkers, and is itself the observer of the sockets.

    Pass it to `ktls.KtlsStack` as the observer, and to `CheckedPort` as the place to report to.

    Attributes:
        reproduce: Command that repeats the run, with its seed.
        mismatches: Findings so far.
        device_records, device_bytes: Records, and bytes of their text, that the device sealed
            or opened and that equal the golden model.
        device_refused: Descriptors that completed with an error.
        device_spoiled: Records of a card whose memory the driver changed meanwhile: nobody can say
            what is right.
        first_refused: Description of the first TLS record among them, or an empty string.
        wire_records, wire_bytes: Checked records on the wire, and bytes of their text.
        received_bytes: Checked bytes that the application received.
        clock: Returns the time of the device in nanoseconds, if it is known; `CheckedPort`
            sets it.

    Args:
        reproduce: Command to print with the findings.
    """

    def __init__(self, reproduce: str = "(no command given)") -> None:
        self.reproduce = reproduce
        self.mismatches: list[Mismatch] = []
        self.device_records = 0
        self.device_bytes = 0
        self.device_refused = 0
        self.device_spoiled = 0
        self.first_refused = ""
        self.wire_records = 0
        self.wire_bytes = 0
        self.received_bytes = 0
        self.clock: Callable[[], int | None] = lambda: None
        self._connections: dict[int, _Connection] = {}
        self._last_checks: list[Callable[[], None]] = []

    @property
    def open_connections(self) -> int:
        """Number of connections with state: open, or closed with bytes left over."""
        return len(self._connections)

    def report(self, mismatch: Mismatch, keys: TrafficKeys | None = None) -> None:
        """Record a finding, with the time of the device.

        Args:
            mismatch: The finding.
            keys: Keys of the record; they lead to its connection.
        """
        where = mismatch.where
        if keys is not None and (conn := self.connection_with(keys)) is not None:
            where = f"connection {conn}, {where}"
        self.mismatches.append(replace(mismatch, where=where, time_ns=self.clock()))
        _log.info("%s", self.mismatches[-1])

    def connection_with(self, keys: TrafficKeys) -> int | None:
        """Return the number of the connection with these keys, or None."""
        for number, c in self._connections.items():
            for own in (c.keys, c.received and c.received.keys):
                if own and (own.key, own.salt) == (keys.key, keys.salt):
                    return number
        return None

    def at_finish(self, check: Callable[[], None]) -> None:
        """Register a check that `finish` runs first; it calls `report` on a finding."""
        self._last_checks.append(check)

    def finish(self) -> None:
        """End the run and raise if any check failed.

        Raises:
            MismatchError: A check failed, or bytes or descriptors are left over.
            NothingChecked: No record was checked.
        """
        for check in self._last_checks:
            check()
        for number, c in self._connections.items():
            rest = sum(len(data) for _, data in c.expected)
            if (rest or c.wire) and not c.broken:
                self.report(
                    Mismatch(
                        "leftover",
                        f"connection {number}",
                        (
                            f"{rest} accepted bytes never reached the wire",
                            f"{len(c.wire)} bytes on the wire are not a complete record",
                        ),
                    )
                )
        if self.mismatches:
            raise MismatchError(self.mismatches, self.reproduce)
        if not self.wire_records and not self.device_records:
            raise NothingChecked(f"no record was checked; reproduce: {self.reproduce}")

    # -------------------------------------------------- ktls.stack.Observer: transmit

    def _conn(self, number: int) -> _Connection:
        c = self._connections.get(number)
        if c is None:
            c = self._connections[number] = _Connection()
        return c

    def tx_configured(self, conn: int, crypto_info: bytes) -> None:
        """Note the transmit keys: TLS_TX was set to this `struct tls12_crypto_info_*`."""
        c = self._conn(conn)
        c.keys = TrafficKeys.from_crypto_info(crypto_info)
        c.records = 0

    def app_sent(self, conn: int, rtype: int, data: bytes) -> None:
        """Expect bytes that a call accepted for records of type `rtype`."""
        expected = self._conn(conn).expected
        if expected and expected[-1][0] == rtype:
            expected[-1][1].extend(data)
        else:
            expected.append((rtype, bytearray(data)))

    def app_dropped(self, conn: int, count: int) -> None:
        """Stop expecting the last `count` accepted bytes; Linux drops them on an error."""
        expected = self._conn(conn).expected
        if count:
            _, tail = expected[-1]
            del tail[len(tail) - count :]
            if not tail:
                expected.pop()

    def record_done(self, conn: int, rtype: int, length: int, completion: object) -> None:
        """Ignore the driver's view of a completion; `CheckedPort` reads the ring itself."""

    def wire_sent(self, conn: int, data: bytes) -> None:
        """Check the records that bytes on the wire complete."""
        c = self._conn(conn)
        if c.keys is None or c.broken:
            return
        c.wire += data
        for record in split_records(c.wire):
            self._check_wire(conn, c, record)

    def _check_wire(self, conn: int, c: _Connection, record: bytes) -> None:
        assert c.keys is not None
        index = c.records
        c.records += 1
        where = f"connection {conn}, record {c.keys.first_number + index}"
        opened = open_record(c.keys, index, record)
        if opened is None:
            # every later record would repeat this finding
            c.broken = True
            lines, cause = _compare(c, c.keys, index, record)
            found = ("the record does not authenticate", *lines)
            self.report(Mismatch("open", where, found, cause=cause))
            return
        rtype, plain = opened
        while c.expected and not c.expected[0][1]:
            c.expected.popleft()
        want_type, want = c.expected[0] if c.expected else (-1, bytearray())
        if plain and (rtype != want_type or not want.startswith(plain)):
            c.broken = True
            at = next((i for i, x in enumerate(plain) if i >= len(want) or want[i] != x), 0)
            due = f"type {want_type}: {want[at : at + 16].hex(' ')}" if want else "no more bytes"
            lines, cause = _compare(c, c.keys, index, record)
            if not any(plain) and self.device_records and not self.mismatches:
                # the check of the device has compared the record with its source
                cause = "the device sealed zeros: the driver did not write the text to the source"
            elif not want or (rtype == want_type and plain[at : at + _MATCH] in want):
                cause = "bytes lost, repeated or out of order between application and wire"
            self.report(
                Mismatch(
                    "stream",
                    where,
                    (
                        f"{len(plain)} bytes; those of the application differ from byte {at} on",
                        f"expected {due}",
                        f"got      type {rtype}: {plain[at : at + 16].hex(' ')}",
                        *lines,
                    ),
                    cause=cause,
                )
            )
            return
        del want[: len(plain)]
        if seal_record(c.keys, index, rtype, plain).wire != record:
            name, lines, cause = diagnose(c.keys, index, rtype, plain, record)
            self.report(Mismatch("golden", where, lines, name, cause))
        _log.debug("%s: type %d, %d bytes checked", where, rtype, len(plain))
        self.wire_records += 1
        self.wire_bytes += len(plain)

    # --------------------------------------------------- ktls.stack.Observer: receive

    def rx_configured(self, conn: int, crypto_info: bytes, unread: bytes) -> None:
        """Note the receive keys: TLS_RX was set; `unread` bytes wait in the TCP queue."""
        c = self._conn(conn)
        keys = TrafficKeys.from_crypto_info(crypto_info)
        if c.received is None:
            c.received = _Received(keys, wire=bytearray(unread))
        else:
            c.received.before = c.received.keys, c.received.records
            c.received.keys, c.received.records = keys, 0

    def wire_received(self, conn: int, data: bytes) -> None:
        """Keep bytes that arrived from the peer."""
        c = self._conn(conn)
        if c.received is not None:
            c.received.wire += data

    def app_received(self, conn: int, rtype: int, data: bytes) -> None:
        """Check bytes that a call returned from records of type `rtype`."""
        c = self._conn(conn)
        r = c.received
        where = f"connection {conn}, receiving"
        left = data
        while r is not None and left:
            while not r.text:
                opened = r.next()
                if not opened:
                    source = "no record" if opened is None else "a forged record"
                    self._stop_received(c, where, f"{len(left)} bytes from {source}")
                    return
            n = min(len(left), len(r.text))
            if (rtype, left[:n]) != (r.rtype, r.text[:n]):
                got = f"type {rtype}, {left[:16].hex(' ')}"
                self._stop_received(c, where, f"{got}; expected {r.rtype}, {r.text[:16].hex(' ')}")
                return
            left, r.text = left[n:], r.text[n:]
            self.received_bytes += n

    def _stop_received(self, c: _Connection, where: str, finding: str) -> None:
        # every later byte would repeat this finding
        c.received = None
        cause = "bytes lost, repeated or out of order between wire and application"
        self.report(Mismatch("received", where, (finding,), cause=cause))

    def closed(self, conn: int) -> None:
        """Forget a closed connection whose bytes have all been checked."""
        c = self._conn(conn)
        if not c.wire and not any(data for _, data in c.expected):
            # the memory of a long-running server must not grow with each connection
            del self._connections[conn]
