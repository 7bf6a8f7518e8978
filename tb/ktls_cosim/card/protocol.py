# SPDX-License-Identifier: Apache-2.0
"""The vfio-user protocol: bytes and descriptors in, requests out; results in, replies out.

Nothing here does I/O. `Reader` cuts the stream into messages, `parse` turns a message into a
request, and `reply` and `error` encode the answer. The source is the vfio-user specification 0.9
(libvfio-user, `docs/vfio-user.rst`) and the structures of `linux/vfio.h`. All integers are little
endian.
"""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from ktls_cosim.errors import CosimError

MAX_DATA = 1 << 20
"""Bytes of data in one message, at most."""
MAX_FDS = 16
"""Descriptors of one message, at most."""
MAX_MESSAGE = MAX_DATA + 64
PAGE = 4096
"""Granularity of DMA maps in bytes."""

_HEADER = struct.Struct("<HHIII")
_REPLY = 1
_NO_REPLY = 1 << 4
_ERROR = 1 << 5
_VERSION = struct.Struct("<HH")
_MAJOR, _MINOR = 0, 1
_DMA_MAP = struct.Struct("<IIQQQ")
_DMA_UNMAP = struct.Struct("<IIQQ")
_UNMAP_DIRTY, _UNMAP_ALL = 1, 2
_INFO = struct.Struct("<IIII")
_REGION_INFO = struct.Struct("<IIIIQQ")
_SET_IRQS = struct.Struct("<IIIII")
_ACCESS = struct.Struct("<QII")
_MULTI = struct.Struct("<QIIQ")
_COUNT = struct.Struct("<Q")


class Command(IntEnum):
    """The commands that a client sends."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15


class BadMessage(CosimError):
    """A message that the server answers with an error.

    Attributes:
        number: The errno of the reply.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


class BrokenStream(BadMessage):
    """A header after which no message boundary is known: the connection must end."""


@dataclass(slots=True)
class Message:
    """One message from a client.

    Attributes:
        id: Number that the reply repeats.
        command: Number of the command, known or not.
        payload: Bytes after the header.
        fds: Open descriptors; whoever takes one removes it, the rest is to be closed.
        is_reply: It answers a message of ours.
        wants_reply: The client waits for an answer.
    """

    id: int
    command: int
    payload: bytes = b""
    fds: list[int] = field(default_factory=list)
    is_reply: bool = False
    wants_reply: bool = True

    def close(self) -> None:
        """Close the descriptors that nobody has taken."""
        while self.fds:
            os.close(self.fds.pop())


class Reader:
    """Cuts the bytes of a connection into messages.

    The owner receives at most `wanted` bytes at a time: then descriptors that arrive with the
    bytes belong to the message that these are part of.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._fds: list[int] = []
        self._size = _HEADER.size

    @property
    def wanted(self) -> int:
        """Number of bytes up to the next boundary."""
        return self._size - len(self._data)

    def feed(self, data: bytes, fds: list[int]) -> Message | None:
        """Take received bytes, at most `wanted`, and the descriptors that came with them.

        Returns:
            A message if the bytes complete one.

        Raises:
            BrokenStream: The header is impossible; close the connection after the reply.
        """
        self._data += data
        self._fds += fds
        if self.wanted:
            return None
        number, command, size, flags, _ = _HEADER.unpack_from(self._data)
        if len(self._data) == _HEADER.size != size:
            if not _HEADER.size < size <= MAX_MESSAGE:
                raise BrokenStream(
                    errno.EINVAL, f"a message of {size} bytes; 16 to {MAX_MESSAGE} are possible"
                )
            self._size = size
            return None
        message = Message(
            number,
            command,
            bytes(self._data[_HEADER.size :]),
            self._fds,
            flags & 0xF == _REPLY,
            not flags & _NO_REPLY,
        )
        self._data.clear()
        self._fds = []
        self._size = _HEADER.size
        if len(message.fds) > MAX_FDS:
            message.close()
        return message

    @property
    def id(self) -> int:
        """Number of the message that is being received; 0 before its header."""
        return int.from_bytes(self._data[:2], "little")

    def close(self) -> None:
        """Close the descriptors of an unfinished message."""
        while self._fds:
            os.close(self._fds.pop())


# --------------------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True)
class Version:
    """The client's version and capabilities."""

    minor: int
    capabilities: dict[str, object]


