# SPDX-License-Identifier: Apache-2.0
"""Programs under `ktls-cosim run`."""

from __future__ import annotations

import contextlib
import getpass
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import peers

RECORDS = re.compile(r"connections with kTLS: (\d+), records verified: (\d+) of the device")


class Run:
    """A program under `ktls-cosim run`.

    Attributes:
        connections: Number of kTLS connections, after `end`.
        records: Number of verified records of the device, after `end`.
    """

    def __init__(self, command: list[str], port: int, *options: str, cwd: Path | None = None):
        whole = [sys.executable, "-m", "ktls_cosim", "run", *options, "--", *command]
        self.process = subprocess.Popen(
            whole, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.port = port
        self.connections = self.records = 0

    def end(self, number: signal.Signals | None = None, *, any_status: bool = False) -> str:
        """Send an optional signal, wait for the end, and return the output.

        Args:
            number: The signal.
            any_status: The exit status says nothing; by default it must be 0.
        """
        if number is not None:
            self.process.send_signal(number)
        out = self.process.communicate(timeout=60)[0]
        assert any_status or self.process.returncode == 0, out
        found = RECORDS.search(out)
        assert found, out
        self.connections, self.records = int(found[1]), int(found[2])
        assert "mismatches: 0" in out
        return out


@contextlib.contextmanager
def nginx(
    tmp_path: Path, folder: Path, cert: Path, *options: str, location: str = ""
) -> Iterator[Run]:
    """Run nginx with two workers, sendfile, HTTP/1.1 and HTTP/2; `location` adds a block."""
    program = peers.needs("nginx")
    port = peers.free_port()
    config = tmp_path / "nginx.conf"
    temp = "".join(
        f"{name}_temp_path {tmp_path}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"""daemon off; worker_processes 2; pid {tmp_path}/pid; error_log {tmp_path}/error.log;
        user {getpass.getuser()};
        events {{ worker_connections 128; }}
        http {{ access_log off; sendfile on; tcp_nopush on; {temp}
          server {{
            listen 127.0.0.1:{port} ssl http2; root {folder};
            ssl_certificate {cert}; ssl_certificate_key {cert};
            ssl_protocols TLSv1.2 TLSv1.3;
            {location}
          }} }}
        """
    )
    run = Run([program, "-p", str(tmp_path), "-c", str(config)], port, *options)
    try:
        peers.wait_for(port, run.process)
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
