# SPDX-License-Identifier: Apache-2.0
"""The command line: `ktls-cosim`, also `python -m ktls_cosim`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ktls import KERNELS, KtlsError
from ktls_cosim.errors import CosimError
from ktls_hw.model import Fault

EXIT_FAILED = 1
EXIT_UNUSABLE = 2


def _add_capture(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--capture",
        type=Path,
        metavar="FILE.pcapng",
        help="write the TCP conversations with their secrets, for Wireshark and tshark",
    )


def _add_live(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--port",
        choices=("model", "sim"),
        default="model",
        help="model: the functional device (default); sim: the Verilog",
    )
    _add_capture(command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ktls-cosim", description=__doc__)
    sub = parser.add_subparsers(dest="command", required=True)

    demo = sub.add_parser("demo", help="send data through the device and verify every record")
    demo.add_argument(
        "--port",
        choices=("sim", "model"),
        default="sim",
        help="sim: the Verilog in Icarus (default); model: no simulator",
    )
    demo.add_argument("--file", type=Path, help="what sendfile sends (default: a Python module)")
    demo.add_argument("--waves", action="store_true", help="leave an FST file under build/")
    demo.add_argument(
        "--fault",
        choices=[f.name for f in Fault],
        help="break the model on purpose and see the checkers catch it",
    )

    serve = sub.add_parser(
        "serve", help="an HTTPS server: real clients, every record sealed and opened by the device"
    )
    serve.add_argument("folder", type=Path, metavar="DIR", help="whose files to serve")
    serve.add_argument("--listen", default="127.0.0.1:8443", metavar="HOST:PORT")
    serve.add_argument("--cert", type=Path, metavar="PEM", help="default: self-signed, localhost")
    serve.add_argument("--key", type=Path, metavar="PEM", help="default: in the file of --cert")

    fetch = sub.add_parser(
        "fetch", help="an HTTPS client: real servers, every record sealed and opened by the device"
    )
    fetch.add_argument("url", metavar="URL")
    fetch.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    fetch.add_argument("--cafile", type=Path, metavar="PEM", help="trusted certificates")
    fetch.add_argument("--insecure", action="store_true", help="accept any certificate")
    run = sub.add_parser(
        "run", help="run an unmodified program; its kTLS is the model's, its NIC the device"
    )
    run.add_argument("program", nargs="+", metavar="PROGRAM ARGS", help="behind --")
    run.add_argument("--kernel", choices=sorted(KERNELS), default="7.x")
    run.add_argument(
        "--exact",
        action="store_true",
        help="trap reads and writes, too, for programs that depend on record boundaries",
    )
    _add_live(run)
    for command in (serve, fetch):
        _add_live(command)
        command.add_argument("--tls", choices=("1.2", "1.3"), help="only this version")
    _add_capture(demo)

    conformance = sub.add_parser(
        "conformance", help="play recordings of real kernels on the model and compare"
    )
    conformance.add_argument(
        "paths", nargs="+", type=Path, metavar="FILE_OR_DIR", help="scenario files (*.jsonl)"
    )
    conformance.add_argument("--kernel", choices=sorted(KERNELS), default="6.12")
    conformance.add_argument(
        "--port",
        choices=("software", "model", "sim"),
        default="software",
        help="who seals AES-GCM records: the CPU, the functional device, the Verilog",
    )
    conformance.add_argument("--jobs", type=int, metavar="N", help="processes (default: all CPUs)")
    conformance.add_argument("--json", type=Path, metavar="OUT", help="write the result here")
    conformance.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="only N of them, from all categories (with a device: that it seals records for)",
    )
    conformance.add_argument("--seed", type=int, default=1, help="of --sample (default: 1)")

    kernel = sub.add_parser(
        "kernel", help="play random scripts on the model and on a real Linux kernel and compare"
    )
    kernel.add_argument("--scripts", type=int, default=5000, metavar="N", help="default: 5000")
    kernel.add_argument("--seed", type=int, default=1, help="of the scripts (default: 1)")
    kernel.add_argument("--jobs", type=int, metavar="N", help="kernels at once (default: all CPUs)")

    vectors = sub.add_parser(
        "vectors", help="play NIST CAVP, Wycheproof and RFC 8448 through driver and device"
    )
    vectors.add_argument(
        "--port", choices=("sim", "model"), default="sim", help="the Verilog (default) or the model"
    )
    vectors.add_argument("--sample", type=int, metavar="N", help="only N cases of each source")
    vectors.add_argument("--seed", type=int, default=1, help="of --sample (default: 1)")

    bench = sub.add_parser("bench", help="measure and print tables")
    bench.add_argument(
        "what",
        choices=("rtl", "sim", "model"),
        help="rtl: cycles of core and device; sim: CPU time of a record in simulation; "
        "model: what the kTLS model costs",
    )
    bench.add_argument("--json", type=Path, metavar="OUT", help="also write the figures here")

    sub.add_parser("doctor", help="show what is installed and what is missing")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 on success, 1 if the device or a check failed, 2 if the command cannot run here.
    """
    args = _parser().parse_args(argv)
    try:
        if args.command == "demo":
            from ktls_cosim.demo import run_demo

            return run_demo(
                args.port,
                file=args.file,
                waves=args.waves,
                fault=args.fault,
                capture=args.capture,
            )
        if args.command == "serve":
            from ktls_cosim.https.server import run_serve

            return run_serve(
                args.folder,
                port=args.port,
                tls=args.tls,
                listen=args.listen,
                cert=args.cert,
                key=args.key,
                capture=args.capture,
            )
        if args.command == "run":
            from ktls_cosim.run.command import run_program

            return run_program(
                args.program,
                port=args.port,
                kernel=args.kernel,
                exact=args.exact,
                capture=args.capture,
            )
        if args.command == "fetch":
            from ktls_cosim.https.client import run_fetch

            return run_fetch(
                args.url,
                port=args.port,
                tls=args.tls,
                output=args.output,
                cafile=args.cafile,
                insecure=args.insecure,
                capture=args.capture,
            )
        if args.command == "conformance":
            from ktls_cosim.conformance.run import run_conformance

            return run_conformance(
                args.paths,
                kernel=args.kernel,
                port=args.port,
                jobs=args.jobs,
                json_out=args.json,
                sample=args.sample,
                seed=args.seed,
            )
        if args.command == "kernel":
            from ktls_cosim.kernel.differential import run_kernel

            return run_kernel(args.scripts, args.seed, args.jobs)
        if args.command == "vectors":
            from ktls_cosim.vectors.run import run_vectors

            return run_vectors(args.port, args.sample, args.seed)
        if args.command == "bench":
            if args.what == "model":
                from ktls_cosim.bench.model import run_bench_model

                return run_bench_model(args.json)
            if args.what == "sim":
                from ktls_cosim.bench.sim import run_bench_sim

                return run_bench_sim(args.json)
            from ktls_cosim.bench.rtl import run_bench_rtl

            return run_bench_rtl(args.json)
        from ktls_cosim.doctor import run_doctor

        return run_doctor()
    except CosimError as e:
        print(f"ktls-cosim: {e}", file=sys.stderr)
        return EXIT_UNUSABLE
    except KtlsError as e:
        print(f"ktls-cosim: the device failed: {e}", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
