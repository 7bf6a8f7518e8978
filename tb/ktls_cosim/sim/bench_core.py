# SPDX-License-Identifier: Apache-2.0
"""Measures the GCM core in cycles; run by `ktls-cosim bench rtl`, results as JSON."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_cosim.sim.core import GcmCore
from ktls_cosim.sim.wire import BENCH_VARIABLE

AAD = bytes(13)


async def _records(core: GcmCore, size: int, contexts: list[int], keys: Any) -> Any:
    """Records back to back, checked; returns cycles per record and inside a record."""
    core.sink.beats.clear()
    core.src.sent.clear()
    core.expected.clear()
    for number, ctx in enumerate(contexts):
        nonce = number.to_bytes(12, "big")
        text = bytes((number + i) & 255 for i in range(size))
        sealed = AESGCM(keys[ctx]).encrypt(nonce, text, AAD)
        core.record(ctx, nonce, AAD, text, sealed[:-16], sealed[-16:])
    await core.check()
    beats = core.sink.beats
    tags = [b.cycle for b in beats if b.values["tag"]]
    blocks = -(-size // 16)
    first = [b.cycle for b in beats[:blocks]]
    return {
        "per_record": (tags[-1] - tags[0]) / (len(tags) - 1),
        "law": blocks + 2,
        "inside": (first[-1] - first[0]) / max(1, blocks - 1),
        "first_ciphertext": first[0] - core.src.sent[1].cycle,
        "tag_after_last_block": tags[0] - first[-1],
    }


@cocotb.test()
async def measure(dut: Any) -> None:
    """Every size with one key and with keys that alternate between AES-128 and AES-256."""
    core = await GcmCore.create(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    keys = {c: rng.randbytes(16 if c % 2 else 32) for c in range(2)}
    for c, key in keys.items():
        await core.set_key(c, key)
    out = []
    for size, count in ((16384, 4), (1460, 12), (64, 40)):
        for name, contexts in (("one key", [0] * count), ("two keys", [0, 1] * (count // 2))):
            figures = await _records(core, size, contexts, keys)
            out.append({"size": size, "keys": name, **figures})
    Path(os.environ[BENCH_VARIABLE]).write_text(json.dumps(out))
