# SPDX-License-Identifier: Apache-2.0
"""Many connections on a device that fails at random: every byte must arrive."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from faulty import TLS12, TLS13, FaultyPort, Peer, stack_on
from ktls import run_sync
from ktls_hw.layout import CTRL_RESET, STATUS_READY, Reg

_READY_POLLS = 1_000_000  # a dead bus delays the end of a reset until its watchdog
Fault = Callable[[FaultyPort], None]


def gone(port: FaultyPort) -> None:
    """Every register reads as ones."""
    port.gone = True


def reset_by_somebody(port: FaultyPort) -> None:
    """Another program resets the device."""
    run_sync(port.device.write32(Reg.CTRL, CTRL_RESET.put(1)))
    for _ in range(_READY_POLLS):
        if STATUS_READY.get(run_sync(port.device.read32(Reg.STATUS))):
            return
    raise AssertionError("STATUS.ready stays 0 after a reset")


def lost_completion(port: FaultyPort) -> None:
    """The driver never sees its next completion."""
    port.mem.hide = True


def repair_port(port: FaultyPort) -> None:
    """Undo the faults of the port itself."""
    port.gone = False
    port.line = None
    port.mem.show()


def chaos(
    seed: int, connections: int, port: FaultyPort, faults: Sequence[Fault], repair: Fault
) -> None:
    """Use connections under random faults.

    Args:
        seed: Seed of all decisions.
        connections: Number of connections.
        port: The device.
        faults: Each makes the device fail.
        repair: Undoes all of them.
    """
    rng = random.Random(seed)
    stack = stack_on(port, sq_log2=3, cq_log2=3)
    nic = stack.nic
    assert nic is not None
    live: list[tuple[Peer, list[bytes], list[bytes]]] = []
    opened = 0
    while opened < connections or live:
        dice = rng.random()
        if dice < 0.05:
            rng.choice(faults)(port)
        elif dice < 0.08:
            port.line = rng.choice((None, False, True))
        elif dice < 0.1:
            port.fail_at = port.accesses.total() + rng.randrange(1, 200)
        elif dice < 0.2:
            repair(port)
            if rng.random() < 0.3:
                run_sync(stack.recover())
        elif opened < connections and len(live) < 20 and dice < 0.35:
            key = rng.randbytes(16)
            live.append((Peer(stack, replace(rng.choice((TLS12, TLS13)), key=key)), [], []))
            opened += 1
        elif live:
            peer, sent, received = rng.choice(live)
            _use(peer, sent, received, rng)
            if rng.random() < 0.1:
                live.remove((peer, sent, received))
                assert not received
                peer.sock.close()
                assert peer.received() == b"".join(sent)
    repair(port)
    port.fail_at = 0
    assert run_sync(stack.recover())
    run_sync(stack.settle())
    assert nic.contexts_in_use == 0
    assert nic.events["down"] > 0
    assert nic.records > connections // 4


def _use(peer: Peer, sent: list[bytes], received: list[bytes], rng: random.Random) -> None:
    text = rng.randbytes(rng.choice((0, 1, 50, 1000, 20_000)))
    if rng.random() < 0.6:
        assert peer.sock.send(text) == len(text)
        sent.append(text)
    else:
        peer.send(text[:16000])
        received.append(text[:16000])
        want = b"".join(received)
        got = b""
        while len(got) < len(want):
            got += peer.sock.recv(1 << 16)
        assert got == want
        received.clear()
