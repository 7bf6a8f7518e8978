# SPDX-License-Identifier: Apache-2.0
"""The kernel around the sockets: its version, its NIC, its counters, its scheduler."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from ktls.errors import BlocksForever
from ktls.kernels import DEFAULT_KERNEL, Kernel
from ktls.nic import Completion, KtlsNic
from ktls.port import run_sync
from ktls.tls_device import Work

TLS_STAT = (
    "TlsCurrTxSw",
    "TlsCurrRxSw",
    "TlsCurrTxDevice",
    "TlsCurrRxDevice",
    "TlsTxSw",
    "TlsRxSw",
    "TlsTxDevice",
    "TlsRxDevice",
    "TlsDecryptError",
    "TlsRxDeviceResync",
    "TlsDecryptRetry",
    "TlsRxNoPadViolation",
)
TLS_STAT_REKEY = (
    "TlsRxRekeyOk",
    "TlsRxRekeyError",
    "TlsTxRekeyOk",
    "TlsTxRekeyError",
    "TlsRxRekeyReceived",
)


class Observer(Protocol):
    """Watches sockets from the side; used by scoreboards, never needed."""

    def tx_configured(self, conn: int, crypto_info: bytes) -> None:
        """TLS_TX was set with these bytes."""

    def app_sent(self, conn: int, rtype: int, data: bytes) -> None:
        """A call accepted these bytes for records of this type."""

    def app_dropped(self, conn: int, count: int) -> None:
        """The last `count` accepted bytes will not be sent, as Linux drops them."""

    def record_done(self, conn: int, rtype: int, length: int, completion: Completion) -> None:
        """The device completed a record."""

    def wire_sent(self, conn: int, data: bytes) -> None:
        """These bytes left towards the peer."""

    def rx_configured(self, conn: int, crypto_info: bytes, unread: bytes) -> None:
        """TLS_RX was set with these bytes; records begin with what TCP holds unread."""

    def wire_received(self, conn: int, data: bytes) -> None:
        """These bytes came from the peer."""

    def app_received(self, conn: int, rtype: int, data: bytes) -> None:
        """A call handed these bytes out of records of this type."""

    def closed(self, conn: int) -> None:
        """The socket was closed; with a port that suspends, bytes may still follow."""


class KtlsStack:
    """One machine: sockets made here share a kernel version, a NIC and counters.

    Args:
        nic: offloads what it can; None is a machine without such a NIC.
        observer: watches every socket.
        kernel: whose behaviour.
        settle_at_once: give work to the device at the end of each call. With a port
            that suspends (inside cocotb) this must be False, and `await settle()`
            does it.
        sleep: called with a description when a call would sleep; True: look again,
            False: a signal has come. By default such a call raises `BlocksForever`,
            because in this model nothing happens while a call sleeps.

    Attributes:
        tls_stat: what /proc/net/tls_stat counts, by name.
    """

    def __init__(
        self,
        nic: KtlsNic | None = None,
        observer: Observer | None = None,
        *,
        kernel: Kernel = DEFAULT_KERNEL,
        settle_at_once: bool = True,
        sleep: Callable[[str], bool] | None = None,
    ) -> None:
        self.nic = nic
        self.observer = observer
        self.kernel = kernel
        self.tls_stat: Counter[str] = Counter()
        self._settle_at_once = settle_at_once
        self._sleep = sleep
        self._work: deque[Work] = deque()
        self._conns = 0

    def next_conn(self) -> int:
        """A number for a new connection."""
        self._conns += 1
        return self._conns

    def proc_net_tls_stat(self) -> str:
        """The text of /proc/net/tls_stat."""
        names = TLS_STAT + (TLS_STAT_REKEY if self.kernel.rekey else ())
        return "".join(f"{name:<32}\t{self.tls_stat[name]}\n" for name in names)

    # ------------------------------------------------------------------- the device

    def submit(self, work: Work) -> None:
        """Queue work for the device."""
        self._work.append(work)

    async def advance(self) -> None:
        """Give the device all queued work and take what it has done."""
        while self._work:
            await self._work.popleft()()
        if self.nic is not None:
            await self.nic.poll()

    async def settle(self) -> None:
        """Wait until the device has done everything, so that all bytes are on their way."""
        while self._work:
            await self._work.popleft()()
        if self.nic is not None:
            await self.nic.flush()

    def after_send(self) -> None:
        """A call has perhaps made work."""
        if self._work and self._settle_at_once:
            run_sync(self.advance())

    def before_look(self) -> None:
        """A call is about to look at what the device may have changed."""
        if self.nic is not None and self._settle_at_once:
            run_sync(self.settle())

    # ---------------------------------------------------------------- the scheduler

    def sleep(self, what: str) -> bool:
        """A call has to wait.

        Returns:
            True to look again, False if a signal ends the call.

        Raises:
            BlocksForever: nobody can end the wait.
        """
        self.before_look()
        if self._sleep is None:
            raise BlocksForever(
                f"{what} would block for ever: nothing else runs in this model. Use "
                "MSG_DONTWAIT, a time-out, or give KtlsStack a `sleep` function"
            )
        return self._sleep(what)
