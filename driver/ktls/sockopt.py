# SPDX-License-Identifier: Apache-2.0
"""The options of levels SOL_SOCKET and SOL_TCP, get and set.

Follows net/core/sock.c (`sk_setsockopt`, `sk_getsockopt`) and net/ipv4/tcp.c
(`do_tcp_setsockopt`, `do_tcp_getsockopt`). An option that changes nothing in this model (there
are no lost packets, routes or time) only keeps its value. The process has CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass

from ktls import uapi
from ktls.errors import KtlsOSError
from ktls.kernels import Kernel
from ktls.tcp import State, TcpSock

_INT = struct.Struct("=i")
_LINGER = struct.Struct("=ii")
_TIMEVAL = struct.Struct("=qq")
_MICROS = 1_000_000
_TCP_INFO_OPTIONS = 7  # timestamps, SACK and window scaling
_WINDOW_SCALES = 0x77
_INT_MAX = 2**31 - 1
_KEPT_LINGER2 = 60
_MAX_LINGER2 = 120
_MAX_RETRIES = 255
_MAX_RTO = 120


@dataclass(frozen=True, slots=True)
class _Kept:
    """An int option that only keeps its value.

    Attributes:
        default: the value of a new socket.
        low, high: limits; a value outside is EINVAL.
        flag: the kernel keeps whether the value is nonzero.
    """

    default: int = 0
    low: int = -(2**31)
    high: int = _INT_MAX
    flag: bool = False


_FLAG = _Kept(flag=True)
_KEPT = {
    (uapi.SOL_SOCKET, uapi.SO_DEBUG): _FLAG,
    (uapi.SOL_SOCKET, uapi.SO_REUSEADDR): _FLAG,
    (uapi.SOL_SOCKET, uapi.SO_DONTROUTE): _FLAG,
    (uapi.SOL_SOCKET, uapi.SO_BROADCAST): _FLAG,
    (uapi.SOL_SOCKET, uapi.SO_KEEPALIVE): _FLAG,
    (uapi.SOL_SOCKET, uapi.SO_OOBINLINE): _FLAG,
    (uapi.SOL_SOCKET, uapi.SO_PRIORITY): _Kept(),
    (uapi.SOL_SOCKET, uapi.SO_REUSEPORT): _FLAG,
    (uapi.SOL_SOCKET, uapi.SO_MARK): _Kept(),
    (uapi.SOL_SOCKET, uapi.SO_BUSY_POLL): _Kept(low=0),
    (uapi.SOL_SOCKET, uapi.SO_ZEROCOPY): _Kept(low=0, high=1),
    (uapi.SOL_TCP, uapi.TCP_NODELAY): _FLAG,
    (uapi.SOL_TCP, uapi.TCP_CORK): _FLAG,
    (uapi.SOL_TCP, uapi.TCP_KEEPIDLE): _Kept(7200, 1, 32767),
    (uapi.SOL_TCP, uapi.TCP_KEEPINTVL): _Kept(75, 1, 32767),
    (uapi.SOL_TCP, uapi.TCP_KEEPCNT): _Kept(9, 1, 127),
    (uapi.SOL_TCP, uapi.TCP_SYNCNT): _Kept(6, 1, 127),
    (uapi.SOL_TCP, uapi.TCP_LINGER2): _Kept(60),
    (uapi.SOL_TCP, uapi.TCP_DEFER_ACCEPT): _Kept(),
    (uapi.SOL_TCP, uapi.TCP_QUICKACK): _Kept(1, flag=True),
    (uapi.SOL_TCP, uapi.TCP_USER_TIMEOUT): _Kept(low=0),
    # repair mode itself does not exist here, only its end
    (uapi.SOL_TCP, uapi.TCP_REPAIR): _Kept(low=-1, high=0, flag=False),
    (uapi.SOL_TCP, uapi.TCP_NOTSENT_LOWAT): _Kept(),
    (uapi.SOL_TCP, uapi.TCP_INQ): _Kept(low=0, high=1),
}
_CONSTANT = {
    uapi.SO_TYPE: 1,  # SOCK_STREAM
    uapi.SO_SNDLOWAT: 1,
    uapi.SO_PROTOCOL: 6,
    uapi.SO_DOMAIN: 2,  # AF_INET
}


def _fin_wait(seconds: int) -> int:
    """Return the value of TCP_LINGER2 that the kernel keeps, in seconds."""
    return -1 if seconds < 0 else min(seconds, _MAX_LINGER2) or _KEPT_LINGER2


def _whole_retries(seconds: int) -> int:
    """Round TCP_DEFER_ACCEPT up to whole retransmissions (`secs_to_retrans`)."""
    total, timeout = 0, 1
    for _ in range(_MAX_RETRIES):
        if total >= seconds:
            break
        total += timeout
        timeout = min(2 * timeout, _MAX_RTO)
    return total


_STORED: dict[tuple[int, int], Callable[[int], int]] = {
    (uapi.SOL_TCP, uapi.TCP_LINGER2): _fin_wait,
    (uapi.SOL_TCP, uapi.TCP_DEFER_ACCEPT): _whole_retries,
    (uapi.SOL_TCP, uapi.TCP_REPAIR): lambda _number: 0,
}


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
    """Return an int as an option's value."""
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
    """The SOL_SOCKET and SOL_TCP options of one TCP socket.

    Args:
        tcp: the connection.
        kernel: personality of the kernel.
    """

    def __init__(self, tcp: TcpSock, kernel: Kernel) -> None:
        self._tcp = tcp
        self._kernel = kernel
        self._values = {key: kept.default for key, kept in _KEPT.items()}
        self._linger = (0, 0)

    @property
    def inq(self) -> bool:
        """Whether TCP_INQ is set: recvmsg reports the number of unread bytes."""
        return bool(self._values[uapi.SOL_TCP, uapi.TCP_INQ])

    def set(self, level: int, option: int, value: bytes | None, optlen: int) -> None:
        """setsockopt(2).

        Args:
            level: SOL_SOCKET or SOL_TCP.
            option: its number.
            value: the readable bytes at optval; None for a NULL pointer.
            optlen: length that the caller passed.

        Raises:
            KtlsOSError: as Linux.
        """
        number = int_value(value, optlen)
        kept = _KEPT.get((level, option))
        if kept is not None:
            if not kept.low <= number <= kept.high:
                raise KtlsOSError(errno.EINVAL, f"option {option} of level {level}: {number}")
            number = int(number != 0) if kept.flag else number
            change = _STORED.get((level, option))
            self._values[level, option] = change(number) if change else number
        elif level == uapi.SOL_SOCKET:
            self._set_socket(option, number, value, optlen)
        else:
            raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TCP")

    def _set_socket(self, option: int, number: int, value: bytes | None, optlen: int) -> None:
        tcp = self._tcp
        # Linux compares the sizes of buffers as unsigned numbers
        size = min(number & 0xFFFF_FFFF, self._kernel.max_buffer)
        match option:
            case uapi.SO_SNDBUF:
                tcp.set_sndbuf(size)
            case uapi.SO_RCVBUF:
                tcp.set_rcvbuf(size)
            case uapi.SO_SNDBUFFORCE:
                tcp.set_sndbuf(max(number, 0))
            case uapi.SO_RCVBUFFORCE:
                tcp.set_rcvbuf(max(number, 0))
            case uapi.SO_RCVLOWAT:
                tcp.set_rcvlowat(number)
            case uapi.SO_RCVTIMEO:
                tcp.rcvtimeo = _timeout(value, optlen, self._kernel.hz)
            case uapi.SO_SNDTIMEO:
                tcp.sndtimeo = _timeout(value, optlen, self._kernel.hz)
            case uapi.SO_LINGER:
                if optlen < _LINGER.size:
                    raise KtlsOSError(errno.EINVAL, "SO_LINGER takes two ints")
                on, seconds = _LINGER.unpack(readable(value, _LINGER.size))
                self._linger = (int(on != 0), seconds if on else self._linger[1])
                tcp.linger_reset = bool(on) and seconds == 0
            case uapi.SO_PEEK_OFF:
                if not self._kernel.peek_off:
                    raise KtlsOSError(errno.EOPNOTSUPP, "SO_PEEK_OFF of a TCP socket")
                tcp.peek_off = number
            case _:
                raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_SOCKET")

    def get(self, level: int, option: int, optlen: int) -> bytes:
        """getsockopt(2).

        Args:
            level: SOL_SOCKET or SOL_TCP.
            option: its number.
            optlen: length of the caller's buffer.

        Returns:
            The bytes that Linux writes.

        Raises:
            KtlsOSError: as Linux.
        """
        if optlen < 0:
            raise KtlsOSError(errno.EINVAL, "optlen is negative")
        value = self._values.get((level, option))
        if value is not None:
            return _INT.pack(value)[:optlen]
        if level == uapi.SOL_SOCKET:
            return self._get_socket(option)[:optlen]
        if option == uapi.TCP_INFO:
            # the state; times and counters of a network do not exist here
            head = (self._tcp.state, 0, 0, 0, 0, _TCP_INFO_OPTIONS, _WINDOW_SCALES, 0)
            return bytes(head).ljust(self._kernel.tcp_info_size, b"\0")[:optlen]
        raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_TCP")

    def _get_socket(self, option: int) -> bytes:
        tcp = self._tcp
        match option:
            case uapi.SO_ERROR:
                return _INT.pack(tcp.take_error())
            case uapi.SO_SNDBUF:
                return _INT.pack(tcp.sndbuf)
            case uapi.SO_RCVBUF:
                return _INT.pack(tcp.rcvbuf)
            case uapi.SO_RCVLOWAT:
                return _INT.pack(tcp.rcvlowat)
            case uapi.SO_RCVTIMEO:
                return _timeval(tcp.rcvtimeo)
            case uapi.SO_SNDTIMEO:
                return _timeval(tcp.sndtimeo)
            case uapi.SO_LINGER:
                return _LINGER.pack(*self._linger)
            case uapi.SO_ACCEPTCONN:
                return _INT.pack(tcp.state == State.LISTEN)
            case uapi.SO_PEEK_OFF:
                if not self._kernel.peek_off:
                    raise KtlsOSError(errno.EOPNOTSUPP, "SO_PEEK_OFF of a TCP socket")
                return _INT.pack(tcp.peek_off)
        if option not in _CONSTANT:
            raise KtlsOSError(errno.ENOPROTOOPT, f"option {option} of SOL_SOCKET")
        return _INT.pack(_CONSTANT[option])


def _timeout(value: bytes | None, optlen: int, hz: int) -> float | None:
    """Return a timeval in seconds (`sock_set_timeout`); None for 0, which means no limit."""
    if optlen < _TIMEVAL.size:
        raise KtlsOSError(errno.EINVAL, f"a timeval has {_TIMEVAL.size} bytes")
    seconds, micros = _TIMEVAL.unpack(readable(value, _TIMEVAL.size))
    if not 0 <= micros < _MICROS:
        raise KtlsOSError(errno.EDOM, f"{micros} microseconds")
    if seconds < 0:
        # a call that has to wait fails at once
        return 0.0
    return seconds + -(-micros * hz // _MICROS) / hz or None


def _timeval(seconds: float | None) -> bytes:
    """Return a time-out as getsockopt writes it."""
    return _TIMEVAL.pack(*divmod(round((seconds or 0) * _MICROS), _MICROS))
