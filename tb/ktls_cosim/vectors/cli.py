# SPDX-License-Identifier: Apache-2.0
"""Command line of `ktls-cosim vectors`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktls_cosim.options import add_json, add_port, add_sample, add_trace
from ktls_cosim.vectors.run import run_vectors


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `vectors`."""
    add_port(parser, "sim", "model", default="sim")
    add_sample(parser, "cases of each source")
    add_trace(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: Namespace) -> int:
    return run_vectors(
        args.port,
        args.sample,
        args.seed,
        target=args.target,
        trace=args.trace,
        json_out=args.json,
    )
