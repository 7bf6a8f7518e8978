# SPDX-License-Identifier: Apache-2.0
"""Checks everything that leaves the device, beside the path and never in it.

Two checkers look at two places. `CheckedPort` sits on the device's registers and
memory: it reads the descriptors that a doorbell publishes, remembers the plaintext,
and compares each completed record byte for byte with `golden`. `Scoreboard` itself is
a socket observer (`ktls.stack.Observer`): it opens what reaches the wire as a
receiver would and compares it with what the application sent, in order. Neither
uses the driver's idea of a record.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ktls_cosim.check.golden import (
    GoldenRecord,
    TrafficKeys,
    open_body,
    open_gcm,
    open_record,
    seal_gcm,
    seal_record,
    split_records,
)
from ktls_hw.layout import (
    CTRL_RESET,
    RING0_SQ_SIZE_LOG2,
    RING_COUNT,
    Cqe,
    Opcode,
    Reg,
    Sge,
    SqeCtx,
    SqeRecord,
    Status,
    ring_of,
    ring_reg,
)

_MASK32 = 0xFFFFFFFF
_TAG = 16


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One broken expectation.

    Attributes:
        check: which check found it: `golden`, `open`, `stream`, `received`, `completion`,
            `number` or `leftover`.
        where: connection or context and record.
        details: lines for people.
        field: `header`, `nonce`, `ciphertext` or `tag`, where one record is wrong.
        cause: what would give this result.
    """

    check: str
    where: str
    details: tuple[str, ...]
    field: str | None = None
    cause: str | None = None

    def __str__(self) -> str:
        head = f"{self.check} check: {self.where}"
        if self.field:
            head += f": wrong {self.field}"
        lines = [head, *("  " + d for d in self.details)]
        if self.cause:
            lines.append(f"  likely cause: {self.cause}")
        return "\n".join(lines)


class MismatchError(AssertionError):
    """The run is not right; `mismatches` says where."""

    def __init__(self, mismatches: list[Mismatch], reproduce: str) -> None:
        self.mismatches = mismatches
        shown = "\n".join(str(m) for m in mismatches[:5])
        more = f"\n... and {len(mismatches) - 5} more" if len(mismatches) > 5 else ""
        super().__init__(f"{len(mismatches)} mismatches\n{shown}{more}\nreproduce: {reproduce}")


class NothingChecked(AssertionError):
    """No record was checked: the run proves nothing."""


def diagnose(
    keys: TrafficKeys, index: int, rtype: int, plaintext: bytes, got: bytes
) -> tuple[str, tuple[str, ...], str]:
    """Say what is wrong with a sealed record.

    Returns:
        The first wrong field, lines that show it, and a likely cause.
    """
    want = seal_record(keys, index, rtype, plaintext)
    name, offset = _first_difference(want, got)
    a, b = want.wire, got
    block = ""
    if name == "ciphertext":
        block = f", block {(offset - len(want.header) - len(want.explicit)) // 16}"
    lo = max(0, offset - offset % 16)
    lines = (
        f"first wrong byte: {offset} of {len(a)} (got {len(b)} bytes){block}",
        f"expected {a[lo : lo + 16].hex(' ')}",
        f"got      {b[lo : lo + 16].hex(' ')}",
        f"nonce {want.nonce.hex()}  aad {want.aad.hex()}",
    )
    return name, lines, _cause(keys, index, rtype, plaintext, want, got, name)


def _first_difference(want: GoldenRecord, got: bytes) -> tuple[str, int]:
    for name, at, part in want.fields():
        piece = got[at : at + len(part)]
        if piece != part:
            for i, x in enumerate(part):
                if i >= len(piece) or piece[i] != x:
                    return name, at + i
    return "tag", len(want.wire)


