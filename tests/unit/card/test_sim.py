# SPDX-License-Identifier: Apache-2.0
"""The parent's side of a simulation behind a card, without a simulator."""

from __future__ import annotations

import socket

from ktls_cosim.sim.card import CardSim
from ktls_cosim.sim.wire import ANSWER, INTERRUPT


def test_progress_does_not_wait_for_a_message_that_a_read_has_handled() -> None:
    sim = CardSim.__new__(CardSim)
    got: list[int] = []
    sim.interrupt = got.append
    sim.socket, child = socket.socketpair()
    sim.socket.settimeout(1)
    with sim.socket, child:
        sim.progress()
        child.send(ANSWER.pack(INTERRUPT, 3))
        sim.progress()
        sim.progress()
    assert got == [3]
