# SPDX-License-Identifier: Apache-2.0
"""Co-simulation of a NIC that offloads kernel TLS: kTLS model, driver, Verilog engine."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from pkgutil import resolve_name
from typing import Any

from ktls_cosim.commands import COMMANDS
from ktls_cosim.errors import CosimError
from ktls_cosim.options import add_verbose
from ktls_cosim.target import Target

EXIT_FAILED = 1
EXIT_UNUSABLE = 2
# those of a program that SIGINT or SIGPIPE ends
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_log = logging.getLogger("ktls.cli")


class _Version(argparse.Action):
    """Prints the version of the package; reading it takes too long to do it for every command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"ktls-cosim {version('ktls-cosim')}")
        parser.exit()


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ktls-cosim", description=__doc__)
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the version of the package and exit"
    )
    sub = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        subparser = sub.add_parser(command.name, help=command.help, description=command.help)
        if argv[:1] == [command.name]:
            resolve_name(command.setup)(subparser)
            add_verbose(subparser)
    return parser.parse_args(argv)


def _show_log(verbose: int) -> None:
    """Show the loggers `ktls.*` on standard error: steps (1) or every detail (2)."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    log = logging.getLogger("ktls")
    log.addHandler(handler)
    log.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)


def _run(argv: list[str]) -> int:
    try:
        args = _parse(argv)
        if args.verbose:
            _show_log(args.verbose)
        if "sim" in args:
            if args.rtl and getattr(args, "port", "sim") not in ("sim", "lockstep"):
                raise CosimError("only the simulated device has RTL; use --rtl with --port sim")
            args.target = Target.from_environment(
                os.environ, simulator=args.sim, lanes=args.lanes, rtl=args.rtl
            )
        status: int = args.run(args)
    finally:
        # a failed write must be an error of the command, not of the interpreter's exit
        if sys.stdout is not None:
            sys.stdout.flush()
    return status


def _drop_output() -> None:
    """Discard what standard output cannot take, which the interpreter would try once more."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):  # not a file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(e: OSError) -> str:
    """Return the message of a failed access to a file."""
    return f"{e.strerror or e}: {e.filename}" if e.filename else str(e.strerror or e)


def main(argv: list[str] | None = None) -> int:
    """Run one command: `ktls-cosim`, also `python -m ktls_cosim`.

    Args:
        argv: Arguments without the program name; by default those of this process.

    Returns:
        0 on success, 1 if the device or a check failed, 2 if the command cannot run here,
        130 after Ctrl-C, 141 if the reader of the output has closed it.
    """
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("ktls-cosim: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except CosimError as e:
        print(f"ktls-cosim: {e}", file=sys.stderr)
        return EXIT_UNUSABLE
    except Exception as e:
        # imported late: `--help` and `doctor` work without the driver and its packages
        from ktls import KtlsError

        if isinstance(e, KtlsError):
            print(f"ktls-cosim: the device failed: {e}", file=sys.stderr)
            return EXIT_FAILED
        if not isinstance(e, OSError):
            raise
        _drop_output()
        if isinstance(e, BrokenPipeError):
            return EXIT_BROKEN_PIPE
        _log.debug("traceback", exc_info=True)
        print(f"ktls-cosim: {_explain(e)}", file=sys.stderr)
        return EXIT_UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
