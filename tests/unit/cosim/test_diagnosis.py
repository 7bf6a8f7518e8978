# SPDX-License-Identifier: Apache-2.0
"""The cause that a report names is the fault that was planted, here in a software AES-GCM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ktls_cosim.check.cause import Sealed, likely_cause
from ktls_cosim.check.diagnosis import diagnose, window
from ktls_cosim.check.gcm import Gcm, blocks, multiply, power, xor
from ktls_cosim.check.golden import TrafficKeys, seal_record

KEY = bytes(range(16))
LONG_KEY = bytes(range(32))
NONCE = bytes(range(0xA0, 0xAC))
AAD = bytes(range(13))
TEXT = bytes((7 * i * i + 3 * i) & 255 for i in range(100))
ONE = b"hello world"

# ------------------------------------------------------- an AES whose parts can be broken


def _times(a: int, b: int) -> int:
    """Multiply in the field of AES (FIPS 197 section 4.2)."""
    out = 0
    while b:
        out ^= a * (b & 1)
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return out


def _sbox() -> list[int]:
    out = []
    for x in range(256):
        inverse = next((y for y in range(256) if _times(x, y) == 1), 0)
        rotated = [(inverse << n | inverse >> 8 - n) & 255 for n in range(5)]
        out.append(rotated[0] ^ rotated[1] ^ rotated[2] ^ rotated[3] ^ rotated[4] ^ 0x63)
    return out


SBOX = _sbox()
ROWS = [(i + 4 * (i % 4)) % 16 for i in range(16)]  # ShiftRows: byte i comes from here


@dataclass(frozen=True)
class Aes:
    """AES-128 (FIPS 197); every field is a place for a fault."""

    sbox: list[int]
    key_sbox: list[int]
    rows: list[int]
    last_rows: list[int]

    def round_keys(self, key: bytes) -> list[bytes]:
        words = [key[i : i + 4] for i in range(0, 16, 4)]
        constant = 1
        while len(words) < 44:
            last = words[-1]
            if len(words) % 4 == 0:
                turned = bytes(self.key_sbox[b] for b in last[1:] + last[:1])
                last = bytes((turned[0] ^ constant, *turned[1:]))
                constant = _times(constant, 2)
            words.append(xor(words[-4], last))
        return [b"".join(words[i : i + 4]) for i in range(0, 44, 4)]

    def encrypt(self, key: bytes, block: bytes) -> bytes:
        first, *rest = self.round_keys(key)
        state = xor(block, first)
        for number, round_key in enumerate(rest, 1):
            last = number == len(rest)
            rows = self.last_rows if last else self.rows
            state = bytes(self.sbox[state[i]] for i in rows)
            if not last:
                mixed = []
                for c in range(0, 16, 4):
                    a = state[c : c + 4]
                    for r in range(4):
                        b = a[r:] + a[:r]
                        mixed.append(_times(b[0], 2) ^ _times(b[1], 3) ^ b[2] ^ b[3])
                state = bytes(mixed)
            state = xor(state, round_key)
        return state


GOOD = Aes(SBOX, SBOX, ROWS, ROWS)


def gcm(aes: Aes, text: bytes) -> tuple[bytes, bytes]:
    """Seal with AES-GCM on this AES: ciphertext and tag."""
    stream = b"".join(
        aes.encrypt(KEY, NONCE + (i + 2).to_bytes(4, "big")) for i in range(len(blocks(text)))
    )
    body = xor(stream, text)
    hasher = Gcm(KEY, NONCE)
    hasher.hash_key = int.from_bytes(aes.encrypt(KEY, bytes(16)), "big")
    return body, xor(hasher.ghash(AAD, body), aes.encrypt(KEY, NONCE + b"\0\0\0\1"))


def test_the_software_aes_is_right() -> None:
    assert b"".join(gcm(GOOD, TEXT)) == AESGCM(KEY).encrypt(NONCE, TEXT, AAD)


def changed(table: list[int], index: int, mask: int) -> list[int]:
    return [v ^ mask * (i == index) for i, v in enumerate(table)]


def case(text: bytes = TEXT, key: bytes = KEY) -> Sealed:
    """A right result, to be broken with `replace`."""
    sealed = AESGCM(key).encrypt(NONCE, text, AAD)
    body, tag = sealed[:-16], sealed[-16:]
    return Sealed(key, NONCE, AAD, text, body, body, tag, tag)


def by_aes(text: bytes, **faults: list[int]) -> Sealed:
    body, tag = gcm(replace(GOOD, **faults), text)
    return replace(case(text), got=body, got_tag=tag)


def sealed_by(
    text: bytes = TEXT, nonce: bytes = NONCE, key: bytes = KEY, as_key: bytes = KEY
) -> Sealed:
    """The device used another nonce or key."""
    sealed = AESGCM(as_key).encrypt(nonce, text, AAD)
    return replace(case(text, key), got=sealed[:-16], got_tag=sealed[-16:])


def with_fit(s: Sealed, got: bytes) -> Sealed:
    """Another ciphertext, with the tag that fits it."""
    return replace(s, got=got, got_tag=Gcm(s.key, s.nonce).tag(s.aad, got))


def flipped(data: bytes, at: int, mask: int = 1) -> bytes:
    return bytes(b ^ mask * (i == at) for i, b in enumerate(data))


def counted(number: Callable[[int], int]) -> Sealed:
    """The device encrypted block `i` with counter `number(i)`."""
    s = case()
    g = Gcm(KEY, NONCE)
    body = b"".join(
        xor(g.encrypt(g.counter(number(i))), block) for i, block in enumerate(blocks(TEXT))
    )
    return with_fit(s, body)


def lane(s: Sealed, value: Callable[[int], int]) -> Sealed:
    """Byte 5 of every word of the output is spoilt, in ciphertext and tag."""

    def spoil(data: bytes) -> bytes:
        return bytes(value(b) if i % 16 == 5 else b for i, b in enumerate(data))

    return replace(s, got=spoil(s.got), got_tag=spoil(s.got_tag))


def wrong_lengths(aad: int, text: int) -> Sealed:
    """GHASH with other lengths in its last block."""
    s, g = case(), Gcm(KEY, NONCE)
    delta = (8 * aad ^ 8 * len(AAD)) << 64 | (8 * text ^ 8 * len(TEXT))
    extra = multiply(delta, g.hash_key).to_bytes(16, "big")
    return replace(s, got_tag=xor(s.want_tag, extra))


GCM = Gcm(KEY, NONCE)
AFTER, BEFORE = "from the core to memory", "from memory to the core"
LATER = bytes(case().text[:32] + case().text[48:] + bytes(16))

CAUSES: dict[str, tuple[Sealed, str]] = {
    # cipher
    "ShiftRows of the last round": (
        by_aes(TEXT, last_rows=[6 if i == 2 else r for i, r in enumerate(ROWS)]),
        "wrong bytes only at 2 of a block, in 7 of 7 blocks; the tag is wrong, too: "
        "AES, last round",
    ),
    "ShiftRows of the last round, short text": (
        by_aes(ONE, last_rows=[6 if i == 2 else r for i, r in enumerate(ROWS)]),
        "single wrong byte 2 of the ciphertext; the tag is wrong, too: AES, last round",
    ),
    "ShiftRows of every round": (
        by_aes(TEXT, rows=[6 if i == 2 else r for i, r in enumerate(ROWS)]),
        "7 of 7 blocks, first in block 0; the tag is wrong, too: AES: key, key schedule or a round",
    ),
    "one entry of the S-box": (by_aes(TEXT, sbox=changed(SBOX, 0x53, 1)), "AES: an S-box"),
    "S-box of the key schedule": (
        by_aes(TEXT, key_sbox=[b ^ 1 for b in SBOX]), "AES: key, key schedule",
    ),
    "short text under a wrong key": (
        sealed_by(ONE, as_key=b"another key of t"), "AES, its key or the nonce",
    ),
    # key, nonce, counter
    "key in reverse": (sealed_by(as_key=KEY[::-1]), "the key in reverse byte order"),
    "halves of the key": (
        sealed_by(key=LONG_KEY, as_key=LONG_KEY[16:] + LONG_KEY[:16]), "its halves swapped",
    ),
    "another nonce": (sealed_by(nonce=NONCE[::-1]), f"nonce {NONCE[::-1].hex()} used instead of"),
    "another nonce, short text": (
        sealed_by(ONE, nonce=NONCE[::-1]), f"nonce {NONCE[::-1].hex()} used instead of",
    ),
    "counter starts at 1": (counted(lambda i: i + 1), "counter starts at 1 instead"),
    "counter starts at 77": (counted(lambda i: i + 77), "counter starts at 77 instead"),
    "counter stands still": (
        counted(lambda i: min(i + 2, 4)), "counter of block 3 is 0x4 instead of 0x5",
    ),
    "counter of two bits": (counted(lambda i: (i + 2) % 4), "block 2 is 0x0 instead of 0x4"),
    "plaintext": (replace(case(), got=TEXT), "was not encrypted"),
    "nothing": (replace(case(), got=bytes(100)), "read error"),
    # data path
    "one bit after the core": (
        replace(case(), got=flipped(case().got, 40, 4)),
        f"single wrong byte 40 of the ciphertext, bit 0x04; the tag is right: "
        f"data path {AFTER}",
    ),
    "one bit before the core": (with_fit(case(), flipped(case().got, 40)), BEFORE),
    "a byte lane inverted": (lane(case(), lambda b: b ^ 255), "bit or byte lane of the data path"),
    "a byte lane stuck": (lane(case(), lambda _b: 0), "bit or byte lane of the data path"),
    "bytes of a block reversed": (
        replace(case(), got=b"".join(b[::-1] for b in blocks(case().got)[:6]) + case().got[96:]),
        "in reverse order",
    ),
    "lanes swapped": (
        replace(case(), got=case().got[16:32] + case().got[:16] + case().got[32:]),
        "block 0 holds the ciphertext of block 1",
    ),
    "bytes missing after the core": (
        replace(case(), got=case().got[:20] + case().got[23:] + b"xyz"),
        "3 bytes are missing at byte 20 of the ciphertext",
    ),
    "bytes repeated after the core": (
        replace(case(), got=case().got[:36] + case().got[20:84]), "16 bytes are repeated at",
    ),
    "a block lost before the core": (
        with_fit(case(), xor(xor(case().got, TEXT), LATER)),
        f"16 bytes are missing at byte 32 of the plaintext: data path {BEFORE}",
    ),
    "zeros before the core": (
        with_fit(case(), xor(case().got, TEXT)), f"zeros instead of the text: data path {BEFORE}",
    ),
    # tag
    "tag reversed": (replace(case(), got_tag=case().want_tag[::-1]), "reverse byte order"),
    "tag rotated": (
        replace(case(), got_tag=case().want_tag[1:] + case().want_tag[:1]), "their order is wrong",
    ),
    "length of the AAD": (wrong_lengths(12, 100), "has 96 bits of AAD and 800 of text instead"),
    "length of the text": (wrong_lengths(13, 101), "has 104 bits of AAD and 808 of text instead"),
    "AAD cut": (
        replace(case(), got_tag=GCM.tag(AAD[:12], case().got)), "the first 12 of 13 bytes of AAD",
    ),
    "another AAD": (
        replace(case(), got_tag=GCM.tag(AAD[::-1], case().got)), f"used the AAD {AAD[::-1].hex()}",
    ),
    "tag without J0": (replace(case(), got_tag=GCM.ghash(AAD, case().got)), "bare GHASH"),
    "tag with another counter": (
        replace(case(), got_tag=xor(GCM.ghash(AAD, case().got), GCM.encrypt(GCM.counter(2)))),
        "tag encrypted with counter 2",
    ),
    "no GHASH": (replace(case(), got_tag=GCM.encrypt(GCM.counter(1))), "GHASH is zero"),
    "one bit of the tag": (
        replace(case(), got_tag=flipped(case().want_tag, 3)), "bytes [3] of the tag",
    ),
    "another hash key": (
        replace(case(), got_tag=Gcm(KEY[::-1], NONCE).tag(AAD, case().got)), "GHASH: multiplic",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_cause(name: str) -> None:
    sealed, want = CAUSES[name]
    assert want in likely_cause(sealed), likely_cause(sealed)


@pytest.mark.parametrize("bit", range(16))
@pytest.mark.parametrize("entry", [0x00, 0x53, 0xA7])
def test_no_fault_of_the_sbox_excludes_the_cipher(entry: int, bit: int) -> None:
    """Whichever rounds and blocks use the broken entry."""
    sealed = by_aes(TEXT, sbox=changed(SBOX, entry ^ bit << 3, 1 << bit % 8))
    if sealed.got != sealed.want:
        assert "AES" in likely_cause(sealed), likely_cause(sealed)


@pytest.mark.parametrize("row", range(1, 16))
def test_no_fault_of_shift_rows_is_called_data_path(row: int) -> None:
    rows = [(r + 4) % 16 if i == row else r for i, r in enumerate(ROWS)]
    for text in (TEXT, ONE + b"12345"):
        assert "AES, last round" in likely_cause(by_aes(text, last_rows=rows))


def test_arithmetic() -> None:
    x = 0x66E94BD4EF8A2C3B884CFA59CA342B2E
    assert multiply(x, power(x, -1)) == 1 << 127
    assert power(x, 3) == multiply(x, multiply(x, x))


def test_window_marks_every_wrong_byte() -> None:
    want = [("header", b"12345"), ("ciphertext", b"abcdefghij")]
    lines = window(want, b"12345abXdefghXj")
    assert lines[0].startswith("first wrong byte: 7 of 15 (got 15 bytes): byte 2 of the ciphertext")
    assert lines[1] == "expected  header 31 32 33 34 35 | ciphertext 61 62 63 64 65 66 67 68 69 6a"
    assert lines[2] == "got       header 31 32 33 34 35 | ciphertext 61 62 58 64 65 66 67 68 58 6a"
    marks = [i for i, c in enumerate(lines[3]) if c == "^"]
    places = (lines[2].index("58 64"), lines[2].index("58 6a"))
    assert marks == [at + i for at in places for i in (0, 1)]


def test_window_shows_missing_bytes() -> None:
    assert window([("tag", b"abc")], b"ab")[2].endswith("tag 61 62 --")


@pytest.mark.parametrize("cipher", [51, 54])
def test_tls13_text_has_its_type_and_padding(cipher: int) -> None:
    aes = cipher == 51
    salt, iv = (b"salt", b"i" * 8) if aes else (b"", b"i" * 12)
    keys = TrafficKeys(0x0304, cipher, b"k" * (16 if aes else 32), salt, iv, 5)
    golden = seal_record(keys, 0, 23, TEXT, 3)
    spoilt = flipped(golden.wire, 30)
    field, _, cause = diagnose(keys, 0, 23, TEXT, spoilt, 3)
    assert field == "ciphertext"
    assert ("single wrong byte 25" in cause) == aes


def test_a_wrong_nonce_of_the_record_alone_is_called_framing() -> None:
    keys = TrafficKeys(0x0303, 51, KEY, b"salt", bytes(7) + b"\1", 1)
    wire = seal_record(keys, 0, 23, TEXT).wire
    field, _, cause = diagnose(keys, 0, 23, TEXT, wire[:5] + wire[5:13][::-1] + wire[13:])
    assert field == "nonce"
    assert "framing" in cause
    field, _, cause = diagnose(keys, 0, 23, TEXT, seal_record(keys, 1, 23, TEXT).wire)
    assert field == "nonce"
    assert "does not count up" in cause