def _cause(
    keys: TrafficKeys,
    index: int,
    rtype: int,
    plaintext: bytes,
    want: GoldenRecord,
    got: bytes,
    name: str,
) -> str:
    if name == "header":
        return "type, version or length of the header"
    if name == "nonce":
        return "the explicit nonce does not count from the iv of crypto_info"
    for other in (index - 2, index - 1, index + 1, index + 2):
        if other >= 0:
            there = seal_record(keys, other, rtype, plaintext)
            if got[len(want.header) + len(want.explicit) : -16] == there.ciphertext and plaintext:
                return f"nonce of record {other} used for record {index}"
    body = got[len(want.wire) - len(want.ciphertext) - 16 : -16]
    if name == "tag":
        if got[-16:] == want.tag[::-1]:
            return "tag in reverse byte order"
        return "GHASH: length block, additional data, hash key or J0"
    if plaintext and body == plaintext:
        return "the plaintext was not encrypted"
    wrong = [i for i, (x, y) in enumerate(zip(want.ciphertext, body, strict=False)) if x != y]
    if len(wrong) == 1:
        return f"single wrong byte {wrong[0]} of the ciphertext: datapath, not cryptography"
    for start in (0, 1, 3, 4):
        if body == _ctr(keys, want.nonce, start, plaintext):
            return f"payload counter starts at {start} instead of 2"
    if wrong and wrong[0] >= 16:
        return "first block right, later ones wrong: counter increment or a lost block"
    if not any(body):
        return "zeros: the device gave the record up after an error of its source"
    return "key, nonce or byte order; or the record of another descriptor"


def _ctr(keys: TrafficKeys, nonce: bytes, start: int, data: bytes) -> bytes | None:
    if keys.cipher not in (51, 52):
        return None
    ctr = modes.CTR(nonce + start.to_bytes(4, "big"))
    return Cipher(algorithms.AES(keys.key), ctr).encryptor().update(data)


@dataclass(slots=True)
class _Received:
    """The receive side of a connection.

    Attributes:
        keys: under which records come, and how many of them were opened.
        before: the same of the keys that were replaced: a record that a call has looked at
            before the new keys came was opened with the old ones.
        wire: bytes from the peer that were not opened yet.
        text: what the last opened record still holds.
    """

    keys: TrafficKeys
    records: int = 0
    before: tuple[TrafficKeys, int] | None = None
    wire: bytearray = field(default_factory=bytearray)
    rtype: int = -1
    text: bytes = b""

    def next(self) -> bool | None:
        """Open one more record.

        Returns:
            None if there is no whole one, False if it does not authenticate.
        """
        record = next(split_records(self.wire), None)
        if record is None:
            return None
        opened = _open_as_linux(self.keys, self.records, record)
        if opened is not None:
            self.records += 1
        elif self.before is not None:
            keys, index = self.before
            opened = _open_as_linux(keys, index, record)
            self.before = keys, index + 1
        if opened is None:
            return False
        self.rtype, self.text = opened
        return True


def _open_as_linux(keys: TrafficKeys, index: int, record: bytes) -> tuple[int, bytes] | None:
    """Open a record whose outer type is not looked at in TLS 1.3."""
    at = 5 + len(keys.explicit_nonce(index))
    if len(record) < at + _TAG:
        return None
    return open_body(keys, index, record[0], record[5:at], record[at:])


@dataclass(slots=True)
class _Connection:
    keys: TrafficKeys | None = None
    expected: deque[tuple[int, bytearray]] = field(default_factory=deque)
    wire: bytearray = field(default_factory=bytearray)
    records: int = 0
    broken: bool = False
    received: _Received | None = None


