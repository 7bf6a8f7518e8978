# SPDX-License-Identifier: Apache-2.0
"""The card without sockets: PCI function, interrupts, client memory and sessions."""

from __future__ import annotations

import errno
import os
import random
import select
import struct
from collections.abc import Iterator

import pytest

from ktls_cosim.card import function as pci
from ktls_cosim.card import protocol as p
from ktls_cosim.card.model import ModelDevice
from ktls_cosim.card.session import Session
from ktls_cosim.client_memory import Area, ClientMemory, MapError
from ktls_hw.layout import Reg, ring_reg


@pytest.fixture
def function() -> Iterator[pci.PciFunction]:
    device = ModelDevice()
    function = pci.PciFunction(device)
    device.bus_master = lambda: function.bus_master
    device.interrupt = function.interrupt
    yield function
    function.close()


def word(function: pci.PciFunction, region: int, offset: int) -> int:
    return int.from_bytes(function.read(region, offset, 4), "little")


def put(function: pci.PciFunction, region: int, offset: int, value: int) -> None:
    function.write(region, offset, value.to_bytes(4, "little"))


def trigger(count: int, data: p.IrqData = p.IrqData.EVENTFD, flags: bytes = b"") -> p.SetIrqs:
    return p.SetIrqs(pci.MSIX, 0, count, data, p.IrqAction.TRIGGER, flags)


def events(fd: int) -> int:
    """Take the events of an eventfd."""
    if not select.select([fd], [], [], 0)[0]:
        return 0
    return int.from_bytes(os.read(fd, 8), "little")


def test_configuration_space(function: pci.PciFunction) -> None:
    assert word(function, pci.CONFIG, 0) == 0x7E15_1234
    assert word(function, pci.CONFIG, 8) >> 8 == pci.CLASS
    assert function.read(pci.CONFIG, 0x34, 1) == b"\x40"
    assert word(function, pci.CONFIG, 0x40) & 0xFF == 0x11
    assert (word(function, pci.CONFIG, 0x40) >> 16) + 1 == function.vectors == 5
    assert word(function, pci.CONFIG, 0x44) == pci.TABLE
    # the size of the BAR, as the BIOS asks for it; then an address above 4 GiB
    put(function, pci.CONFIG, 0x10, 0xFFFFFFFF)
    put(function, pci.CONFIG, 0x14, 0xFFFFFFFF)
    bar = word(function, pci.CONFIG, 0x10) | word(function, pci.CONFIG, 0x14) << 32
    assert (1 << 64) - (bar & ~15) == pci.BAR_SIZE
    assert bar & 15 == 4, "64-bit memory"
    put(function, pci.CONFIG, 0, 0)
    assert word(function, pci.CONFIG, 0) == 0x7E15_1234, "ids are read-only"
    assert not function.bus_master
    function.write(pci.CONFIG, 4, b"\x06\x00")
    assert function.bus_master
    function.reset()
    assert not function.bus_master


def test_registers(function: pci.PciFunction) -> None:
    assert word(function, pci.BAR, Reg.ID) == 0x4B544C53
    assert function.read(pci.BAR, Reg.ID + 1, 2) == b"LT"
    assert function.read(pci.BAR, Reg.ID, 8)[4:] == function.read(pci.BAR, Reg.VERSION, 4)
    assert word(function, pci.BAR, 0x1800) == 0, "a hole"
    for region, offset, size in ((0, 0x4000, 4), (0, 0, 0), (7, 255, 2), (1, 0, 4), (9, 0, 1)):
        with pytest.raises(p.BadMessage):
            function.read(region, offset, size)
    with pytest.raises(p.BadMessage, match="words"):
        function.write(pci.BAR, Reg.CTRL, b"\1")


