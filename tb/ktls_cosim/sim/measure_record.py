# SPDX-License-Identifier: Apache-2.0
"""cocotb module of `ktls-cosim bench sim`: CPU time of records through the whole stack."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb

from ktls import CryptoInfo, KtlsNic, uapi
from ktls.ring import Completion
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.sim.port import SimPort
from ktls_cosim.sim.wire import BENCH_VARIABLE
from ktls_hw.layout import Status

SIZE = 16384
RECORDS = 6


@cocotb.test()
async def records(dut: Any) -> None:
    """Seal records one by one; the scoreboard compares each with the golden model."""
    port = SimPort(dut)
    await port.ready()
    scoreboard = Scoreboard("ktls-cosim bench sim")
    nic = await KtlsNic.probe(CheckedPort(port, scoreboard), strict=True)
    info = CryptoInfo(
        uapi.TLS_1_2_VERSION,
        uapi.TLS_CIPHER_AES_GCM_256,
        iv=bytes(8),
        key=bytes(range(32)),
        salt=b"SALT",
        rec_seq=bytes(8),
    )
    context = await nic.tls_dev_add(uapi.TLS_TX, info)
    done: list[Completion] = []
    spent = []
    for number in range(RECORDS + 1):
        text = bytes((number + i) & 255 for i in range(SIZE))
        begin = time.process_time()
        await nic.xmit(context, 23, text, done.append)
        await nic.flush()
        spent.append(time.process_time() - begin)
    assert [c.status for c in done] == [Status.OK] * (RECORDS + 1)
    scoreboard.finish()
    # the first record also fills caches and creates the handles of memory lines
    figures = {"record": sum(spent[1:]) / RECORDS, "checked": scoreboard.device_records}
    Path(os.environ[BENCH_VARIABLE]).write_text(json.dumps(figures))
