# SPDX-License-Identifier: Apache-2.0
"""Whether the driver uses its device: UP, DOWN after a failure, or REMOVED.

Every access to registers or DMA memory runs inside `Health.access`, which turns the failure of
one into the state DOWN.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from ktls.errors import DeviceError

# what a port raises when an access fails
ACCESS_ERRORS = (OSError, MemoryError)
_log = logging.getLogger("ktls.driver")


class NicState(Enum):
    """Whether the driver uses the device."""

    UP = "up"
    DOWN = "down"
    """The device has failed; `KtlsNic.recover` tries to use it again."""
    REMOVED = "removed"


class Health:
    """The state of a device, and the only place that changes it.

    Args:
        lose: called once when the device goes DOWN; reports everything in flight as lost.

    Attributes:
        state: whether the driver uses the device.
        why_down: the reason of the last failure, None without one.
        events: how often each unusual event has happened, by name.
        strict: raise every failure of the device, after all losses have been reported.
        listeners: called after each change of `state`.
    """

    def __init__(self, lose: Callable[[], None]) -> None:
        self.state = NicState.DOWN
        self.why_down: str | None = None
        self.events: Counter[str] = Counter()
        self.strict = False
        self.listeners: list[Callable[[], None]] = []
        self._lose = lose
        self._accesses = 0

    @property
    def up(self) -> bool:
        """Whether the device is UP."""
        return self.state is NicState.UP

    @property
    def in_access(self) -> bool:
        """Whether a call of the driver is using the device."""
        return self._accesses != 0

    def fail(self, error: DeviceError) -> None:
        """Go DOWN, because the device has failed or violated its contract.

        Args:
            error: what happened.

        Raises:
            DeviceError: `error`, if the driver is strict.
        """
        try:
            if self.state is NicState.UP:
                self.go_down(NicState.DOWN, error)
        finally:
            if self.strict:
                raise error

    def go_down(self, state: NicState, error: DeviceError) -> None:
        """Leave the state UP, report all losses and tell the listeners.

        Args:
            state: the new state.
            error: the reason.
        """
        self.state = state
        self.why_down = str(error).split("\n", 1)[0]
        self.events["down"] += 1
        _log.warning("device %s: %s", state.value, self.why_down)
        _log.info("%s", error)
        self._lose()
        self.tell()

    def tell(self) -> None:
        """Call the listeners."""
        for listener in list(self.listeners):
            listener()

    def access(self) -> Access:
        """Return the guard of a block that accesses registers or DMA memory."""
        return Access(self)

    def begin_access(self) -> None:
        """Count a call that uses the device."""
        self._accesses += 1

    def end_access(self, error: BaseException | None) -> bool:
        """Go DOWN if an access to registers or DMA memory has failed.

        Args:
            error: what the call raised.

        Returns:
            Whether that handles the error.

        Raises:
            DeviceError: the access failed, and the driver is strict.
        """
        try:
            if isinstance(error, ACCESS_ERRORS):
                text = f"{type(error).__name__}: {error}"
                self.fail(DeviceError(f"an access to the device failed: {text}"))
                return True
            # anything else is not a failure of the device, for example the verdict of a checker
            other = isinstance(error, Exception) and not isinstance(error, DeviceError)
            if other and self.state is NicState.UP:
                with suppress(Exception):
                    self.go_down(NicState.DOWN, DeviceError(f"{type(error).__name__}: {error}"))
            return False
        finally:
            self._accesses -= 1


class Access:
    """A block that accesses registers or DMA memory; the driver goes DOWN if an access fails.

    A class and not a generator, because every record has several of these blocks.
    """

    __slots__ = ("_health",)

    def __init__(self, health: Health) -> None:
        self._health = health

    def __enter__(self) -> None:
        self._health.begin_access()

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> bool:
        return self._health.end_access(error)
