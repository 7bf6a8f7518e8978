# SPDX-License-Identifier: Apache-2.0
"""Command line of `ktls-cosim conformance`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ktls_cosim.conformance.run import run_conformance
from ktls_cosim.options import add_jobs, add_json, add_kernel, add_port, add_sample


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `conformance`."""
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FILE_OR_DIR", help="scenario files (*.jsonl)"
    )
    add_kernel(parser, None, "that of each recording")
    add_port(parser, "software", "model", "sim", default="software")
    add_jobs(parser, "processes")
    add_json(parser)
    add_sample(
        parser, "scenarios, from all categories (with a device: those whose records it seals)"
    )
    parser.set_defaults(run=_run)


def _run(args: Namespace) -> int:
    return run_conformance(
        args.paths,
        kernel=args.kernel,
        port=args.port,
        target=args.target,
        jobs=args.jobs,
        json_out=args.json,
        sample=args.sample,
        seed=args.seed,
    )
