# SPDX-License-Identifier: Apache-2.0
"""Socket options outside SOL_TLS: their values and the state that they set.

Follows net/core/sock.c (`sk_setsockopt`) and net/ipv4/tcp.c (`do_tcp_setsockopt`).
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from ktls import uapi
from ktls.errors import KtlsOSError
from ktls.tcp import State, TcpSock

_INT = struct.Struct("=i")
_TIMEVAL = struct.Struct("=qq")
_LINGER = struct.Struct("=ii")


class _Limits(NamedTuple):
    """An option that takes an int.

    Attributes:
        default: its value before it is set.
        low, high: limits; without `low`, a flag.
    """

    default: int
    low: int | None
    high: int


_INT_MAX = 0x7FFF_FFFF
_FLAG = _Limits(0, None, 1)
# include/net/tcp.h: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT, MAX_TCP_SYNCNT
_TCP_INTS = {
    uapi.TCP_NODELAY: _FLAG,
    uapi.TCP_CORK: _FLAG,
    uapi.TCP_KEEPIDLE: _Limits(7200, 1, 32767),
    uapi.TCP_KEEPINTVL: _Limits(75, 1, 32767),
    uapi.TCP_KEEPCNT: _Limits(9, 1, 127),
    uapi.TCP_SYNCNT: _Limits(6, 1, 127),
    uapi.TCP_LINGER2: _Limits(60, -1, _INT_MAX),
    uapi.TCP_DEFER_ACCEPT: _Limits(0, -_INT_MAX - 1, _INT_MAX),
    uapi.TCP_QUICKACK: _Limits(1, None, 1),
    uapi.TCP_USER_TIMEOUT: _Limits(0, 0, _INT_MAX),
    uapi.TCP_REPAIR: _Limits(0, 0, 0),
    uapi.TCP_NOTSENT_LOWAT: _Limits(0, -_INT_MAX - 1, _INT_MAX),
    uapi.TCP_INQ: _Limits(0, 0, 1),
}
_FLAGS = (
    uapi.SO_REUSEADDR, uapi.SO_KEEPALIVE, uapi.SO_OOBINLINE, uapi.SO_REUSEPORT,
)  # fmt: skip
# their values before they are set; the model's connections are IPv4
_SOCKET_INTS = {
    **dict.fromkeys(_FLAGS, 0),
    uapi.SO_TYPE: 1,
    uapi.SO_PRIORITY: 0,
    uapi.SO_SNDLOWAT: 1,
    uapi.SO_PROTOCOL: 6,
    uapi.SO_DOMAIN: 2,
    uapi.SO_PEEK_OFF: -1,
    uapi.SO_BUSY_POLL: 0,
}
_INFO = uapi.SOL_TCP, uapi.TCP_INFO
_INFO_SIZE = 248
_INFO_OPTIONS = 7  # timestamps, SACK and window scaling
_WINDOW_SCALES = 0x77


def readable(value: bytes | None, size: int) -> bytes:
    """Return the first `size` bytes of an option's value.

    Raises:
        KtlsOSError: EFAULT, the value is shorter or NULL.
    """
    if value is None or len(value) < size:
        raise KtlsOSError(errno.EFAULT, f"{size} bytes cannot be read")
    return bytes(value[:size])


def int_value(value: bytes | None, optlen: int) -> int:
    """Return an option's value as an int.

    Raises:
        KtlsOSError: EINVAL, optlen is below 4; EFAULT, the value cannot be read.
    """
    if optlen < _INT.size:
        raise KtlsOSError(errno.EINVAL, "the option takes an int")
    number: int = _INT.unpack(readable(value, _INT.size))[0]
    return number


def pack_int(value: int) -> bytes:
    """Return an int as getsockopt writes it."""
    return _INT.pack(value)


def ulp_name(value: bytes | None, optlen: int) -> bytes:
    """Return the name that TCP_ULP passes, without its NUL.

    Raises:
        KtlsOSError: EINVAL, the name is empty; EFAULT, it cannot be read.
    """
    if optlen < 1:
        raise KtlsOSError(errno.EINVAL, "TCP_ULP needs a name")
    size = min(optlen, uapi.TCP_ULP_NAME_MAX - 1)
    # Linux copies the name as a string and never reads beyond its NUL
    name, nul, _ = bytes(value or b"")[:size].partition(b"\0")
    if not nul and len(name) < size:
        raise KtlsOSError(errno.EFAULT, "the name cannot be read")
    return name


class SocketOptions:
    """The options of one socket at the levels SOL_SOCKET and SOL_TCP.

    Args:
        tcp: the connection.
        peek_off: the kernel has SO_PEEK_OFF for TCP.
    """

    def __init__(self, tcp: TcpSock, peek_off: bool) -> None:
        self._tcp = tcp
        self._peek_off = peek_off
        self._values: dict[tuple[int, int], int] = {}

    def set(self, level: int, option: int, value: bytes | None, optlen: int) -> None:
        """setsockopt(2); options without an effect on the model only keep their value.

        Args:
            level: SOL_SOCKET or SOL_TCP.
            option: SO_* or TCP_* number.
            value: the readable bytes at optval; None for a NULL pointer.
            optlen: length that the caller passed.

        Raises:
            KtlsOSError: ENOPROTOOPT, EOPNOTSUPP, EINVAL or EFAULT.
        """
        tcp = self._tcp
        if level == uapi.SOL_TCP:
            number = int_value(value, optlen)
            self._values[level, option] = _tcp_value(option, number)
        elif option in (uapi.SO_RCVTIMEO, uapi.SO_SNDTIMEO):
            timeout = _timeout(value, optlen)
            if option == uapi.SO_RCVTIMEO:
                tcp.rcvtimeo = timeout
            else:
                tcp.sndtimeo = timeout
        elif option == uapi.SO_LINGER:
            onoff, seconds = _LINGER.unpack(readable(value, _LINGER.size))
            tcp.linger_reset = bool(onoff) and seconds == 0
            self._values[level, option] = seconds if onoff else -1
        elif option == uapi.SO_SNDBUF:
            tcp.set_sndbuf(int_value(value, optlen))
        elif option == uapi.SO_RCVBUF:
            tcp.set_rcvbuf(int_value(value, optlen))
        elif option == uapi.SO_RCVLOWAT:
            tcp.set_rcvlowat(int_value(value, optlen))
        else:
            number = int_value(value, optlen)
            if option == uapi.SO_PEEK_OFF and not self._peek_off:
                raise KtlsOSError(errno.EOPNOTSUPP, "TCP has no SO_PEEK_OFF")
            self._values[level, option] = int(number != 0) if option in _FLAGS else number

    def get(self, level: int, option: int, optlen: int) -> bytes:
        """getsockopt(2).

        Args:
            level: SOL_SOCKET or SOL_TCP.
            option: SO_* or TCP_* number.
            optlen: length of the caller's buffer.

        Returns:
            The bytes that Linux writes.

        Raises:
            KtlsOSError: ENOPROTOOPT or EINVAL.
        """
        if optlen < 0:
            raise KtlsOSError(errno.EINVAL, "optlen is negative")
        return (self._tcp_info() if (level, option) == _INFO else self._get(level, option))[:optlen]

    def _get(self, level: int, option: int) -> bytes:
        tcp = self._tcp
        kept = self._values.get((level, option))
        if level == uapi.SOL_TCP:
            limits = _TCP_INTS.get(option)
            if limits is None:
                raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TCP")
            return pack_int(limits.default if kept is None else kept)
        if option == uapi.SO_ERROR:
            return pack_int(tcp.take_error())
        if option in (uapi.SO_RCVTIMEO, uapi.SO_SNDTIMEO):
            limit = (tcp.rcvtimeo if option == uapi.SO_RCVTIMEO else tcp.sndtimeo) or 0
            return _TIMEVAL.pack(int(limit), round(limit % 1 * 1e6))
        if option == uapi.SO_LINGER:
            return _LINGER.pack(0, 0) if kept is None or kept < 0 else _LINGER.pack(1, kept)
        present = {
            uapi.SO_SNDBUF: tcp.sndbuf,
            uapi.SO_RCVBUF: tcp.rcvbuf,
            uapi.SO_RCVLOWAT: tcp.rcvlowat,
            uapi.SO_ACCEPTCONN: int(tcp.state == State.LISTEN),
        }
        if option in present:
            return pack_int(present[option])
        if option not in _SOCKET_INTS:
            raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_SOCKET")
        return pack_int(_SOCKET_INTS[option] if kept is None else kept)

    def _tcp_info(self) -> bytes:
        """Return a `struct tcp_info`: the state of the connection, and no measurement."""
        return bytes((self._tcp.state, 0, 0, 0, 0, _INFO_OPTIONS, _WINDOW_SCALES, 0)).ljust(
            _INFO_SIZE, b"\0"
        )


def _tcp_value(option: int, number: int) -> int:
    """Check the value of an option at level SOL_TCP (`do_tcp_setsockopt`).

    Raises:
        KtlsOSError: ENOPROTOOPT or EINVAL.
    """
    limits = _TCP_INTS.get(option)
    if limits is None:
        raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TCP")
    if limits.high == 1 and limits.low is None:
        return int(number != 0)
    if (limits.low is not None and number < limits.low) or number > limits.high:
        raise KtlsOSError(errno.EINVAL, f"{number} is no value of option {option}")
    return number


def _timeout(value: bytes | None, optlen: int) -> float | None:
    """Return a timeval in seconds; None for 0, which means no limit."""
    if optlen < _TIMEVAL.size:
        raise KtlsOSError(errno.EINVAL, f"a timeval has {_TIMEVAL.size} bytes")
    seconds, micros = _TIMEVAL.unpack(readable(value, _TIMEVAL.size))
    return seconds + micros / 1e6 or None
