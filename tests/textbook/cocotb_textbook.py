# SPDX-License-Identifier: Apache-2.0
"""The textbook bench: AXI streams of cocotbext-axi, all bytes checked, CPU time per record.

`ktls-cosim bench sim` runs it as the baseline.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_cosim.sim.wire import BENCH_VARIABLE
from reference import round_keys

SIZE = 2048
RECORDS = 2


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def records(dut: Any) -> None:
    key, nonce = bytes(range(32)), bytes(12)
    for logger in ("cocotb.textbook_gcm.s_axis", "cocotb.textbook_gcm.m_axis"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    dut.round_keys.value = int.from_bytes(b"".join(round_keys(key)), "big")
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    dut.h.value = int.from_bytes(ecb.update(bytes(16)), "big")
    dut.nonce.value = int.from_bytes(nonce, "big")
    dut.rst.value = 1
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst, byte_size=8)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst, byte_size=8)
    Clock(dut.clk, 4, unit="ns").start()
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    spent = []
    for number in range(RECORDS + 1):
        text = bytes((number + i) & 255 for i in range(SIZE))
        begin = time.process_time()
        await source.send(AxiStreamFrame(_turned(text)))
        frame = await sink.recv()
        got = _turned(bytes(frame.tdata))
        assert got == AESGCM(key).encrypt(nonce, text, b"")
        spent.append(time.process_time() - begin)
    # the first record also pays for imports and caches
    per_byte = sum(spent[1:]) / RECORDS / SIZE
    Path(os.environ[BENCH_VARIABLE]).write_text(json.dumps({"record": per_byte * 16384}))


def _turned(data: bytes) -> bytes:
    """Reverse each block: byte 0 is leftmost in the core and rightmost on the stream."""
    return b"".join(data[i : i + 16][::-1] for i in range(0, len(data), 16))
