# SPDX-License-Identifier: Apache-2.0
"""Command line of `ktls-cosim run`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktls_cosim.options import add_capture, add_kernel, add_port, add_trace
from ktls_cosim.run.command import run_program


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `run`."""
    parser.add_argument("program", nargs="+", metavar="PROGRAM ARGS", help="after --")
    add_kernel(parser, "7.x")
    parser.add_argument(
        "--exact",
        action="store_true",
        help="trap reads and writes, too, for programs that depend on record boundaries",
    )
    add_port(parser, "model", "sim", default="model")
    add_capture(parser)
    add_trace(parser)
    parser.set_defaults(run=_run)


def _run(args: Namespace) -> int:
    return run_program(
        args.program,
        port=args.port,
        target=args.target,
        kernel=args.kernel,
        exact=args.exact,
        capture=args.capture,
        trace=args.trace,
    )
