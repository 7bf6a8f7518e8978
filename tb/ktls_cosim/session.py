# SPDX-License-Identifier: Apache-2.0
"""Open a device by name: what `--port` on the command line chooses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ktls_cosim.port import Port
from ktls_hw.model import NicModel

PORTS = ("model", "sim")


@contextmanager
def open_port(kind: str, *, name: str = "session", waves: bool = False) -> Iterator[Port]:
    """A device for plain Python, closed at the end of the block.

    Args:
        kind: `model` (functional model in this process) or `sim` (RTL in a child process).
        name: of the folder under `build/runs` for log and waves.
        waves: record an FST file (`sim` only).

    Raises:
        ValueError: unknown kind.
        SimulatorMissing, SimulatorError: the simulator cannot be used.
    """
    if kind == "model":
        yield NicModel()
    elif kind == "sim":
        from ktls_cosim.sim.remote import RemoteSim

        with RemoteSim(name=name, waves=waves) as port:
            yield port
    else:
        raise ValueError(f"unknown port {kind!r}, expected one of {', '.join(PORTS)}")


def waves_of(port: Port) -> Path | None:
    """The FST file that a port records, if it does."""
    waves: Path | None = getattr(port, "waves", None)
    return waves
