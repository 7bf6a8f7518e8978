# SPDX-License-Identifier: Apache-2.0
"""Random call scripts about the edges of the ULP: what programs rarely do, and bug reports are of.

Low-water marks, time-outs and O_NONBLOCK; reads of nothing; records cut anywhere with a poll in
between; keys set over data; full pipes; ranges beyond a file; key updates with right and wrong
keys; record limits; kTLS at both ends; every order of shutdown, close and reset.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ktls import uapi
from ktls.crypto_info import CIPHERS
from ktls_cosim.conformance.records import build_record
from ktls_cosim.kernel.generate import (
    BLOCKED_MS,
    DONTWAIT,
    FILE_SIZE,
    PEEK,
    POLL_ALL,
    WAITALL,
    Maker,
    Step,
    Weights,
)

_KINDS = (
    "receive", "receive", "peek", "splice", "late keys", "ends", "send", "rekey", "rekey", "limit",
    "duplex", "both ends",
)  # fmt: skip
_SIZES = (0, 1, 2, 5, 9, 10, 11, 16, 17, 30, 100, 300, 1000, 6000, 16384, 16385, 20000, 40000)
_KEY_UPDATE_SEED = 56  # its data pattern begins with the byte of a KeyUpdate
_HANDSHAKE_CM = "282:1:-1:16"
_ALL_SLOTS = 256


def _int(value: int) -> str:
    """Return an int as an option's value in hexadecimal digits."""
    return (value & 0xFFFF_FFFF).to_bytes(4, "little").hex()


