# SPDX-License-Identifier: Apache-2.0
"""Command line of `ktls-cosim card`."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from ktls_cosim.capture.contexts import ContextCapture
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.card.checked import CheckedDevice
from ktls_cosim.card.device import ObservedDevice
from ktls_cosim.card.model import ModelDevice
from ktls_cosim.card.report import AuditReport
from ktls_cosim.card.server import Server
from ktls_cosim.errors import CosimError
from ktls_cosim.machine import LiveScoreboard
from ktls_cosim.options import add_capture, add_port
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.register_log import Mark, find
from ktls_cosim.sim.waves import view_lines

_INTERRUPTED = 130


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `card`."""
    parser.add_argument(
        "--socket", type=Path, required=True, metavar="PATH", help="where vfio-user clients connect"
    )
    add_port(parser, "model", "sim", "lockstep", default="model")
    add_capture(parser)
    parser.add_argument(
        "--waves", action="store_true", help="record all signals in build/runs/card/waves.fst"
    )
    parser.add_argument(
        "--mark", metavar="REGISTER[=VALUE]", help="open the waves at its last access"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="fail if a driver breaks a rule, or if no record was checked",
    )
    parser.set_defaults(run=_run)


@contextmanager
def _open_device(args: Namespace) -> Iterator[ObservedDevice]:
    mark = _mark(args)
    if args.port == "model":
        if args.waves:
            raise CosimError("the functional model records no waves; use --port sim")
        yield ModelDevice()
        return
    # imported late: the model needs no simulator
    from ktls_cosim.card.lockstep import LockstepSim
    from ktls_cosim.sim.card import CardSim

    target = args.target
    build = Build.device(lanes=target.lanes, own=target.rtl, EXTERNAL=1)
    kind = CardSim if args.port == "sim" else partial(LockstepSim, lanes=target.lanes)
    with kind(build, simulator=target.simulator, name="card", waves=args.waves) as sim:
        yield sim
    if sim.waves is not None:
        access = find(sim.registers, mark)
        print(f"registers: {sim.registers}")
        print(f"marked: {access}" if access else f"not marked: no access to {mark}")
        print("\n".join(view_lines(sim.waves, access.time_ns if access else None)))


def _mark(args: Namespace) -> Mark:
    if args.mark and not args.waves:
        raise CosimError("--mark is a moment in the waves; add --port sim --waves")
    try:
        return Mark.parse(args.mark) if args.mark else Mark()
    except ValueError as e:
        raise CosimError(f"--mark: {e}") from e


def _run(args: Namespace) -> int:
    if not args.verbose:
        _show_refusals()
    report = AuditReport(strict=args.strict)
    scoreboard = LiveScoreboard(shlex.join(sys.argv))
    with ExitStack() as stack:
        records = None
        if args.capture:
            records = ContextCapture(stack.enter_context(Capture(args.capture)))
        bare = stack.enter_context(_open_device(args))
        device = CheckedDevice(bare, scoreboard, report.add, records)

        def gone() -> None:
            device.client_gone()
            report.client_gone(server.clients)

        server = Server(args.socket, device, gone)
        # a shell starts background jobs with SIGINT ignored
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: server.stop())
        try:
            print(f"card at {args.socket} (device: {args.port})", flush=True)
            server.run()
        finally:
            server.close()
        wrong = device.finish()
    print(
        f"records verified: {scoreboard.device_records}, ended with an error: "
        f"{scoreboard.device_refused}, spoiled by the driver: {scoreboard.device_spoiled}, "
        f"mismatches: {len(scoreboard.mismatches)}"
    )
    print(f"breaches of rules by drivers: {report.total}")
    if wrong is not None:
        print(wrong)
    if wrong is not None or scoreboard.mismatches:
        return 1
    print(f"clients: {server.clients}")
    if not server.clients:
        print("ktls-cosim: no client connected", file=sys.stderr)
        return _INTERRUPTED
    if args.strict and (report.total or not scoreboard.device_records):
        why = "a driver has broken rules" if report.total else "no record was checked"
        print(f"ktls-cosim: {why}", file=sys.stderr)
        return 1
    return 0


def _show_refusals() -> None:
    """Show on standard error what the card refuses: it is a mistake of the driver."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("ktls-cosim card: %(message)s"))
    log = logging.getLogger("ktls.card")
    log.addHandler(handler)
    log.setLevel(logging.WARNING)
    log.propagate = False
