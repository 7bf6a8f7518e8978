# SPDX-License-Identifier: Apache-2.0
"""Show where a wrong record differs from the golden record, and name the likely cause."""

from __future__ import annotations

from ktls_cosim.check.golden import GoldenRecord, TrafficKeys, seal_record

_TAG = 16
_BLOCK = 16
_AES_GCM = (51, 52)
_TLS_1_3 = 0x0304
_BEFORE = 8
_WINDOW = 24

Parts = list[tuple[str, bytes]]


def diagnose(
    keys: TrafficKeys, index: int, rtype: int, plaintext: bytes, got: bytes, padding: int = 0
) -> tuple[str, tuple[str, ...], str]:
    """Compare a sealed record with the golden record and explain the difference.

    Args:
        keys: Keys of the direction.
        index: Number of records sealed earlier under these keys.
        rtype: Record type, 0 to 255.
        plaintext: Bytes that were sealed.
        got: The record as sealed by the device under test.
        padding: Number of zero bytes after the inner type; TLS 1.3 only.

    Returns:
        The first wrong field (`header`, `nonce`, `ciphertext` or `tag`), lines that show
        the difference, and a likely cause.
    """
    want = seal_record(keys, index, rtype, plaintext, padding)
    parts = [(name, part) for name, _, part in want.fields()]
    name, _ = first_difference(parts, got)
    lines = (*window(parts, got), f"nonce {want.nonce.hex()}  aad {want.aad.hex()}")
    at_text = len(want.header) + len(want.explicit)
    if name == "header":
        cause = "type, version or length of the header"
    elif name == "nonce" and got[at_text:] == want.wire[at_text:]:
        cause = "the core used the right nonce, but the framing wrote another one to the record"
    elif name == "nonce":
        cause = "the explicit nonce does not count up from the iv of crypto_info"
    elif len(got) != len(want.wire):
        cause = "length of the record: completion, destination list or DMA write"
    else:
        cause = _cause(keys, index, (rtype, plaintext, padding), want, got)
    return name, lines, cause


def diagnose_gcm(
    key: bytes, nonce: bytes, aad: bytes, text: bytes | None, want: bytes, got: bytes
) -> tuple[tuple[str, ...], str | None]:
    """Explain a wrong result of plain AES-GCM.

    Args:
        key: 16 or 32 bytes.
        nonce: 12 bytes.
        aad: AAD.
        text: Plaintext of a SEAL; None for an OPEN.
        want: Expected bytes: ciphertext and tag, or text.
        got: Actual bytes.

    Returns:
        Lines that show the difference, and a likely cause, if there is one.
    """
    size = len(want) if text is None else len(text)
    first = "text" if text is None else "ciphertext"
    shown = aad[:_WINDOW].hex() + ("..." if len(aad) > _WINDOW else "")
    lines = (
        *window([(first, want[:size]), ("tag", want[size:])], got),
        f"nonce {nonce.hex()}  aad {shown}",
    )
    if text is None or got == want or len(got) != len(want) or len(want) - size != _TAG:
        return lines, None
    return lines, _cipher_cause(
        key, nonce, aad, text, want[:size], got[:size], want[size:], got[size:]
    )


def first_difference(parts: Parts, got: bytes) -> tuple[str, int]:
    """Return the first wrong part and the offset of its first wrong byte.

    Args:
        parts: Names and expected bytes, in order.
        got: The actual bytes of all parts.
    """
    at = 0
    name = ""
    for name, part in parts:
        piece = got[at : at + len(part)]
        if piece != part:
            wrong = (i for i, x in enumerate(part) if i >= len(piece) or piece[i] != x)
            return name, at + next(wrong)
        at += len(part)
    return name, at


def window(parts: Parts, got: bytes) -> tuple[str, ...]:
    """Show the bytes around the first difference, with a mark under each wrong byte.

    Args:
        parts: Names and expected bytes, in order.
        got: The actual bytes of all parts.

    Returns:
        Lines of text; none if nothing differs.
    """
    want = b"".join(part for _, part in parts)
    if got == want:
        return ()
    name, offset = first_difference(parts, got)
    begin = 0
    for other, part in parts:
        if other == name:
            break
        begin += len(part)
    inside = offset - begin
    low = max(0, offset - _BEFORE)
    block = f" (block {inside // _BLOCK}, byte {inside % _BLOCK})" if name == "ciphertext" else ""
    return (
        f"first wrong byte: {offset} of {len(want)} (got {len(got)} bytes): "
        f"byte {inside} of the {name}{block}; shown from byte {low}",
        f"expected  {_row(parts, want, low)}",
        f"got       {_row(parts, got, low)}",
        f"          {_row(parts, got, low, marks=want)}".rstrip(),
    )


def _row(parts: Parts, data: bytes, low: int, marks: bytes | None = None) -> str:
    """Return one row of the window; with `marks`, `^^` for each byte that differs from it."""
    high = low + _WINDOW
    pieces = []
    at = 0
    for name, part in parts:
        first, last = max(at, low), min(at + len(part), high)
        at += len(part)
        if first >= last:
            continue
        cells = []
        for i in range(first, last):
            byte = data[i : i + 1].hex() or "--"
            if marks is not None:
                byte = "  " if data[i : i + 1] == marks[i : i + 1] else "^^"
            cells.append(byte)
        title = " " * len(name) if marks is not None else name
        pieces.append(f"{title} {' '.join(cells)}")
    return ("   " if marks is not None else " | ").join(pieces)


def _cause(
    keys: TrafficKeys, index: int, sealed: tuple[int, bytes, int], want: GoldenRecord, got: bytes
) -> str:
    """Explain a wrong ciphertext or tag.

    Args:
        keys: Keys of the direction.
        index: Number of records sealed earlier under these keys.
        sealed: Type, text and padding of the record.
        want: The golden record.
        got: The record as sealed by the device under test.
    """
    body = got[len(want.header) + len(want.explicit) : -_TAG]
    for other in (index - 2, index - 1, index + 1, index + 2):
        if other >= 0 and body and body == seal_record(keys, other, *sealed).ciphertext:
            return f"nonce of record {other} used for record {index}"
    if keys.cipher not in _AES_GCM:
        return "key, nonce or AAD of a cipher that the device does not have"
    rtype, text, padding = sealed
    if keys.version == _TLS_1_3:
        text += rtype.to_bytes(1, "big") + bytes(padding)
    return _cipher_cause(
        keys.key, want.nonce, want.aad, text, want.ciphertext, body, want.tag, got[-_TAG:]
    )


def _cipher_cause(*sealed: bytes) -> str:
    """Explain a wrong result of the cipher; the arguments are those of `cause.Sealed`."""
    # imported here: only a failure needs it, and a right run starts faster
    from ktls_cosim.check.cause import Sealed, likely_cause

    return likely_cause(Sealed(*sealed))
