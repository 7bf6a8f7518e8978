# SPDX-License-Identifier: Apache-2.0
"""Completion: reads the completions of a ring, checks each against its descriptor, and delivers.

`Reaper` takes completions off a ring; `Delivery` hands them to their callers and frees what the
descriptors held.
"""

from __future__ import annotations

import logging
from collections import Counter

from ktls import uapi
from ktls.dma import DmaBuffers, Secrets
from ktls.nic_health import Health
from ktls.port import HostPort
from ktls.ring import Completion, Posted, RingPair
from ktls_hw.layout import Cqe, Opcode, Status

_STATUS = {int(status): status for status in Status}
_log = logging.getLogger("ktls.driver")


class Reaper:
    """Takes completions off the rings.

    Args:
        port: the device.
        buffers: its DMA buffers.
        events: counts the status codes that the driver does not know.

    Attributes:
        traffic: records and bytes that the device has sealed and opened, by name.
    """

    def __init__(self, port: HostPort, buffers: DmaBuffers, events: Counter[str]) -> None:
        self.traffic: Counter[str] = Counter()
        self._port = port
        self._buffers = buffers
        self._events = events

    def collect(self, pair: RingPair, done: list[tuple[Posted, Completion]]) -> str | None:
        """Take the new completions of a ring off it.

        Args:
            pair: the ring.
            done: receives the descriptors with their completions.

        Returns:
            What is wrong with the first completion that contradicts its descriptor.
        """
        cq = pair.cq
        while True:
            cqe = Cqe.unpack(self._port.mem.read(cq.address(cq.cons), Cqe.SIZE))
            if cqe.phase != cq.phase():
                return None
            _log.debug("ring %d: %r", pair.number, cqe)
            place = pair.sq.slot(cqe.sq_index)
            posted = pair.posted.get(place)
            wrong = _contradiction(cqe, posted, place, cq.cons)
            if wrong is None and cqe.sq_index != pair.sq.cons:
                # the completions of a ring come in the order of its descriptors
                wrong = (
                    f"completion {cq.cons} is of descriptor {cqe.sq_index}, but descriptor "
                    f"{pair.sq.cons} has no completion yet"
                )
            if posted is None or wrong is not None:
                return wrong
            data = self._result(cqe, posted)
            if data is None:
                return (
                    f"completion {cq.cons} of descriptor {cqe.sq_index} reports {cqe.len} bytes "
                    f"and type {cqe.rtype}, which the opened text contradicts"
                )
            completion = self._completion(cqe, posted, data)
            del pair.posted[place]
            done.append((posted, completion))
            cq.consume()
            pair.sq.cons = (cqe.sq_index + 1) & 0xFFFFFFFF

    def _result(self, cqe: Cqe, posted: Posted) -> bytes | None:
        """Read the result of a descriptor; None if the completion contradicts it."""
        if posted.buffer is None or cqe.status != Status.OK:
            return b""
        addr = self._buffers.address(posted.buffer) + DmaBuffers.DST
        if cqe.opcode != Opcode.OPEN or posted.version != uapi.TLS_1_3_VERSION:
            return self._port.mem.read(addr, cqe.len) if cqe.len else b""
        # the inner plaintext: text, type, zeros (RFC 8446 section 5.2)
        inner = self._port.mem.read(addr, posted.sizes[1])
        text = inner.rstrip(b"\0")
        good = text[-1:] == bytes((cqe.rtype,)) and len(text) == cqe.len + 1
        return text[:-1] if good else None

    def _completion(self, cqe: Cqe, posted: Posted, data: bytes) -> Completion:
        status = _STATUS.get(cqe.status)
        if status is None:
            # a newer minor version may have more codes: the descriptor has failed
            self._events["unknown_status"] += 1
        if status == Status.OK:
            if cqe.opcode == Opcode.SEAL:
                self.traffic["sealed"] += 1
                self.traffic["sealed_bytes"] += posted.descriptor.len  # type: ignore[union-attr]
            elif cqe.opcode == Opcode.OPEN:
                self.traffic["opened"] += 1
                self.traffic["opened_bytes"] += cqe.len
        return Completion(
            status,
            data,
            cqe.rtype,
            cqe.rec_seq if cqe.numbered else None,
            cqe.cycles,
            cqe.latency,
            bool(cqe.rekey),
            cqe.status,
        )


class Delivery:
    """Hands completions to their callers, then wipes and frees the buffers.

    Args:
        buffers: the DMA buffers.
        secrets: receives the text in them.
        health: the state of the device; a device that is DOWN may still write into a buffer.
    """

    def __init__(self, buffers: DmaBuffers, secrets: Secrets, health: Health) -> None:
        self._buffers = buffers
        self._secrets = secrets
        self._health = health

    def deliver(self, done: list[tuple[Posted, Completion]]) -> None:
        """Call every `done`, free the buffers, and raise the first exception at the end."""
        errors: list[Exception] = []
        for posted, completion in done:
            try:
                posted.done(completion)
            except Exception as e:
                errors.append(e)
        try:
            self._release([posted for posted, _ in done])
        except Exception as e:
            errors.append(e)
        for other in errors[1:]:
            errors[0].add_note(f"also: {type(other).__name__}: {other}")
        if errors:
            raise errors[0]

    def note(self, posted: Posted) -> None:
        """Note the text in the buffer of a descriptor as secret."""
        if posted.buffer is None:
            return
        base = self._buffers.address(posted.buffer)
        source, result = posted.sizes
        self._secrets.add(base + DmaBuffers.SRC, source)
        self._secrets.add(base + DmaBuffers.DST, result)

    def _release(self, completed: list[Posted]) -> None:
        """Wipe and free the buffers of completed descriptors; after a failure the reset does it."""
        for posted in completed:
            self.note(posted)
        if not self._health.up:
            return
        with self._health.access():
            self._secrets.wipe()
        for posted in completed:
            if posted.buffer is not None:
                self._buffers.give_back(posted.buffer)


def _contradiction(cqe: Cqe, posted: Posted | None, place: int, number: int) -> str | None:
    """Return what is wrong with a completion, None if it can belong to its descriptor.

    Args:
        cqe: the completion.
        posted: the descriptor at the place that it names.
        place: the slot of that descriptor, which is also its cookie.
        number: index of the completion.
    """
    unread = cqe.status == Status.SQ_BUS_ERROR
    if posted is None or posted.sq_index != cqe.sq_index or (cqe.cookie != place and not unread):
        return (
            f"completion {number} names cookie {cqe.cookie}, descriptor {cqe.sq_index}, which "
            "is not in flight (completed twice?)"
        )
    if unread:
        # the device knows nothing but the index
        return None
    d = posted.descriptor
    for name, got, want in (
        ("opcode", cqe.opcode, d.opcode),
        ("context", cqe.ctx, d.ctx),
        ("generation", cqe.gen, d.gen),
    ):
        if got != want:
            return f"completion {number} of descriptor {cqe.sq_index} has {name} {got}, not {want}"
    room = posted.sizes[1]
    # only TLS 1.3 hides the length of an opened record
    exact = cqe.status == Status.OK and (
        d.opcode == Opcode.SEAL or posted.version != uapi.TLS_1_3_VERSION
    )
    if cqe.len > room or (exact and cqe.len != room):
        return (
            f"completion {number} of descriptor {cqe.sq_index} reports {cqe.len} bytes, the "
            f"destination has {room}"
        )
    return None
