# SPDX-License-Identifier: Apache-2.0
"""Open a device by its `--port` name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ktls_cosim.port import Port
from ktls_cosim.target import Target
from ktls_hw.model import NicModel

PORTS = ("model", "sim")


@contextmanager
def open_port(
    kind: str, *, target: Target | None = None, name: str = "session", waves: bool = False
) -> Iterator[Port]:
    """Open a device for plain Python and close it at the end of the block.

    Args:
        kind: `model` (functional model in this process) or `sim` (RTL in a child process).
        target: Simulator and lanes for `sim`; by default Icarus and one lane.
        name: Name of the folder under `build/runs` that receives the log and the waves.
        waves: Whether to record an FST file (`sim` only).

    Raises:
        ValueError: `kind` is unknown.
        SimulatorMissing, SimulatorError: The simulator cannot be used.
    """
    if kind == "model":
        yield NicModel()
    elif kind == "sim":
        # imported late: the model needs no simulator
        from ktls_cosim.sim.build import Build
        from ktls_cosim.sim.remote import RemoteSim

        target = target or Target()
        build = Build.device(lanes=target.lanes)
        with RemoteSim(build, simulator=target.simulator, name=name, waves=waves) as port:
            yield port
    else:
        raise ValueError(f"unknown port {kind!r}, expected one of {', '.join(PORTS)}")


def waves_of(port: Port) -> Path | None:
    """The FST file that the port records, or None."""
    waves: Path | None = getattr(port, "waves", None)
    return waves
