# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim bench model`: cost of the kTLS model, relative to the cryptography alone."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls import CryptoInfo, KtlsSocket, KtlsStack, connect_wire, uapi
from ktls_cosim.report import console, table, write_json
from ktls_cosim.scenarios.env import example_crypto_info

RECORD = uapi.TLS_MAX_PAYLOAD_SIZE
FILE_SIZE = 64 * RECORD
REPEAT = 16
SMALL = 64
ROUNDS = 15


def _connection(info: CryptoInfo) -> KtlsSocket:
    sock = connect_wire(KtlsStack(), lambda _data: None)
    sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
    return sock


def _plain(info: CryptoInfo, texts: list[bytes]) -> int:
    """The baseline: the same records with pyca/cryptography alone."""
    aead = AESGCM(info.key)
    salt = info.salt
    nonce = int.from_bytes(info.iv, "big")
    header = b"\x17\x03\x03" + (RECORD + 24).to_bytes(2, "big")
    framing = b"\x17\x03\x03" + RECORD.to_bytes(2, "big")
    number = 0
    for _ in range(REPEAT):
        for text in texts:
            explicit = (nonce + number).to_bytes(8, "big")
            aad = number.to_bytes(8, "big") + framing
            _record = header + explicit + aead.encrypt(salt + explicit, text, aad)
            number += 1
    return number


def _sends(sock: KtlsSocket, texts: list[bytes]) -> int:
    for _ in range(REPEAT):
        for text in texts:
            sock.send(text)
    return REPEAT * len(texts)


def _sendfile(sock: KtlsSocket, path: Path) -> int:
    with path.open("rb") as f:
        for _ in range(REPEAT):
            sock.sendfile(f, 0, FILE_SIZE)
    return REPEAT * FILE_SIZE // RECORD


def _seconds(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    count = work()
    return (time.perf_counter() - start) / count


def measure(key_size: int) -> dict[str, float]:
    """Measure all variants in turn.

    Args:
        key_size: Bytes of the AES key (16 or 32).

    Returns:
        Seconds per record by variant, medians over `ROUNDS` rounds.
    """
    info = example_crypto_info(key_size)
    texts = [random.Random(i).randbytes(RECORD) for i in range(FILE_SIZE // RECORD)]
    small = [text[:SMALL] for text in texts]
    sock = _connection(info)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(b"".join(texts))
        works: dict[str, Callable[[], int]] = {
            "plain": lambda: _plain(info, texts),
            "send": lambda: _sends(sock, texts),
            "sendfile": lambda: _sendfile(sock, path),
            "small": lambda: _sends(sock, small),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                times[name].append(_seconds(work))
    return {name: statistics.median(t) for name, t in times.items()}


def run_bench_model(json_out: Path | None) -> int:
    """Measure and print the table; all columns but the last are ratios within one run.

    Args:
        json_out: File for the figures.
    """
    columns = ("suite", "plain pyca", "send 16 KiB", "sendfile 1 MiB", "64-byte sends/s")
    rows = table(columns, left=("suite",))
    results = {}
    for key_size in (16, 32):
        t = measure(key_size)
        name = f"AES-{key_size * 8}-GCM"
        results[name] = {
            "send": t["plain"] / t["send"],
            "sendfile": t["plain"] / t["sendfile"],
            "small_sends_per_second": 1 / t["small"],
        }
        rows.add_row(
            name,
            "1.00",
            f"{results[name]['send']:.2f}",
            f"{results[name]['sendfile']:.2f}",
            f"{1 / t['small']:,.0f}",
        )
    out = console()
    out.print("throughput of the model in software mode, plain pyca/cryptography = 1.00")
    out.print(rows)
    write_json(json_out, results)
    return 0
