# SPDX-License-Identifier: Apache-2.0
"""A client of the card that is not ours: QEMU plugs it into a machine, and firmware maps it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cards import card
from ktls_cosim.card.function import DEVICE, VENDOR
from ktls_cosim.qemu import QemuMissing, find_qemu, machine
from ktls_hw.layout import CAPS_RINGS, ID_VALUE_RESET, Reg

MSIX = 0x11
UNMAPPED = 0xFFFF_FFFF_FFFF_FFFF
SLOT = 0x8000_0000 | 1 << 11  # bus 0, device 1: the first free one of the machine


class Monitor:
    """The monitor of a running QEMU."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._receive()
        self._send({"execute": "qmp_capabilities"})

    def _receive(self) -> dict[str, object]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "QEMU has ended"
        answer: dict[str, object] = json.loads(line)
        return answer

    def _send(self, command: dict[str, object]) -> object:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        while True:
            answer = self._receive()
            if "event" not in answer:
                return answer["return"]

    def run(self, line: str) -> str:
        """Return what a line in the human monitor prints."""
        arguments = {"command-line": line}
        return str(self._send({"execute": "human-monitor-command", "arguments": arguments}))

    def config(self, at: int) -> int:
        """Read a word of the card's configuration space through the ports of the machine."""
        self.run(f"o /w 0xcf8 {SLOT | at & 0xFC:#x}")
        return int(self.run("i /w 0xcfc").split("=")[1], 16)

    def word(self, address: int) -> int:
        """Read a word of physical memory."""
        return int(self.run(f"xp /1wx {address:#x}").split(":")[1], 16)


@contextmanager
def qemu(socket: Path) -> Iterator[Monitor]:
    """Start a machine with the card, and let its firmware run."""
    try:
        command = find_qemu()
    except QemuMissing as e:
        pytest.skip(str(e))
    with subprocess.Popen(
        [*command, *machine(socket), "-qmp", "stdio"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            yield Monitor(process)
        finally:
            process.kill()


def _bar(monitor: Monitor) -> int:
    """Wait until the firmware has mapped BAR 0, and return its address."""
    for _ in range(100):
        shown = monitor.run("info pci")
        assert f"Class 4096: PCI device {VENDOR:04x}:{DEVICE:04x}" in shown
        found = re.search(r"BAR0: 64 bit .*memory at (0x\w+)", shown)
        if found and int(found[1], 16) != UNMAPPED:
            return int(found[1], 16)
        time.sleep(0.2)
    raise AssertionError(f"the firmware has not mapped the card:\n{shown}")


def _vectors(monitor: Monitor) -> int:
    """Return the size of the MSI-X table, from the list of capabilities."""
    at = monitor.config(0x34) & 0xFF
    while monitor.config(at) & 0xFF != MSIX:
        at = monitor.config(at) >> 8 & 0xFF
        assert at, "no MSI-X capability"
    return (monitor.config(at) >> 16 & 0x7FF) + 1


@pytest.mark.parametrize("port", ["model", "sim"])
def test_qemu_plugs_the_card_in(tmp_path: Path, port: str) -> None:
    """Ids, BAR and MSI-X are seen, the registers answer, and the card outlives the machine."""
    with card(tmp_path, "--port", port) as process:
        for _ in range(2):
            with qemu(process.socket) as monitor:
                registers = _bar(monitor)
                caps = monitor.word(registers + Reg.CAPS)
                assert _vectors(monitor) == CAPS_RINGS.get(caps) + 1  # and one for errors
                assert monitor.word(registers + Reg.ID) == ID_VALUE_RESET
        assert process.stop() == 0
