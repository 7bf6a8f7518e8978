# SPDX-License-Identifier: Apache-2.0
"""The Verilog as the device of a card, compared with the functional model all the time."""

from __future__ import annotations

from ktls import run_sync
from ktls_cosim.card.expectations import Expectations
from ktls_cosim.card.model import BusMemory
from ktls_cosim.check.lockstep import TIMED, MessageLedger, answered_vector, numbered_register
from ktls_cosim.client_memory import ClientMemory
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.card import CardSim
from ktls_cosim.sim.wire import INTERRUPT
from ktls_hw.layout import (
    CTRL_RESET,
    RING_COUNT,
    STATUS_READY,
    Cqe,
    Reg,
    ring_of,
    ring_reg,
)
from ktls_hw.model import NicModel

_SHOWN = 10  # differences that are printed
_PAGE = 4096


class _ShadowMemory(BusMemory):
    """The client's memory for the model: it reads it, and writes are only foretold."""

    def __init__(self, owner: LockstepSim, maps: ClientMemory) -> None:
        super().__init__(maps, lambda: owner.bus_master())
        self._owner = owner

    def device_read(self, addr: int, length: int, beat: int) -> tuple[bytes, bool]:
        """See `ModelMemory.device_read`."""
        data, good = super().device_read(addr, length, beat)
        return (self._owner.expected.overlay(addr, data) if good else data), good

    def device_write(self, addr: int, data: bytes, beat: int) -> bool:
        """See `ModelMemory.device_write`."""
        del beat
        good = True
        at = 0
        while at < len(data):
            n = min(len(data) - at, _PAGE - (addr + at) % _PAGE)
            if self._allowed() and self._maps.writable(addr + at, n):
                completion = self._owner.is_completion(addr, len(data))
                self._owner.expected.foretell(addr + at, data[at : at + n], completion=completion)
            else:
                good = False
            at += n
        return good


class LockstepSim(CardSim):
    """A simulation, and a model that must agree with every write and every register.

    Args:
        build, simulator, name, waves: As for `CardSim`.
        lanes: Blocks per cycle of the simulated device.

    Attributes:
        expected: The writes of the model that the simulation has not made yet.
    """

    def __init__(self, build: Build, *, simulator: str, name: str, waves: bool, lanes: int) -> None:
        super().__init__(build, simulator=simulator, name=name, waves=waves)
        self.expected = Expectations()
        self._nic = NicModel(memory=_ShadowMemory(self, self.maps), lanes=lanes)
        self._registers = 0  # compared
        self._abandoned = False  # a reset is under way: what is in flight is not defined
        self._differences: list[str] = []
        self._messages = MessageLedger()

    def _message(self) -> tuple[int, int]:
        """Handle one message of the simulation, and check those that are interrupts."""
        kind, value = super()._message()
        if kind == INTERRUPT and not self._abandoned:
            self._note(self._messages.sent(value))
        return kind, value

    def is_completion(self, addr: int, length: int) -> bool:
        """Return whether a write of the device is a completion: one slot of a completion ring."""
        return length == Cqe.SIZE and any(
            base <= addr < base + (Cqe.SIZE << self._nic_register(ring, Reg.RING0_CQ_SIZE))
            for ring in range(min(RING_COUNT, self._nic.rings))
            for base in [
                self._nic_register(ring, Reg.RING0_CQ_BASE_HI) << 32
                | self._nic_register(ring, Reg.RING0_CQ_BASE_LO)
            ]
            if base
        )

    def _nic_register(self, ring: int, reg: Reg) -> int:
        return run_sync(self._nic.read32(ring_reg(ring, reg)))

    def _wrote(self, addr: int, data: bytes) -> None:
        if not self._abandoned:
            completion = self.is_completion(addr, len(data))
            self._note(self.expected.check(addr, data, completion=completion))
        super()._wrote(addr, data)

    def _note(self, difference: str | None) -> None:
        if difference is not None:
            self._differences.append(difference)
            if len(self._differences) <= _SHOWN:
                print(f"lockstep: {difference}", flush=True)

    def read_register(self, addr: int) -> int:
        """Read the register of both devices and compare it, unless its value depends on time."""
        value = super().read_register(addr)
        if addr == Reg.STATUS:
            if STATUS_READY.get(value):
                run_sync(self._nic.read32(addr))
                if self._abandoned:
                    self._abandoned = False
                    self.expected.clear()
                    self._messages.clear()
            return value
        shadow = run_sync(self._nic.read32(addr))
        counts = Reg.CNT_DESCRIPTORS <= addr < Reg.CYCLES_LO
        # the model is ahead while work is in flight
        if addr not in TIMED and not (counts and len(self.expected)):
            self._registers += 1
            if value != shadow:
                self._note(f"register {numbered_register(addr)}: RTL {value:#x}, model {shadow:#x}")
        return value

    def write_register(self, addr: int, value: int) -> None:
        """Write the register of both devices; the model goes first."""
        if addr == Reg.CTRL and CTRL_RESET.get(value):
            self._abandoned = True
        elif ring_of(addr)[1] in (Reg.RING0_CQ_CONS, Reg.RING0_SQ_PROD):
            # what the simulation has written until now belongs to the state before
            self.sync()
        run_sync(self._nic.write32(addr, value))
        self._foretell_messages(addr)
        super().write_register(addr, value)

    def reset(self) -> None:
        """Reset both devices."""
        self._abandoned = True
        run_sync(self._nic.write32(Reg.CTRL, CTRL_RESET.put(1)))
        super().reset()

    def _foretell_messages(self, addr: int) -> None:
        """Collect the messages of the model behind a register write."""
        vector = answered_vector(addr, self._nic.rings)
        if vector is not None:
            self._messages.answered(vector)
        while (message := run_sync(self._nic.wait_message())) is not None:
            self._messages.foretold(message)

    def finish(self) -> str | None:
        """Return the result of the comparison if it failed or compared nothing."""
        count = len(self._differences)
        print(
            f"lockstep: {self.expected.compared} bytes and {self._registers} registers compared, "
            f"differences: {count}"
        )
        if count:
            return f"lockstep: RTL and model differ {count} times"
        return None if self.expected.compared else "lockstep: no write was compared"
