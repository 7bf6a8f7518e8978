# SPDX-License-Identifier: Apache-2.0
"""One client: executes its messages on the card. No I/O but that on the client's descriptors."""

from __future__ import annotations

import errno
import logging

from ktls_cosim.card import function as pci
from ktls_cosim.card import protocol as p
from ktls_cosim.card.device import Device
from ktls_cosim.card.function import PciFunction
from ktls_cosim.client_memory import Area, MapError

_SHOWN = 20  # refused messages of a client that are reported
_log = logging.getLogger("ktls.card")


class Session:
    """The connection of one client, from VERSION to its end.

    Args:
        function: The card; only one session uses it at a time.
        device: The device behind it.
    """

    def __init__(self, function: PciFunction, device: Device) -> None:
        self._function = function
        self._device = device
        self._greeted = False
        self._refused = 0

    def answer(self, message: p.Message) -> bytes:
        """Execute a message; returns the reply, empty if the client wants none."""
        if message.is_reply:
            message.close()
            return b""
        try:
            payload = self._execute(p.parse(message), message.fds)
            out = p.reply(message, payload)
        except (p.BadMessage, MapError) as e:
            self._report(message, e)
            out = p.error(e.number, message.id, message.command)
        finally:
            message.close()
        return out if message.wants_reply else b""

    def _report(self, message: p.Message, why: Exception) -> None:
        self._refused += 1
        if self._refused <= _SHOWN:
            _log.warning("message %d refused: %s", message.id, why)
        if self._refused == _SHOWN:
            _log.warning("further refusals of this client are not shown")

    def close(self) -> None:
        """The client has gone: reset the card, and drop its memory and eventfds."""
        self._function.close()
        self._device.clear()

    def _execute(self, request: p.Request, fds: list[int]) -> bytes:
        if not self._greeted and not isinstance(request, p.Version):
            raise p.BadMessage(errno.EINVAL, "the first message must be VERSION")
        match request:
            case p.RegionRead(offset, region, count):
                return p.read_payload(request, self._function.read(region, offset, count))
            case p.RegionWrite(writes, raw):
                for write in writes:
                    self._function.write(write.region, write.offset, write.data)
                return raw
            case p.Version(minor, capabilities):
                if self._greeted:
                    raise p.BadMessage(errno.EINVAL, "VERSION: the version is settled already")
                self._greeted = True
                _log.info("client with version 0.%d, capabilities %s", minor, capabilities)
                return p.version_payload(minor)
            case p.DmaMap():
                self._map(request, fds)
                return b""
            case p.DmaUnmap(address, size, everything, raw):
                if everything:
                    self._device.clear()
                else:
                    self._device.remove(address, size)
                return raw
            case p.SetIrqs():
                self._function.set_irqs(request, fds)
                return b""
            case p.Reset():
                self._function.reset()
                return b""
        return self._info(request)

    def _info(self, request: p.Request) -> bytes:
        match request:
            case p.RegionInfo(index):
                return p.region_info_payload(index, self._function.region_size(index))
            case p.RegionFds(index):
                self._function.region_size(index)
                return p.region_fds_payload(index)
            case p.IrqInfo(index):
                count = self._function.irq_count(index)
                return p.irq_info_payload(index, count, maskable=index == pci.MSIX)
        return p.device_info_payload(pci.REGIONS, pci.IRQS)

    def _map(self, request: p.DmaMap, fds: list[int]) -> None:
        if len(fds) > 1:
            raise p.BadMessage(errno.EINVAL, f"DMA_MAP: {len(fds)} descriptors")
        fd = fds[0] if fds else -1
        self._device.add(
            Area(
                request.address, request.size, fd, request.offset, request.readable,
                request.writable,
            )
        )  # fmt: skip
        fds.clear()
        _log.info("memory: %#x bytes at %#x", request.size, request.address)
