# SPDX-License-Identifier: Apache-2.0
"""Command-line options that several commands share; each is defined here once."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from ktls_cosim.target import LANES

PORTS = {
    "software": "no device, the CPU seals",
    "model": "the functional device",
    "sim": "the Verilog in a simulator",
    "lockstep": "the Verilog, compared with the functional model",
}
TLS_VERSIONS = ("1.2", "1.3")
_LONGEST = 1e6  # seconds


def at_least(minimum: int) -> Callable[[str], int]:
    """Return an argument type that accepts the integers from `minimum`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not an integer") from None
        if value < minimum:
            raise ArgumentTypeError(f"{value} is too small; the minimum is {minimum}")
        return value

    return parse


def seconds(text: str) -> float:
    """Argument type of a time limit: a positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < value <= _LONGEST:
        raise ArgumentTypeError(f"{text} is not between 0 and {_LONGEST:.0f} seconds")
    return value


def output_file(text: str) -> Path:
    """Argument type of a file to write: fail before the work if the file cannot be written.

    An existing file keeps its content until the command writes it.
    """
    path = Path(text)
    try:
        if path.exists():
            if path.is_file():
                path.open("ab").close()
            elif path.is_dir():
                raise ArgumentTypeError(f"{path} is a folder; name a file")
        else:
            path.open("xb").close()
            path.unlink()
    except OSError as e:
        raise ArgumentTypeError(f"cannot write {path}: {e.strerror}") from None
    return path


def add_port(parser: ArgumentParser, *choices: str, default: str) -> None:
    """Add `--port`, the device under the driver; `choices` are keys of `PORTS`."""
    parser.add_argument(
        "--port",
        choices=choices,
        default=default,
        help="; ".join(f"{name}: {PORTS[name]}" for name in choices) + f"; default: {default}",
    )
    if "sim" in choices:
        add_target(parser)


def add_target(parser: ArgumentParser) -> None:
    """Add the options of `Target`: what `--port sim` simulates, and with which program."""
    from ktls_cosim.sim.simulators import SIMULATORS

    parser.add_argument(
        "--sim",
        choices=sorted(SIMULATORS),
        help="simulator (default: the environment variable SIM, else icarus)",
    )
    parser.add_argument(
        "--lanes",
        type=int,
        choices=LANES,
        help="16-byte blocks per cycle of the simulated device "
        "(default: the environment variable LANES, else 1)",
    )
    parser.add_argument(
        "--rtl",
        action="append",
        default=[],
        metavar="PATH",
        help="your own core for the simulated device: a file, a file list (*.f) or a folder; may "
        "be repeated (default: the environment variable KTLS_RTL, PATH:PATH)",
    )


def add_capture(parser: ArgumentParser) -> None:
    """Add `--capture`, a pcapng file of the traffic."""
    parser.add_argument(
        "--capture",
        type=output_file,
        metavar="FILE.pcapng",
        help="write the TCP conversations with their secrets, for Wireshark and tshark",
    )


def add_trace(parser: ArgumentParser) -> None:
    """Add `--trace`, a file of the driver's accesses to the device."""
    parser.add_argument(
        "--trace",
        type=output_file,
        metavar="FILE.jsonl",
        help="write the driver's accesses to registers and DMA memory, and the interrupts",
    )


def add_kernel(parser: ArgumentParser, default: str | None, shown: str | None = None) -> None:
    """Add `--kernel`, the Linux version that the kTLS model follows; `shown` names the default."""
    from ktls import KERNELS

    parser.add_argument(
        "--kernel",
        choices=sorted(KERNELS),
        default=default,
        help=f"Linux version that the model follows (default: {shown or default})",
    )


def add_sample(parser: ArgumentParser, what: str) -> None:
    """Add `--sample`, which plays a random choice of cases, and its `--seed`."""
    parser.add_argument("--sample", type=at_least(1), metavar="N", help=f"play only N {what}")
    add_seed(parser, "--sample")


def add_seed(parser: ArgumentParser, of: str) -> None:
    """Add `--seed`; `of` names the random data."""
    parser.add_argument(
        "--seed", type=at_least(0), default=1, metavar="N", help=f"seed of {of} (default: 1)"
    )


def add_jobs(parser: ArgumentParser, what: str) -> None:
    """Add `--jobs`, the number of processes."""
    parser.add_argument(
        "--jobs", type=at_least(1), metavar="N", help=f"{what} (default: one per CPU)"
    )


def add_json(parser: ArgumentParser) -> None:
    """Add `--json`, a file for the result."""
    parser.add_argument(
        "--json", type=output_file, metavar="OUT", help="also write the result here"
    )


def add_tls(parser: ArgumentParser) -> None:
    """Add `--tls`, the only TLS version to negotiate."""
    parser.add_argument("--tls", choices=TLS_VERSIONS, help="use only this TLS version")


def add_verbose(parser: ArgumentParser) -> None:
    """Add `-v`, which shows the log."""
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="show the log on standard error; -vv shows every descriptor and access",
    )
