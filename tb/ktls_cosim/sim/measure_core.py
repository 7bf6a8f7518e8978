# SPDX-License-Identifier: Apache-2.0
"""cocotb module of `ktls-cosim bench rtl`: cycles of records in the GCM core, as JSON."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_cosim.sim.gcm_core import GcmCore
from ktls_cosim.sim.wire import BENCH_VARIABLE

AAD = bytes(13)


async def _records(
    core: GcmCore, size: int, contexts: list[int], keys: dict[int, bytes], decrypt: list[bool]
) -> dict[str, float | None]:
    """Send records back to back and check them; returns cycles per record and inside one."""
    core.sink.beats.clear()
    core.src.sent.clear()
    core.expected.clear()
    for number, ctx in enumerate(contexts):
        nonce = number.to_bytes(12, "big")
        text = bytes((number + i) & 255 for i in range(size))
        sealed = AESGCM(keys[ctx]).encrypt(nonce, text, AAD)
        pair = (sealed[:-16], text) if decrypt[number] else (text, sealed[:-16])
        core.record(ctx, nonce, AAD, *pair, sealed[-16:], decrypt=decrypt[number])
    await core.check()
    beats = core.sink.beats
    tags = [b.cycle for b in beats if b.values["tag"]]
    words = -(-size // core.word)
    first = [b.cycle for b in beats[:words]]
    return {
        "per_record": (tags[-1] - tags[0]) / (len(tags) - 1),
        "formula": words + 2,
        "inside": (first[-1] - first[0]) / (words - 1) if words > 1 else None,
        "first_ciphertext": first[0] - core.src.sent[1].cycle,
        "tag_after_last_block": tags[0] - first[-1],
    }


@cocotb.test()
async def measure(dut: Any) -> None:
    """Measure every size with one key, with two alternating keys, and with 64 keys mixed."""
    core = await GcmCore.create(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    keys = {c: rng.randbytes(16 if c % 2 else 32) for c in range(64)}
    for c, key in keys.items():
        await core.set_key(c, key)
    out = []
    for size, count in ((16384, 4), (1460, 12), (64, 40)):
        mixed = rng.sample(range(64), count)
        for name, contexts, decrypt in (
            ("one key", [0] * count, [False] * count),
            ("two keys", [0, 1] * (count // 2), [False] * count),
            ("64 keys, seal and open", mixed, [rng.random() < 0.5 for _ in mixed]),
        ):
            figures = await _records(core, size, contexts, keys, decrypt)
            out.append({"size": size, "keys": name, **figures})
    Path(os.environ[BENCH_VARIABLE]).write_text(json.dumps(out))
