# SPDX-License-Identifier: Apache-2.0
"""Command line of `ktls-cosim kernel`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktls_cosim.kernel.differential import run_kernel
from ktls_cosim.kernel.uml import SUITES
from ktls_cosim.options import add_jobs, add_json, add_seed, at_least


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `kernel`."""
    parser.add_argument(
        "--scripts", type=at_least(1), default=5000, metavar="N", help="default: 5000"
    )
    parser.add_argument(
        "--kernel",
        choices=sorted(SUITES),
        help="boot Debian's kernel of this series, unpacked beside the system if need be "
        "(default: the installed one)",
    )
    add_seed(parser, "the scripts")
    add_jobs(parser, "kernels that run at once")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: Namespace) -> int:
    return run_kernel(args.scripts, args.seed, args.jobs, args.json, args.kernel)
