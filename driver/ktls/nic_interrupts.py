# SPDX-License-Identifier: Apache-2.0
"""How a driver learns that a device wants service: by the level of its interrupt, or by messages.

With messages each ring pair has a vector of its own, and its handler looks at this ring only.
"""

from __future__ import annotations

from ktls.nic_setup import Setup
from ktls.port import HostPort
from ktls.ring import RingPair


class Interrupts:
    """Waits for the interrupts of a device.

    Args:
        port: the device.
        pairs: its ring pairs.
        setup: how the driver uses it.
    """

    def __init__(self, port: HostPort, pairs: list[RingPair], setup: Setup) -> None:
        self._port = port
        self._pairs = pairs
        self._messages = setup.messages

    async def wait(self) -> list[RingPair] | None:
        """Wait until the device wants service.

        Returns:
            The rings to look at: that of a message, none for an error message, all behind the
            level. None if no activity of the device can raise an interrupt.
        """
        if not self._messages:
            return self._pairs if await self._port.wait_irq() else None
        vector = await self._port.wait_message()
        # the vector of errors is behind those of all rings, so it names no ring
        return None if vector is None else self._pairs[vector : vector + 1]
