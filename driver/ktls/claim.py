# SPDX-License-Identifier: Apache-2.0
"""Which driver instance owns which device: two drivers on one device would mix up keys."""

from __future__ import annotations

import gc
import weakref
from typing import Protocol

from ktls.errors import DeviceBusy
from ktls.port import HostPort


class Owner(Protocol):
    """A driver instance that has claimed a device."""

    @property
    def port(self) -> HostPort:
        """The device."""

    @property
    def owns_port(self) -> bool:
        """Whether the instance still uses the device."""

    def evict(self) -> None:
        """Stop using the device: another instance takes it over."""


# by id() of the port, because a port need not be hashable
_owners: dict[int, weakref.ref[Owner]] = {}


def claim(owner: Owner, *, takeover: bool) -> None:
    """Make a driver instance the only one of its port.

    Args:
        owner: the new instance.
        takeover: evict an instance that uses the port.

    Raises:
        DeviceBusy: another instance uses the port.
    """
    key = id(owner.port)
    other = _user_of(key, owner.port)
    if other is not None:
        # a driver that nobody can reach any more does not block the device
        del other
        gc.collect()
        other = _user_of(key, owner.port)
    if other is not None and not takeover:
        raise DeviceBusy(
            "another KtlsNic uses this device: await its remove() first, or probe with "
            "takeover=True"
        )
    if other is not None:
        other.evict()
    # A weak reference has no callback here: Python drops an exception that is raised there, and
    # Ctrl-C is one.
    for dead in [k for k, ref in _owners.items() if ref() is None]:
        del _owners[dead]
    _owners[key] = weakref.ref(owner)


def release(owner: Owner) -> None:
    """Give the port of a driver instance back."""
    ref = _owners.get(id(owner.port))
    if ref is not None and ref() is owner:
        del _owners[id(owner.port)]


def _user_of(key: int, port: HostPort) -> Owner | None:
    ref = _owners.get(key)
    owner = ref() if ref is not None else None
    return owner if owner is not None and owner.port is port and owner.owns_port else None
