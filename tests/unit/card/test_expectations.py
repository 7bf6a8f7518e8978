# SPDX-License-Identifier: Apache-2.0
"""The comparison of `--port lockstep` notices every kind of difference."""

from __future__ import annotations

from ktls_cosim.card.expectations import Expectations
from ktls_hw.layout import Cqe, Status


def record(status: Status = Status.OK) -> Expectations:
    """A record of 40 bytes in two pieces, and its completion."""
    e = Expectations()
    e.foretell(100, bytes(range(30)), completion=False)
    e.foretell(500, b"0123456789", completion=False)
    e.foretell(4096, Cqe(cookie=1, status=status, len=40).pack(), completion=True)
    return e


def write(e: Expectations, address: int, data: bytes) -> str | None:
    return e.check(address, data, completion=False)


def complete(e: Expectations, cqe: Cqe, address: int = 4096) -> str | None:
    return e.check(address, cqe.pack(), completion=True)


GOOD = Cqe(cookie=1, len=40, cycles=77, latency=99)


def test_equal_devices() -> None:
    """The bursts are cut otherwise, and the cycles differ."""
    e = record()
    assert write(e, 100, bytes(range(7))) is None
    assert write(e, 107, bytes(range(7, 30))) is None
    assert write(e, 500, b"0123456789") is None
    assert complete(e, GOOD) is None
    assert e.compared == 72
    assert len(e) == 0


def test_a_wrong_byte() -> None:
    found = write(record(), 110, bytes(range(10, 15)) + b"\0")
    assert found is not None
    assert "memory at 0x73 differs" in found
    assert "RTL   0a 0b 0c 0d 0e 00" in found
    assert "model 0a 0b 0c 0d 0e 0f" in found


def test_a_write_outside() -> None:
    for address, data in ((99, b"xx"), (130, b"x"), (500, b"0123456789x")):
        found = write(record(), address, data)
        assert found is not None
        assert "the model does not" in found


def test_bytes_that_were_not_written() -> None:
    e = record()
    write(e, 100, bytes(range(30)))
    found = complete(e, GOOD)
    assert found is not None
    assert "has not written 10 of 10 bytes at 0x1f4" in found


def test_a_wrong_completion() -> None:
    e = record()
    found = complete(e, Cqe(cookie=2, len=40))
    assert found is not None
    assert "cookie 2, shadow 1" in found
    again = complete(e, GOOD)
    assert again is not None
    assert "the model does not" in again


def test_a_failed_record_has_no_defined_bytes() -> None:
    e = record(Status.SRC_BUS_ERROR)
    assert write(e, 100, bytes(30)) is None
    assert write(e, 9000, bytes(30)) is None
    assert complete(e, Cqe(cookie=1, status=Status.SRC_BUS_ERROR, len=40)) is None


def test_the_model_reads_what_it_has_written() -> None:
    e = record()
    assert e.overlay(98, bytes(6)) == b"\0\0\0\1\2\3"
    assert e.overlay(508, b"abcd") == b"89cd"
    e.clear()
    assert e.overlay(100, b"a") == b"a"
