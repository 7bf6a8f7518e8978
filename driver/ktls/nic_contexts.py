# SPDX-License-Identifier: Apache-2.0
"""The contexts of a device, without I/O: which numbers are in use, by which generation."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from ktls import uapi
from ktls.crypto_info import CryptoInfo
from ktls.errors import NotOffloadable, StaleContext
from ktls_hw import layout

_TX_SUITES = {
    (uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_128): layout.SUITES_TX_TLS12_GCM128,
    (uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_256): layout.SUITES_TX_TLS12_GCM256,
    (uapi.TLS_1_3_VERSION, uapi.TLS_CIPHER_AES_GCM_128): layout.SUITES_TX_TLS13_GCM128,
    (uapi.TLS_1_3_VERSION, uapi.TLS_CIPHER_AES_GCM_256): layout.SUITES_TX_TLS13_GCM256,
}
_RX_SUITES = {
    (uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_128): layout.SUITES_RX_TLS12_GCM128,
    (uapi.TLS_1_2_VERSION, uapi.TLS_CIPHER_AES_GCM_256): layout.SUITES_RX_TLS12_GCM256,
    (uapi.TLS_1_3_VERSION, uapi.TLS_CIPHER_AES_GCM_128): layout.SUITES_RX_TLS13_GCM128,
    (uapi.TLS_1_3_VERSION, uapi.TLS_CIPHER_AES_GCM_256): layout.SUITES_RX_TLS13_GCM256,
}


def require_suite(suites: int, direction: int, info: CryptoInfo) -> None:
    """Check that the device supports the suite of a connection.

    Args:
        suites: value of the register SUITES.
        direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
        info: version and cipher.

    Raises:
        NotOffloadable: it does not.
    """
    fields = _TX_SUITES if direction == uapi.TLS_TX else _RX_SUITES
    if direction == uapi.TLS_RX and not any(f.get(suites) for f in fields.values()):
        raise NotOffloadable("the device does not offload receive")
    supported = fields.get((info.version, info.cipher))
    if supported is None or not supported.get(suites):
        version = "1.3" if info.version == uapi.TLS_1_3_VERSION else "1.2"
        raise NotOffloadable(f"the device does not support {info.desc.name} in TLS {version}")


@dataclass(eq=False, slots=True)
class DeviceContext:
    """A context of the device, from `tls_dev_add` to `tls_dev_del`.

    Attributes:
        ctx: its number.
        direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
        version: TLS version, 0 for plain AES-GCM.
        gen: low half of its generation.
        epoch: high half of its generation.
        alive: the device has the keys. A dead context can do nothing.
    """

    ctx: int
    direction: int
    version: int
    gen: int
    epoch: int
    alive: bool = True

    def check_alive(self) -> None:
        """Refuse a dead context.

        Raises:
            StaleContext: the context was deleted, or the device has lost it.
        """
        if not self.alive:
            raise StaleContext(f"context {self.ctx} was deleted, or the device has lost it")


class ContextTable:
    """The numbers of the contexts of a device.

    A number comes back with a new generation, and after a reset with a new epoch, so no
    descriptor of an old context can meet a new key.

    Args:
        size: number of contexts of the device.

    Attributes:
        size: number of contexts of the device.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._epoch = 0
        self._free: deque[int] = deque()
        self._generations: Counter[int] = Counter()
        self._in_use: set[DeviceContext] = set()

    def __len__(self) -> int:
        """Return the number of contexts in use."""
        return len(self._in_use)

    def sides(self) -> Counter[int]:
        """Return the number of contexts in use by direction."""
        return Counter(context.direction for context in self._in_use)

    def reset(self, resets: int) -> None:
        """Free every number after a reset of the device.

        Args:
            resets: value of the register RESETS.
        """
        self._epoch = resets & 0xFF
        self._free = deque(range(self.size))

    def take(self, direction: int, version: int) -> DeviceContext:
        """Allocate a context.

        Args:
            direction: `uapi.TLS_TX` or `uapi.TLS_RX`.
            version: TLS version, 0 for plain AES-GCM.

        Raises:
            NotOffloadable: all contexts are in use.
        """
        if not self._free:
            raise NotOffloadable(f"all {self.size} contexts of the device are in use")
        number = self._free.popleft()
        self._generations[number] += 1
        gen = self._generations[number] & 0xFF
        context = DeviceContext(number, direction, version, gen, self._epoch)
        self._in_use.add(context)
        return context

    def forget(self, context: DeviceContext) -> None:
        """Free the number of a context that the device does not have."""
        context.alive = False
        if context in self._in_use:
            self._in_use.discard(context)
            self._free.append(context.ctx)

    def lose_all(self) -> None:
        """Mark every context dead; their numbers are free after the next reset."""
        for context in self._in_use:
            context.alive = False
        self._in_use.clear()
