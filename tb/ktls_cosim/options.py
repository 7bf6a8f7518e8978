# SPDX-License-Identifier: Apache-2.0
"""Command-line options that several commands share; each is defined here once."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

PORTS = {
    "software": "no device, the CPU seals",
    "model": "the functional device",
    "sim": "the Verilog in a simulator (SIM=icarus or verilator, LANES=1, 2 or 4)",
}
TLS_VERSIONS = ("1.2", "1.3")


def add_port(parser: ArgumentParser, *choices: str, default: str) -> None:
    """Add `--port`, the device under the driver; `choices` are keys of `PORTS`."""
    parser.add_argument(
        "--port",
        choices=choices,
        default=default,
        help="; ".join(f"{name}: {PORTS[name]}" for name in choices) + f"; default: {default}",
    )


def add_capture(parser: ArgumentParser) -> None:
    """Add `--capture`, a pcapng file of the traffic."""
    parser.add_argument(
        "--capture",
        type=Path,
        metavar="FILE.pcapng",
        help="write the TCP conversations with their secrets, for Wireshark and tshark",
    )


def add_kernel(parser: ArgumentParser, default: str) -> None:
    """Add `--kernel`, the Linux version that the kTLS model follows."""
    from ktls import KERNELS

    parser.add_argument(
        "--kernel",
        choices=sorted(KERNELS),
        default=default,
        help=f"Linux version that the model follows (default: {default})",
    )


def add_sample(parser: ArgumentParser, what: str) -> None:
    """Add `--sample`, which plays a random choice of cases, and its `--seed`."""
    parser.add_argument("--sample", type=int, metavar="N", help=f"play only N {what}")
    add_seed(parser, "--sample")


def add_seed(parser: ArgumentParser, of: str) -> None:
    """Add `--seed`; `of` names the random data."""
    parser.add_argument("--seed", type=int, default=1, help=f"seed of {of} (default: 1)")


def add_jobs(parser: ArgumentParser, what: str) -> None:
    """Add `--jobs`, the number of processes."""
    parser.add_argument("--jobs", type=int, metavar="N", help=f"{what} (default: one per CPU)")


def add_json(parser: ArgumentParser) -> None:
    """Add `--json`, a file for the figures."""
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the result here")


def add_tls(parser: ArgumentParser) -> None:
    """Add `--tls`, the only TLS version to negotiate."""
    parser.add_argument("--tls", choices=TLS_VERSIONS, help="use only this TLS version")
