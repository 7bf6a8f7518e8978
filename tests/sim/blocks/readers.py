# SPDX-License-Identifier: Apache-2.0
"""A memory for the tests of single blocks: requests `req_*`, responses `rsp_*`, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cocotb.triggers import RisingEdge

from ktls_cosim.sim.bus import StreamSink


async def answer_reads(
    dut: Any, req: StreamSink, data: Callable[[int, int], bytes], bad: Callable[[int, int], bool]
) -> None:
    """Answer every burst, one beat per cycle. Never returns.

    Args:
        req: The sink of the requests.
        data: Returns the bytes at an address, given the address and their number.
        bad: Whether the read of these bytes fails.
    """
    size = len(dut.rsp_data) // 8  # bytes of a beat
    served = 0
    while True:
        await RisingEdge(dut.clk)
        dut.rsp_valid.value = 0
        while served < len(req.beats):
            r = req.beats[served].values
            served += 1
            end = r["addr"] + size * (r["beats"] + 1)
            assert r["addr"] % size == 0
            assert r["addr"] // 4096 == (end - 1) // 4096, "a burst crosses 4 KiB"
            for addr in range(r["addr"], end, size):
                dut.rsp_valid.value = 1
                if hasattr(dut, "rsp_last"):
                    dut.rsp_last.value = int(addr + size == end)
                dut.rsp_err.value = int(bad(addr, size))
                dut.rsp_data.value = int.from_bytes(data(addr, size), "little")
                await RisingEdge(dut.clk)
                dut.rsp_valid.value = 0
