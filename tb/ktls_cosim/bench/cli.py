# SPDX-License-Identifier: Apache-2.0
"""Command line of `ktls-cosim bench`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ktls_cosim.bench.live import run_bench_live
from ktls_cosim.bench.model import run_bench_model
from ktls_cosim.bench.rtl import run_bench_rtl
from ktls_cosim.bench.sim import run_bench_sim
from ktls_cosim.errors import CosimError
from ktls_cosim.options import add_json, add_target


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `bench`."""
    parser.add_argument(
        "what",
        choices=("rtl", "sim", "model", "live"),
        help="rtl: cycles of core and device (with every number of lanes, or that of --lanes); "
        "sim: CPU time of a record in simulation; model: cost of the kTLS model; "
        "live: requests per second of serve, beside Python's ssl and nginx",
    )
    add_target(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: Namespace) -> int:
    if args.what != "rtl" and args.rtl:
        raise CosimError(f"bench {args.what} measures our own core; --rtl is for bench rtl")
    if args.what in ("model", "live") and (args.sim or args.lanes):
        raise CosimError(
            f"bench {args.what} simulates nothing; --sim and --lanes are for bench rtl"
        )
    if args.what == "sim" and args.sim:
        raise CosimError("bench sim measures every simulator; --sim is for bench rtl")
    if args.what == "rtl":
        widths = (args.lanes,) if args.lanes else args.target.can.lanes
        return run_bench_rtl(args.json, args.target, widths)
    if args.what == "sim":
        return run_bench_sim(args.json, lanes=args.target.lanes)
    if args.what == "live":
        return run_bench_live(args.json)
    return run_bench_model(args.json)
