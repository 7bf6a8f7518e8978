# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim run`: run an unmodified program on the model's kTLS."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from ktls import KERNELS
from ktls_cosim.capture.pcapng import Capture
from ktls_cosim.machine import open_machine
from ktls_cosim.paths import build_root
from ktls_cosim.reproduce import this_command
from ktls_cosim.run.exact import ExactSupervisor
from ktls_cosim.run.seccomp import arch, filter_program, spawn
from ktls_cosim.run.supervisor import Supervisor
from ktls_cosim.target import Target

_OPENSSL_CONF = """\
# written by `ktls-cosim run`: OpenSSL uses kTLS only on request
openssl_conf = openssl_init
[openssl_init]
ssl_conf = ssl_module
[ssl_module]
system_default = tls_system_default
[tls_system_default]
Options = KTLS
"""


def _environment() -> dict[str, str]:
    """Return the program's environment: ours, with kTLS enabled in OpenSSL."""
    env = dict(os.environ)
    if "OPENSSL_CONF" not in env:
        path = build_root() / "live" / "openssl-ktls.cnf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_OPENSSL_CONF)
        env["OPENSSL_CONF"] = str(path)
    return env


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def run_program(
    command: list[str],
    *,
    port: str,
    target: Target | None = None,
    kernel: str,
    exact: bool,
    capture: Path | None,
    trace: Path | None = None,
) -> int:
    """Run a program to its end and print the counts of verified records.

    Args:
        command: Program and arguments.
        port: Device: `model` or `sim`.
        target: Simulator and lanes of `sim`.
        kernel: Key of `ktls.KERNELS`.
        exact: Trap every call on a kTLS socket.
        capture: pcapng file to write.
        trace: File for the driver's accesses to the device.

    Returns:
        The exit status of the program. If the program succeeded: 1 if a check failed or
        no record was checked.
    """
    kind = ExactSupervisor if exact else Supervisor
    numbers = arch()
    program = filter_program(numbers, kind.trapped, kind.by_arg1)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(Capture(capture)) if capture else None
        machine = stack.enter_context(
            open_machine(
                port, this_command(), KERNELS[kernel], name="run", target=target, trace=trace
            )
        )
        child, listener = spawn(command, _environment(), numbers, program)
        stack.callback(listener.close)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda n, _: _kill(child, n))
        supervisor = kind(machine, listener, file)
        try:
            status = supervisor.loop(child)
        except BaseException:
            # without a supervisor the program's calls would hang
            _kill(child, signal.SIGKILL)
            raise
        failure = machine.finish()
        print(
            f"ktls-cosim: connections with kTLS: {supervisor.connections}, {machine.summary()}",
            file=sys.stderr,
        )
    if failure:
        print(failure, file=sys.stderr)
        if not supervisor.connections:
            print(
                "the program set TCP_ULP on no socket: does its TLS library use kTLS? "
                "(OpenSSL 3 does with Options = KTLS, for suites with AES-GCM)",
                file=sys.stderr,
            )
    return status or (1 if failure else 0)
