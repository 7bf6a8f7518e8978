# SPDX-License-Identifier: Apache-2.0
"""The reports of one socket to the observer of its stack."""

from __future__ import annotations

from ktls.record import Buffer
from ktls.ring import Completion
from ktls.stack import Observer


class Tap:
    """Reports the events of one connection; a socket without an observer has no tap.

    Args:
        observer: receives the reports.
        conn: number of the connection.
    """

    def __init__(self, observer: Observer, conn: int) -> None:
        self._observer = observer
        self._conn = conn

    def tx_configured(self, crypto_info: bytes) -> None:
        """Report the keys of TLS_TX."""
        self._observer.tx_configured(self._conn, crypto_info)

    def rx_configured(self, crypto_info: bytes, unread: bytes) -> None:
        """Report the keys of TLS_RX and the unread bytes with which the records start."""
        self._observer.rx_configured(self._conn, crypto_info, unread)

    def app_sent(self, rtype: int, data: Buffer) -> None:
        """Report bytes that a call accepted for records of type `rtype`."""
        self._observer.app_sent(self._conn, rtype, bytes(data))

    def app_dropped(self, count: int) -> None:
        """Report that the last `count` accepted bytes will not be sent."""
        if count:
            self._observer.app_dropped(self._conn, count)

    def app_received(self, rtype: int, data: bytes) -> None:
        """Report bytes that a call delivered from records of type `rtype`."""
        self._observer.app_received(self._conn, rtype, data)

    def record_done(self, rtype: int, length: int, completion: Completion) -> None:
        """Report that the device completed a record with `length` bytes of plaintext."""
        self._observer.record_done(self._conn, rtype, length, completion)

    def wire_sent(self, data: bytes) -> None:
        """Report bytes that left for the peer."""
        self._observer.wire_sent(self._conn, data)

    def wire_received(self, data: bytes) -> None:
        """Report bytes that arrived from the peer."""
        self._observer.wire_received(self._conn, data)

    def closed(self) -> None:
        """Report that the socket was closed."""
        self._observer.closed(self._conn)
