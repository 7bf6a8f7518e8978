# SPDX-License-Identifier: Apache-2.0
"""Command line of `ktls-cosim serve` and `ktls-cosim fetch`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ktls_cosim.https.client import run_fetch
from ktls_cosim.https.limits import Timeouts
from ktls_cosim.https.server import run_serve
from ktls_cosim.options import add_capture, add_port, add_tls, add_trace, output_file, seconds


def add_serve_options(parser: ArgumentParser) -> None:
    """Add the options of `serve`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with the files to serve")
    parser.add_argument(
        "--listen", default="127.0.0.1:8443", metavar="HOST:PORT", help="default: 127.0.0.1:8443"
    )
    parser.add_argument("--cert", type=Path, metavar="PEM", help="default: self-signed, localhost")
    parser.add_argument("--key", type=Path, metavar="PEM", help="default: in the file of --cert")
    _add_timeout(parser, "--handshake-timeout", Timeouts.handshake, "for a whole handshake")
    _add_timeout(parser, "--header-timeout", Timeouts.header, "for the header of a request")
    _add_timeout(parser, "--idle-timeout", Timeouts.idle, "between two requests")
    _add_common(parser)
    parser.set_defaults(run=_serve)


def add_fetch_options(parser: ArgumentParser) -> None:
    """Add the options of `fetch`."""
    parser.add_argument("url", metavar="URL", help="https://HOST[:PORT]/PATH")
    parser.add_argument(
        "-o", "--output", type=output_file, metavar="FILE", help="default: standard output"
    )
    parser.add_argument("--cafile", type=Path, metavar="PEM", help="trusted certificates")
    parser.add_argument("--insecure", action="store_true", help="accept any certificate")
    _add_timeout(parser, "--handshake-timeout", Timeouts.handshake, "to connect and shake hands")
    _add_common(parser)
    parser.set_defaults(run=_fetch)


def _add_timeout(parser: ArgumentParser, name: str, default: float, what: str) -> None:
    parser.add_argument(
        name, type=seconds, default=default, metavar="SECONDS",
        help=f"limit {what}; default: {default:g}",
    )  # fmt: skip


def _add_common(parser: ArgumentParser) -> None:
    _add_timeout(parser, "--timeout", Timeouts.progress, "of each wait for the peer")
    add_port(parser, "model", "sim", default="model")
    add_capture(parser)
    add_trace(parser)
    add_tls(parser)


def _serve(args: Namespace) -> int:
    return run_serve(
        args.folder,
        port=args.port,
        target=args.target,
        tls=args.tls,
        listen=args.listen,
        cert=args.cert,
        key=args.key,
        capture=args.capture,
        trace=args.trace,
        timeouts=Timeouts(
            args.handshake_timeout, args.header_timeout, args.idle_timeout, args.timeout
        ),
    )


def _fetch(args: Namespace) -> int:
    return run_fetch(
        args.url,
        port=args.port,
        target=args.target,
        tls=args.tls,
        output=args.output,
        cafile=args.cafile,
        insecure=args.insecure,
        capture=args.capture,
        trace=args.trace,
        timeouts=Timeouts(handshake=args.handshake_timeout, progress=args.timeout),
    )
