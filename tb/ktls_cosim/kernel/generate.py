# SPDX-License-Identifier: Apache-2.0
"""Random call scripts, in the format of tests/oracle/README.md without observations.

Scripts avoid behaviour that varies between runs of a real kernel: the room in full buffers, races
between two processes, and the number of fragments that copied bytes occupy in a record that is
almost at the maximum. The last depends on the position in the process's current page.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ktls import CryptoInfo, uapi
from ktls.crypto_info import CIPHERS
from ktls_cosim.conformance.records import build_record

Step = dict[str, Any]
Weights = dict[Callable[[], None], float]

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
KINDS = ("tx", "tx", "tx", "rx", "rx", "rx", "both", "options", "ends", "pair")
# with more spliced pages in a record, copied bytes could exceed the fragments of the record
_FEW_PAGES = 12


class Maker:
    """Makes one script, and tracks the state that keeps its calls meaningful.

    Attributes:
        steps: Steps so far.
        bytes: Bytes sent so far.
        rx_seq: Number of the next record for socket a.
        suite: Version, cipher and key material of the script.
        tx, rx: Socket a has transmit keys, receive keys.
        b_keyed: Socket b has receive keys.
        b_open: Socket b is open.
        seed: Seed of the last data pattern.
        pages: Spliced pages in the open record.
    """

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
        """Append a step."""
        self.steps.append({"op": op, **args})

    # ------------------------------------------------------------------------- keys

    def _suite(self) -> dict[str, Any]:
        """Choose version, cipher and key material."""
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

    def blob(self, suite: dict[str, Any] | None = None) -> str:
        """Return a crypto_info as hexadecimal digits, by default that of the script."""
        s = suite or self.suite
        h = bytes.fromhex
        info = CryptoInfo(s["ver"], s["cipher"], h(s["iv"]), h(s["key"]), h(s["salt"]), h(s["seq"]))
        return info.pack().hex()

    def keys(self, fd: str, option: int) -> None:
        """Set TLS_TX (1) or TLS_RX (2) on a socket."""
        self.add("setsockopt", fd=fd, level=282, opt=option, hex=self.blob())
        if fd == "a" and option == 1:
            self.tx = True
        if fd == "a" and option == 2:
            self.rx = True
            self.rx_seq = int(self.suite["seq"], 16)

    def next_seed(self) -> int:
        """Return the seed of the next data pattern."""
        self.seed += 1
        return self.seed

    def size(self, choices: tuple[int, ...] = SIZES) -> int:
        """Choose a number of bytes, small once the script has sent many."""
        n = self.rng.choice((*choices, self.rng.randrange(1, 2000)))
        if self.bytes + n > MAX_BYTES:
            n = self.rng.randrange(20)
        self.bytes += n
        return n

    # ------------------------------------------------------------------------- send

    def send_flags(self) -> int:
        """Choose flags for a send call."""
        rng = self.rng
        if not self.tx:
            return rng.choice((0, NOSIGNAL, DONTWAIT))
        if rng.random() < 0.06:
            return 1 << rng.choice(range(31))
        return rng.choice((0, 0, 0, 0, MORE, MORE, MORE, NOSIGNAL, DONTWAIT, MORE | DONTWAIT, EOR,
                           MORE | EOR, MORE | NOSIGNAL))  # fmt: skip

    def send(self) -> None:
        """Add a send, sendto or write."""
        op = self.rng.choice(("send", "send", "send", "sendto", "write"))
        step = {"fd": "a", "n": self.size(), "seed": self.next_seed()}
        if op != "write":
            step["flags"] = self.send_flags()
        self.add(op, **step)

    def iov(self, faults: float = 0.12) -> str:
        """Choose buffers; with probability `faults` a buffer has a bad address."""
        parts = []
        for _ in range(self.rng.choice((1, 1, 1, 2, 3, 5, 20))):
            n = self.size(SMALL if self.rng.random() < 0.8 else SIZES)
            if n and self.rng.random() < faults:
                parts.append(self.rng.choice((f"B{n}", f"G{n}:{self.rng.randrange(n)}")))
            else:
                parts.append(str(n))
        return ",".join(parts)

    def sendmsg(self) -> None:
        """Add a sendmsg, often with control messages, some of them invalid."""
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
        """Add a writev."""
        self.add("writev", fd="a", iov=self.iov(0.05 if self.tx else 0), seed=self.next_seed())

    def sendmmsg(self) -> None:
        """Add a sendmmsg."""
        sizes = [self.size(SMALL) for _ in range(self.rng.choice((1, 1, 2, 3)))]
        iov = ",".join(map(str, sizes))
        self.add("sendmmsg", fd="a", iov=iov, seed=self.next_seed(), flags=0)

    def sendfile(self) -> None:
        """Add a sendfile from any offset."""
        step: Step = {"fd": "a", "from": "f", "n": self.size()}
        if self.rng.random() < 0.8:
            step["off"] = self.rng.choice(
                (0, 0, 1, 100, 4095, 4096, 5000, FILE_SIZE - 10, FILE_SIZE, FILE_SIZE + 5,
                 self.rng.randrange(FILE_SIZE))
            )  # fmt: skip
        self.add("sendfile", **step)

    def close_record(self) -> None:
        """Close the open record with one byte, which takes at most one fragment."""
        self.add("send", fd="a", n=1, seed=self.next_seed(), flags=0)
        self.pages = 0

    def splice_in(self) -> None:
        """Add writes to the pipe and a splice from it."""
        rng = self.rng
        count = rng.choice((1, 1, 1, 2, 5, 16, 17, 20, 40))
        if self.pages + count > _FEW_PAGES:
            self.close_record()
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
        """Choose a record for socket a; a few are malformed or forged."""
        rng = self.rng
        r: dict[str, Any] = {
            "t": rng.choice((23, 23, 23, 23, 23, 21, 22, 20, 99, rng.randrange(256))),
            "n": self.size((0, 0, 1, 2, 5, 16, 100, 1000, 5000, 16384)),
            "seq": self.rx_seq,
            "seed": self.next_seed() & 0xFF,
        }
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
        """Send records from socket b to socket a, sometimes in pieces."""
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
        """Choose flags for a receive call."""
        rng = self.rng
        flags = rng.choice((0, 0, 0, PEEK, WAITALL, PEEK | WAITALL))
        if self.rx and rng.random() < 0.08:
            flags |= rng.choice((uapi.MSG_OOB, 0x20, uapi.MSG_ERRQUEUE, uapi.MSG_CMSG_CLOEXEC, 8))
        return flags | (0 if rng.random() < 0.04 else DONTWAIT)

    def recv(self, fd: str = "a") -> None:
        """Add a recv or recvmsg."""
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
        """Add a splice into the pipe."""
        if self.rx:
            n = self.rng.choice((1, 5, 16, 100, 4096, 17000))
            self.add("splice", **{"from": "a", "to": "p1", "n": n, "flags": 2})

    def look(self) -> None:
        """Add a call that observes the socket."""
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
        """Add setsockopt and getsockopt calls, most of them invalid."""
        rng = self.rng
        blob = self.blob()
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
        """Add a call that ends a direction or the connection."""
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
        """Read everything that socket b has received."""
        if self.b_open and not self.b_keyed:
            self.add("drain", fd="b", quiet=0)

    # ---------------------------------------------------------------------- scripts

    def some(self, count: int, weights: Weights) -> None:
        """Make `count` random steps."""
        for _ in range(count):
            self.rng.choices(list(weights), list(weights.values()))[0]()

    def script(self) -> list[Step]:
        """Make the whole script."""
        kind = self.rng.choice(KINDS)
        self.begin()
        if kind == "options":
            self.some(self.rng.randrange(4, 10), {self.option: 4, self.look: 1})
        self.set_keys(kind)
        body = {
            "tx": self.sends, "rx": self.receives, "both": self.sends_and_receives,
            "pair": self.pair_of_keyed_sockets, "ends": self.ends,
        }.get(kind)  # fmt: skip
        if body is not None:
            body()
        if self.rng.random() < 0.3:
            self.option()
        self.drain()
        self.add("stat")
        return self.steps

    def begin(self) -> None:
        """Make a connection with the TLS ULP, a file and a pipe."""
        rng = self.rng
        self.add("pair")
        if rng.random() < 0.1:
            self.some(rng.randrange(3), {self.option: 1, self.look: 1})
        self.add("setsockopt", fd="a", level=6, opt=31, hex="746c73")
        self.add("file", fd="f", n=FILE_SIZE, seed=7)
        self.add("pipe", fd="p", **({"direct": 1} if rng.random() < 0.3 else {}))

    def set_keys(self, kind: str) -> None:
        """Set the keys that this kind of script needs, and sometimes others."""
        rng = self.rng
        if kind in ("tx", "both", "ends") or rng.random() < 0.15:
            self.keys("a", 1)
        if kind in ("rx", "both", "ends") or rng.random() < 0.1:
            if rng.random() < 0.15:
                self.receive_before_keys()
            else:
                self.keys("a", 2)

    def receive_before_keys(self) -> None:
        """Inject records before their keys are set; the keys then fit the first record."""
        self.rx_seq = int(self.suite["seq"], 16)
        before = self.rx_seq
        self.rx = True
        self.inject()
        after, self.rx_seq = self.rx_seq, before
        self.keys("a", 2)
        self.rx_seq = after

    @property
    def send_steps(self) -> Weights:
        """Steps of a script that sends."""
        return {
            self.send: 5.0, self.sendmsg: 3, self.writev: 0.5, self.sendmmsg: 0.4,
            self.sendfile: 1.5, self.splice_in: 1.0, self.drain: 1.5, self.look: 1.5,
        }  # fmt: skip

    @property
    def receive_steps(self) -> Weights:
        """Steps of a script that receives."""
        return {self.inject: 3.0, self.recv: 6, self.splice_out: 0.7, self.look: 2}

    def sends(self) -> None:
        """Send only."""
        self.some(self.rng.randrange(4, 16), self.send_steps)

    def receives(self) -> None:
        """Receive only."""
        rng = self.rng
        if self.suite["ver"] == uapi.TLS_1_3_VERSION and rng.random() < 0.3:
            self.add("setsockopt", fd="a", level=282, opt=4, hex="01000000")
        self.some(rng.randrange(5, 20), self.receive_steps)

    def sends_and_receives(self) -> None:
        """Send and receive."""
        self.some(self.rng.randrange(5, 20), {**self.send_steps, **self.receive_steps})

    def pair_of_keyed_sockets(self) -> None:
        """Send from socket a, receive with kTLS on socket b."""
        rng = self.rng
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

    def ends(self) -> None:
        """Close, shut down, reset or disconnect in the middle of other calls."""
        rng = self.rng
        if rng.random() < 0.3:
            # also make calls that need keys on a socket without keys
            self.tx = self.rx = True
        for _ in range(rng.randrange(2, 5)):
            self.some(rng.randrange(1, 5), {self.send: 2, self.sendmsg: 1, self.inject: 2,
                                            self.recv: 2, self.look: 1})  # fmt: skip
            self.ending()
        self.some(rng.randrange(1, 6), {self.send: 1, self.recv: 2, self.look: 2})
