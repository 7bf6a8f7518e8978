# SPDX-License-Identifier: Apache-2.0
"""The program that `bench sim` times: start a compiled simulation and check one record."""

from __future__ import annotations

import os

from ktls import KtlsNic, KtlsStack, connect_wire, run_sync, uapi
from ktls.crypto_info import CryptoInfo
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.sim.build import Build
from ktls_cosim.sim.remote import RemoteSim
from ktls_cosim.target import Target


def main() -> None:
    """Send one record through the RTL with all checks."""
    target = Target.from_environment(os.environ)
    scoreboard = Scoreboard("python -m ktls_cosim.bench.first_record")
    build = Build.device(lanes=target.lanes)
    with RemoteSim(build, simulator=target.simulator, name="first-record") as port:
        nic = run_sync(KtlsNic.probe(CheckedPort(port, scoreboard), strict=True))
        sock = connect_wire(KtlsStack(nic, scoreboard), lambda _data: None)
        sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        info = CryptoInfo(uapi.TLS_1_2_VERSION, 51, bytes(8), bytes(16), b"SALT", bytes(8))
        sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
        sock.send(b"the first record")
        sock.close()
        scoreboard.finish()
        print(f"{scoreboard.wire_records} record checked", flush=True)


if __name__ == "__main__":
    main()
