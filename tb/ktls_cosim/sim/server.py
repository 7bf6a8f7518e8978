# SPDX-License-Identifier: Apache-2.0
"""The server inside the simulator: it executes the requests of `sim.remote`."""

from __future__ import annotations

import os
import socket
from typing import Any

import cocotb

from ktls_cosim.sim.port import SimPort
from ktls_cosim.sim.wire import FD_VARIABLE, HEAD, KNOBS, NO_MESSAGE, U32, U64, Op


@cocotb.test()
async def serve(dut: Any) -> None:
    """Serve requests until END or until the parent has closed its socket.

    Simulation time stops between requests.
    """
    sock = socket.socket(fileno=int(os.environ[FD_VARIABLE]))
    with sock, sock.makefile("rb") as requests:
        port = SimPort(dut)
        await port.ready()
        while head := requests.read(HEAD.size):
            code, addr, n = HEAD.unpack(head)
            match Op(code):
                case Op.READ32:
                    sock.sendall(U32.pack(await port.read32(addr)))
                case Op.WRITE32:
                    await port.write32(addr, n)
                case Op.READ_MEM:
                    sock.sendall(port.mem.read(addr, n))
                case Op.WRITE_MEM:
                    port.mem.write(addr, requests.read(n))
                case Op.WAIT_IRQ:
                    sock.sendall(bytes([await port.wait_irq()]))
                case Op.WAIT_MESSAGE:
                    vector = await port.wait_message()
                    sock.sendall(bytes([NO_MESSAGE if vector is None else vector]))
                case Op.NOW:
                    sock.sendall(U64.pack(port.now()))
                case Op.KNOB:
                    getattr(dut.host, KNOBS[addr]).value = n
                case Op.END:
                    return
