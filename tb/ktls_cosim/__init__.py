# SPDX-License-Identifier: Apache-2.0
"""Hardware/software co-simulation of a kernel-TLS offload NIC.

The names in `__all__` are the stable interface of this package. Every other module may
change between versions. A name is imported on first use, so importing the package itself
is fast and needs neither a simulator nor cocotb.

Typical use, with a device of your own as `port`::

    scoreboard = Scoreboard("the command that repeats this run")
    env = Env(port, scoreboard, random.Random(1), fail_bus)
    for scenario in SCENARIOS.values():
        run_sync(scenario(env))
    scoreboard.finish()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ktls_cosim.check.device import CheckedPort
    from ktls_cosim.check.golden import TrafficKeys, open_record, seal_record
    from ktls_cosim.check.lockstep import LockstepError, LockstepPort
    from ktls_cosim.check.mismatch import Mismatch, MismatchError, NothingChecked
    from ktls_cosim.check.wire import Scoreboard
    from ktls_cosim.errors import CosimError, SimulatorError, SimulatorMissing
    from ktls_cosim.port import Memory, Port
    from ktls_cosim.scenarios import SCENARIOS, Env, scenario
    from ktls_cosim.session import open_port
    from ktls_cosim.sim.build import Build
    from ktls_cosim.sim.remote import RemoteSim
    from ktls_cosim.target import Target
    from ktls_cosim.trace import TracePort

__all__ = [
    "SCENARIOS",
    "Build",
    "CheckedPort",
    "CosimError",
    "Env",
    "LockstepError",
    "LockstepPort",
    "Memory",
    "Mismatch",
    "MismatchError",
    "NothingChecked",
    "Port",
    "RemoteSim",
    "Scoreboard",
    "SimulatorError",
    "SimulatorMissing",
    "Target",
    "TracePort",
    "TrafficKeys",
    "open_port",
    "open_record",
    "scenario",
    "seal_record",
]

_MODULES = {
    "SCENARIOS": "scenarios",
    "Build": "sim.build",
    "CheckedPort": "check.device",
    "CosimError": "errors",
    "Env": "scenarios",
    "LockstepError": "check.lockstep",
    "LockstepPort": "check.lockstep",
    "Memory": "port",
    "Mismatch": "check.mismatch",
    "MismatchError": "check.mismatch",
    "NothingChecked": "check.mismatch",
    "Port": "port",
    "RemoteSim": "sim.remote",
    "Scoreboard": "check.wire",
    "SimulatorError": "errors",
    "SimulatorMissing": "errors",
    "Target": "target",
    "TracePort": "trace",
    "TrafficKeys": "check.golden",
    "open_port": "session",
    "open_record": "check.golden",
    "scenario": "scenarios",
    "seal_record": "check.golden",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
