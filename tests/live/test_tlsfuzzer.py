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
from ktls_cosim.https.context import HandshakeContext
from ktls_cosim.https.server import HttpsServer, running
from ktls_cosim.machine import Machine

FUZZ = str(Path(__file__).parent / "helpers" / "tlsfuzz.py")
SCRIPTS = (
    ("ccs", "-d"),
    ("connection-abort", "-d"),
    ("extended-master-secret-extension", "-d"),
    ("fuzzed-ciphertext", "-d"),
    ("message-skipping", "-d"),
    ("no-heartbeat", "-d"),
    ("record-layer-fragmentation", "-d"),
    ("renegotiation-disabled", "-d"),
    ("zero-length-data", "-d"),
    ("tls13-ccs",),
    ("tls13-empty-alert",),
    ("tls13-keyupdate",),
    ("tls13-record-padding",),
    ("tls13-zero-content-type",),
)
# conversations that OpenSSL passes and `serve` cannot
IMPOSSIBLE = {
    # Python's `ssl` does only the handshake, and OpenSSL drops a session that it did not shut
    # down; DHE needs parameters that `ssl` cannot generate
    "extended-master-secret-extension": {
        "EMS with session resume", "EMS with session resume and SHA384 PRF",
        "EMS with session resume without extension", "extended master secret w/DHE",
    },
}  # fmt: skip


def failures(script: tuple[str, ...], port: int) -> tuple[int, set[str]]:
    """Run a script; return how many conversations passed, and the names of the others."""
    checkout = os.environ.get("KTLS_TLSFUZZER")
    assert checkout is not None
    done = subprocess.run(
        [sys.executable, FUZZ, checkout, script[0], "-h", "localhost", "-p", str(port),
         *script[1:]], capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
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
@pytest.mark.parametrize("script", SCRIPTS, ids=[s[0] for s in SCRIPTS])
def test_as_good_as_openssl(
    script: tuple[str, ...], machine: Machine, tmp_path: Path, certs: dict[str, Path]
) -> None:
    openssl = peers.needs("openssl")
    (tmp_path / "index.html").write_text("")
    tls = HandshakeContext(server=True, cert=str(certs["rsa"]))
    with running(HttpsServer(("127.0.0.1", 0), tmp_path, machine, tls)) as server:
        passed, failed = failures(script, server.server_address[1])
    port = peers.free_port()
    with subprocess.Popen(
        [openssl, "s_server", "-www", "-accept", str(port), "-cert", str(certs["rsa"])],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            peers.wait_for(port, process)
            _, also = failures(script, port)
        finally:
            process.kill()
    print(f"RESULT {script[0]}: serve passes {passed}, fails {sorted(failed)}; OpenSSL {len(also)}")
    assert passed > 1
    assert failed - also <= IMPOSSIBLE.get(script[0], set())
