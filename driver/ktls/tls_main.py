# SPDX-License-Identifier: Apache-2.0
"""The ULP of one socket: its SOL_TLS options and keys (net/tls/tls_main.c).

Follows `do_tls_setsockopt_conf`, `do_tls_getsockopt_conf` and the other SOL_TLS options;
the checks have Linux's order.
"""

from __future__ import annotations

import errno
import struct
from collections import Counter

from ktls import uapi
from ktls.crypto_info import CIPHERS, CryptoInfo
from ktls.errors import KtlsOSError
from ktls.record import Protection
from ktls.sockopt import readable
from ktls.stack import KtlsStack
from ktls.tap import Tap
from ktls.tcp import TcpSock
from ktls.tls_device import DeviceOpener, DeviceSealer
from ktls.tls_rx import TlsRx
from ktls.tls_tx import MemoryFaults, Sealer, SoftwareSealer, TlsTx

_MAX_PAYLOAD_MIN = 64
_NO_DEVICE = "there is no offload device"


class _Offload:
    """Whether the device processes one direction, and its counters in tls_stat.

    Args:
        side: `Tx` or `Rx`.
        stat: counters of /proc/net/tls_stat.

    Attributes:
        refused: the reason, if the keys are set and the device does not have them.
    """

    def __init__(self, side: str, stat: Counter[str]) -> None:
        self.refused: str | None = None
        self._side = side
        self._stat = stat
        self._counted = False
        self._closed = False
        self._current: str | None = None

    def decided(self, refused: str | None) -> None:
        """Note that the device has the keys (None), or the reason of its refusal."""
        self.refused = refused
        if self._counted:
            # Linux does not count a rekey again
            return
        self._counted = True
        where = "Device" if refused is None else "Sw"
        self._stat[f"Tls{self._side}{where}"] += 1
        if not self._closed:
            self._current = f"TlsCurr{self._side}{where}"
            self._stat[self._current] += 1

    def close(self) -> None:
        """Remove the direction from the counters of open sockets."""
        self._closed = True
        if self._current is not None:
            self._stat[self._current] -= 1


