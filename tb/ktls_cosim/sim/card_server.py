# SPDX-License-Identifier: Apache-2.0
"""The simulation behind a card: executes the requests of `sim.card`, and works between them."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import Timer

from ktls_cosim.client_memory import Area, ClientMemory
from ktls_cosim.sim import register_log
from ktls_cosim.sim.external import ExternalMemory
from ktls_cosim.sim.port import SimPort
from ktls_cosim.sim.register_log import RegisterLog
from ktls_cosim.sim.wire import (
    ANSWER,
    AREA,
    DONE,
    FD_VARIABLE,
    HEAD,
    INTERRUPT,
    READ,
    VALUE,
    WROTE,
    Op,
)
from ktls_hw.layout import CTRL_RESET, IRQ_STATUS_RINGS, STATUS_IDLE, STATUS_READY, Reg

_STEP_NS = 400
_QUIET_NS = 8_000  # without a burst a device is idle then, unless STATUS says otherwise
_PATIENCE_NS = 400_000  # longer than the longest moderation timer


class _Server:
    """The state of one simulation.

    Args:
        dut: The top level `ktls_tb` with EXTERNAL = 1.
        sock: The connection to `sim.card`.
    """

    def __init__(self, dut: Any, sock: socket.socket) -> None:
        self._dut = dut
        self._sock = sock
        self._port = SimPort(dut)
        self._maps = ClientMemory()
        self._memory = ExternalMemory(
            dut.host, self._port.beat, self._maps, self._read, self._wrote
        )
        self._log: RegisterLog | None = None
        self._armed = False  # the driver has read STATUS.ready: a read of ours changes nothing

    async def run(self) -> None:
        """Serve until END or until the parent has closed its socket."""
        await self._port.ready()
        cocotb.start_soon(self._memory.serve_reads())
        cocotb.start_soon(self._memory.serve_writes())
        cocotb.start_soon(self._watch())
        quiet = _PATIENCE_NS  # simulation time without anything to do
        while True:
            # a device at rest needs no simulation time
            waits = None if quiet >= _PATIENCE_NS else 0
            if select.select([self._sock], [], [], waits)[0]:
                if not await self._request():
                    return
                quiet = 0
                continue
            bursts = self._memory.bursts
            await Timer(_STEP_NS, unit="ns")
            quiet = 0 if self._memory.bursts != bursts else quiet + _STEP_NS
            if quiet >= _QUIET_NS and await self._at_rest():
                quiet = _PATIENCE_NS

    async def _at_rest(self) -> bool:
        if not self._armed:
            return True
        if self._port.timers_run:
            causes = await self._port.read32(Reg.IRQ_STATUS)
            if not IRQ_STATUS_RINGS.get(causes):
                return False
        return bool(STATUS_IDLE.get(await self._port.read32(Reg.STATUS)))

    async def _watch(self) -> None:
        while True:
            await self._dut.msg_total.value_change
            while (vector := self._port.take_message()) is not None:
                self._sock.sendall(ANSWER.pack(INTERRUPT, vector))

    def _read(self, address: int, data: bytes) -> None:
        self._report(READ, address, data)

    def _wrote(self, address: int, data: bytes) -> None:
        self._report(WROTE, address, data)

    def _report(self, kind: int, address: int, data: bytes) -> None:
        self._sock.sendall(ANSWER.pack(kind, len(data)) + address.to_bytes(8, "little") + data)

    async def _request(self) -> bool:
        """Receive and execute a request; returns False at the end."""
        head, fds = self._receive(HEAD.size)
        if len(head) < HEAD.size:
            return False
        code, addr, n = HEAD.unpack(head)
        match Op(code):
            case Op.READ32:
                begin = self._port.now()
                value = await self._port.read32(addr)
                self._note(begin, "read", addr, value)
                self._armed |= addr == Reg.STATUS and bool(STATUS_READY.get(value))
                self._sock.sendall(ANSWER.pack(VALUE, value))
            case Op.WRITE32:
                self._note(self._port.now(), "write", addr, n)
                await self._write(addr, n)
            case Op.MAP:
                raw, more = self._receive(AREA.size)
                size, offset, readable, writable = AREA.unpack(raw)
                fd = [*fds, *more, -1][0]
                self._maps.add(Area(addr, size, fd, offset, readable, writable))
            case Op.UNMAP:
                size = AREA.unpack(self._receive(AREA.size)[0])[0]
                self._maps.remove(addr, size)
                self._sock.sendall(ANSWER.pack(DONE, 0))
            case Op.UNMAP_ALL:
                self._maps.clear()
                self._sock.sendall(ANSWER.pack(DONE, 0))
            case Op.RESET:
                await self._write(Reg.CTRL, CTRL_RESET.put(1))
                self._sock.sendall(ANSWER.pack(DONE, 0))
            case Op.SYNC:
                self._sock.sendall(ANSWER.pack(DONE, 0))
            case Op.ALLOW:
                self._memory.allowed = bool(n)
            case Op.LOG_REGISTERS:
                self._log = RegisterLog(Path(register_log.NAME))
            case Op.END:
                return False
        return True

    async def _write(self, addr: int, value: int) -> None:
        if addr == Reg.CTRL and CTRL_RESET.get(value):
            self._armed = False
        await self._port.write32(addr, value)

    def _note(self, time_ns: int, kind: str, addr: int, value: int) -> None:
        if self._log is not None:
            self._log.note(time_ns, kind, addr, value)

    def _receive(self, size: int) -> tuple[bytes, list[int]]:
        """Receive exactly `size` bytes, fewer at the end, and the descriptors beside them."""
        data, fds = b"", []
        while len(data) < size:
            piece, more, _, _ = socket.recv_fds(self._sock, size - len(data), 1)
            if not piece:
                break
            data += piece
            fds += more
        return data, fds


@cocotb.test()
async def serve(dut: Any) -> None:
    """Serve a card; see `_Server`."""
    with socket.socket(fileno=int(os.environ[FD_VARIABLE])) as sock:
        await _Server(dut, sock).run()
