# SPDX-License-Identifier: Apache-2.0
"""Plain AES-GCM on the device (NIST SP 800-38D section 7), for published test vectors.

kTLS does not use these calls. Their caller supplies nonces and AAD and must never use a
nonce twice with one key.
"""

from __future__ import annotations

from ktls import uapi
from ktls.dma import DmaBuffers
from ktls.errors import NotOffloadable
from ktls.nic import KtlsNic
from ktls.nic_contexts import DeviceContext
from ktls.ring import Done
from ktls_hw import layout
from ktls_hw.layout import Opcode, SqeCtx, SqeRecord

# bytes of a key to its cipher and its bit in SUITES
_CIPHERS = {
    16: (uapi.TLS_CIPHER_AES_GCM_128, layout.SUITES_RAW_GCM128),
    32: (uapi.TLS_CIPHER_AES_GCM_256, layout.SUITES_RAW_GCM256),
}
_NONCE_SIZE = 12


async def aead_add(nic: KtlsNic, direction: int, key: bytes) -> DeviceContext:
    """Install a key; remove it with `KtlsNic.tls_dev_del`.

    Args:
        nic: driver of the device.
        direction: `uapi.TLS_TX` to seal, `uapi.TLS_RX` to open.
        key: 16 or 32 bytes.

    Raises:
        NotOffloadable: the device does not support the key size or has no free context.
        DeviceError: the device violated its contract.
    """
    cipher, suite = _CIPHERS.get(len(key), (0, None))
    if suite is None or not suite.get(nic.suites):
        raise NotOffloadable(f"the device has no plain AES-GCM for keys of {len(key)} bytes")
    return await nic.install_context(direction, SqeCtx(cipher=cipher, key=key))


async def aead(
    nic: KtlsNic,
    context: DeviceContext,
    opcode: Opcode,
    nonce: bytes,
    aad: bytes,
    data: bytes,
    done: Done,
    tag_len: int = uapi.TLS_TAG_SIZE,
) -> None:
    """Post one operation; waits only while rings or buffers are full.

    Args:
        nic: driver of the device.
        context: from `aead_add`.
        opcode: `Opcode.SEAL` or `Opcode.OPEN`.
        nonce: 12 bytes, never used before with this key.
        aad: the AAD.
        data: SEAL: the text. OPEN: ciphertext and tag.
        done: called from `poll` with the completion; its data is ciphertext and tag (SEAL)
            or the text (OPEN).
        tag_len: bytes of the tag: 4, 8 or 12 to 16.

    Raises:
        ValueError: the context is for something else, the nonce has another length, or the
            bytes exceed a DMA buffer.
    """
    sealing = opcode == Opcode.SEAL
    if context.version or (context.direction == uapi.TLS_TX) != sealing:
        raise ValueError(f"context {context.ctx} is not for {opcode.name} of plain AES-GCM")
    if len(nonce) != _NONCE_SIZE:
        raise ValueError(f"the nonce has {len(nonce)} bytes, expected {_NONCE_SIZE}")
    source = aad + bytes(-len(aad) % 16) + data
    length = len(data) - (0 if sealing else tag_len)
    if length < 0 or max(len(source), length + tag_len) > DmaBuffers.DST:
        raise ValueError(
            f"{len(aad)} bytes of AAD and {len(data)} bytes of data: a buffer holds "
            f"{DmaBuffers.DST} bytes, and OPEN needs at least a tag"
        )
    descriptor = SqeRecord(
        opcode=opcode,
        len=length,
        nonce=nonce[:4],
        explicit_nonce=nonce[4:],
        aad_len=len(aad),
        tag_len=tag_len,
    )
    await nic.post_record(context, descriptor, source, length + (tag_len if sealing else 0), done)
