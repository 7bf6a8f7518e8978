# SPDX-License-Identifier: Apache-2.0
"""Command line of `ktls-cosim bench`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktls_cosim.bench.model import run_bench_model
from ktls_cosim.bench.rtl import run_bench_rtl
from ktls_cosim.bench.sim import run_bench_sim
from ktls_cosim.errors import CosimError
from ktls_cosim.options import add_json, add_target
from ktls_cosim.target import LANES


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `bench`."""
    parser.add_argument(
        "what",
        choices=("rtl", "sim", "model"),
        help="rtl: cycles of core and device (with 1, 2 and 4 lanes, or those of --lanes); "
        "sim: CPU time of a record in simulation; model: cost of the kTLS model",
    )
    add_target(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: Namespace) -> int:
    if args.what == "model" and (args.sim or args.lanes):
        raise CosimError("bench model simulates nothing; --sim and --lanes are for bench rtl")
    if args.what == "sim" and args.sim:
        raise CosimError("bench sim measures every simulator; --sim is for bench rtl")
    if args.what == "rtl":
        lanes = (args.lanes,) if args.lanes else LANES
        return run_bench_rtl(args.json, simulator=args.target.simulator, widths=lanes)
    if args.what == "sim":
        return run_bench_sim(args.json, lanes=args.target.lanes)
    return run_bench_model(args.json)