def test_an_interrupt_is_delivered_masked_and_pending(function: pci.PciFunction) -> None:
    fd = os.eventfd(0)
    function.interrupt(0)
    assert word(function, pci.BAR, pci.PENDING) == 1, "nobody listens yet"
    function.set_irqs(trigger(1), [os.dup(fd)])
    assert events(fd) == 1
    assert word(function, pci.BAR, pci.PENDING) == 0
    function.set_irqs(p.SetIrqs(pci.MSIX, 0, 1, p.IrqData.NONE, p.IrqAction.MASK), [])
    function.interrupt(0)
    function.interrupt(0)
    assert (events(fd), word(function, pci.BAR, pci.PENDING)) == (0, 1)
    function.set_irqs(p.SetIrqs(pci.MSIX, 0, 1, p.IrqData.NONE, p.IrqAction.UNMASK), [])
    assert events(fd) == 1
    # the same through the table and through the capability
    put(function, pci.BAR, pci.TABLE + 12, 1)
    function.interrupt(0)
    assert events(fd) == 0
    put(function, pci.BAR, pci.TABLE + 12, 0)
    assert events(fd) == 1
    function.write(pci.CONFIG, 0x42, b"\x00\xc0")
    function.interrupt(0)
    assert events(fd) == 0
    function.write(pci.CONFIG, 0x42, b"\x00\x80")
    assert events(fd) == 1
    # software can trigger; the end of all
    function.set_irqs(trigger(1, p.IrqData.BOOL, b"\0"), [])
    assert events(fd) == 0
    function.set_irqs(trigger(1, p.IrqData.NONE), [])
    assert events(fd) == 1
    function.set_irqs(trigger(0, p.IrqData.NONE), [])
    function.interrupt(0)
    assert events(fd) == 0
    os.close(fd)


def test_each_vector_has_its_own_event_and_mask(function: pci.PciFunction) -> None:
    fds = [os.eventfd(0) for _ in range(function.vectors)]
    # two with one message, the others later, as clients do
    function.set_irqs(p.SetIrqs(pci.MSIX, 0, 2, p.IrqData.EVENTFD, p.IrqAction.TRIGGER),
                      [os.dup(fd) for fd in fds[:2]])  # fmt: skip
    for vector, fd in enumerate(fds[2:], 2):
        request = p.SetIrqs(pci.MSIX, vector, 1, p.IrqData.EVENTFD, p.IrqAction.TRIGGER)
        function.set_irqs(request, [os.dup(fd)])
    for vector in range(function.vectors):
        function.interrupt(vector)
        assert [events(fd) for fd in fds] == [int(v == vector) for v in range(len(fds))]
    for vector in range(function.vectors):
        put(function, pci.BAR, pci.TABLE + 16 * vector + 12, 1)
        for other in range(function.vectors):
            function.interrupt(other)
        assert [events(fd) for fd in fds] == [int(v != vector) for v in range(len(fds))]
        assert word(function, pci.BAR, pci.PENDING) == 1 << vector
        put(function, pci.BAR, pci.TABLE + 16 * vector + 12, 0)
        assert [events(fd) for fd in fds] == [int(v == vector) for v in range(len(fds))]
    for fd in fds:
        os.close(fd)


def test_messages_of_the_device_reach_their_vector(function: pci.PciFunction) -> None:
    """From the registers to the eventfds, with both masks."""
    function.write(pci.CONFIG, 4, b"\x06\x00")
    word(function, pci.BAR, Reg.STATUS)
    errors = os.eventfd(0)
    request = p.SetIrqs(pci.MSIX, 4, 1, p.IrqData.EVENTFD, p.IrqAction.TRIGGER)
    function.set_irqs(request, [os.dup(errors)])
    put(function, pci.BAR, Reg.RING0_SQ_BASE_LO, 1)
    assert events(errors) == 0, "masked in the device"
    assert word(function, pci.BAR, Reg.ERROR_MSG) == 2
    put(function, pci.BAR, pci.TABLE + 16 * 4 + 12, 1)
    put(function, pci.BAR, Reg.ERROR_MSG, 1)
    assert (events(errors), word(function, pci.BAR, pci.PENDING)) == (0, 1 << 4)
    put(function, pci.BAR, pci.TABLE + 16 * 4 + 12, 0)
    assert (events(errors), word(function, pci.BAR, pci.PENDING)) == (1, 0)
    put(function, pci.BAR, ring_reg(1, Reg.RING0_ERRORS), 0)
    assert events(errors) == 1, "ring 0 has an error still"
    put(function, pci.BAR, Reg.RING0_ERRORS, 0)
    assert events(errors) == 0
    os.close(errors)


