# SPDX-License-Identifier: Apache-2.0
"""A device that lies: a functional model with altered completions, registers or interrupt."""

from __future__ import annotations

from collections.abc import Callable

from ktls_hw.layout import RING0_CQ_SIZE_LOG2, Cqe, Reg
from ktls_hw.model import ModelMemory, NicModel


def _truth(value: Cqe) -> Cqe:
    return value


class _Memory:
    """Host memory that returns altered completions of ring 0."""

    def __init__(self, memory: ModelMemory, lie: Callable[[Cqe], Cqe]) -> None:
        self._memory = memory
        self._lie = lie
        self.ring = range(0)

    @property
    def size(self) -> int:
        return self._memory.size

    def read(self, addr: int, length: int) -> bytes:
        raw = self._memory.read(addr, length)
        if addr in self.ring and length == Cqe.SIZE:
            return self._lie(Cqe.unpack(raw)).pack()
        return raw

    def write(self, addr: int, data: bytes) -> None:
        self._memory.write(addr, data)


class Liar:
    """A `HostPort` between a driver and a functional model.

    Args:
        model: The honest device.
        completion: Alters each completion of ring 0 when it is read.
        register: Alters the value of each register when it is read; receives address and value.
        interrupt: Alters the state of the interrupt line.
        message: Alters each interrupt message; None is none.
    """

    def __init__(
        self,
        model: NicModel,
        *,
        completion: Callable[[Cqe], Cqe] = _truth,
        register: Callable[[int, int], int] = lambda _addr, value: value,
        interrupt: Callable[[bool], bool] = lambda line: line,
        message: Callable[[int | None], int | None] = lambda vector: vector,
    ) -> None:
        self.mem = _Memory(model.mem, completion)
        self._model = model
        self._register = register
        self._interrupt = interrupt
        self._message = message
        self._base = 0

    async def read32(self, addr: int) -> int:
        return self._register(addr, await self._model.read32(addr))

    async def write32(self, addr: int, value: int) -> None:
        if addr == Reg.RING0_CQ_BASE_LO:
            self._base = value
        elif addr == Reg.RING0_CQ_SIZE:
            entries = 1 << RING0_CQ_SIZE_LOG2.get(value)
            self.mem.ring = range(self._base, self._base + Cqe.SIZE * entries)
        await self._model.write32(addr, value)

    async def wait_irq(self) -> bool:
        return self._interrupt(await self._model.wait_irq())

    async def wait_message(self) -> int | None:
        return self._message(await self._model.wait_message())

    def now(self) -> int:
        return self._model.now()
