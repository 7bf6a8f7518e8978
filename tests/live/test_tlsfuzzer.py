# SPDX-License-Identifier: Apache-2.0
"""tlsfuzzer's scripts pass with `serve` where they pass with OpenSSL's server.

tlsfuzzer is not a package: clone it, set `KTLS_TLSFUZZER` to the folder, and run `make peers`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import peers
from ktls_cosim.https.server import running
from ktls_cosim.machine import Machine

FUZZ = str(Path(__file__).parent / "helpers" / "tlsfuzz.py")
SCRIPTS = (
    "ccs", "connection-abort", "extended-master-secret-extension", "fuzzed-ciphertext",
    "message-skipping", "no-heartbeat", "record-layer-fragmentation", "renegotiation-disabled",
    "zero-length-data", "tls13-ccs", "tls13-empty-alert", "tls13-keyupdate",
    "tls13-record-padding", "tls13-zero-content-type",
)  # fmt: skip
# conversations that OpenSSL passes and `serve` cannot
IMPOSSIBLE = {
    # Python's `ssl` does only the handshake, and OpenSSL drops a session that it did not shut
    # down; DHE needs parameters that `ssl` cannot generate
    "extended-master-secret-extension": {
        "EMS with session resume", "EMS with session resume and SHA384 PRF",
        "EMS with session resume without extension", "extended master secret w/DHE",
    },
}  # fmt: skip


def failures(script: str, port: int) -> tuple[int, set[str]]:
    """Run a script; return how many conversations passed, and the names of the others."""
    command = [sys.executable, FUZZ, os.environ["KTLS_TLSFUZZER"], script]
    command += ["-h", "localhost", "-p", str(port)]
    if not script.startswith("tls13-"):
        command.append("-d")  # ECDHE, the only key exchange of `serve` in TLS 1.2
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    passed = re.search(r"^PASS: (\d+)", done.stdout, re.MULTILINE)
    assert passed, (done.stdout + done.stderr)[-2000:]
    failed = done.stdout.partition("FAILED:\n")[2]
    return int(passed[1]), {line.strip().strip("'\"") for line in failed.splitlines()}


@pytest.mark.skipif(
    "KTLS_TLSFUZZER" not in os.environ,
    reason="KTLS_TLSFUZZER does not name a checkout of tlsfuzzer",
)
@pytest.mark.skipif(
    importlib.util.find_spec("tlslite") is None,
    reason="tlslite-ng is not installed; install it with: make peers",
)
@pytest.mark.parametrize("script", SCRIPTS)
def test_as_good_as_openssl(
    script: str, machine: Machine, tmp_path: Path, certs: dict[str, Path]
) -> None:
    openssl = peers.needs("openssl")
    (tmp_path / "index.html").write_text("")
    with running(peers.as_server(machine, tmp_path, certs["rsa"])) as server:
        passed, failed = failures(script, server.server_address[1])
    port = peers.free_port()
    command = [openssl, "s_server", "-www", "-accept", str(port), "-cert", str(certs["rsa"])]
    with peers.listening(command, port, tmp_path):
        _, also = failures(script, port)
    print(f"RESULT {script}: serve passes {passed}, fails {sorted(failed)}; OpenSSL {len(also)}")
    assert passed > 1
    assert failed - also <= IMPOSSIBLE.get(script, set())
