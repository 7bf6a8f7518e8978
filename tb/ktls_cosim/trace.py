# SPDX-License-Identifier: Apache-2.0
"""A transcript of the driver's accesses to the device, to compare with that of another driver.

Each access is one JSON object. `ns` is the time of the device after the access, `op` one of:

* `read32`, `write32`: `reg` (the name in `hw/ktls_nic.rdl`) and `value`
* `mem_read`, `mem_write`: the host's accesses to DMA memory: `addr`, `len` and the bytes as `hex`
* `irq`: the driver waited for the interrupt; `raised` is false if the device is idle
* `message`: it waited for an interrupt message; `vector` is null if the device is idle

No key is written: the field `key` of a CTX_SET descriptor reads as `kk`. The bytes of memory are
left out until the device is enabled and has a submission ring, because the place of the
descriptors is unknown before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ktls_cosim.check.rings import register_name
from ktls_cosim.port import Memory, Port
from ktls_hw.layout import (
    CTRL_ENABLE,
    RING0_SQ_SIZE_LOG2,
    RING_COUNT,
    Opcode,
    Reg,
    SqeCtx,
    ring_of,
    ring_reg,
)

_log = logging.getLogger("ktls.port")

_KEY = range(32, 64)  # bytes of the field SqeCtx.key
_BASES = (Reg.RING0_SQ_BASE_LO, Reg.RING0_SQ_BASE_HI, Reg.RING0_SQ_SIZE)


class _TracedMemory:
    """DMA memory whose accesses are reported.

    Attributes:
        size: Size in bytes.
    """

    def __init__(self, owner: TracePort, mem: Memory) -> None:
        self._owner = owner
        self._mem = mem
        self.size = mem.size

    def read(self, addr: int, length: int) -> bytes:
        """Return `length` bytes from bus address `addr`."""
        data = self._mem.read(addr, length)
        self._owner.memory("mem_read", addr, data)
        return data

    def write(self, addr: int, data: bytes) -> None:
        """Write `data` at bus address `addr`."""
        self._mem.write(addr, data)
        self._owner.memory("mem_write", addr, data)


class TracePort:
    """A host port that reports every access of the driver.

    Args:
        port: Device; all accesses go through unchanged. It is a `CheckedPort` if the accesses of
            the checker are to stay out of the transcript.
        write: Receives each access as a dictionary that JSON can hold.

    Attributes:
        mem: Host memory.
    """

    def __init__(self, port: Port, write: Callable[[dict[str, Any]], None]) -> None:
        self._port = port
        self._write = write
        self._regs: dict[int, int] = {}
        self.mem = _TracedMemory(self, port.mem)

    def _report(self, op: str, **fields: object) -> None:
        self._write({"ns": self._port.now(), "op": op, **fields})

    async def read32(self, addr: int) -> int:
        """Return the register at byte offset `addr`."""
        value = await self._port.read32(addr)
        self._report("read32", reg=register_name(addr), value=value)
        return value

    async def write32(self, addr: int, value: int) -> None:
        """Write the register at byte offset `addr`."""
        await self._port.write32(addr, value)
        if addr == Reg.CTRL or ring_of(addr)[1] in _BASES:
            self._regs[addr] = value
        self._report("write32", reg=register_name(addr), value=value)

    async def wait_irq(self) -> bool:
        """Wait for the interrupt; False if the line is low and the device is idle."""
        raised = await self._port.wait_irq()
        self._report("irq", raised=raised)
        return raised

    async def wait_message(self) -> int | None:
        """Take an interrupt message or wait for one; None if the device is idle."""
        vector = await self._port.wait_message()
        self._report("message", vector=vector)
        return vector

    def now(self) -> int:
        """Return the device's time in nanoseconds."""
        return self._port.now()

    def memory(self, op: str, addr: int, data: bytes) -> None:
        """Report an access to memory.

        Args:
            op: `mem_read` or `mem_write`.
            addr: Bus address of the first byte.
            data: Bytes that were read or written.
        """
        fields: dict[str, object] = {"addr": addr, "len": len(data)}
        rings = [r for r in range(RING_COUNT) if ring_reg(r, Reg.RING0_SQ_SIZE) in self._regs]
        if rings and CTRL_ENABLE.get(self._regs.get(Reg.CTRL, 0)):
            fields["hex"] = self._without_keys(addr, data, rings)
        self._report(op, **fields)

    def _without_keys(self, addr: int, data: bytes, rings: list[int]) -> str:
        """Return bytes of memory as hexadecimal digits, with those of a key as `kk`."""
        out = [f"{byte:02x}" for byte in data]
        for ring in rings:
            low, high, size = (self._regs.get(ring_reg(ring, reg), 0) for reg in _BASES)
            base = high << 32 | low
            end = base + (SqeCtx.SIZE << RING0_SQ_SIZE_LOG2.get(size))
            first = max(addr, base) - (max(addr, base) - base) % SqeCtx.SIZE
            for slot in range(first, min(addr + len(data), end), SqeCtx.SIZE):
                opcode = data[slot - addr] if slot >= addr else None
                # a piece without its opcode may be a key
                if opcode in (None, Opcode.CTX_SET):
                    for at in _KEY:
                        if 0 <= slot + at - addr < len(data):
                            out[slot + at - addr] = "kk"
        return "".join(out)


@contextmanager
def traced(port: Port, path: Path | None) -> Iterator[Port]:
    """Provide a port whose accesses go to a file and to the log `ktls.port`.

    Args:
        port: Device.
        path: File to write, one JSON object a line; None: only the log, if it is shown.
    """
    if path is None and not _log.isEnabledFor(logging.DEBUG):
        yield port
        return
    with ExitStack() as stack:
        file = stack.enter_context(path.open("w", encoding="ascii")) if path else None

        def write(access: dict[str, Any]) -> None:
            line = json.dumps(access)
            _log.debug("%s", line)
            if file is not None and not file.closed:  # a thread may outlive the run
                file.write(line + "\n")

        yield TracePort(port, write)
