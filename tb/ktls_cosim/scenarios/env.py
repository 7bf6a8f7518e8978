# SPDX-License-Identifier: Apache-2.0
"""The environment of a scenario, the registry of all scenarios, and example keys."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ktls import CryptoInfo, KtlsNic, KtlsSocket, KtlsStack, connect_wire, uapi
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.rules import on_purpose
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.port import Port
from ktls_cosim.scenarios.rig import Rig
from ktls_hw import layout

MAX = uapi.TLS_MAX_PAYLOAD_SIZE
TLS_1_2 = uapi.TLS_1_2_VERSION
TLS_1_3 = uapi.TLS_1_3_VERSION
VERSIONS = (TLS_1_2, TLS_1_3)

ALL_SUITES = 0x3FF
NEEDS = {
    "seal": layout.SUITES_TX_TLS12_GCM128.put(1) | layout.SUITES_TX_TLS12_GCM256.put(1),
    "open": layout.SUITES_RX_TLS12_GCM128.put(1) | layout.SUITES_RX_TLS12_GCM256.put(1),
    "AES-128": layout.SUITES_RAW_GCM128.put(1),
    "AES-256": layout.SUITES_RAW_GCM256.put(1),
}
"""Possible needs of a scenario; a device meets a need if it has one of these bits of SUITES."""

_CIPHERS = {16: uapi.TLS_CIPHER_AES_GCM_128, 32: uapi.TLS_CIPHER_AES_GCM_256}


@dataclass
class Env:
    """The environment of a scenario: a device, its checker and randomness.

    Attributes:
        port: Device under test.
        scoreboard: Checker of all results.
        rng: Seeded source of all randomness.
        fail_bus: Makes the device's accesses to bus addresses lo to hi - 1 fail. Called as
            `fail_bus(lo, hi, reads, writes)`; lo == hi clears the fault.
        lockstep: `port` compares two devices. A scenario then must not read memory whose
            content the contract leaves open.
        suites: Register SUITES of the device.
        push: Drivers push descriptors through the register window.
    """

    port: Port
    scoreboard: Scoreboard
    rng: random.Random
    fail_bus: Callable[[int, int, bool, bool], None]
    lockstep: bool = False
    suites: int = ALL_SUITES
    push: bool = False

    @property
    def key_sizes(self) -> tuple[int, ...]:
        """Key lengths of the device in bytes."""
        return tuple(n for n in (16, 32) if self.suites & NEEDS[f"AES-{8 * n}"])

    @property
    def directions(self) -> tuple[bool, ...]:
        """False if the device seals, True if it opens, or both."""
        names = {"seal": False, "open": True}
        return tuple(value for name, value in names.items() if self.suites & NEEDS[name])

    async def stack(self, **kw: Any) -> KtlsStack:
        """Return a kernel whose NIC is the device, with the product's driver.

        The device works only during `await stack.settle()`.

        Args:
            **kw: Arguments of `KtlsNic.probe`.
        """
        checked = CheckedPort(self.port, self.scoreboard)
        nic = await KtlsNic.probe(checked, strict=True, push=self.push, **kw)
        return KtlsStack(nic, self.scoreboard, settle_at_once=False)

    async def rig(self, sq_log2: int = 4, cq_log2: int = 4) -> Rig:
        """Reset the device and return a verification driver for its ring pair 0.

        Args:
            sq_log2: Base-2 logarithm of the slots of the submission ring.
            cq_log2: Base-2 logarithm of the slots of the completion ring.
        """
        # scenarios break the rules for drivers on purpose
        checked = CheckedPort(self.port, self.scoreboard, breach=on_purpose)
        rig = Rig(checked, sq_log2, cq_log2)
        rig.push = self.push
        await rig.reset()
        return rig

    def key(self, length: int = 16) -> bytes:
        """Return a random key of `length` bytes, or of a length that the device supports."""
        return self.bytes(length if length in self.key_sizes else self.key_sizes[0])

    def heal_bus(self) -> None:
        """Clear the fault that `fail_bus` set."""
        self.fail_bus(0, 0, False, False)

    def bytes(self, n: int) -> bytes:
        """Return `n` random bytes."""
        return self.rng.randbytes(n)


Scenario = Callable[[Env], Coroutine[Any, Any, None]]
SCENARIOS: dict[str, Scenario] = {}
"""All scenarios by name."""
_needs: dict[str, tuple[str, ...]] = {}


def scenario(*needs: str) -> Callable[[Scenario], Scenario]:
    """Register a scenario under the name of its function (a decorator).

    Args:
        *needs: Names from `NEEDS`. A device that lacks one of them skips the scenario. A
            scenario that names no key size takes one that the device has from `Env.key`.
    """

    def register(f: Scenario) -> Scenario:
        SCENARIOS[f.__name__] = f
        _needs[f.__name__] = needs
        return f

    return register


def missing(name: str, suites: int) -> tuple[str, ...]:
    """Return the needs of a scenario that a device does not meet.

    Args:
        name: Name of the scenario; a name that is not registered has no needs.
        suites: Register SUITES of the device.
    """
    return tuple(n for n in _needs.get(name, ()) if not suites & NEEDS[n])


def example_crypto_info(key_size: int = 16) -> CryptoInfo:
    """Return the TLS 1.2 test keys under which real kernels were recorded.

    The records of those kernels are in tests/unit/cosim/test_golden.py.

    Args:
        key_size: 16 or 32 bytes.
    """
    return CryptoInfo(
        TLS_1_2,
        _CIPHERS[key_size],
        iv=bytes(range(0xA0, 0xA8)),
        key=bytes(range(key_size)),
        salt=b"SALT",
        rec_seq=bytes(8),
    )


def crypto_info(
    rng: random.Random,
    key_size: int = 16,
    seq: int = 0,
    version: int = TLS_1_2,
) -> CryptoInfo:
    """Return random AES-GCM test keys.

    Args:
        rng: Source of the keys.
        key_size: 16 or 32 bytes.
        seq: Number of the first record.
        version: `TLS_1_2` or `TLS_1_3`.
    """
    return CryptoInfo(
        version,
        _CIPHERS[key_size],
        iv=rng.randbytes(8),
        key=rng.randbytes(key_size),
        salt=rng.randbytes(4),
        rec_seq=seq.to_bytes(8, "big"),
    )


async def connect(
    stack: KtlsStack, info: CryptoInfo, wire: Callable[[bytes], None] | None = None
) -> KtlsSocket:
    """Return a connected socket whose transmit direction is offloaded.

    Args:
        stack: Kernel of the socket.
        info: Transmit keys.
        wire: Receives the bytes that the socket sends; by default they are dropped.
    """
    sock = connect_wire(stack, wire or (lambda _data: None))
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
    await stack.settle()
    assert sock.why_not_offloaded is None, sock.why_not_offloaded
    return sock


async def close_all(stack: KtlsStack, *socks: KtlsSocket) -> None:
    """Close sockets and wait until the device has finished their records."""
    for s in socks:
        s.close()
    await stack.settle()
