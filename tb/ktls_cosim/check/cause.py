# SPDX-License-Identifier: Apache-2.0
"""Name the part of AES-GCM, or of the data path around it, that explains a wrong result.

Three facts separate the causes:

* AES decrypts a block of keystream to the counter block that the device encrypted. A wrong
  nonce or counter is visible there. If no counter block appears, AES or its key is wrong.
* The tag is right, fits the wrong ciphertext, or neither. A right tag proves that the bytes
  changed after GHASH. A tag that fits proves that AES, J0 and GHASH work.
* GHASH is linear, so the difference of two tags gives the length block or the AAD that the
  device used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ktls_cosim.check.gcm import BLOCK, Gcm, blocks, multiply, power, xor

_AFTER = "data path from the core to memory"
_BEFORE = "data path from memory to the core"
_LONGEST = 1 << 17  # bits; no length of a TLS record is above
_SHIFTS = (*range(1, 65), *range(-1, -65, -1))
_MATCH = 8  # bytes that must agree before a shift or a swap is believed


@dataclass(frozen=True)
class Sealed:
    """A wrong result of AES-GCM.

    Attributes:
        key: 16 or 32 bytes.
        nonce: 12 bytes.
        aad: AAD.
        text: Plaintext.
        want, got: Expected and actual ciphertext.
        want_tag, got_tag: Expected and actual tag, 16 bytes.
    """

    key: bytes = field(repr=False)
    nonce: bytes
    aad: bytes
    text: bytes = field(repr=False)
    want: bytes
    got: bytes
    want_tag: bytes
    got_tag: bytes


def likely_cause(s: Sealed) -> str:
    """Return a fault that would produce this result."""
    gcm = Gcm(s.key, s.nonce)
    if s.got != s.want:
        return _moved(s) or _counters(gcm, s) or _other_key(s) or _by_tag(gcm, s)
    return _tag(gcm, s)


# --------------------------------------------------------------------------- ciphertext


def _moved(s: Sealed) -> str | None:
    """Explain bytes that are in the wrong place, missing, or not encrypted."""
    if s.got == s.text:
        return "the plaintext was not encrypted"
    if not any(s.got):
        return "zeros: the device gave the record up after a read error of its source"
    want, got = blocks(s.want), blocks(s.got)
    full = [b for b in range(min(len(want), len(got))) if len(want[b]) == len(got[b]) == BLOCK]
    if full and all(got[b] == want[b][::-1] for b in full):
        return f"the bytes of every block are in reverse order: {_AFTER}"
    wrong = [b for b in full if want[b] != got[b]]
    places = {block: b for b, block in enumerate(want) if len(block) == BLOCK}
    if wrong and all(got[b] in places for b in wrong):
        b = wrong[0]
        return f"block {b} holds the ciphertext of block {places[got[b]]}: order of blocks or lanes"
    shift = _shift(s.want, s.got)
    if shift is not None:
        return f"{shift} of the ciphertext: {_AFTER}"
    return None


def _shift(want: bytes, got: bytes) -> str | None:
    """Describe a stream from which bytes are missing, or in which bytes appear twice."""
    at = next((i for i, (x, y) in enumerate(zip(want, got, strict=False)) if x != y), len(got))
    for n in _SHIFTS:
        tail = want[at + n :] if n > 0 else want[max(at + n, 0) :]
        length = min(len(tail), len(got) - at)
        if length >= _MATCH and at + n >= 0 and got[at : at + length] == tail[:length]:
            what = "missing" if n > 0 else "repeated"
            return f"{abs(n)} bytes are {what} at byte {at}"
    return None


def _counters(gcm: Gcm, s: Sealed) -> str | None:
    """Find a wrong nonce or counter in the counter blocks that the device encrypted."""
    j0 = gcm.decrypt(xor(s.got_tag, gcm.ghash(s.aad, s.got)))
    used = [gcm.decrypt(ks) for ks in blocks(xor(s.got, s.text)) if len(ks) == BLOCK]
    numbers = [int.from_bytes(block[12:], "big") for block in used]
    wrong = [b for b, n in enumerate(numbers) if n != b + 2]
    if j0[12:] == bytes((0, 0, 0, 1)):
        used.append(j0)
    nonces = {block[:12] for block in used}
    if len(nonces) == 1:
        (nonce,) = nonces
        if nonce != s.nonce and not wrong:
            return f"nonce {nonce.hex()} used instead of {s.nonce.hex()}"
        if nonce == s.nonce and wrong:
            if numbers == [numbers[0] + b for b in range(len(numbers))]:
                return f"payload counter starts at {numbers[0]} instead of 2"
            if wrong == list(range(wrong[0], len(numbers))):
                return _counting(wrong[0], numbers[wrong[0]])
    for start in (0, 1, 3, 4):
        if gcm.stream(start, s.text) == s.got:
            return f"payload counter starts at {start} instead of 2"
    return None


def _counting(block: int, number: int) -> str:
    text = f"counter of block {block} is {number:#x} instead of {block + 2:#x}: counter increment"
    for bits in (4, 8, 16):
        if number == (block + 2) % (1 << bits):
            return f"{text}; the counter wraps after {bits} bits"
    return text


def _other_key(s: Sealed) -> str | None:
    """Try the usual mistakes with a key."""
    words = [s.key[i : i + 4] for i in range(0, len(s.key), 4)]
    others = {
        "in reverse byte order": s.key[::-1],
        "with its words in reverse order": b"".join(words[::-1]),
        "with the bytes of each word in reverse order": b"".join(w[::-1] for w in words),
        "of zeros": bytes(len(s.key)),
    }
    if len(s.key) == 32:
        others["cut to 128 bits"] = s.key[:16]
        others["with its halves swapped"] = s.key[16:] + s.key[:16]
    for name, key in others.items():
        if len(s.text) >= _MATCH and Gcm(key, s.nonce).stream(2, s.text) == s.got:
            return f"the device used the key {name}"
    return None


def _by_tag(gcm: Gcm, s: Sealed) -> str:
    """Separate data path and cipher by the tag."""
    pattern = _Pattern.of(s.want, s.got)
    if s.got_tag == s.want_tag:
        return f"{pattern}; the tag is right: {_AFTER}, after GHASH, not the cipher"
    if s.got_tag == gcm.tag(s.aad, s.got):
        seen = xor(xor(s.got, s.want), s.text)
        if len(seen) >= _MATCH and not any(seen):
            return f"the core sealed zeros instead of the text: {_BEFORE}"
        shift = _shift(s.text, seen)
        if shift is not None:
            return f"{shift} of the plaintext: {_BEFORE}"
        if pattern.dense or not (pattern.constant or pattern.contiguous):
            return f"{pattern}; the tag fits: AES, an S-box or table entry that J0 did not use"
        entry = ", or an S-box entry of the last AES round" if pattern.constant else ""
        return f"{pattern}; the tag fits: {_BEFORE}{entry}"
    tag = _Pattern.of(s.want_tag, s.got_tag)
    if pattern.constant and tag.constant and len(tag.at) <= BLOCK // 2:
        return f"{pattern}; the tag has the same fault: a bit or byte lane of the {_AFTER}"
    neither = f"{pattern}; the tag is wrong, too: "
    if len(s.text) < BLOCK and pattern.dense:
        return neither + "AES, its key or the nonce (less than one block of text)"
    if not pattern.dense:
        return neither + "AES, last round (S-box, ShiftRows or round key)"
    if pattern.every_block:
        return neither + "AES: key, key schedule or a round before the last"
    return neither + "AES: an S-box or table entry, or the key of one lane"


@dataclass(frozen=True)
class _Pattern:
    """The positions of wrong bytes.

    Attributes:
        at: Positions in the string.
        total: Number of blocks of the string.
        constant: The wrong bytes all have the same value, or all differ by the same bits.
        bit: The only bit that differs, as a mask; 0 if there are several.
    """

    at: list[int]
    total: int
    constant: bool
    bit: int

    @classmethod
    def of(cls, want: bytes, got: bytes) -> _Pattern:
        wrong = [i for i, (x, y) in enumerate(zip(want, got, strict=False)) if x != y]
        masks = {want[i] ^ got[i] for i in wrong}
        constant = bool(wrong) and (len(masks) == 1 or len({got[i] for i in wrong}) == 1)
        bit = masks.pop() if len(masks) == 1 else 0
        return cls(wrong, -(-len(want) // BLOCK), constant, bit if bit.bit_count() == 1 else 0)

    @property
    def blocks(self) -> list[int]:
        """Numbers of the blocks with wrong bytes."""
        return sorted({i // BLOCK for i in self.at})

    @property
    def every_block(self) -> bool:
        return len(self.blocks) == self.total

    @property
    def contiguous(self) -> bool:
        return self.at[-1] - self.at[0] == len(self.at) - 1

    @property
    def dense(self) -> bool:
        """More than half of the bytes of a wrong block are wrong."""
        first = self.blocks[0] if self.blocks else 0
        inside = [i for i in self.at if i // BLOCK == first]
        return len(inside) > BLOCK // 2 or len({i % BLOCK for i in self.at}) > BLOCK // 2

    def __str__(self) -> str:
        where = f"{len(self.blocks)} of {self.total} blocks"
        if len(self.at) == 1:
            text = f"single wrong byte {self.at[0]} of the ciphertext"
        elif self.dense:
            text = f"{len(self.at)} wrong bytes in {where}, first in block {self.blocks[0]}"
        else:
            columns = ", ".join(str(c) for c in sorted({i % BLOCK for i in self.at}))
            text = f"wrong bytes only at {columns} of a block, in {where}"
        lane = self._lane()
        return (
            text + (f", lane {lane}" if lane else "") + (f", bit {self.bit:#04x}" * bool(self.bit))
        )

    def _lane(self) -> str | None:
        """Name the lane of 2 or 4 to which at least three wrong blocks belong, all of them."""
        for lanes in (4, 2):
            at = {b % lanes for b in self.blocks}
            if len(at) == 1 and len(self.blocks) >= max(3, self.total // lanes):
                return f"{at.pop()} of {lanes}"
        return None


# ---------------------------------------------------------------------------------- tag


def _tag(gcm: Gcm, s: Sealed) -> str:
    """Explain a wrong tag of a right ciphertext."""
    if s.got_tag == s.want_tag[::-1]:
        return "tag in reverse byte order"
    if sorted(s.got_tag) == sorted(s.want_tag):
        return f"the bytes of the tag are right, their order is wrong: {_AFTER}"
    right = gcm.ghash(s.aad, s.got)
    if s.got_tag == right:
        return "the tag is the bare GHASH: it was not encrypted with J0"
    if s.got_tag == gcm.encrypt(gcm.counter(1)):
        return "GHASH is zero: hash key not set, or no block reached GHASH"
    used = gcm.decrypt(xor(s.got_tag, right))
    if used[:12] == s.nonce:
        return f"tag encrypted with counter {int.from_bytes(used[12:], 'big')} instead of 1 (J0)"
    if used[12:] == bytes((0, 0, 0, 1)):
        return f"tag encrypted with nonce {used[:12].hex()}"
    pattern = _Pattern.of(s.want_tag, s.got_tag)
    if len(pattern.at) <= 2:
        return f"bytes {pattern.at} of the tag: {_AFTER}, not GHASH"
    return _linear(gcm, s) or "GHASH: multiplication, length block, AAD or hash key"


def _linear(gcm: Gcm, s: Sealed) -> str | None:
    """Solve the tag for the length block and for the AAD that the device used."""
    for size in range(min(len(s.aad), BLOCK)):
        if gcm.tag(s.aad[:size], s.got) == s.got_tag:
            return f"GHASH: the device used only the first {size} of {len(s.aad)} bytes of AAD"
    difference = int.from_bytes(xor(s.got_tag, s.want_tag), "big")
    inverse = power(gcm.hash_key, -1)
    delta = multiply(difference, inverse).to_bytes(BLOCK, "big")
    aad_bits = int.from_bytes(delta[:8], "big") ^ 8 * len(s.aad)
    text_bits = int.from_bytes(delta[8:], "big") ^ 8 * len(s.got)
    if max(aad_bits, text_bits) < _LONGEST:
        return (
            f"GHASH: the length block has {aad_bits} bits of AAD and {text_bits} of text "
            f"instead of {8 * len(s.aad)} and {8 * len(s.got)}"
        )
    if 0 < len(s.aad) < BLOCK:
        steps = -(-len(s.got) // BLOCK) + 2
        delta = multiply(difference, power(inverse, steps)).to_bytes(BLOCK, "big")
        if not any(delta[len(s.aad) :]):
            return f"GHASH: the device used the AAD {xor(delta, s.aad).hex()}"
    return None