class WideMaker(Maker):
    """Makes one script.

    Args:
        rng: Source of all choices.
        rekey: The kernel can replace keys; the script then goes on with the new ones.
    """

    def __init__(self, rng: random.Random, rekey: bool) -> None:
        super().__init__(rng)
        self._rekey = rekey

    # ---------------------------------------------------------------- the socket

    def socket_option(self) -> None:
        """Add an option of the socket around the ULP."""
        rng = self.rng
        level, option, value = rng.choice(
            (
                (uapi.SOL_SOCKET, uapi.SO_RCVLOWAT, rng.choice((0, 1, 2, 10, 100, 5000, 30000))),
                (uapi.SOL_SOCKET, uapi.SO_RCVLOWAT, -1),
                (uapi.SOL_TCP, uapi.TCP_CORK, rng.choice((0, 1))),
                (uapi.SOL_TCP, uapi.TCP_NODELAY, rng.choice((0, 1))),
            )
        )
        which = rng.randrange(6)
        if which == 0:
            zero, limit = bytes(8).hex(), rng.choice((0, 20000)).to_bytes(8, "little").hex()
            self.add("setsockopt", fd="a", level=1, opt=uapi.SO_RCVTIMEO, hex=zero + limit)
        elif which == 1:
            onoff, seconds = _int(rng.choice((0, 1))), _int(rng.choice((0, 0, 5)))
            self.add("setsockopt", fd="a", level=1, opt=uapi.SO_LINGER, hex=onoff + seconds)
        elif which == 2:
            self.add("nonblock", fd="a", on=rng.choice((0, 1)))
        else:
            self.add("setsockopt", fd="a", level=level, opt=option, hex=_int(value))

    def shut(self) -> None:
        """Add an end of a direction or of the connection, then look at the socket."""
        rng = self.rng
        which = rng.randrange(7)
        if which <= 1:
            self.add("shutdown", fd="a", how=rng.choice((0, 1, 2, 3, -1)))
        elif which <= 3 and self.b_open:
            self.add("shutdown", fd="b", how=rng.choice((0, 1, 2)))
        elif which == 4 and self.b_open:
            self.drain()
            self.add("close", fd="b")
            self.b_open = False
        elif which == 5 and self.b_open:
            self.add("reset", fd="b")
            self.b_open = False
        elif which == 6 and rng.random() < 0.3:
            self.add("disconnect", fd="a")
        self.look()

    # -------------------------------------------------------------------- receive

    def pieces(self) -> None:
        """Inject several records, cut anywhere, with a look or a read at the cuts."""
        rng = self.rng
        if not self.b_open:
            return
        records = [self.record() for _ in range(rng.choice((1, 2, 3, 4, 8)))]
        for record in records:
            if rng.random() < 0.25:
                record["n"] = 0
            elif rng.random() < 0.1:
                record.update(t=22, seed=_KEY_UPDATE_SEED, n=rng.choice((1, 2, 5, 40)))
        data = b"".join(build_record(self.suite, r) for r in records)
        at = 0
        for _ in range(rng.choice((0, 0, 1, 2))):
            cut = rng.randrange(at, len(data) + 1)
            if cut > at:
                self.add("inject", fd="b", hex=data[at:cut].hex())
                at = cut
                rng.choice((self.look, self.read, self.look))()
        if at < len(data):
            self.add("inject", fd="b", hex=data[at:].hex())

    def read(self, fd: str = "a") -> None:
        """Add any receive call, with every mixture of flags, and buffers of nothing."""
        rng = self.rng
        flags = rng.choice((0, 0, PEEK, WAITALL, PEEK | WAITALL)) | rng.choice((0, *[DONTWAIT] * 3))
        if rng.random() < 0.05:
            flags |= rng.choice((uapi.MSG_OOB, 0x20, uapi.MSG_ERRQUEUE, 8, 0x4000_0000, 0x1_0000))
        step: Step = {"fd": fd, "limit": BLOCKED_MS}
        n = rng.choice(_SIZES)
        some = n or 1
        which = rng.random()
        if which < 0.15:
            self.add("recv", n=n, flags=flags, **step)
        elif which < 0.2:
            self.add("read", n=n, **step)
        elif which < 0.25:
            self.add("readv", iov=rng.choice((f"0,{some}", f"{some},0", f"1,0,{n}", "0,0")), **step)
        else:
            iov = rng.choice((str(n), str(n), str(n), f"0,{n}", f"{n},{n}", f"1,0,2,{n}", "0,0"))
            if self.rx and rng.random() < 0.1:
                iov = rng.choice((f"{n},B10", f"G{n + 5}:{n}", f"B{some}", f"1,B{some},5"))
            control = rng.choice((0, 16, 17, 24, 64, 64, 64, 64))
            self.add("recvmsg", iov=iov, ctl=control, flags=flags, **step)

    def splice_away(self, source: str = "a") -> None:
        """Add a splice from a socket into the pipe, which may be full."""
        rng = self.rng
        size = rng.choice((0, 1, 5, 10, 100, 4095, 4096, 4097, 16384, 20000, 100_000))
        flags = rng.choice((0, 1, 3, 4, 6)) if rng.random() < 0.15 else uapi.SPLICE_F_NONBLOCK
        step = {"from": source, "to": "p1", "n": size, "flags": flags, "limit": BLOCKED_MS}
        self.add("splice", **step)

    def empty_pipe(self) -> None:
        """Add a read from the pipe."""
        self.add("piperead", fd="p0", n=self.rng.choice((1, 10, 4096, 20000, 100_000)))

    # ----------------------------------------------------------------------- send

    def any_range(self) -> None:
        """Add a sendfile of any range, also beyond the file and beyond 2^63."""
        rng = self.rng
        sizes = (0, 1, 4096, FILE_SIZE, FILE_SIZE + 1, 1 << 20, 0x7FFF_0000, 1 << 40, (1 << 63) - 1)
        step: Step = {"fd": "a", "from": "f", "n": rng.choice(sizes)}
        if rng.random() < 0.8:
            step["off"] = rng.choice(
                (0, 0, -1, -5, FILE_SIZE - 1, FILE_SIZE, FILE_SIZE + 1, 1 << 33, 12345, 4096, 16384)
            )
        self.add("sendfile", **step)

    def limit(self) -> None:
        """Set and get TLS_TX_MAX_PAYLOAD_LEN."""
        rng = self.rng
        value = rng.choice((62, 63, 64, 65, 100, 511, 1000, 4096, 16384, 16385, 0, 65535))
        odd = {"len": rng.choice((0, 1, 3, 4))} if rng.random() < 0.1 else {}
        raw = value.to_bytes(2, "little").hex()
        self.add("setsockopt", fd="a", level=282, opt=uapi.TLS_TX_MAX_PAYLOAD_LEN, hex=raw, **odd)
        if rng.random() < 0.4:
            size = rng.choice((2, 2, 0, 1, 3, 4, 8, -1))
            self.add("getsockopt", fd="a", level=282, opt=uapi.TLS_TX_MAX_PAYLOAD_LEN, len=size)

    # ---------------------------------------------------------------------- rekey

    def _fresh(self) -> dict[str, str | int]:
        """Return a suite with new keys of the same version and cipher."""
        rng, desc = self.rng, CIPHERS[self.suite["cipher"]]
        number = rng.choice((0, 0, 0, 5, 2**64 - 1, 2**64 - 2))
        return {
            **self.suite,
            "key": rng.randbytes(desc.key).hex(),
            "salt": rng.randbytes(desc.salt).hex(),
            "iv": rng.randbytes(desc.iv).hex(),
            "seq": number.to_bytes(8, "big").hex(),
        }

    def _wrong(self, blob: str) -> str:
        """Return a crypto_info of another length, version or cipher."""
        return self.rng.choice(
            (blob[:-2], blob + "00", "0303" + blob[4:], blob[:4] + "3400" + blob[8:], blob[:2])
        )

    def rekey_rx(self) -> None:
        """Replace the receive keys, with or without a KeyUpdate, and data of either key behind."""
        rng = self.rng
        new = self._fresh()
        after = int(str(new["seq"]), 16)
        if self.b_open and rng.random() < 0.8:
            update = {"t": 22, "n": rng.choice((5, 5, 5, 1, 0, 40)), "seq": self.rx_seq}
            update["seed"] = rng.choice((*[_KEY_UPDATE_SEED] * 3, 1))
            self.rx_seq = (self.rx_seq + 1) % 2**64
            data = build_record(self.suite, update)
            behind = rng.random()
            if behind < 0.3:
                data += build_record(new, {"t": 23, "n": 10, "seq": after, "seed": 3})
                after = (after + 1) % 2**64
            elif behind < 0.45:
                old = {"t": 23, "n": 10, "seq": self.rx_seq, "seed": 3}
                data += build_record(self.suite, old)
            self.add("inject", fd="b", hex=data.hex())
        self.some(rng.randrange(4), {self.read: 2, self.look: 1, self.splice_away: 1})
        blob = self.blob(new)
        if rng.random() < 0.15:
            self.add("setsockopt", fd="a", level=282, opt=uapi.TLS_RX, hex=self._wrong(blob))
        if rng.random() < 0.85:
            self.add("setsockopt", fd="a", level=282, opt=uapi.TLS_RX, hex=blob)
            if self._rekey and self.suite["ver"] == uapi.TLS_1_3_VERSION:
                self.suite, self.rx_seq = new, after

    def rekey_tx(self) -> None:
        """Replace the transmit keys, often behind a KeyUpdate of our own."""
        rng = self.rng
        if rng.random() < 0.6:
            self.add("sendmsg", fd="a", iov="5", seed=_KEY_UPDATE_SEED, cm=_HANDSHAKE_CM,
                     flags=rng.choice((0, 0, DONTWAIT)))  # fmt: skip
        blob = self.blob(self._fresh())
        if rng.random() < 0.15:
            blob = self._wrong(blob)
        self.add("setsockopt", fd="a", level=282, opt=uapi.TLS_TX, hex=blob)
        if rng.random() < 0.3:
            size = CIPHERS[self.suite["cipher"]].crypto_info
            self.add("getsockopt", fd="a", level=282, opt=uapi.TLS_TX, len=size)

    def rekey_both_ends(self) -> None:
        """Replace the keys of both ends, in order, with calls in between."""
        rng = self.rng
        if rng.random() < 0.8:
            n = str(rng.choice((5, 5, 1, 6)))
            self.add("sendmsg", fd="a", iov=n, seed=_KEY_UPDATE_SEED, flags=0, cm=_HANDSHAKE_CM)
        blob = self.blob(self._fresh())
        self.add("setsockopt", fd="a", level=282, opt=uapi.TLS_TX, hex=blob)
        self.some(rng.randrange(3), {self.send: 1, self.read_far: 2, self.poll_far: 1})
        self.add("setsockopt", fd="b", level=282, opt=uapi.TLS_RX, hex=blob)
        self.poll_far()

    def read_far(self) -> None:
        """Read from the other end."""
        self.read("b")

    def poll_far(self) -> None:
        """Poll the other end."""
        self.add("poll", fd="b", events=POLL_ALL, ms=0)

    def splice_far(self) -> None:
        """Splice from the other end."""
        self.splice_away("b")

    # -------------------------------------------------------------------- scripts

    def script(self) -> list[Step]:
        """Make the whole script."""
        rng = self.rng
        kind = rng.choice(_KINDS)
        if kind == "rekey":
            self.suite["ver"] = rng.choice((*[uapi.TLS_1_3_VERSION] * 9, uapi.TLS_1_2_VERSION))
        if kind == "both ends":
            self.suite.update(ver=uapi.TLS_1_3_VERSION, seq="0" * 16)
        self.add("pair")
        if kind == "late keys":
            self._data_first()
        self.add("setsockopt", fd="a", level=6, opt=31, hex="746c73")
        self.add("file", fd="f", n=FILE_SIZE, seed=7)
        # only where the pipe is read, or too large to fill, does it not block a script
        slots = rng.choice((1, 2, 4, 16)) if kind == "splice" else _ALL_SLOTS
        self.add("pipe", fd="p", slots=slots)
        self._set_keys(kind)
        self.some(rng.randrange(4, 16), self._steps(kind))
        if kind != "both ends" and rng.random() < 0.5:
            self.shut()
            self.some(rng.randrange(4), {self.read: 3, self.look: 1})
        self.drain()
        self.add("stat")
        return self.steps

    def _data_first(self) -> None:
        """Data in both directions before there are keys, perhaps partly read in the clear."""
        rng = self.rng
        self.rx = True
        self.rx_seq = int(self.suite["seq"], 16)
        self.some(rng.randrange(1, 4), {self.pieces: 2, self.socket_option: 1, self.plain_send: 1})
        if rng.random() < 0.3:
            n = rng.choice((1, 5, 13, 30))
            self.add("recv", fd="a", n=n, flags=DONTWAIT, limit=BLOCKED_MS)

    def plain_send(self) -> None:
        """Send without keys."""
        rng = self.rng
        n, flags = rng.choice((0, 5, 1000)), rng.choice((0, uapi.MSG_MORE))
        self.add("send", fd="a", n=n, seed=self.next_seed(), flags=flags)

    def _set_keys(self, kind: str) -> None:
        rng = self.rng
        number = self.rx_seq
        if kind in ("send", "limit", "ends", "duplex", "both ends") or (
            kind in ("rekey", "late keys") and rng.random() < 0.7
        ):
            if kind == "limit" and rng.random() < 0.3:
                self.limit()
            self.keys("a", uapi.TLS_TX)
        if kind == "both ends":
            self.add("setsockopt", fd="b", level=6, opt=31, hex="746c73")
            self.keys("b", uapi.TLS_RX)
            self.b_keyed = True
        elif kind not in ("send", "limit"):
            self.keys("a", uapi.TLS_RX)
            if kind == "late keys":
                self.rx_seq = number
        tls13 = self.suite["ver"] == uapi.TLS_1_3_VERSION
        if kind in ("receive", "peek") and tls13 and rng.random() < 0.25:
            self.add("setsockopt", fd="a", level=282, opt=4, hex="01000000")

    def _steps(self, kind: str) -> Weights:
        receive: Weights = {self.pieces: 3, self.read: 6, self.look: 2}
        weights: dict[str, Weights] = {
            "receive": {**receive, self.socket_option: 0.6, self.splice_away: 0.5},
            "peek": {self.pieces: 2, self.read: 8, self.look: 1, self.socket_option: 0.3},
            "splice": {
                self.pieces: 3, self.read: 2, self.splice_away: 5, self.empty_pipe: 2, self.look: 1,
            },
            "late keys": receive,
            "ends": {
                **receive, self.shut: 1.5, self.send: 2, self.sendmsg: 1, self.drain: 1,
            },
            "send": {
                self.any_range: 3, self.send: 3, self.sendmsg: 1, self.socket_option: 1,
                self.drain: 1, self.splice_in: 1, self.writev: 1,
            },
            "limit": {
                self.limit: 2, self.send: 3, self.sendmsg: 2, self.any_range: 1, self.splice_in: 1,
                self.drain: 1, self.look: 1, self.rekey_tx: 0.3,
            },
            "rekey": {**receive, self.rekey_rx: 2, self.splice_away: 0.5},
            "both ends": {
                self.send: 3, self.sendmsg: 1, self.read_far: 4, self.rekey_both_ends: 1.5,
                self.poll_far: 1, self.any_range: 0.5, self.splice_far: 0.7,
            },
            "duplex": {
                **receive, self.send: 2, self.sendmsg: 1, self.socket_option: 1, self.drain: 1,
                self.splice_away: 0.5,
            },
        }  # fmt: skip
        if kind == "rekey" and self.tx:
            more: dict[Callable[[], None], float] = {self.rekey_tx: 1, self.send: 1.5}
            weights["rekey"].update({**more, self.sendmsg: 0.7, self.drain: 0.5})
        return weights[kind]


def make_script(seed: int, number: int, rekey: bool = False) -> list[Step]:
    """Make script `number` of a run: every other one is about the edges.

    Args:
        seed, number: All that the choices depend on.
        rekey: The kernel can replace keys.
    """
    rng = random.Random(f"{seed}/{number}")
    maker = WideMaker(rng, rekey) if number % 2 else Maker(rng)
    return maker.script()
