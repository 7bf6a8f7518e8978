# SPDX-License-Identifier: Apache-2.0
"""The simulated machine that live connections share: device, stack, scoreboard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ktls import KERNELS, Kernel, KtlsNic, KtlsStack, run_sync
from ktls_cosim.check.device import CheckedPort, Mismatch, MismatchError, NothingChecked, Scoreboard
from ktls_cosim.session import open_port

# the oldest kernel that can replace keys, which a KeyUpdate needs
LIVE_KERNEL = KERNELS["7.x"]


class LiveScoreboard(Scoreboard):
    """A scoreboard that tells at once what it finds."""

    def report(self, mismatch: Mismatch) -> None:
        super().report(mismatch)
        print(mismatch, flush=True)


class Machine:
    """A kTLS stack with a NIC, every record of which is checked.

    Attributes:
        lock: held around every use of the stack.
        stack: the kernel.
        scoreboard: what was checked.
        sleep: called with a description when a call of the model would sleep; False: a
            signal ends the call. By default nothing sleeps: who waits, waits outside.
    """

    def __init__(self, nic: KtlsNic, scoreboard: Scoreboard, kernel: Kernel) -> None:
        self.lock = threading.RLock()
        self.scoreboard = scoreboard
        self.sleep: Callable[[str], bool] = lambda _what: False
        self.stack = KtlsStack(nic, scoreboard, kernel=kernel, sleep=lambda what: self.sleep(what))

    def finish(self) -> str | None:
        """End the run.

        Returns:
            What was wrong, or None.
        """
        with self.lock:
            try:
                self.stack.sync_device()
                self.scoreboard.finish()
            except (MismatchError, NothingChecked) as e:
                return str(e)
        return None

    def summary(self) -> str:
        """One line for people."""
        sb = self.scoreboard
        return (
            f"records verified: {sb.device_records} of the device, {sb.wire_records} on the "
            f"wire, mismatches: {len(sb.mismatches)}"
        )


@contextmanager
def open_machine(
    port_kind: str, command: str, kernel: Kernel = LIVE_KERNEL, *, name: str
) -> Iterator[Machine]:
    """A machine with the device `port_kind`.

    Args:
        port_kind: `model` or `sim`.
        command: that repeats the run.
        kernel: whose behaviour.
        name: of the folder under `build/runs` for the simulator's log.
    """
    scoreboard = LiveScoreboard(command)
    with open_port(port_kind, name=name) as port:
        nic = run_sync(KtlsNic.probe(CheckedPort(port, scoreboard)))
        yield Machine(nic, scoreboard, kernel)
