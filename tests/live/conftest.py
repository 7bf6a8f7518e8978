# SPDX-License-Identifier: Apache-2.0
"""Files, certificates and a machine for the tests with real programs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import peers
from ktls_cosim.https.certificate import self_signed
from ktls_cosim.machine import Machine, open_machine

SIZES = {"model.bin": 1 << 20, "sim.bin": 1 << 16}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to serve: 1 MiB for the model, 64 KiB for the simulator."""
    folder = tmp_path_factory.mktemp("www")
    for name, size in SIZES.items():
        (folder / name).write_bytes(random.Random(5).randbytes(size))
    return folder


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Self-signed certificates with their keys, by kind of key."""
    folder = tmp_path_factory.mktemp("certs")
    return {key: self_signed(key, folder) for key in peers.KEYS}


@pytest.fixture(params=["model"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine; the test must seal or open records, and all checks must pass."""
    with open_machine(request.param, "pytest tests/live", name="live") as machine:
        yield machine
        assert machine.finish() is None
        assert machine.scoreboard.device_records > 3
