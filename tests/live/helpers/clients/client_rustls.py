# SPDX-License-Identifier: Apache-2.0
"""Three GETs and a POST with rustls (pyreqwest); prints the SHA-256 of each answer."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from pyreqwest.client import SyncClientBuilder

port, cert, name = sys.argv[1:]
client = SyncClientBuilder().add_root_certificate_pem(Path(cert).read_bytes()).http1_only().build()
for method in ("GET", "GET", "GET", "POST"):
    request = client.request(method, f"https://localhost:{port}/{name}")
    if method == "POST":
        request = request.body_bytes(b"p" * 300_000)
    response = request.build().send()
    print(response.status, method, hashlib.sha256(bytes(response.bytes())).hexdigest())
