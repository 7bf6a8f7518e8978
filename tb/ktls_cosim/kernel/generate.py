# SPDX-License-Identifier: Apache-2.0
"""Random call scripts, in the format of tests/oracle/README.md without observations.

What is left out on purpose is what real kernels leave to chance: how much fits into
full buffers, who wins when two processes race, and into how many fragments copied bytes
fall (it depends on where the last page of the process ended) when a record has almost
as many fragments as it can have.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ktls import CryptoInfo, uapi
from ktls.crypto_info import CIPHERS
from ktls_cosim.conformance.records import build_record

Step = dict[str, Any]

MORE, DONTWAIT, EOR, NOSIGNAL = (
    uapi.MSG_MORE,
    uapi.MSG_DONTWAIT,
    uapi.MSG_EOR,
    uapi.MSG_NOSIGNAL,
)
PEEK, WAITALL = uapi.MSG_PEEK, uapi.MSG_WAITALL
POLL_ALL = uapi.POLLIN | uapi.POLLPRI | uapi.POLLOUT | uapi.POLLRDHUP
SIZES = (0, 1, 2, 3, 15, 16, 17, 100, 500, 1460, 4096, 16383, 16384, 16385, 20000, 32768, 40000)
SMALL = (0, 1, 2, 5, 10, 16, 17, 100, 300)
CONTROL_SIZES = (0, 0, 1, 8, 15, 16, 17, 18, 24, 64, 64, 64, 64, 64)
BLOCKED_MS = 40
FILE_SIZE = 40000
MAX_BYTES = 300_000
_FEW_PAGES = 12


class _Maker:
    """Makes one script; remembers what it needs to keep the calls meaningful."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.steps: list[Step] = []
        self.bytes = 0
        self.rx_seq = 0
        self.suite = self._suite()
        self.tx = False
        self.rx = False
        self.b_keyed = False
        self.b_open = True
        self.seed = 0
        self.pages = 0

    def add(self, op: str, **args: Any) -> None:
        self.steps.append({"op": op, **args})

    # ------------------------------------------------------------------------- keys

    def _suite(self) -> dict[str, Any]:
        rng = self.rng
        cipher = rng.choice((51, 51, 51, 52, 53, 54))
        desc = CIPHERS[cipher]
        seq = rng.choice((0, 0, 0, 0, 7, 255, 2**32 - 1, 2**64 - 1, 2**64 - 2, 2**64 - 3))
        return {
            "ver": rng.choice((0x0303, 0x0304)),
            "cipher": cipher,
            "key": rng.randbytes(desc.key).hex(),
            "salt": rng.randbytes(desc.salt).hex(),
            "iv": rng.choice((rng.randbytes(desc.iv), b"\xff" * desc.iv)).hex(),
            "seq": seq.to_bytes(8, "big").hex(),
        }

    def _blob(self) -> str:
        s = self.suite
        h = bytes.fromhex
        info = CryptoInfo(s["ver"], s["cipher"], h(s["iv"]), h(s["key"]), h(s["salt"]), h(s["seq"]))
        return info.pack().hex()

    def keys(self, fd: str, option: int) -> None:
        self.add("setsockopt", fd=fd, level=282, opt=option, hex=self._blob())
        if fd == "a" and option == 1:
            self.tx = True
        if fd == "a" and option == 2:
            self.rx = True
            self.rx_seq = int(self.suite["seq"], 16)

    def next_seed(self) -> int:
        self.seed += 1
        return self.seed

    def size(self, choices: tuple[int, ...] = SIZES) -> int:
        n = self.rng.choice((*choices, self.rng.randrange(1, 2000)))
        if self.bytes + n > MAX_BYTES:
            n = self.rng.randrange(20)
        self.bytes += n
        return n

    # ------------------------------------------------------------------------- send

    def send_flags(self) -> int:
        rng = self.rng
        if not self.tx:
            return rng.choice((0, NOSIGNAL, DONTWAIT))
        if rng.random() < 0.06:
            return 1 << rng.choice([i for i in range(31) if i != 26 or self.tx])
        return rng.choice((0, 0, 0, 0, MORE, MORE, MORE, NOSIGNAL, DONTWAIT, MORE | DONTWAIT, EOR,
                           MORE | EOR, MORE | NOSIGNAL))  # fmt: skip

    def send(self) -> None:
        op = self.rng.choice(("send", "send", "send", "sendto", "write"))
        step = {"fd": "a", "n": self.size(), "seed": self.next_seed()}
        if op != "write":
            step["flags"] = self.send_flags()
        self.add(op, **step)

    def iov(self, faults: float = 0.12) -> str:
        parts = []
        for _ in range(self.rng.choice((1, 1, 1, 2, 3, 5, 20))):
            n = self.size(SMALL if self.rng.random() < 0.8 else SIZES)
            if n and self.rng.random() < faults:
                parts.append(self.rng.choice((f"B{n}", f"G{n}:{self.rng.randrange(n)}")))
            else:
                parts.append(str(n))
        return ",".join(parts)

    def sendmsg(self) -> None:
        rng = self.rng
        if not self.tx:
            self.add("sendmsg", fd="a", iov=self.iov(0), seed=self.next_seed(), flags=0)
            return
        step: Step = {"fd": "a", "iov": self.iov(), "seed": self.next_seed()}
        step["flags"] = self.send_flags()
        if rng.random() < 0.6:
            good = f"282:1:-1:{rng.choice((20, 21, 22, 23, 24, 0, 255, rng.randrange(256))):02x}"
            odd = rng.choice(
                ("282:9:-1:15", "1:99:-1:07", "282:1:16:15", "282:1:-1:", "282:1:-1:16000000",
                 "282:1:24:15", "282:1:15:16", "41:50:-1:00", "282:1:4000:16", "282:1:0:16")
            )  # fmt: skip
            step["cm"] = rng.choice((good, good, good, good, odd, f"{good}|{odd}", f"{odd}|{good}",
                                     f"{good}|{good}"))  # fmt: skip
            if rng.random() < 0.1:
                step["ctllen"] = rng.choice((0, 1, 8, 15, 16, 17, 18, 20, 23, 24))
            if rng.random() < 0.75:
                step["flags"] &= ~MORE
        self.add("sendmsg", **step)

    def writev(self) -> None:
        self.add("writev", fd="a", iov=self.iov(0.05 if self.tx else 0), seed=self.next_seed())

    def sendmmsg(self) -> None:
        sizes = [self.size(SMALL) for _ in range(self.rng.choice((1, 1, 2, 3)))]
        iov = ",".join(map(str, sizes))
        self.add("sendmmsg", fd="a", iov=iov, seed=self.next_seed(), flags=0)

    def sendfile(self) -> None:
        step: Step = {"fd": "a", "from": "f", "n": self.size()}
        if self.rng.random() < 0.8:
            step["off"] = self.rng.choice(
                (0, 0, 1, 100, 4095, 4096, 5000, FILE_SIZE - 10, FILE_SIZE, FILE_SIZE + 5,
                 self.rng.randrange(FILE_SIZE))
            )  # fmt: skip
        self.add("sendfile", **step)

    def close_record(self) -> None:
        """One byte more, which fits into one fragment wherever it lands."""
        if self.pages:
            self.add("send", fd="a", n=1, seed=self.next_seed(), flags=0)
            self.pages = 0

    def splice_in(self) -> None:
        rng = self.rng
        count = rng.choice((1, 1, 1, 2, 5, 16, 17, 20, 40))
        if self.pages + count > _FEW_PAGES:
            self.add("send", fd="a", n=1, seed=self.next_seed(), flags=0)
            self.pages = 0
        total = 0
        for _ in range(count):
            n = self.size((1, 10, 100, 1000, 4096, 5000)) if count < 10 else rng.choice((1, 7, 100))
            if n:
                self.add("write", fd="p1", n=n, seed=self.next_seed())
                total += n
        asked = rng.choice((total, total, total, total + 1, total + 5000, max(1, total // 2)))
        if asked:
            step = {"from": "p0", "to": "a", "n": asked, "flags": rng.choice((0, 0, 4, 4, 2, 6))}
            self.add("splice", **step)
            left = total - asked
            if left > 0 and rng.random() < 0.7:
                self.add("splice", **{**step, "n": left, "flags": rng.choice((0, 4))})
        self.pages += count
        if self.pages > _FEW_PAGES:
            self.close_record()

    # ---------------------------------------------------------------------- receive

    def record(self) -> dict[str, Any]:
        rng = self.rng
        r: dict[str, Any] = {
            "t": rng.choice((23, 23, 23, 23, 23, 21, 22, 20, 99, rng.randrange(256))),
            "n": self.size((0, 0, 1, 2, 5, 16, 100, 1000, 5000, 16384)),
            "seq": self.rx_seq,
            "seed": self.next_seed() & 0xFF,
        }
        if r["n"] > 16384:
            r["n"] = 16384
        if r["t"] == 0 and self.suite["ver"] == 0x0304:
            r["t"] = 23
        if self.suite["ver"] == 0x0304 and rng.random() < 0.2:
            r["pad"] = min(rng.choice((1, 5, 40)), 16384 - r["n"])
        if self.suite["ver"] == 0x0303 and rng.random() < 0.15:
            r["nonce"] = rng.randbytes(8).hex()
        self.rx_seq = (self.rx_seq + 1) % 2**64
        if rng.random() < 0.03:
            r.update(
                rng.choice(
                    ({"flip": -1}, {"flip": 0}, {"flip": 6}, {"ver": "0301"}, {"ver": "0304"},
                     {"hdrlen": 16896}, {"hdrlen": 3}, {"aad_seq": r["seq"] ^ 1}, {"aad_t": 22},
                     {"cut": 4}, {"cut": 12}, {"cut": 14})
                )
            )  # fmt: skip
            if self.suite["ver"] == 0x0304:
                r.update(rng.choice(({}, {}, {"inner_zero": True}, {"outer": 21, "aad_t": 23})))
        return r

    def inject(self) -> None:
        if not self.b_open:
            return
        if not self.rx and not self.tx:
            return
        rng = self.rng
        records = [self.record() for _ in range(rng.choice((1, 1, 1, 2, 3, 5)))]
        data = b"".join(build_record(self.suite, r) for r in records)
        if len(data) < 120 and rng.random() < 0.1:
            self.add("drip", fd="b", hex=data.hex(), piece=rng.choice((1, 7, 40)))
        elif rng.random() < 0.1:
            cut = rng.randrange(1, len(data))
            self.add("inject", fd="b", hex=data[:cut].hex())
            self.look()
            self.add("inject", fd="b", hex=data[cut:].hex())
        else:
            self.add("inject", fd="b", hex=data.hex())

    def recv_flags(self) -> int:
        rng = self.rng
        flags = rng.choice((0, 0, 0, PEEK, WAITALL, PEEK | WAITALL))
        if self.rx and rng.random() < 0.08:
            flags |= rng.choice((uapi.MSG_OOB, 0x20, uapi.MSG_ERRQUEUE, uapi.MSG_CMSG_CLOEXEC, 8))
        return flags | (0 if rng.random() < 0.04 else DONTWAIT)

    def recv(self, fd: str = "a") -> None:
        rng = self.rng
        step: Step = {"fd": fd, "flags": self.recv_flags(), "limit": BLOCKED_MS}
        size = rng.choice((0, 1, 2, 5, 10, 16, 17, 100, 1000, 6000, 16384, 20000, 40000))
        if rng.random() < 0.15:
            self.add("recv", n=size, **step)
            return
        iov = str(size)
        if self.rx and rng.random() < 0.15:
            n = rng.choice((1, 5, 20, 200))
            iov = rng.choice((f"{n},{size}", f"{n},B{size + 1}", f"G{n + 5}:{n}", f"B{n}"))
        self.add("recvmsg", iov=iov, ctl=rng.choice(CONTROL_SIZES), **step)

    def splice_out(self) -> None:
        if self.rx:
            n = self.rng.choice((1, 5, 16, 100, 4096, 17000))
            self.add("splice", **{"from": "a", "to": "p1", "n": n, "flags": 2})

    def look(self) -> None:
        rng = self.rng
        which = rng.randrange(7)
        if which <= 1:
            self.add("poll", fd="a", events=POLL_ALL, ms=0)
        elif which == 2:
            self.add("soerr", fd="a")
        elif which == 3:
            self.add("inq", fd="a")
        else:
            option = rng.choice((1, 2))
            size = CIPHERS[self.suite["cipher"]].crypto_info
            length = rng.choice((size, size, size, 4, 3, 40, 56))
            self.add("getsockopt", fd="a", level=282, opt=option, len=length)

    # ---------------------------------------------------------------------- options

    def option(self) -> None:
        rng = self.rng
        blob = self._blob()
        hexes = ("00000000", "01000000", "02000000", "01", "0100000000000000", "")
        which = rng.randrange(9)
        if which == 0:
            name = rng.choice((b"tls", b"tls\0x", b"TLS", b"tlsX", b"nope", b""))
            self.add("setsockopt", fd="a", level=6, opt=31, hex=name.hex())
        elif which == 1:
            length = rng.choice((0, 1, 3, 4, 12, len(blob) // 2 - 1, len(blob) // 2 + 1, -1))
            self.add("setsockopt", fd="a", level=282, opt=rng.choice((1, 2)), hex=blob, len=length)
        elif which == 2:
            bad = rng.choice(("0003", "0203", "0503", "fcfc"))
            self.add("setsockopt", fd="a", level=282, opt=rng.choice((1, 2)), hex=bad + blob[4:])
        elif which == 3:
            bad = rng.choice(("3200", "3b00", "ffff", "0000"))
            changed = blob[:4] + bad + blob[8:]
            self.add("setsockopt", fd="a", level=282, opt=rng.choice((1, 2)), hex=changed)
        elif which == 4:
            self.add("setsockopt", fd="a", level=282, opt=rng.choice((1, 2)), hex=blob,
                     **rng.choice(({"null": 1}, {"map": 1}, {"map": 4}, {"map": 20})))  # fmt: skip
        elif which == 5:
            self.add("setsockopt", fd="a", level=282, opt=3, hex=rng.choice(hexes))
            self.add("getsockopt", fd="a", level=282, opt=3, len=rng.choice((4, 4, 1, 8)))
        elif which == 6:
            value = rng.choice((*hexes, "0100000001000000"))
            self.add("setsockopt", fd="a", level=282, opt=4, hex=value)
            self.add("getsockopt", fd="a", level=282, opt=4, len=rng.choice((4, 4, 1, 3, 8)))
        elif which == 7:
            self.add("setsockopt", fd="a", level=282, opt=rng.choice((0, 5, 6, 99)), hex="01000000")
            self.add("getsockopt", fd="a", level=282, opt=rng.choice((0, 5, 6, 99)), len=4)
        else:
            self.add("getsockopt", fd="a", level=6, opt=31, len=rng.choice((0, 2, 4, 16, 40)))

    # ------------------------------------------------------------------------- ends

    def ending(self) -> None:
        rng = self.rng
        which = rng.randrange(6)
        if which == 0:
            self.add("shutdown", fd="a", how=rng.choice((0, 1, 1, 2)))
        elif which == 1 and self.b_open:
            self.add("shutdown", fd="b", how=1)
        elif which == 2 and self.b_open:
            if rng.random() < 0.7:
                self.drain()
            self.add("close", fd="b")
            self.b_open = False
        elif which == 3 and self.b_open:
            self.add("reset", fd="b")
            self.b_open = False
        elif which == 4:
            self.add("disconnect", fd="a")
        else:
            self.add("listen", fd="a")
        if rng.random() < 0.5:
            self.add("poll", fd="a", events=POLL_ALL, ms=0)

    def drain(self) -> None:
        if self.b_open and not self.b_keyed:
            self.add("drain", fd="b", quiet=0)

    # ---------------------------------------------------------------------- scripts

    def some(self, count: int, weights: dict[Callable[[], None], float]) -> None:
        for _ in range(count):
            self.rng.choices(list(weights), list(weights.values()))[0]()

    def script(self) -> list[Step]:
        rng = self.rng
        kind = rng.choice(("tx", "tx", "tx", "rx", "rx", "rx", "both", "options", "ends", "pair"))
        self.add("pair")
        if rng.random() < 0.1:
            self.some(rng.randrange(3), {self.option: 1, self.look: 1})
        self.add("setsockopt", fd="a", level=6, opt=31, hex="746c73")
        self.add("file", fd="f", n=FILE_SIZE, seed=7)
        self.add("pipe", fd="p", **({"direct": 1} if rng.random() < 0.3 else {}))
        sends = {
            self.send: 5.0, self.sendmsg: 3, self.writev: 0.5, self.sendmmsg: 0.4,
            self.sendfile: 1.5, self.splice_in: 1.0, self.drain: 1.5, self.look: 1.5,
        }  # fmt: skip
        receives = {
            self.inject: 3.0, self.recv: 6, self.splice_out: 0.7, self.look: 2,
        }  # fmt: skip
        if kind == "options":
            self.some(rng.randrange(4, 10), {self.option: 4, self.look: 1})
        if kind in ("tx", "both", "ends") or rng.random() < 0.15:
            self.keys("a", 1)
        if kind in ("rx", "both", "ends") or rng.random() < 0.1:
            if rng.random() < 0.15:
                self.rx_seq = int(self.suite["seq"], 16)
                before = self.rx_seq
                self.rx = True
                self.inject()
                after, self.rx_seq = self.rx_seq, before
                self.keys("a", 2)
                self.rx_seq = after
            else:
                self.keys("a", 2)
        if kind == "pair":
            self.keys("a", 1)
            self.add("setsockopt", fd="b", level=6, opt=31, hex="746c73")
            self.keys("b", 2)
            self.b_keyed = True
            for _ in range(rng.randrange(3, 9)):
                self.some(rng.randrange(1, 4), {self.send: 3, self.sendmsg: 2, self.sendfile: 1})
                self.rx = True
                for _ in range(rng.randrange(1, 5)):
                    self.recv("b")
                self.rx = False
        elif kind == "tx":
            self.some(rng.randrange(4, 16), sends)
        elif kind == "rx":
            if self.suite["ver"] == 0x0304 and rng.random() < 0.3:
                self.add("setsockopt", fd="a", level=282, opt=4, hex="01000000")
            self.some(rng.randrange(5, 20), receives)
        elif kind == "both":
            self.some(rng.randrange(5, 20), {**sends, **receives})
        elif kind == "ends":
            if rng.random() < 0.3:
                # what has no key is not judged
                self.tx = self.rx = True
            for _ in range(rng.randrange(2, 5)):
                self.some(rng.randrange(1, 5), {self.send: 2, self.sendmsg: 1, self.inject: 2,
                                                self.recv: 2, self.look: 1})  # fmt: skip
                self.ending()
            self.some(rng.randrange(1, 6), {self.send: 1, self.recv: 2, self.look: 2})
        if rng.random() < 0.3:
            self.option()
        self.drain()
        self.add("stat")
        return self.steps


def make_script(seed: int, number: int) -> list[Step]:
    """Script `number` of a run with this seed; each is made by itself."""
    return _Maker(random.Random(f"{seed}/{number}")).script()
