# SPDX-License-Identifier: Apache-2.0
"""The kernel around the sockets: its version, NIC, counters and scheduler."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from ktls.errors import BlocksForever
from ktls.kernels import DEFAULT_KERNEL, Kernel
from ktls.nic import KtlsNic
from ktls.port import run_sync
from ktls.ring import Completion

Work = Callable[[], Awaitable[None]]
"""Work for the device: a coroutine function."""

# net/tls/tls_proc.c
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
    """Receives reports about the sockets of a stack; scoreboards implement it.

    `conn` is the number of the connection. `ktls.tap.Tap` sends the reports.
    """

    def tx_configured(self, conn: int, crypto_info: bytes) -> None:
        """TLS_TX was set with these bytes."""

    def app_sent(self, conn: int, rtype: int, data: bytes) -> None:
        """A call accepted these bytes for records of type `rtype`."""

    def app_dropped(self, conn: int, count: int) -> None:
        """The last `count` accepted bytes will not be sent, because Linux drops them."""

    def record_done(self, conn: int, rtype: int, length: int, completion: Completion) -> None:
        """The device completed a record with `length` bytes of plaintext."""

    def wire_sent(self, conn: int, data: bytes) -> None:
        """These bytes left for the peer."""

    def rx_configured(self, conn: int, crypto_info: bytes, unread: bytes) -> None:
        """TLS_RX was set with these bytes; the records start with TCP's unread bytes."""

    def wire_received(self, conn: int, data: bytes) -> None:
        """These bytes arrived from the peer."""

    def app_received(self, conn: int, rtype: int, data: bytes) -> None:
        """A call delivered these bytes from records of type `rtype`."""

    def closed(self, conn: int) -> None:
        """The socket was closed; if the port suspends, bytes may still leave."""


class KtlsStack:
    """One machine: its sockets share a kernel version, a NIC and counters.

    Args:
        nic: offloads records; None for a machine without such a NIC.
        observer: receives reports about every socket.
        kernel: personality of the kernel.
        settle_at_once: run the device within each call. If the port suspends (inside
            cocotb), pass False and `await settle()`.
        sleep: called with a description when a call would sleep. True: check again.
            False: a signal interrupts the call. By default such a call raises
            `BlocksForever`, because nothing happens in this model while a call sleeps.

    Attributes:
        tls_stat: counters of /proc/net/tls_stat, by name.
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
        """Return the number of a new connection, from 1 on."""
        self._conns += 1
        return self._conns

    def proc_net_tls_stat(self) -> str:
        """Return the text of /proc/net/tls_stat."""
        names = TLS_STAT + (TLS_STAT_REKEY if self.kernel.rekey else ())
        return "".join(f"{name:<32}\t{self.tls_stat[name]}\n" for name in names)

    # ------------------------------------------------------------------- the device

    def submit(self, work: Work) -> None:
        """Queue work for the device; it runs in order."""
        self._work.append(work)

    async def advance(self) -> None:
        """Run all queued work and reap the completions that are ready."""
        while self._work:
            await self._work.popleft()()
        if self.nic is not None:
            await self.nic.poll()

    async def settle(self) -> None:
        """Run all queued work and wait until the device is idle: all bytes have been sent."""
        while self._work:
            await self._work.popleft()()
        if self.nic is not None:
            await self.nic.flush()

    def kick_device(self) -> None:
        """Run queued work at the end of a call, unless the port suspends."""
        if self._work and self._settle_at_once:
            run_sync(self.advance())

    def sync_device(self) -> None:
        """Wait for the device before a call uses its results, unless the port suspends."""
        if self.nic is not None and self._settle_at_once:
            run_sync(self.settle())

    # ---------------------------------------------------------------- the scheduler

    def sleep(self, what: str) -> bool:
        """Make a call wait.

        Args:
            what: description of the wait.

        Returns:
            True to check again, False if a signal interrupts the call.

        Raises:
            BlocksForever: the stack has no `sleep` function, so the wait could never end.
        """
        self.sync_device()
        if self._sleep is None:
            raise BlocksForever(
                f"{what} would block forever: nothing else runs in this model. Use "
                "MSG_DONTWAIT or a timeout, or give KtlsStack a `sleep` function"
            )
        return self._sleep(what)
