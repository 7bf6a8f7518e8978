# SPDX-License-Identifier: Apache-2.0
"""The ULP of one socket: its options and keys (net/tls/tls_main.c).

`do_tls_setsockopt_conf`, `do_tls_getsockopt_conf` and the other SOL_TLS options, with
the checks in Linux's order.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

from ktls import uapi
from ktls.crypto_info import CIPHERS, CryptoInfo
from ktls.errors import KtlsOSError
from ktls.nic import Completion
from ktls.record import Buffer, Protection
from ktls.stack import KtlsStack
from ktls.tcp import TcpSock
from ktls.tls_device import DeviceOpener, DeviceSealer
from ktls.tls_rx import TlsRx
from ktls.tls_tx import MemoryFaults, Sealer, SoftwareSealer, TlsTx

_MAX_PAYLOAD_MIN = 64

Wait = Callable[[int], int]


class TlsContext:
    """State of the ULP of one socket (`struct tls_context`).

    Attributes:
        tx, rx: the directions that have keys.
        why_not_offloaded: the reason, once TLS_TX is set and the device does not seal.
        why_rx_not_offloaded: the reason, once TLS_RX is set and the device does not open.
        closed: the socket is closed.

    Args:
        stack: the kernel around it.
        tcp: the connection.
        conn: its number, for observers.
        faults: allocation failures to inject.
        wait_space, wait_data: sleep until there may be room, or something to read.
    """

    def __init__(
        self,
        stack: KtlsStack,
        tcp: TcpSock,
        conn: int,
        faults: MemoryFaults,
        wait_space: Wait,
        wait_data: Wait,
    ) -> None:
        self.tx: TlsTx | None = None
        self.rx: TlsRx | None = None
        self.why_not_offloaded: str | None = None
        self.why_rx_not_offloaded: str | None = None
        self.closed = False
        self._stack = stack
        self._tcp = tcp
        self._conn = conn
        self._faults = faults
        self._wait_space = wait_space
        self._wait_data = wait_data
        self._zerocopy = 0
        self._limit = uapi.TLS_MAX_PAYLOAD_SIZE
        self._version = 0
        self._device: DeviceSealer | None = None
        self._counted: list[str] = []
        self._sides_counted: set[str] = set()

    def set_option(self, option: int, value: bytes | None, optlen: int) -> None:
        """setsockopt(SOL_TLS).

        Raises:
            KtlsOSError: as Linux.
        """
        if option in (uapi.TLS_TX, uapi.TLS_RX):
            self._set_keys(option, value, optlen)
        elif option == uapi.TLS_TX_ZEROCOPY_RO:
            if value is None or optlen != 4:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO takes an int")
            zerocopy = int.from_bytes(readable(value, 4), "little")
            if zerocopy > 1:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO is 0 or 1")
            self._zerocopy = zerocopy
        elif option == uapi.TLS_RX_EXPECT_NO_PAD:
            self._set_no_pad(value, optlen)
        elif option == uapi.TLS_TX_MAX_PAYLOAD_LEN and self._stack.kernel.tx_max_payload_len:
            self._set_limit(value, optlen)
        else:
            raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TLS")

    def _set_no_pad(self, value: bytes | None, optlen: int) -> None:
        if self._version != uapi.TLS_1_3_VERSION or value is None or optlen < 4:
            raise KtlsOSError(errno.EINVAL, "TLS_RX_EXPECT_NO_PAD needs TLS 1.3 and an int")
        data = readable(value, optlen)
        no_pad = int.from_bytes(data[:4], "little")
        if no_pad > 1 or any(data[4:]) or self.rx is None:
            raise KtlsOSError(errno.EINVAL, "TLS_RX_EXPECT_NO_PAD is 0 or 1, with TLS_RX set")
        self.rx.no_pad = bool(no_pad)

    def _set_limit(self, value: bytes | None, optlen: int) -> None:
        if self.tx is not None and self.tx.has_open_record:
            raise KtlsOSError(errno.EBUSY, "a record is open")
        if value is None or optlen != 2:
            raise KtlsOSError(errno.EINVAL, "TLS_TX_MAX_PAYLOAD_LEN takes two bytes")
        limit = int.from_bytes(readable(value, 2), "little")
        low = _MAX_PAYLOAD_MIN - (1 if self._version == uapi.TLS_1_3_VERSION else 0)
        if not low <= limit <= uapi.TLS_MAX_PAYLOAD_SIZE:
            raise KtlsOSError(errno.EINVAL, f"TLS_TX_MAX_PAYLOAD_LEN is {low}..16384")
        self._limit = limit
        if self.tx is not None:
            self.tx.limit = limit

    # ------------------------------------------------------------------------ keys

    def _set_keys(self, option: int, value: bytes | None, optlen: int) -> None:
        """TLS_TX and TLS_RX (`do_tls_setsockopt_conf`)."""
        is_tx = option == uapi.TLS_TX
        side, other = (self.tx, self.rx) if is_tx else (self.rx, self.tx)
        if value is None or optlen < 4:
            raise KtlsOSError(errno.EINVAL, "crypto_info is shorter than its header of 4 bytes")
        rekey = "TlsTxRekey" if is_tx else "TlsRxRekey"
        stat = self._stack.tls_stat
        try:
            info = _check_crypto_info(
                value,
                optlen,
                side.protection if side else None,
                other.protection if other else None,
                self._stack.kernel.rekey,
            )
            protection = Protection(info)
        except KtlsOSError:
            if side is not None and self._stack.kernel.rekey:
                stat[rekey + "Error"] += 1
            raise
        if side is not None:
            stat[rekey + "Ok"] += 1
        if is_tx:
            self._install_tx(info, protection)
        else:
            if self._stack.observer is not None:
                unread = bytes(self._tcp.rcvq)
                self._stack.observer.rx_configured(self._conn, info.pack(), unread)
            if self.rx is not None:
                self.rx.rekey(protection, self._opener(info))
            else:
                self._install_rx(info, protection)
        self._version = info.version

    def _install_tx(self, info: CryptoInfo, protection: Protection) -> None:
        observer = self._stack.observer
        if observer is not None:
            observer.tx_configured(self._conn, info.pack())
        sealer: Sealer = SoftwareSealer()
        if self._stack.nic is not None:
            if self._device is not None:
                self._device.close()
            self._device = sealer = DeviceSealer(self._stack.nic, info, self._stack.submit, self)
        elif self.tx is None:
            self.tx_offloaded("there is no offload device")
        if self.tx is not None:
            # an open record is not flushed: it will be sealed with the new key
            self.tx.protection = protection
            self.tx.sealer = sealer
            self._stack.before_look()
            return
        self.tx = TlsTx(
            self._tcp,
            self._stack.kernel,
            protection,
            sealer,
            self._wait_space,
            self._faults,
            None if observer is None else self._app_sent,
            None if observer is None else self._app_dropped,
        )
        self.tx.limit = self._limit
        self._tcp.on_space = self.tx.write_space
        self._stack.before_look()

    def _install_rx(self, info: CryptoInfo, protection: Protection) -> None:
        opener = self._opener(info)
        stack = self._stack
        # a kernel that puts bytes in the wrong place hands out what no peer sent
        watched = stack.observer is not None and not stack.kernel.nopad_retry_misplaces
        self.rx = TlsRx(
            self._tcp,
            stack.kernel,
            protection,
            stack.tls_stat,
            self._wait_data,
            opener,
            self._app_received if watched else None,
        )
        if opener is None:
            self.rx_offloaded("there is no offload device")
        stack.before_look()

    def _app_received(self, rtype: int, data: bytes) -> None:
        assert self._stack.observer is not None
        self._stack.observer.app_received(self._conn, rtype, data)

    def _opener(self, info: CryptoInfo) -> DeviceOpener | None:
        if self._stack.nic is None:
            return None
        return DeviceOpener(self._stack.nic, info, self._stack.submit, self)

    def _count(self, side: str, refused: str | None) -> None:
        if side in self._sides_counted:
            # a rekey is not counted again
            return
        self._sides_counted.add(side)
        where = "Device" if refused is None else "Sw"
        self._stack.tls_stat[f"Tls{side}{where}"] += 1
        if not self.closed:
            current = f"TlsCurr{side}{where}"
            self._stack.tls_stat[current] += 1
            self._counted.append(current)

    def tx_offloaded(self, refused: str | None) -> None:
        """The device has taken the keys, or `refused` says why not."""
        self.why_not_offloaded = refused
        self._count("Tx", refused)

    def rx_offloaded(self, refused: str | None) -> None:
        """The same of the receive side."""
        self.why_rx_not_offloaded = refused
        self._count("Rx", refused)

    def record_done(self, rtype: int, length: int, completion: Completion) -> None:
        """The device has completed a record."""
        if self._stack.observer is not None:
            self._stack.observer.record_done(self._conn, rtype, length, completion)

    def _app_sent(self, rtype: int, data: Buffer) -> None:
        assert self._stack.observer is not None
        self._stack.observer.app_sent(self._conn, rtype, bytes(data))

    def _app_dropped(self, count: int) -> None:
        if self._stack.observer is not None and count:
            self._stack.observer.app_dropped(self._conn, count)

    def get_option(self, option: int, optlen: int) -> bytes:
        """getsockopt(SOL_TLS).

        Raises:
            KtlsOSError: as Linux.
        """
        if option in (uapi.TLS_TX, uapi.TLS_RX):
            return self._get_keys(self.tx if option == uapi.TLS_TX else self.rx, optlen)
        if option == uapi.TLS_TX_ZEROCOPY_RO:
            if optlen != 4:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO is an int")
            return self._zerocopy.to_bytes(4, "little")
        if option == uapi.TLS_RX_EXPECT_NO_PAD:
            if self._version != uapi.TLS_1_3_VERSION or optlen < 4 or self.rx is None:
                raise KtlsOSError(errno.EINVAL, "TLS_RX_EXPECT_NO_PAD needs TLS 1.3 and 4 bytes")
            return int(self.rx.no_pad).to_bytes(4, "little")
        if option == uapi.TLS_TX_MAX_PAYLOAD_LEN and self._stack.kernel.tx_max_payload_len:
            if optlen < 2:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_MAX_PAYLOAD_LEN has two bytes")
            return self._limit.to_bytes(2, "little")
        raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TLS")

    def _get_keys(self, side: TlsTx | TlsRx | None, optlen: int) -> bytes:
        if optlen < 4:
            raise KtlsOSError(errno.EINVAL, "optlen is less than 4")
        if side is None:
            raise KtlsOSError(errno.EBUSY, "no keys are set")
        blob = side.protection.info.pack()
        if optlen == 4:
            return blob[:4]
        if optlen != len(blob):
            raise KtlsOSError(errno.EINVAL, f"optlen is neither 4 nor {len(blob)}")
        return blob

    def drop_open(self) -> None:
        """Tell observers that an open record will never be sent."""
        if self.tx is not None:
            self._app_dropped(self.tx.open_bytes)

    def close(self, told: bool) -> None:
        """Send what is sealed, forget the keys (`tls_sk_proto_close`).

        Args:
            told: `drop_open` was called before.
        """
        self.closed = True
        if self.tx is not None:
            dropped = self.tx.close()
            if not told:
                self._app_dropped(dropped)
        if self._device is not None:
            self._device.close()
        if self.rx is not None and self.rx.opener is not None:
            self.rx.opener.close()
        for name in self._counted:
            self._stack.tls_stat[name] -= 1


def readable(value: bytes | None, size: int) -> bytes:
    """The first bytes of an option's value.

    Raises:
        KtlsOSError: EFAULT.
    """
    if value is None or len(value) < size:
        raise KtlsOSError(errno.EFAULT, f"{size} bytes cannot be read")
    return bytes(value[:size])


def _check_crypto_info(
    value: bytes, optlen: int, mine: Protection | None, other: Protection | None, rekey: bool
) -> CryptoInfo:
    """The checks of setsockopt in Linux's order.

    Args:
        value: the bytes that can be read.
        optlen: what the caller said.
        mine: keys that this direction has already.
        other: keys of the other direction.
        rekey: this kernel can replace keys.

    Raises:
        KtlsOSError: EBUSY, EFAULT or EINVAL.
    """
    if mine is not None and not (rekey and mine.tls13):
        raise KtlsOSError(errno.EBUSY, "the keys of this direction are set already")
    version, cipher = struct.unpack("=HH", readable(value, 4))
    if mine is not None:
        if (version, cipher) != (mine.version, mine.cipher):
            raise KtlsOSError(errno.EINVAL, "a rekey cannot change version or cipher")
    elif version not in (uapi.TLS_1_2_VERSION, uapi.TLS_1_3_VERSION):
        raise KtlsOSError(errno.EINVAL, f"version {version:#06x}")
    desc = CIPHERS.get(cipher)
    if desc is None or (version == uapi.TLS_1_3_VERSION and not desc.tls13):
        raise KtlsOSError(errno.EINVAL, f"cipher_type {cipher} with version {version:#06x}")
    if other is not None and (version, cipher) != (other.version, other.cipher):
        raise KtlsOSError(errno.EINVAL, "the other direction has another version or cipher")
    if optlen != desc.crypto_info:
        raise KtlsOSError(errno.EINVAL, f"{desc.name} needs {desc.crypto_info} bytes")
    return CryptoInfo.unpack(readable(value, optlen))
