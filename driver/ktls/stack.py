# SPDX-License-Identifier: Apache-2.0
"""The kernel around the sockets: its version, NIC, counters and scheduler."""

from __future__ import annotations

import logging
import weakref
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Protocol

from ktls.errors import BlocksForever
from ktls.kernels import DEFAULT_KERNEL, Kernel
from ktls.nic import KtlsNic
from ktls.nic_health import NicState
from ktls.port import run_sync
from ktls.ring import Completion

Work = Callable[[], Awaitable[None]]
"""Work for the device: a coroutine function."""

# resets of a failed device in a row without a record in between
_MAX_RECOVERIES = 3
_log = logging.getLogger("ktls.driver")

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


class DeviceUser(Protocol):
    """A direction of a connection whose keys may be in the device."""

    def device_lost(self) -> None:
        """Note that the device has failed."""

    async def install(self) -> None:
        """Install the keys, unless the device has them."""


class StackLock:
    """A reentrant lock that a sleeping call can release completely."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._depth = 0  # of the thread that holds the lock

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Undo one `with` or `acquire_unused`."""
        self._depth -= 1
        self._lock.release()

    def acquire_unused(self) -> bool:
        """Take the lock if nobody holds it, not even this thread; returns whether it did."""
        if not self._lock.acquire(blocking=False):
            return False
        if self._depth:
            self._lock.release()
            return False
        self._depth = 1
        return True

    @contextmanager
    def released(self) -> Iterator[None]:
        """Release the lock until the end of the block, whatever its depth is."""
        depth, self._depth = self._depth, 0
        for _ in range(depth):
            self._lock.release()
        try:
            yield
        finally:
            for _ in range(depth):
                self._lock.acquire()
            self._depth = depth


class KtlsStack:
    """One machine: its sockets share a kernel version, a NIC and counters.

    If the device fails, its connections continue in software. The stack then resets the
    device, a few times at most, and installs the keys of all connections again.

    Sockets of one stack may be used by several threads: a call holds the stack's lock,
    except while it sleeps.

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
        lock: held by every call of a socket.
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
        self._users: weakref.WeakValueDictionary[int, DeviceUser] = weakref.WeakValueDictionary()
        self._next_user = 0
        self._recoveries = 0  # in a row
        self._records = 0  # that the device had processed at the last recovery
        self.lock = StackLock()
        if nic is not None:
            nic.listeners.append(self._device_changed)

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
        await self._run_work()
        if self.nic is not None:
            await self.nic.poll()
            if await self._recovered():
                await self._run_work()

    async def settle(self) -> None:
        """Run all queued work and wait until the device is idle: all bytes have been sent."""
        while True:
            await self._run_work()
            if self.nic is None:
                return
            await self.nic.flush()
            if not await self._recovered() and not self._work:
                return

    async def _run_work(self) -> None:
        while self._work:
            await self._work.popleft()()

    def register(self, user: DeviceUser) -> None:
        """Inform a direction of a connection about failures and recoveries of the device."""
        self._users[self._next_user] = user
        self._next_user += 1

    def _device_changed(self) -> None:
        """Move every connection to software, or back to the device."""
        assert self.nic is not None
        for user in list(self._users.values()):
            if self.nic.state is NicState.UP:
                self.submit(user.install)
            else:
                user.device_lost()

    async def recover(self) -> bool:
        """Use a failed device again, even if the stack has given it up.

        Returns:
            Whether the device is up.
        """
        self._recoveries = 0
        await self._recovered()
        return self.nic is not None and self.nic.state is NicState.UP

    async def _recovered(self) -> bool:
        """Reset a device that has failed; returns whether it has become usable."""
        nic = self.nic
        if nic is None or nic.state is not NicState.DOWN or nic.strict:
            return False
        if nic.records != self._records:
            # the device worked in between
            self._recoveries = 0
        self._records = nic.records
        while self._recoveries < _MAX_RECOVERIES:
            self._recoveries += 1
            if await nic.recover():
                return True
        return False

    def kick_device(self) -> None:
        """Run queued work at the end of a call, unless the port suspends."""
        if self._work and self._settle_at_once:
            run_sync(self.advance())

    def sync_device(self) -> None:
        """Wait for the device before a call uses its results, unless the port suspends."""
        if self.nic is not None and self._settle_at_once and (self._work or not self.nic.settled):
            run_sync(self.settle())

    def clean_up(self) -> None:
        """Run the work of a socket that was dropped without close(2), unless a call is running.

        A finalizer calls this, so any code may be interrupted. The next call runs what is left.
        """
        if self.nic is None or not self.lock.acquire_unused():
            return
        try:
            if not self.nic.in_access:
                self.kick_device()
        except Exception:
            _log.exception("removing the keys of a dropped socket")
        finally:
            self.lock.release()

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
        with self.lock.released():
            return self._sleep(what)