@dataclass(frozen=True, slots=True)
class DmaMap:
    """Memory of the client that the device may use: `size` bytes at bus address `address`.

    `offset` is the position in the file of the descriptor.
    """

    address: int
    size: int
    offset: int
    readable: bool
    writable: bool


@dataclass(frozen=True, slots=True)
class DmaUnmap:
    """The end of one map, or of all maps (`everything`)."""

    address: int
    size: int
    everything: bool
    raw: bytes


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A question for the numbers of regions and interrupts."""


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """A question for the size of a region."""

    index: int


@dataclass(frozen=True, slots=True)
class RegionFds:
    """A question for the descriptors of a region, of which a trapped region has none."""

    index: int


@dataclass(frozen=True, slots=True)
class IrqInfo:
    """A question for the number of interrupts of a kind."""

    index: int


class IrqData(IntEnum):
    """The data of SET_IRQS (`VFIO_IRQ_SET_DATA_*`)."""

    NONE = 1
    BOOL = 2
    EVENTFD = 4


class IrqAction(IntEnum):
    """The action of SET_IRQS (`VFIO_IRQ_SET_ACTION_*`)."""

    MASK = 8
    UNMASK = 16
    TRIGGER = 32


@dataclass(frozen=True, slots=True)
class SetIrqs:
    """An action on the interrupts `start` to `start + count - 1` of a kind.

    `flags` has one value for each interrupt with `IrqData.BOOL`.
    """

    index: int
    start: int
    count: int
    data: IrqData
    action: IrqAction
    flags: bytes = b""


@dataclass(frozen=True, slots=True)
class RegionRead:
    """A read of a region."""

    offset: int
    region: int
    count: int


@dataclass(frozen=True, slots=True)
class Write:
    """A write to a region."""

    offset: int
    region: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RegionWrite:
    """One write, or several of REGION_WRITE_MULTI; `raw` starts the reply."""

    writes: tuple[Write, ...]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Reset:
    """A reset of the function."""


Request = (
    Version | DmaMap | DmaUnmap | DeviceInfo | RegionInfo | RegionFds | IrqInfo | SetIrqs
    | RegionRead | RegionWrite | Reset
)  # fmt: skip


def parse(message: Message) -> Request:
    """Return the request of a message.

    Raises:
        BadMessage: The command is unknown, the message is too short, or its values are impossible.
    """
    data = message.payload
    try:
        command = Command(message.command)
    except ValueError:
        raise BadMessage(errno.EOPNOTSUPP, f"command {message.command} is not supported") from None
    try:
        return _PARSERS[command](data)
    except struct.error:
        raise BadMessage(errno.EINVAL, f"{command.name}: {len(data)} bytes are too few") from None


def _version(data: bytes) -> Version:
    major, minor = _VERSION.unpack_from(data)
    if major != _MAJOR:
        raise BadMessage(errno.EINVAL, f"version {major}.{minor} is not {_MAJOR}.x")
    text, end, _ = data[_VERSION.size :].partition(b"\0")
    try:
        value = json.loads(text.decode()) if end and text else {}
    except (ValueError, RecursionError):
        raise BadMessage(errno.EINVAL, "VERSION: the capabilities are not JSON") from None
    found = value.get("capabilities", {}) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise BadMessage(errno.EINVAL, "VERSION: the capabilities are not an object")
    return Version(minor, found)


def _dma_map(data: bytes) -> DmaMap:
    argsz, flags, offset, address, size = _DMA_MAP.unpack_from(data)
    _check_argsz("DMA_MAP", argsz, _DMA_MAP.size)
    if not flags or flags & ~3:
        raise BadMessage(errno.EINVAL, f"DMA_MAP: flags {flags:#x}")
    if not size or address % PAGE or size % PAGE or address + size > 1 << 64:
        raise BadMessage(
            errno.EINVAL, f"DMA_MAP: {size:#x} bytes at {address:#x} are not pages of {PAGE} bytes"
        )
    if offset + size > 1 << 63:
        raise BadMessage(errno.EINVAL, f"DMA_MAP: offset {offset:#x}")
    return DmaMap(address, size, offset, bool(flags & 1), bool(flags & 2))


def _dma_unmap(data: bytes) -> DmaUnmap:
    argsz, flags, address, size = _DMA_UNMAP.unpack_from(data)
    _check_argsz("DMA_UNMAP", argsz, _DMA_UNMAP.size)
    if flags & ~_UNMAP_ALL:
        what = "dirty pages are not tracked" if flags & _UNMAP_DIRTY else f"flags {flags:#x}"
        raise BadMessage(errno.EINVAL, f"DMA_UNMAP: {what}")
    everything = bool(flags & _UNMAP_ALL)
    if everything and (address or size):
        raise BadMessage(errno.EINVAL, "DMA_UNMAP: all maps have no address and no size")
    return DmaUnmap(address, size, everything, data[: _DMA_UNMAP.size])


def _check_argsz(name: str, argsz: int, least: int) -> None:
    if argsz < least:
        raise BadMessage(errno.EINVAL, f"{name}: argsz is {argsz}, at least {least} are needed")


def _device_info(data: bytes) -> DeviceInfo:
    _check_argsz("DEVICE_GET_INFO", _INFO.unpack_from(data)[0], _INFO.size)
    return DeviceInfo()


def _region_info(data: bytes) -> RegionInfo:
    argsz, _, index, *_ = _REGION_INFO.unpack_from(data)
    _check_argsz("DEVICE_GET_REGION_INFO", argsz, _REGION_INFO.size)
    return RegionInfo(index)


def _region_fds(data: bytes) -> RegionFds:
    argsz, _, index, _ = _INFO.unpack_from(data)
    _check_argsz("DEVICE_GET_REGION_IO_FDS", argsz, _INFO.size)
    return RegionFds(index)


def _irq_info(data: bytes) -> IrqInfo:
    argsz, _, index, _ = _INFO.unpack_from(data)
    _check_argsz("DEVICE_GET_IRQ_INFO", argsz, _INFO.size)
    return IrqInfo(index)


def _set_irqs(data: bytes) -> SetIrqs:
    argsz, flags, index, start, count = _SET_IRQS.unpack_from(data)
    _check_argsz("DEVICE_SET_IRQS", argsz, _SET_IRQS.size)
    try:
        kind, action = IrqData(flags & 7), IrqAction(flags & ~7)
    except ValueError:
        raise BadMessage(errno.EINVAL, f"DEVICE_SET_IRQS: flags {flags:#x}") from None
    values = data[_SET_IRQS.size :]
    if kind is IrqData.BOOL and len(values) < count:
        raise BadMessage(errno.EINVAL, f"DEVICE_SET_IRQS: {len(values)} values for {count}")
    if kind is IrqData.EVENTFD and action is not IrqAction.TRIGGER:
        raise BadMessage(errno.EINVAL, "DEVICE_SET_IRQS: a descriptor can only be triggered")
    return SetIrqs(index, start, count, kind, action, values[:count])


def _region_read(data: bytes) -> RegionRead:
    offset, region, count = _ACCESS.unpack_from(data)
    if count > MAX_DATA:
        raise BadMessage(errno.EINVAL, f"REGION_READ: {count} bytes; at most {MAX_DATA}")
    return RegionRead(offset, region, count)


def _region_write(data: bytes) -> RegionWrite:
    offset, region, count = _ACCESS.unpack_from(data)
    value = data[_ACCESS.size :]
    if len(value) != count:
        raise BadMessage(errno.EINVAL, f"REGION_WRITE: {len(value)} bytes of {count}")
    return RegionWrite((Write(offset, region, value),), data[: _ACCESS.size])


def _write_multi(data: bytes) -> RegionWrite:
    count = _COUNT.unpack_from(data)[0]
    if len(data) != _COUNT.size + count * _MULTI.size:
        raise BadMessage(errno.EINVAL, f"REGION_WRITE_MULTI: {len(data)} bytes, {count} writes")
    writes = []
    for offset, region, size, value in _MULTI.iter_unpack(data[_COUNT.size :]):
        if size > 8:
            raise BadMessage(errno.EINVAL, f"REGION_WRITE_MULTI: a write of {size} bytes")
        writes.append(Write(offset, region, value.to_bytes(8, "little")[:size]))
    return RegionWrite(tuple(writes), data[: _COUNT.size])


_PARSERS: dict[Command, Callable[[bytes], Request]] = {
    Command.VERSION: _version,
    Command.DMA_MAP: _dma_map,
    Command.DMA_UNMAP: _dma_unmap,
    Command.DEVICE_GET_INFO: _device_info,
    Command.DEVICE_GET_REGION_INFO: _region_info,
    Command.DEVICE_GET_REGION_IO_FDS: _region_fds,
    Command.DEVICE_GET_IRQ_INFO: _irq_info,
    Command.DEVICE_SET_IRQS: _set_irqs,
    Command.REGION_READ: _region_read,
    Command.REGION_WRITE: _region_write,
    Command.DEVICE_RESET: lambda _data: Reset(),
    Command.REGION_WRITE_MULTI: _write_multi,
}

# ---------------------------------------------------------------------------- replies


def reply(message: Message, payload: bytes = b"") -> bytes:
    """Encode the successful reply to a message."""
    size = _HEADER.size + len(payload)
    return _HEADER.pack(message.id, message.command, size, _REPLY, 0) + payload


def error(number: int, message_id: int, command: int = 0) -> bytes:
    """Encode the reply to a message that failed with the errno `number`."""
    return _HEADER.pack(message_id, command, _HEADER.size, _REPLY | _ERROR, number)


def version_payload(minor: int) -> bytes:
    """The payload of the reply to VERSION, for a client with this minor version."""
    capabilities = {
        "max_msg_fds": MAX_FDS,
        "max_data_xfer_size": MAX_DATA,
        "pgsizes": PAGE,
        "write_multiple": True,
    }
    text = json.dumps({"capabilities": capabilities}).encode() + b"\0"
    return _VERSION.pack(_MAJOR, min(minor, _MINOR)) + text


def device_info_payload(regions: int, irqs: int) -> bytes:
    """The payload for a PCI device that can be reset."""
    return _INFO.pack(_INFO.size, 1 | 2, regions, irqs)


def region_info_payload(index: int, size: int) -> bytes:
    """The payload for a region whose accesses are all messages; it cannot be mapped."""
    return _REGION_INFO.pack(_REGION_INFO.size, 3 if size else 0, index, 0, size, 0)


def region_fds_payload(index: int) -> bytes:
    """The payload for a region without descriptors."""
    return _INFO.pack(_INFO.size, 0, index, 0)


def irq_info_payload(index: int, count: int, *, maskable: bool) -> bytes:
    """The payload for `count` interrupts that the client receives by eventfd."""
    return _INFO.pack(_INFO.size, (1 if count else 0) | (2 if maskable else 0), index, count)


def read_payload(request: RegionRead, data: bytes) -> bytes:
    """The payload with the bytes of a region."""
    return _ACCESS.pack(request.offset, request.region, request.count) + data