def test_impossible_interrupts(function: pci.PciFunction) -> None:
    for request, fds in (
        (p.SetIrqs(5, 0, 0, p.IrqData.NONE, p.IrqAction.TRIGGER), 0),
        (p.SetIrqs(0, 0, 1, p.IrqData.NONE, p.IrqAction.TRIGGER), 0),
        (p.SetIrqs(pci.MSIX, 5, 1, p.IrqData.NONE, p.IrqAction.TRIGGER), 0),
        (p.SetIrqs(pci.MSIX, 4, 2, p.IrqData.NONE, p.IrqAction.TRIGGER), 0),
        (p.SetIrqs(pci.MSIX, 0, 0xFFFFFFFF, p.IrqData.NONE, p.IrqAction.MASK), 0),
        (trigger(1), 2),
        (trigger(1, p.IrqData.NONE), 1),
    ):
        opened = [os.eventfd(0) for _ in range(fds)]
        with pytest.raises(p.BadMessage):
            function.set_irqs(request, opened)
        assert len(opened) == fds, "nothing was taken"
        for fd in opened:
            os.close(fd)


def test_a_full_eventfd_does_not_block(function: pci.PciFunction) -> None:
    fd = os.eventfd((1 << 32) - 1)
    os.eventfd_write(fd, (1 << 64) - 2 - ((1 << 32) - 1))
    function.set_irqs(trigger(1), [fd])
    function.interrupt(0)


# ---------------------------------------------------------------------------- memory


def memfd(size: int) -> int:
    fd = os.memfd_create("test")
    os.truncate(fd, size)
    return fd


def test_maps_anywhere() -> None:
    memory = ClientMemory()
    fd = memfd(3 * 4096)
    memory.add(Area((1 << 64) - 4096, 4096, os.dup(fd), 0))
    memory.add(Area(0, 4096, os.dup(fd), 4096))
    memory.add(Area(4096, 4096, os.dup(fd), 8192))
    assert memory.write((1 << 64) - 4, b"last")
    assert os.pread(fd, 4, 4092) == b"last"
    assert memory.write(4090, b"two adjacent"), "one access, two maps"
    assert memory.read(4090, 12) == b"two adjacent"
    assert memory.read(8190, 4) is None
    assert not memory.write(8190, b"abcd")
    assert memory.read(8190, 2) == b"ab", "the mapped part is written"
    assert memory.read(1 << 40, 1) is None
    assert not memory.write(1 << 40, b"x")
    for address, size in ((0, 4096), (4096, 8192), ((1 << 64) - 4096, 4096)):
        with pytest.raises(MapError) as e:
            memory.add(Area(address, size, fd, 0))
        assert e.value.number == errno.EEXIST
    with pytest.raises(MapError):
        memory.remove(0, 8192)
    memory.remove(0, 4096)
    assert memory.read(0, 1) is None
    memory.clear()
    assert len(memory) == 0
    os.close(fd)


def test_access_rights_and_bad_files() -> None:
    memory = ClientMemory()
    fd = memfd(8192)
    memory.add(Area(0, 4096, os.dup(fd), 0, readable=False))
    memory.add(Area(4096, 4096, os.dup(fd), 4096, writable=False))
    memory.add(Area(8192, 4096, -1, 0))
    assert memory.write(0, b"x")
    assert memory.read(0, 1) is None
    assert not memory.write(4096, b"x")
    assert memory.read(4096, 1) == b"\0"
    assert memory.read(8192, 1) is None
    assert not memory.write(8192, b"x")
    ends = os.pipe()
    for area in (Area(1 << 20, 12288, fd, 0), Area(1 << 20, 4096, ends[0], 0)):
        with pytest.raises(MapError) as e:
            memory.add(area)
        assert e.value.number == errno.EINVAL
    os.truncate(fd, 0)
    assert memory.read(4096, 1) is None, "the client has truncated its file"
    assert not memory.write(0, b"x")
    assert os.fstat(fd).st_size == 0
    memory.clear()
    for number in (fd, *ends):
        os.close(number)


