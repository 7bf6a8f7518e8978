# SPDX-License-Identifier: Apache-2.0
"""Co-simulation of a NIC that offloads kernel TLS: kTLS model, driver, Verilog engine."""

from __future__ import annotations

import argparse
import os
import sys
from pkgutil import resolve_name

from ktls_cosim.commands import COMMANDS
from ktls_cosim.errors import CosimError
from ktls_cosim.target import Target

EXIT_FAILED = 1
EXIT_UNUSABLE = 2


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ktls-cosim", description=__doc__)
    sub = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        subparser = sub.add_parser(command.name, help=command.help, description=command.help)
        if argv[:1] == [command.name]:
            resolve_name(command.setup)(subparser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run one command: `ktls-cosim`, also `python -m ktls_cosim`.

    Args:
        argv: Arguments without the program name; by default those of this process.

    Returns:
        0 on success, 1 if the device or a check failed, 2 if the command cannot run here.
    """
    args = _parse(sys.argv[1:] if argv is None else argv)
    try:
        args.target = Target.from_environment(os.environ)
        status: int = args.run(args)
    except CosimError as e:
        print(f"ktls-cosim: {e}", file=sys.stderr)
        return EXIT_UNUSABLE
    except Exception as e:
        # imported late: `--help` and `doctor` work without the driver and its packages
        from ktls import KtlsError

        if not isinstance(e, KtlsError):
            raise
        print(f"ktls-cosim: the device failed: {e}", file=sys.stderr)
        return EXIT_FAILED
    return status


if __name__ == "__main__":
    sys.exit(main())