class TlsContext:
    """The ULP state of one socket (`struct tls_context`).

    Args:
        stack: the kernel around the socket.
        tcp: the connection.
        faults: allocation failures to inject.
        tap: receives reports about the connection; None without an observer.

    Attributes:
        tx: the transmit direction, once it has keys.
        rx: the receive direction, once it has keys.
    """

    def __init__(
        self, stack: KtlsStack, tcp: TcpSock, faults: MemoryFaults, tap: Tap | None
    ) -> None:
        self.tx: TlsTx | None = None
        self.rx: TlsRx | None = None
        self._stack = stack
        self._tcp = tcp
        self._faults = faults
        self._tap = tap
        self._zerocopy = 0
        self._limit = uapi.TLS_MAX_PAYLOAD_SIZE
        self._version = 0
        self._device: DeviceSealer | None = None
        self._tx_offload = _Offload("Tx", stack.tls_stat)
        self._rx_offload = _Offload("Rx", stack.tls_stat)

    @property
    def why_not_offloaded(self) -> str | None:
        """The reason, if TLS_TX is set and the device does not seal."""
        return self._tx_offload.refused

    @property
    def why_rx_not_offloaded(self) -> str | None:
        """The reason, if TLS_RX is set and the device does not open."""
        return self._rx_offload.refused

    @property
    def rekey_wanted(self) -> bool:
        """Whether a key has been used so often that it should be replaced."""
        opener = self.rx.opener if self.rx is not None else None
        return any(side is not None and side.rekey_wanted for side in (self._device, opener))

    # --------------------------------------------------------------------- options

    def set_option(self, option: int, value: bytes | None, optlen: int) -> None:
        """setsockopt(2) at level SOL_TLS.

        Args:
            option: TLS_* number.
            value: the readable bytes at optval; None for a NULL pointer.
            optlen: length that the caller passed.

        Raises:
            KtlsOSError: as Linux.
        """
        if option in (uapi.TLS_TX, uapi.TLS_RX):
            self._set_keys(option, value, optlen)
        elif option == uapi.TLS_TX_ZEROCOPY_RO:
            self._set_zerocopy(value, optlen)
        elif option == uapi.TLS_RX_EXPECT_NO_PAD:
            self._set_no_pad(value, optlen)
        elif option == uapi.TLS_TX_MAX_PAYLOAD_LEN and self._stack.kernel.tx_max_payload_len:
            self._set_limit(value, optlen)
        else:
            raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TLS")

    def _set_zerocopy(self, value: bytes | None, optlen: int) -> None:
        if value is None or optlen != 4:
            raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO takes an int")
        zerocopy = int.from_bytes(readable(value, 4), "little")
        if zerocopy > 1:
            raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO is 0 or 1")
        self._zerocopy = zerocopy

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

    def get_option(self, option: int, optlen: int, null: bool) -> bytes:
        """getsockopt(2) at level SOL_TLS.

        Args:
            option: TLS_* number.
            optlen: length of the caller's buffer. Linux compares most as an unsigned number, so
                a negative one is large.
            null: the buffer is a NULL pointer.

        Returns:
            The bytes that Linux writes.

        Raises:
            KtlsOSError: as Linux.
        """
        if option in (uapi.TLS_TX, uapi.TLS_RX):
            if null:
                raise KtlsOSError(errno.EINVAL, "the buffer is a NULL pointer")
            return self._get_keys(self.tx if option == uapi.TLS_TX else self.rx, optlen)
        if option == uapi.TLS_TX_ZEROCOPY_RO:
            if optlen != 4:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_ZEROCOPY_RO is an int")
            return self._zerocopy.to_bytes(4, "little")
        if option == uapi.TLS_RX_EXPECT_NO_PAD:
            short = 0 <= optlen < 4
            if self._version != uapi.TLS_1_3_VERSION or short or self.rx is None:
                raise KtlsOSError(errno.EINVAL, "TLS_RX_EXPECT_NO_PAD needs TLS 1.3 and 4 bytes")
            return int(self.rx.no_pad).to_bytes(4, "little")
        if option == uapi.TLS_TX_MAX_PAYLOAD_LEN and self._stack.kernel.tx_max_payload_len:
            if 0 <= optlen < 2:
                raise KtlsOSError(errno.EINVAL, "TLS_TX_MAX_PAYLOAD_LEN has two bytes")
            return self._limit.to_bytes(2, "little")
        raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TLS")

    def _get_keys(self, side: TlsTx | TlsRx | None, optlen: int) -> bytes:
        if 0 <= optlen < 4:
            raise KtlsOSError(errno.EINVAL, "optlen is below 4")
        if side is None:
            raise KtlsOSError(errno.EBUSY, "no keys are set")
        blob = side.protection.info.pack()
        if optlen == 4:
            return blob[:4]
        if optlen != len(blob):
            raise KtlsOSError(errno.EINVAL, f"optlen is neither 4 nor {len(blob)}")
        return blob

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
            self._install_rx(info, protection)
        self._version = info.version

    def _install_tx(self, info: CryptoInfo, protection: Protection) -> None:
        stack = self._stack
        if self._tap is not None:
            self._tap.tx_configured(info.pack())
        sealer: Sealer = SoftwareSealer()
        if stack.nic is not None:
            if self._device is not None:
                self._device.close()
            self._device = sealer = DeviceSealer(
                stack.nic, info, stack.submit, self._tx_offload.decided, self._tap
            )
            stack.register(self._device)
        elif self.tx is None:
            self._tx_offload.decided(_NO_DEVICE)
        if self.tx is not None:
            # an open record is not flushed: the new key will seal it
            self.tx.protection = protection
            self.tx.sealer = sealer
        else:
            self.tx = TlsTx(self._tcp, stack.kernel, protection, sealer, self._faults, self._tap)
            self.tx.limit = self._limit
            self._tcp.on_space = self.tx.write_space
        stack.sync_device()

    def _install_rx(self, info: CryptoInfo, protection: Protection) -> None:
        stack = self._stack
        if self._tap is not None:
            self._tap.rx_configured(info.pack(), bytes(self._tcp.rcvq))
        opener = None
        if stack.nic is not None:
            opener = DeviceOpener(stack.nic, info, stack.submit, self._rx_offload.decided)
            stack.register(opener)
        if self.rx is not None:
            self.rx.rekey(protection, opener)
            return
        # this bug of a kernel delivers bytes that no peer has sent: do not report them
        tap = None if stack.kernel.nopad_retry_misplaces else self._tap
        self.rx = TlsRx(self._tcp, stack.kernel, protection, stack.tls_stat, opener, tap)
        if opener is None:
            self._rx_offload.decided(_NO_DEVICE)
        stack.sync_device()

    # ----------------------------------------------------------------------- close

    def report_dropped(self) -> None:
        """Report that the open record will never be sent."""
        if self.tx is not None and self._tap is not None:
            self._tap.app_dropped(self.tx.open_bytes)

    def close(self, dropped_reported: bool) -> None:
        """Send the sealed records and remove the keys (`tls_sk_proto_close`).

        Args:
            dropped_reported: `report_dropped` was called before.
        """
        if self.tx is not None:
            dropped = self.tx.close()
            if self._tap is not None and not dropped_reported:
                self._tap.app_dropped(dropped)
        self._release()

    def _release(self) -> None:
        if self._device is not None:
            self._device.close()
        if self.rx is not None and self.rx.opener is not None:
            self.rx.opener.close()
        self._tx_offload.close()
        self._rx_offload.close()

    def abandon(self) -> None:
        """Remove the keys after the socket was dropped without close(2)."""
        self._release()
        self._stack.clean_up()


def _check_crypto_info(
    value: bytes, optlen: int, mine: Protection | None, other: Protection | None, rekey: bool
) -> CryptoInfo:
    """Check a crypto_info in Linux's order.

    Args:
        value: the readable bytes at optval.
        optlen: length that the caller passed.
        mine: current keys of this direction.
        other: keys of the other direction.
        rekey: this kernel can replace keys.

    Raises:
        KtlsOSError: EBUSY, EFAULT or EINVAL.
    """
    if mine is not None and not (rekey and mine.tls13):
        raise KtlsOSError(errno.EBUSY, "the keys of this direction are already set")
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