class Scoreboard:
    """Collects what both checkers find.

    Args:
        reproduce: the command that repeats the run, seed included.
    """

    def __init__(self, reproduce: str = "(no command given)") -> None:
        self.reproduce = reproduce
        self.mismatches: list[Mismatch] = []
        self.device_records = 0
        self.device_bytes = 0
        self.device_refused = 0
        self.wire_records = 0
        self.wire_bytes = 0
        self.received_bytes = 0
        self._connections: dict[int, _Connection] = {}
        self._ports: list[CheckedPort] = []

    def report(self, mismatch: Mismatch) -> None:
        self.mismatches.append(mismatch)

    def finish(self) -> None:
        """End the run.

        Raises:
            MismatchError: something was wrong, or something is left over.
            NothingChecked: no record was checked.
        """
        for port in self._ports:
            port.finish()
        for number, c in self._connections.items():
            rest = sum(len(data) for _, data in c.expected)
            if (rest or c.wire) and not c.broken:
                self.report(
                    Mismatch(
                        "leftover",
                        f"connection {number}",
                        (
                            f"{rest} accepted bytes never reached the wire",
                            f"{len(c.wire)} bytes on the wire are no complete record",
                        ),
                    )
                )
        if self.mismatches:
            raise MismatchError(self.mismatches, self.reproduce)
        if not self.wire_records and not self.device_records:
            raise NothingChecked(f"no record was checked; reproduce: {self.reproduce}")

    # -------------------------------------------------------- ktls.stack.Observer

    def _conn(self, number: int) -> _Connection:
        return self._connections.setdefault(number, _Connection())

    def tx_configured(self, conn: int, crypto_info: bytes) -> None:
        c = self._conn(conn)
        c.keys = TrafficKeys.from_crypto_info(crypto_info)
        c.records = 0

    def app_sent(self, conn: int, rtype: int, data: bytes) -> None:
        expected = self._conn(conn).expected
        if expected and expected[-1][0] == rtype:
            expected[-1][1].extend(data)
        else:
            expected.append((rtype, bytearray(data)))

    def app_dropped(self, conn: int, count: int) -> None:
        expected = self._conn(conn).expected
        if count:
            _, tail = expected[-1]
            del tail[len(tail) - count :]
            if not tail:
                expected.pop()

    def record_done(self, conn: int, rtype: int, length: int, completion: object) -> None:
        pass

    def rx_configured(self, conn: int, crypto_info: bytes, unread: bytes) -> None:
        c = self._conn(conn)
        keys = TrafficKeys.from_crypto_info(crypto_info)
        if c.received is None:
            c.received = _Received(keys, wire=bytearray(unread))
        else:
            c.received.before = c.received.keys, c.received.records
            c.received.keys, c.received.records = keys, 0

    def wire_received(self, conn: int, data: bytes) -> None:
        c = self._conn(conn)
        if c.received is not None:
            c.received.wire += data

    def app_received(self, conn: int, rtype: int, data: bytes) -> None:
        c = self._conn(conn)
        r = c.received
        where = f"connection {conn}, receiving"
        left = data
        while r is not None and left:
            while not r.text:
                opened = r.next()
                if not opened:
                    why = "no record holds" if opened is None else "a forged record holds"
                    self._stop_received(c, where, f"{len(left)} bytes that {why}")
                    return
            n = min(len(left), len(r.text))
            if (rtype, left[:n]) != (r.rtype, r.text[:n]):
                got = f"type {rtype}, {left[:16].hex(' ')}"
                self._stop_received(c, where, f"{got}; expected {r.rtype}, {r.text[:16].hex(' ')}")
                return
            left, r.text = left[n:], r.text[n:]
            self.received_bytes += n

    def _stop_received(self, c: _Connection, where: str, what: str) -> None:
        # all that follows would only repeat the news
        c.received = None
        cause = "bytes lost, repeated or out of order between wire and application"
        self.report(Mismatch("received", where, (what,), cause=cause))

    def closed(self, conn: int) -> None:
        c = self._conn(conn)
        if not c.wire and not any(data for _, data in c.expected):
            # a server that runs for days keeps nothing of what is over and right
            del self._connections[conn]

    def wire_sent(self, conn: int, data: bytes) -> None:
        c = self._conn(conn)
        if c.keys is None or c.broken:
            return
        c.wire += data
        for record in split_records(c.wire):
            self._check_wire(conn, c, record)

    def _check_wire(self, conn: int, c: _Connection, record: bytes) -> None:
        assert c.keys is not None
        index = c.records
        c.records += 1
        where = f"connection {conn}, record {index} (number {c.keys.first_number + index})"
        opened = open_record(c.keys, index, record)
        if opened is None:
            # every later record would only repeat the news
            c.broken = True
            self.report(Mismatch("open", where, ("the record does not authenticate",)))
            return
        rtype, plain = opened
        while c.expected and not c.expected[0][1]:
            c.expected.popleft()
        want_type, want = c.expected[0] if c.expected else (-1, bytearray())
        if plain and (rtype != want_type or bytes(want[: len(plain)]) != plain):
            c.broken = True
            at = next(
                (i for i, x in enumerate(plain) if i >= len(want) or want[i] != x), len(plain)
            )
            self.report(
                Mismatch(
                    "stream",
                    where,
                    (
                        f"type {rtype}, {len(plain)} bytes; the application sent type "
                        f"{want_type}, {len(want)} bytes; first difference at byte {at}",
                    ),
                    cause="bytes lost, repeated or out of order between application and wire",
                )
            )
            return
        del want[: len(plain)]
        if seal_record(c.keys, index, rtype, plain).wire != record:
            name, lines, cause = diagnose(c.keys, index, rtype, plain, record)
            self.report(Mismatch("golden", where, lines, name, cause))
        self.wire_records += 1
        self.wire_bytes += len(plain)


