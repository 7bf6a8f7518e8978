# SPDX-License-Identifier: Apache-2.0
"""The table of commands.

`ktls-cosim --help` reads this table only. The module of a command is imported when the command
is used.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: Its name on the command line.
        setup: `MODULE:FUNCTION`. The function receives the command's `ArgumentParser`, adds the
            options, and sets the default `run`: a function that receives the parsed arguments
            (with `target`, the `Target`) and returns the exit status.
        help: One line for `ktls-cosim --help`.
    """

    name: str
    setup: str
    help: str


COMMANDS = (
    Command(
        "demo",
        "ktls_cosim.demo:add_options",
        "send data through the device and verify every record",
    ),
    Command(
        "serve",
        "ktls_cosim.https.cli:add_serve_options",
        "an HTTPS server: real clients, every record sealed and opened by the device",
    ),
    Command(
        "fetch",
        "ktls_cosim.https.cli:add_fetch_options",
        "an HTTPS client: real servers, every record sealed and opened by the device",
    ),
    Command(
        "run",
        "ktls_cosim.run.cli:add_options",
        "run an unmodified program on the kTLS model and the simulated device",
    ),
    Command(
        "card",
        "ktls_cosim.card.cli:add_options",
        "a PCI card for drivers in C and for QEMU: a vfio-user server",
    ),
    Command(
        "conformance",
        "ktls_cosim.conformance.cli:add_options",
        "play recordings of real kernels on the model and compare",
    ),
    Command(
        "kernel",
        "ktls_cosim.kernel.cli:add_options",
        "play random scripts on the model and on a real Linux kernel and compare",
    ),
    Command(
        "vectors",
        "ktls_cosim.vectors.cli:add_options",
        "play NIST CAVP, Wycheproof and RFC 8448 through driver and device",
    ),
    Command("bench", "ktls_cosim.bench.cli:add_options", "measure and print tables"),
    Command(
        "doctor", "ktls_cosim.doctor:add_options", "show what is installed and what is missing"
    ),
)
