# SPDX-License-Identifier: Apache-2.0
"""The transcript of the driver's accesses: complete, without keys; and the log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ktls import KtlsNic, run_sync
from ktls_cosim.check.device import CheckedPort
from ktls_cosim.check.wire import Scoreboard
from ktls_cosim.cli import main
from ktls_cosim.trace import TracePort, traced
from ktls_hw.layout import CTRL_ENABLE, Opcode, Reg, SqeCtx, SqeRecord, ring_reg
from ktls_hw.model import NicModel

KEY = bytes(range(0x80, 0xA0))
BASE = 0x4000


@pytest.fixture
def accesses() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def port(accesses: list[dict[str, Any]]) -> TracePort:
    """An enabled device whose ring pair 1 has 4 slots at `BASE`."""
    port = TracePort(NicModel(), accesses.append)
    for reg, value in (
        (ring_reg(1, Reg.RING0_SQ_BASE_LO), BASE),
        (ring_reg(1, Reg.RING0_SQ_BASE_HI), 0),
        (ring_reg(1, Reg.RING0_SQ_SIZE), 2),
        (Reg.CTRL, CTRL_ENABLE.put(1)),
    ):
        run_sync(port.write32(reg, value))
    return port


def descriptor(opcode: int = Opcode.CTX_SET) -> bytes:
    return SqeCtx(opcode=opcode, ctx=5, rec_seq=bytes(8), key=KEY).pack()


def leaked(accesses: list[dict[str, Any]]) -> bool:
    """Whether any two adjacent bytes of the key are in the transcript."""
    text = json.dumps(accesses)
    return any(KEY[i : i + 2].hex() in text for i in range(len(KEY) - 1))


def test_every_access_of_the_demo_is_written(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    assert main(["demo", "--port", "model", "--trace", str(file)]) == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0] == {"ns": 0, "op": "read32", "reg": "ID", "value": 0x4B544C53}
    assert {line["op"] for line in lines} == {"read32", "write32", "mem_read", "mem_write"}
    doorbells = [line["value"] for line in lines if line.get("reg") == "RING0_SQ_PROD"]
    # ten records between CTX_SET and CTX_DEL
    assert doorbells == list(range(1, 13))
    written = [line["hex"] for line in lines if line["op"] == "mem_write" and "hex" in line]
    assert b"hello world".hex() in written
    (ctx_set,) = [text for text in written if len(text) == 128 and text.startswith("01")]
    assert ctx_set.endswith("kk" * 32)
    assert [line["ns"] for line in lines] == sorted(line["ns"] for line in lines)


def test_accesses_of_the_checker_stay_out(accesses: list[dict[str, Any]]) -> None:
    checked = TracePort(CheckedPort(NicModel(), Scoreboard()), accesses.append)
    nic = run_sync(KtlsNic.probe(checked))
    run_sync(nic.port.write32(Reg.RING0_SQ_PROD, 1))
    assert [a["op"] for a in accesses[-2:]] == ["write32", "write32"]


def test_a_wait_for_the_interrupt_is_written(accesses: list[dict[str, Any]]) -> None:
    run_sync(TracePort(NicModel(), accesses.append).wait_irq())
    assert accesses == [{"ns": 0, "op": "irq", "raised": False}]


@pytest.mark.parametrize("slot", range(4))
def test_a_key_is_masked_in_every_slot(
    slot: int, port: TracePort, accesses: list[dict[str, Any]]
) -> None:
    port.mem.write(BASE + 64 * slot, descriptor())
    port.mem.read(BASE + 64 * slot, 64)
    assert [a["hex"][64:] for a in accesses[-2:]] == ["kk" * 32] * 2
    assert accesses[-1]["hex"][:64] == descriptor()[:32].hex()
    assert port.mem.read(BASE + 64 * slot, 64) == descriptor(), "the memory itself is unchanged"


@pytest.mark.parametrize("cut", range(1, 64))
def test_a_key_in_pieces_is_masked(
    cut: int, port: TracePort, accesses: list[dict[str, Any]]
) -> None:
    whole = bytes(100) + descriptor(Opcode.SEAL) + descriptor()
    start = BASE - 100
    port.mem.write(start + 164 + cut, whole[164 + cut :])
    port.mem.write(start, whole[: 164 + cut])
    port.mem.read(BASE + 64, cut)
    port.mem.read(BASE + 64 + cut, 64)
    text = json.dumps(accesses[4:]).replace(descriptor(Opcode.SEAL).hex(), "")
    assert not any(KEY[i : i + 2].hex() in text for i in range(len(KEY) - 1))


def test_other_bytes_are_shown(port: TracePort, accesses: list[dict[str, Any]]) -> None:
    seal = SqeRecord(opcode=Opcode.SEAL, ctx=1, len=100, explicit_nonce=b"nonce678").pack()
    for addr, data in ((BASE, seal), (BASE + 256, descriptor()), (BASE - 64, descriptor())):
        port.mem.write(addr, data)
        assert accesses[-1]["hex"] == data.hex(), "outside the ring, or no key"


def test_memory_is_left_out_while_the_rings_are_unknown(accesses: list[dict[str, Any]]) -> None:
    port = TracePort(NicModel(), accesses.append)
    port.mem.write(BASE, descriptor())
    run_sync(port.write32(Reg.CTRL, CTRL_ENABLE.put(1)))
    port.mem.write(BASE, descriptor())
    assert not leaked(accesses)
    assert accesses[0] == {"ns": 0, "op": "mem_write", "addr": BASE, "len": 64}


def test_registers_have_names(port: TracePort, accesses: list[dict[str, Any]]) -> None:
    run_sync(port.read32(ring_reg(7, Reg.RING0_CQ_PROD)))
    run_sync(port.read32(Reg.KEY_WARN))
    run_sync(port.read32(0xFFC))
    assert [a["reg"] for a in accesses[-3:]] == ["RING7_CQ_PROD", "KEY_WARN", "0xffc"]


def test_nothing_is_wrapped_without_a_reader() -> None:
    model = NicModel()
    with traced(model, None) as port:
        assert port is model


# ---------------------------------------------------------------------------- log


@pytest.fixture
def shown_log() -> Iterator[logging.Logger]:
    """The root of the log, as it was before the test."""
    log = logging.getLogger("ktls")
    yield log
    log.setLevel(logging.NOTSET)
    log.handlers.clear()


def log_of(*options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ktls_cosim", "demo", "--port", "model", *options],
        capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    return done.stderr.splitlines()


def test_the_log_has_two_levels() -> None:
    assert log_of() == []
    steps = log_of("-v")
    assert {line.split(":")[0] for line in steps} == {"ktls.driver"}
    assert "ktls.driver: context 0: transmit, version 0x0303, cipher 51: OK" in steps
    details = log_of("-vv")
    assert {line.split(":")[0] for line in details} == {"ktls.driver", "ktls.port", "ktls.check"}
    assert set(steps) < set(details)


def test_the_log_names_a_mismatch_and_no_key(
    shown_log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--port", "model", "--fault", "WRONG_NONCE", "-vv"]) == 1
    err = capsys.readouterr().err
    assert "ktls.check: golden check" in err
    assert "key=<hidden>" in err
    assert shown_log.level == logging.DEBUG