def _padded(length: int) -> int:
    """Bytes that additional data takes in the source of plain AES-GCM."""
    return -(-length // 16) * 16


class Memory(Protocol):
    @property
    def size(self) -> int: ...

    def read(self, addr: int, length: int) -> bytes: ...

    def write(self, addr: int, data: bytes) -> None: ...


class Port(Protocol):
    """`ktls.port.HostPort`, named here again so that the checker stays independent."""

    @property
    def mem(self) -> Memory: ...

    async def read32(self, addr: int) -> int: ...

    async def write32(self, addr: int, value: int) -> None: ...

    async def wait_irq(self) -> bool: ...

    def now(self) -> int: ...


@dataclass(slots=True)
class _Pending:
    index: int
    opcode: int
    raw: bytes = field(repr=False)
    source: bytes = field(repr=False)


@dataclass(slots=True)
class _Keys:
    keys: TrafficKeys
    opcode: int
    used: int = 0


@dataclass(slots=True)
class _RawKeys:
    """A context of plain AES-GCM."""

    key: bytes = field(repr=False)
    opcode: int


def _name(ring: int, index: int) -> str:
    """A descriptor as messages call it."""
    return f"{index} of ring {ring}" if ring else str(index)


class CheckedPort:
    """A host port that checks what the device does with every descriptor.

    It reads rings and data from the device's memory with `ktls_hw.layout`, on the
    doorbell and when the driver says that it has read completions (CQ_CONS).
    """

    def __init__(self, port: Port, scoreboard: Scoreboard) -> None:
        self._port = port
        self._sb = scoreboard
        scoreboard._ports.append(self)
        self._forget()

    def _forget(self) -> None:
        self._regs: dict[int, int] = {}
        self._contexts: dict[int, _Keys | _RawKeys] = {}
        self._pending: list[deque[_Pending]] = [deque() for _ in range(RING_COUNT)]

    @property
    def mem(self) -> Memory:
        return self._port.mem

    async def read32(self, addr: int) -> int:
        return await self._port.read32(addr)

    async def wait_irq(self) -> bool:
        return await self._port.wait_irq()

    def now(self) -> int:
        return self._port.now()

    async def write32(self, addr: int, value: int) -> None:
        if addr == Reg.CTRL and CTRL_RESET.get(value):
            self._forget()
        ring, in_first = ring_of(addr)
        if in_first == Reg.RING0_SQ_PROD:
            self._published(ring, self._regs.get(addr, 0), value)
        elif in_first == Reg.RING0_CQ_CONS:
            self._reaped(ring, self._regs.get(addr, 0), value)
        self._regs[addr] = value
        await self._port.write32(addr, value)

    def finish(self) -> None:
        """Nothing may wait for its completion any more."""
        for ring, pending in enumerate(self._pending):
            if not pending:
                continue
            self._sb.report(
                Mismatch(
                    "completion",
                    f"descriptor {_name(ring, pending[0].index)}",
                    (f"{len(pending)} descriptors never completed",),
                    cause="a completion was lost",
                )
            )
            pending.clear()

    def _entry(self, ring: int, base: Reg, size: Reg, index: int, length: int) -> bytes:
        log2 = RING0_SQ_SIZE_LOG2.get(self._regs.get(ring_reg(ring, size), 0))
        low = ring_reg(ring, base)
        addr = self._regs.get(low, 0) | self._regs.get(low + 4, 0) << 32
        return self.mem.read(addr + (index & ((1 << log2) - 1)) * length, length)

    def _published(self, ring: int, old: int, new: int) -> None:
        index = old
        while index != new:
            raw = self._entry(ring, Reg.RING0_SQ_BASE_LO, Reg.RING0_SQ_SIZE, index, SqeRecord.SIZE)
            seal = SqeRecord.unpack(raw)
            source = b""
            if seal.opcode in (Opcode.SEAL, Opcode.OPEN):
                # more than a record of any kind takes
                size = seal.len + _TAG + _padded(seal.aad_len)
                source = self._bytes_of(seal.src_sg, seal.src_cnt, size)
            self._pending[ring].append(_Pending(index, seal.opcode, raw, source))
            index = (index + 1) & _MASK32

    def _bytes_of(self, sg: int, count: int, length: int) -> bytes:
        out = bytearray()
        for i in range(count):
            at = sg + 16 * i
            if at + 16 > self.mem.size:
                break
            e = Sge.unpack(self.mem.read(at, 16))
            n = min(e.len, length - len(out))
            if n and e.addr + n <= self.mem.size:
                out += self.mem.read(e.addr, n)
        return bytes(out)

    def _reaped(self, ring: int, old: int, new: int) -> None:
        index = old
        while index != new:
            raw = self._entry(ring, Reg.RING0_CQ_BASE_LO, Reg.RING0_CQ_SIZE, index, Cqe.SIZE)
            self._completed(ring, Cqe.unpack(raw))
            index = (index + 1) & _MASK32

    def _completed(self, ring: int, cqe: Cqe) -> None:
        where = f"completion of descriptor {_name(ring, cqe.sq_index)}"
        queue = self._pending[ring]
        if not queue or queue[0].index != cqe.sq_index:
            due = queue[0].index if queue else None
            self._sb.report(
                Mismatch(
                    "completion",
                    where,
                    (f"the next completion due is that of descriptor {due}",),
                    cause="a completion was lost, doubled or out of order",
                )
            )
            if not any(p.index == cqe.sq_index for p in queue):
                return
            while queue[0].index != cqe.sq_index:
                queue.popleft()
        pending = queue.popleft()
        if cqe.status == Status.SQ_BUS_ERROR:
            self._sb.device_refused += 1
            return
        if cqe.opcode != pending.opcode:
            self._sb.report(
                Mismatch(
                    "completion",
                    where,
                    (f"opcode {cqe.opcode}, the descriptor has {pending.opcode}",),
                )
            )
            return
        if pending.opcode in (Opcode.SEAL, Opcode.OPEN):
            d = SqeRecord.unpack(pending.raw)
            context = self._contexts.get(d.ctx)
            if isinstance(context, _RawKeys) and context.opcode == d.opcode:
                self._plain(context, d, pending.source, cqe)
            elif pending.opcode == Opcode.SEAL:
                self._sealed(d, pending.source[: d.len], cqe)
            else:
                self._opened(d, pending.source[: d.len + _TAG], cqe)
        elif cqe.status == Status.OK:
            self._context(SqeCtx.unpack(pending.raw), where)

    def _context(self, d: SqeCtx, where: str) -> None:
        opcode = Opcode.OPEN if d.dir else Opcode.SEAL
        if d.opcode == Opcode.CTX_DEL:
            self._contexts.pop(d.ctx, None)
            return
        if d.opcode == Opcode.RESYNC:
            self._resync(d, where)
            return
        if d.version == 0:
            key = d.key[: 32 if d.cipher == 52 else 16]
            self._contexts[d.ctx] = _RawKeys(key, opcode)
            return
        blob = (
            d.version.to_bytes(2, "little")
            + d.cipher.to_bytes(2, "little")
            + d.iv
            + d.key[: 32 if d.cipher == 52 else 16]
            + d.salt
            + d.rec_seq
        )
        self._contexts[d.ctx] = _Keys(TrafficKeys.from_crypto_info(blob), opcode)

    def _resync(self, d: SqeCtx, where: str) -> None:
        context = self._contexts.get(d.ctx)
        if not isinstance(context, _Keys):
            self._sb.report(Mismatch("completion", where, ("OK without such a context",)))
            return
        used = int.from_bytes(d.rec_seq, "big") - context.keys.first_number
        if context.opcode == Opcode.SEAL and used < context.used:
            self._sb.report(
                Mismatch(
                    "number", where, ("OK for a step back",), cause="a nonce can be used twice"
                )
            )
        context.used = used

    def _plain(self, context: _RawKeys, d: SqeRecord, source: bytes, cqe: Cqe) -> None:
        """A job of plain AES-GCM."""
        where = f"context {d.ctx}, descriptor {cqe.sq_index}"
        sealing = d.opcode == Opcode.SEAL
        if cqe.status not in (Status.OK, Status.AUTH_FAILED):
            self._sb.device_refused += 1
            return
        nonce = d.nonce + d.explicit_nonce
        aad = source[: d.aad_len]
        data = source[_padded(d.aad_len) :][: d.len + (0 if sealing else d.tag_len)]
        got = self._bytes_of(d.dst_sg, d.dst_cnt, d.len + (d.tag_len if sealing else 0))
        want: bytes | None
        if sealing:
            want = seal_gcm(context.key, nonce, aad, data, d.tag_len)
        else:
            want = open_gcm(context.key, nonce, aad, data, d.tag_len)
        status = Status.AUTH_FAILED if want is None else Status.OK
        if cqe.status != status or got != (bytes(d.len) if want is None else want):
            self._sb.report(
                Mismatch(
                    "golden" if sealing else "open",
                    where,
                    (
                        f"status {Status(cqe.status).name}, expected {status.name}",
                        f"nonce {nonce.hex()}, {d.aad_len} bytes of additional data, "
                        f"{d.len} of text, tag of {d.tag_len}",
                    ),
                )
            )
        elif cqe.numbered:
            self._sb.report(Mismatch("number", where, ("plain AES-GCM has no record number",)))
        elif want is None:
            self._sb.device_refused += 1
        else:
            self._sb.device_records += 1
            self._sb.device_bytes += d.len

    def _numbered(self, d: SqeRecord, cqe: Cqe) -> tuple[TrafficKeys, int, str] | None:
        """Keys, index and name of the record that a descriptor was; None if it was none."""
        where = f"context {d.ctx}, descriptor {cqe.sq_index}"
        context = self._contexts.get(d.ctx)
        if not isinstance(context, _Keys) or context.opcode != d.opcode:
            if cqe.status == Status.OK:
                self._sb.report(Mismatch("completion", where, ("OK without such a context",)))
            self._sb.device_refused += 1
            return None
        keys, index = context.keys, context.used
        number = keys.first_number + index
        where += f", record {number}"
        if cqe.numbered:
            context.used += 1
            if cqe.rec_seq != number:
                self._sb.report(
                    Mismatch("number", where, (f"the device says record {cqe.rec_seq}",))
                )
        return keys, index, where

    def _opened(self, d: SqeRecord, sealed: bytes, cqe: Cqe) -> None:
        record = self._numbered(d, cqe)
        if record is None:
            return
        keys, index, where = record
        if cqe.status not in (Status.OK, Status.AUTH_FAILED):
            self._sb.device_refused += 1
            return
        got = self._bytes_of(d.dst_sg, d.dst_cnt, d.len)
        inner = open_body(keys, index, d.rtype, d.explicit_nonce, sealed)
        right = Status.AUTH_FAILED if inner is None else Status.OK
        if cqe.status != right:
            self._sb.report(
                Mismatch(
                    "open",
                    where,
                    (f"status {Status(cqe.status).name}, the record is {right.name}",),
                    cause="tag comparison, additional data, nonce or padding",
                )
            )
            return
        if inner is None:
            self._sb.device_refused += 1
            if any(got):
                self._sb.report(
                    Mismatch("open", where, ("bytes of a record that is not authentic",))
                )
            return
        rtype, text = inner
        if (cqe.rtype, cqe.len, got[: cqe.len]) != (rtype, len(text), text):
            self._sb.report(
                Mismatch(
                    "open",
                    where,
                    (
                        f"type {cqe.rtype}, {cqe.len} bytes; expected type {rtype}, {len(text)}",
                        f"expected {text[:16].hex(' ')}",
                        f"got      {got[:16].hex(' ')}",
                    ),
                    cause="text, its length, or the type behind it",
                )
            )
            return
        self._sb.device_records += 1
        self._sb.device_bytes += len(text)

    def _sealed(self, d: SqeRecord, plaintext: bytes, cqe: Cqe) -> None:
        record = self._numbered(d, cqe)
        if record is None:
            return
        keys, index, where = record
        if cqe.status != Status.OK:
            self._sb.device_refused += 1
            return
        if not cqe.numbered or len(plaintext) != d.len:
            self._sb.report(
                Mismatch("completion", where, ("OK for a record that cannot be sealed",))
            )
            return
        got = self._bytes_of(d.dst_sg, d.dst_cnt, cqe.len)
        want = seal_record(keys, index, d.rtype, plaintext, d.pad)
        if got != want.wire:
            name, lines, cause = diagnose(keys, index, d.rtype, plaintext, got)
            self._sb.report(Mismatch("golden", where, lines, name, cause))
            return
        # in TLS 1.3 a type of 0 looks like padding: no receiver can open such a record
        padding = keys.version == 0x0304 and d.rtype == 0
        if not padding and open_record(keys, index, got) != (d.rtype, plaintext):
            self._sb.report(Mismatch("open", where, ("the record does not open to its text",)))
            return
        self._sb.device_records += 1
        self._sb.device_bytes += len(plaintext)
