# SPDX-License-Identifier: Apache-2.0
"""The simulated machine of real connections: device, kernel and checkers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ktls import KERNELS, Kernel, KtlsNic, KtlsStack, run_sync
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.golden import TrafficKeys
from ktls_cosim.check.mismatch import Mismatch, MismatchError, NothingChecked
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.session import open_port
from ktls_cosim.target import Target
from ktls_cosim.trace import traced

# the oldest modelled kernel that can replace keys, as KeyUpdate requires
LIVE_KERNEL = KERNELS["7.x"]


class LiveScoreboard(Scoreboard):
    """A scoreboard that prints each finding immediately."""

    def report(self, mismatch: Mismatch, keys: TrafficKeys | None = None) -> None:
        """Record and print a finding."""
        super().report(mismatch, keys)
        print(self.mismatches[-1], flush=True)


class Machine:
    """A kernel with a NIC whose records are all checked.

    Attributes:
        lock: Lock to hold around every use of the stack.
        stack: The kernel.
        scoreboard: Checker of sockets and device.
        sleep: Called with a description when a call of the model would sleep. It returns
            True to try again, or False if a signal ends the call. By default calls do not
            sleep; their callers wait outside the model.

    Args:
        nic: Driver of the device.
        scoreboard: Observer of the sockets and checker of the device.
        kernel: Kernel version to model.
    """

    def __init__(self, nic: KtlsNic, scoreboard: Scoreboard, kernel: Kernel) -> None:
        self.lock = threading.RLock()
        self.scoreboard = scoreboard
        self.sleep: Callable[[str], bool] = lambda _what: False
        self.stack = KtlsStack(nic, scoreboard, kernel=kernel, sleep=lambda what: self.sleep(what))

    def finish(self) -> str | None:
        """Run the final checks.

        Returns:
            The findings as text, or None if all checks passed.
        """
        with self.lock:
            try:
                self.stack.sync_device()
                self.scoreboard.finish()
            except (MismatchError, NothingChecked) as e:
                return str(e)
        return None

    def summary(self) -> str:
        """Return the counts of checked records in one line."""
        sb = self.scoreboard
        return (
            f"records verified: {sb.device_records} of the device, {sb.wire_records} on the "
            f"wire, mismatches: {len(sb.mismatches)}"
        )


@contextmanager
def open_machine(
    port_kind: str,
    command: str,
    kernel: Kernel = LIVE_KERNEL,
    *,
    name: str,
    target: Target | None = None,
    trace: Path | None = None,
) -> Iterator[Machine]:
    """Provide a machine until the end of the block.

    Args:
        port_kind: Device: `model` or `sim`.
        command: Command that repeats the run.
        kernel: Kernel version to model.
        name: Folder under `build/runs` for the simulator's log.
        target: Simulator and lanes of `sim`.
        trace: File for the driver's accesses to the device.
    """
    scoreboard = LiveScoreboard(command)
    with (
        open_port(port_kind, target=target, name=name) as port,
        traced(CheckedPort(port, scoreboard), trace) as checked,
    ):
        nic = run_sync(KtlsNic.probe(checked, strict=True, contiguous=True))
        yield Machine(nic, scoreboard, kernel)
