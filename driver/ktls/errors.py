# SPDX-License-Identifier: Apache-2.0
"""Errors of the kTLS model and its driver."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence


class KtlsError(Exception):
    """Base class of the errors of this package."""


def errno_name(number: int) -> str:
    """Return Linux's name of an errno; of two names, the one that socket calls use."""
    return {errno.EOPNOTSUPP: "EOPNOTSUPP"}.get(number) or errno.errorcode.get(number, str(number))


class KtlsOSError(KtlsError, OSError):
    """A socket call failed as it would in Linux.

    Args:
        number: Linux's errno.
        why: the reason, for the message.

    Attributes:
        cmsgs: control messages that the failed call has written, as (level, type, data).
        optlen: the optlen that the failed getsockopt has written, None if it has not.
    """

    def __init__(self, number: int, why: str = "") -> None:
        self.cmsgs: Sequence[tuple[int, int, bytes]] = ()
        self.optlen: int | None = None
        text = os.strerror(number)
        super().__init__(number, f"{text} ({why})" if why else text)

    def __str__(self) -> str:
        return f"{errno_name(self.errno or 0)}: {self.strerror}"


class PortSuspended(KtlsError):
    """A coroutine suspended under `run_sync`; await it instead."""


class BlocksForever(KtlsError):
    """A blocking call waits for an event that cannot happen in this model."""


class NotOffloadable(KtlsError):
    """The device cannot take this connection.

    Attributes:
        reason: why not.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DeviceError(KtlsError):
    """The device violated its contract or reported a fatal state.

    Attributes:
        registers: values by name, read when the error was detected.
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
        lines = [what, *self._doorbells()]
        if self.rings:
            lines += ["rings:", *_columns([f"{k}={v}" for k, v in self.rings.items()])]
        if self.registers:
            lines += ["registers:", *_columns([f"{k}={v:#x}" for k, v in self.registers.items()])]
        super().__init__("\n".join(lines))

    def _doorbells(self) -> list[str]:
        """Describe each ring of which the device does not know all posted descriptors."""
        lines = []
        for name, posted in self.rings.items():
            if not name.endswith("sq_prod"):
                continue
            register = name.upper() if name.startswith("ring") else f"RING0_{name.upper()}"
            known = self.registers.get(register, posted)
            if known != posted:
                lines.append(
                    f"likely cause: no doorbell: the driver has posted up to descriptor {posted}, "
                    f"but {register} is {known}"
                )
        return lines


def _columns(items: list[str]) -> list[str]:
    """Return the items as indented lines with three columns."""
    width = max(map(len, items)) + 2
    rows = (items[i : i + 3] for i in range(0, len(items), 3))
    return ["  " + "".join(item.ljust(width) for item in row).rstrip() for row in rows]


class DeviceIdle(DeviceError):
    """The driver waits for a completion, but the device has no work left."""


class DeviceBusy(DeviceError):
    """Another driver instance uses the device."""


class DeviceDown(DeviceError):
    """The driver has given up the device (`KtlsNic.remove`), or could not recover it."""


class StaleContext(DeviceError):
    """The context was deleted, or the device has lost it."""
