# SPDX-License-Identifier: Apache-2.0
"""A port on which something can go wrong, and the connections that use it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ktls import CryptoInfo, KtlsNic, KtlsSocket, KtlsStack, Wire, connect_wire, run_sync, uapi
from ktls.kernels import KERNELS
from ktls.port import HostPort
from ktls_cosim.check.golden import TrafficKeys, open_record, seal_record
from ktls_hw.layout import Cqe, Reg, ring_of
from ktls_hw.model import NicModel

KEY = b"0123456789abcdef"
TLS12 = CryptoInfo(uapi.TLS_1_2_VERSION, 51, iv=bytes(8), key=KEY, salt=b"salt", rec_seq=bytes(8))
TLS13 = replace(TLS12, version=uapi.TLS_1_3_VERSION)


class FaultyMemory:
    """DMA memory that reports each access before it happens.

    Attributes:
        size: Size in bytes.
        hide: The next completion never shows.
    """

    def __init__(self, port: FaultyPort) -> None:
        self._port = port
        self.size = port.device.mem.size
        self.hide = False
        self._seen: dict[int, bytes] = {}  # what each slot of a completion ring showed last
        self._hidden: dict[int, bytes] = {}

    def read(self, addr: int, length: int) -> bytes:
        self._port.before("read")
        data = self._port.device.mem.read(addr, length)
        if length == Cqe.SIZE:
            before = self._seen.setdefault(addr, bytes(length))
            if self.hide and data != before:
                self.hide = False
                self._hidden[addr] = before
            self._seen[addr] = data = self._hidden.get(addr, data)
        return data

    def write(self, addr: int, data: bytes) -> None:
        self._port.before("write")
        self._port.device.mem.write(addr, data)

    def show(self) -> None:
        """Hide nothing any more."""
        self.hide = False
        self._hidden.clear()


class FaultyPort:
    """A device behind a port on which something can go wrong.

    Attributes:
        device: The device; a functional model by default.
        accesses: How many accesses there were, by kind.
        fail_at: Number of the access that raises, from 1 on; 0 for none.
        error: What it raises.
        gone: Every register reads as ones, and writes have no effect.
        line: The interrupt line: None as the device drives it, or stuck at a value; False loses
            all messages, too.
        lazy: The device works only while the driver waits, so that many records are in flight.
    """

    def __init__(self, device: HostPort | None = None, *, lazy: bool = False) -> None:
        self.device = device or NicModel()
        self.lazy = lazy
        self._doorbells: dict[int, int] = {}
        self.accesses: Counter[str] = Counter()
        self.fail_at = 0
        self.error: type[Exception] = MemoryError
        self.gone = False
        self.line: bool | None = None
        self.mem = FaultyMemory(self)

    @property
    def model(self) -> NicModel:
        """The device, if it is a functional model."""
        assert isinstance(self.device, NicModel)
        return self.device

    def before(self, kind: str) -> None:
        """Count an access, and raise if it is the one to fail."""
        self.accesses[kind] += 1
        if self.accesses.total() == self.fail_at:
            raise self.error("injected")

    async def read32(self, addr: int) -> int:
        self.before("read32")
        await self._work()
        return 0xFFFFFFFF if self.gone else await self.device.read32(addr)

    async def write32(self, addr: int, value: int) -> None:
        self.before("write32")
        if self.lazy and ring_of(addr)[1] == Reg.RING0_SQ_PROD:
            self._doorbells[addr] = value
        elif not self.gone:
            await self.device.write32(addr, value)

    async def _work(self) -> None:
        while self._doorbells and not self.gone:
            await self.device.write32(*self._doorbells.popitem())

    async def wait_irq(self) -> bool:
        self.before("irq")
        await self._work()
        real = await self.device.wait_irq()
        return real if self.line is None else self.line

    async def wait_message(self) -> int | None:
        self.before("message")
        await self._work()
        real = await self.device.wait_message()
        return None if self.line is False else real

    def now(self) -> int:
        return self.device.now()

    def secrets(self, *texts: bytes) -> int:
        """Return how often the key and these texts occur in DMA memory."""
        memory = self.model.mem.read(0, self.model.mem.size)
        return sum(memory.count(text) for text in (KEY, *texts))


class Peer:
    """The far end of a connection: it opens what arrives and seals what it sends.

    Attributes:
        wire: The bytes that have arrived.
        sock: The near end.
    """

    def __init__(self, stack: KtlsStack, info: CryptoInfo, *, receive: bool = True) -> None:
        self.wire = bytearray()
        self.keys = self.rx_keys = TrafficKeys.from_crypto_info(info.pack())
        self._far = Wire(self.wire.extend)
        self._sent = 0
        self.sock: KtlsSocket = connect_wire(stack, self._far)
        self.sock.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
        self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, info.pack())
        if receive:
            self.sock.setsockopt(uapi.SOL_TLS, uapi.TLS_RX, info.pack())

    def send(self, text: bytes, rtype: int = 23) -> None:
        """Send a record to the near end."""
        self._far.feed(seal_record(self.rx_keys, self._sent, rtype, text).wire)
        self._sent += 1

    def rekey(self, key: bytes, kernel_rekey: int) -> None:
        """Replace the keys of one direction (TLS_TX or TLS_RX) on both ends."""
        info = replace(TLS13, key=key)
        self.sock.setsockopt(uapi.SOL_TLS, kernel_rekey, info.pack())
        if kernel_rekey == uapi.TLS_RX:
            self.rx_keys, self._sent = TrafficKeys.from_crypto_info(info.pack()), 0

    def received(self, keys: TrafficKeys | None = None, start: int = 0) -> bytes:
        """Open the records from byte `start` of the wire on; raises if one is not authentic."""
        text = b""
        at, number = start, 0
        while at < len(self.wire):
            end = at + 5 + int.from_bytes(self.wire[at + 3 : at + 5], "big")
            opened = open_record(keys or self.keys, number, bytes(self.wire[at:end]))
            assert opened is not None, f"record {number} is not authentic"
            assert opened[0] == 23
            text += opened[1]
            at, number = end, number + 1
        return text


def stack_on(port: FaultyPort, *, kernel: str = "6.12", **probe: int) -> KtlsStack:
    """Return a stack whose driver uses the port."""
    nic = run_sync(KtlsNic.probe(port, **probe))  # type: ignore[arg-type]
    return KtlsStack(nic, kernel=KERNELS[kernel])
