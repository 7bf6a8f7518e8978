# SPDX-License-Identifier: Apache-2.0
"""`ktls-cosim bench model`: what the kTLS model costs beside the cryptography itself."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rich.console import Console
from rich.table import Table

from ktls import CryptoInfo, KtlsSocket, KtlsStack, connect_wire, uapi
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
    """The yardstick: the same records with nothing but pyca/cryptography."""
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
    """Medians of interleaved rounds, seconds per record."""
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
    """Print the table; every figure but the last column is a ratio of one run."""
    table = Table(box=None, pad_edge=False)
    for name in ("suite", "plain pyca", "send 16 KiB", "sendfile 1 MiB", "64-byte sends/s"):
        table.add_column(name, justify="left" if name == "suite" else "right")
    results = {}
    for key_size in (16, 32):
        t = measure(key_size)
        name = f"AES-{key_size * 8}-GCM"
        results[name] = {
            "send": t["plain"] / t["send"],
            "sendfile": t["plain"] / t["sendfile"],
            "small_sends_per_second": 1 / t["small"],
        }
        table.add_row(
            name,
            "1.00",
            f"{results[name]['send']:.2f}",
            f"{results[name]['sendfile']:.2f}",
            f"{1 / t['small']:,.0f}",
        )
    out = Console(highlight=False, soft_wrap=True)
    out.print("throughput of the model in software mode, plain pyca/cryptography = 1.00")
    out.print(table)
    if json_out:
        json_out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0