def test_random_accesses_agree_with_a_dictionary(rng: random.Random) -> None:
    memory, fd, plain = ClientMemory(), memfd(16 * 4096), dict[int, int]()
    base = (1 << 63) + 4096
    for page in range(16):
        if rng.random() < 0.6:
            memory.add(Area(base + page * 4096, 4096, os.dup(fd), page * 4096))
            plain |= dict.fromkeys(range(base + page * 4096, base + page * 4096 + 4096), 0)
    for _ in range(300):
        at, data = base + rng.randrange(-4096, 17 * 4096), rng.randbytes(rng.randrange(1, 9000))
        there = [at + i in plain for i in range(len(data))]
        assert memory.write(at, data) == all(there)
        plain |= {at + i: b for i, b in enumerate(data) if there[i]}
        start, n = base + rng.randrange(17 * 4096), rng.randrange(1, 9000)
        want = [plain.get(start + i) for i in range(n)]
        got = memory.read(start, n)
        assert got is None if None in want else list(got or b"") == want
    memory.clear()
    os.close(fd)


# --------------------------------------------------------------------------- session


def test_a_session_from_version_to_the_end() -> None:
    device = ModelDevice()
    function = pci.PciFunction(device)
    session = Session(function, device)

    def ask(command: int, payload: bytes = b"", fds: list[int] | None = None) -> tuple[int, bytes]:
        out = session.answer(p.Message(5, command, payload, fds or []))
        number, answered, size, flags, error = struct.unpack_from("<HHIII", out)
        assert (number, answered, size) == (5, command, len(out))
        assert flags == (0x21 if error else 1)
        return error, out[16:]

    read_id = struct.pack("<QII", Reg.ID, pci.BAR, 4)
    assert ask(9, read_id)[0] == errno.EINVAL, "VERSION must come first"
    assert ask(1, struct.pack("<HH", 0, 1))[0] == 0
    assert ask(1, struct.pack("<HH", 0, 1))[0] == errno.EINVAL
    assert ask(9, read_id) == (0, read_id + b"SLTK")
    assert ask(4, struct.pack("<IIII", 16, 0, 0, 0)) == (0, struct.pack("<IIII", 16, 3, 9, 5))
    assert ask(5, struct.pack("<IIIIQQ", 32, 0, 0, 0, 0, 0)) == (
        0, struct.pack("<IIIIQQ", 32, 3, 0, 0, pci.BAR_SIZE, 0),
    )  # fmt: skip
    assert ask(7, struct.pack("<IIII", 16, 0, 2, 0)) == (0, struct.pack("<IIII", 16, 3, 2, 5))
    fd = memfd(4096)
    request = struct.pack("<IIQQQ", 32, 3, 0, 0, 4096)
    assert ask(2, request, [os.dup(fd)]) == (0, b"")
    assert ask(2, request, [os.dup(fd)])[0] == errno.EEXIST
    assert ask(2, request, [os.dup(fd), os.dup(fd)])[0] == errno.EINVAL
    everything = struct.pack("<IIQQ", 24, 2, 0, 0)
    assert ask(3, everything) == (0, everything)
    assert ask(2, request, [os.dup(fd)]) == (0, b"")
    assert ask(13) == (0, b"")
    assert session.answer(p.Message(1, 99, is_reply=True)) == b""
    assert session.answer(p.Message(1, 99, wants_reply=False)) == b""
    open_before = len(os.listdir("/proc/self/fd"))
    session.close()
    assert len(os.listdir("/proc/self/fd")) == open_before - 1, "the map's descriptor"
    os.close(fd)
