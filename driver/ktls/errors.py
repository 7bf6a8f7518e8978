# SPDX-License-Identifier: Apache-2.0
"""Errors of the kTLS model and its driver."""

from __future__ import annotations

import errno
import os


class KtlsError(Exception):
    """Base of everything that this package raises."""


def errno_name(number: int) -> str:
    """Linux's usual name of an errno; where there are two, the one that socket calls use."""
    return {errno.EOPNOTSUPP: "EOPNOTSUPP"}.get(number) or errno.errorcode.get(number, str(number))


class KtlsOSError(KtlsError, OSError):
    """A socket call failed as it would in Linux; `errno` has Linux's number."""

    def __init__(self, number: int, why: str = "") -> None:
        text = os.strerror(number)
        super().__init__(number, f"{text} ({why})" if why else text)

    def __str__(self) -> str:
        return f"{errno_name(self.errno or 0)}: {self.strerror}"


class PortSuspended(KtlsError):
    """A port that must not wait did; await the coroutine instead of using `run_sync`."""


class BlocksForever(KtlsError):
    """A blocking call waits for something that cannot happen in this model."""


class NotOffloadable(KtlsError):
    """The device cannot take this connection; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DeviceError(KtlsError):
    """The device broke its contract or reported a fatal state.

    Attributes:
        registers: name to value, read when the error was found.
        rings: the driver's view of the rings.
    """

    def __init__(
        self,
        what: str,
        registers: dict[str, int] | None = None,
        rings: dict[str, int] | None = None,
    ) -> None:
        self.registers = registers or {}
        self.rings = rings or {}
        lines = [what]
        if self.rings:
            lines.append("rings: " + ", ".join(f"{k}={v}" for k, v in self.rings.items()))
        if self.registers:
            lines.append(
                "registers: " + ", ".join(f"{k}={v:#x}" for k, v in self.registers.items())
            )
        super().__init__("\n".join(lines))


class DeviceIdle(DeviceError):
    """The driver waits for a completion, but the device has nothing left to do."""
