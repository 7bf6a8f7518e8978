# SPDX-License-Identifier: Apache-2.0
"""Socket options outside SOL_TLS: their values and the state that they set.

Follows net/core/sock.c (`sk_setsockopt`) and net/ipv4/tcp.c (`do_tcp_setsockopt`).
"""

from __future__ import annotations

import errno
import struct

from ktls import uapi
from ktls.errors import KtlsOSError
from ktls.tcp import TcpSock

_INT = struct.Struct("=i")
_TIMEVAL = struct.Struct("=qq")


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


def set_socket_option(tcp: TcpSock, option: int, value: bytes | None, optlen: int) -> None:
    """setsockopt(2) at level SOL_SOCKET; options without an effect on the model are accepted.

    Args:
        tcp: the connection.
        option: SO_* number.
        value: the readable bytes at optval; None for a NULL pointer.
        optlen: length that the caller passed.

    Raises:
        KtlsOSError: EINVAL or EFAULT.
    """
    if option in (uapi.SO_RCVTIMEO, uapi.SO_SNDTIMEO):
        timeout = _timeout(value, optlen)
        if option == uapi.SO_RCVTIMEO:
            tcp.rcvtimeo = timeout
        else:
            tcp.sndtimeo = timeout
    elif option == uapi.SO_LINGER:
        onoff, seconds = struct.unpack("=ii", readable(value, 8))
        tcp.linger_reset = bool(onoff) and seconds == 0
    elif option == uapi.SO_SNDBUF:
        tcp.set_sndbuf(int_value(value, optlen))
    elif option == uapi.SO_RCVBUF:
        tcp.set_rcvbuf(int_value(value, optlen))
    elif option == uapi.SO_RCVLOWAT:
        low = int_value(value, optlen)
        tcp.rcvlowat = 0x7FFF_FFFF if low < 0 else low or 1
    else:
        int_value(value, optlen)


def _timeout(value: bytes | None, optlen: int) -> float | None:
    """Return a timeval in seconds; None for 0, which means no limit."""
    if optlen < _TIMEVAL.size:
        raise KtlsOSError(errno.EINVAL, f"a timeval has {_TIMEVAL.size} bytes")
    seconds, micros = _TIMEVAL.unpack(readable(value, _TIMEVAL.size))
    return seconds + micros / 1e6 or None
