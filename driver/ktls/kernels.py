# SPDX-License-Identifier: Apache-2.0
"""Kernel personalities: the differences between the modelled kernels, as data.

The code tests the attributes of a personality, never its name. docs/ktls.md names the source
of each row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ktls import uapi

_TX_FLAGS = uapi.MSG_MORE | uapi.MSG_DONTWAIT | uapi.MSG_NOSIGNAL
# flags for use inside the kernel: MSG_SPLICE_PAGES, MSG_SENDPAGE_NOPOLICY,
# MSG_NO_SHARED_FRAGS, MSG_SENDPAGE_DECRYPTED
_SPLICE_PAGES = 0x0800_0000
_NO_SHARED_FRAGS = 0x8_0000
_INTERNAL = _SPLICE_PAGES | 0x1_0000 | _NO_SHARED_FRAGS | 0x10_0000


@dataclass(frozen=True, slots=True)
class Kernel:
    """The behaviour of one kernel where kernels differ.

    Attributes:
        name: the version.
        send_flags: flags that a TLS socket accepts in send calls.
        stripped_flags: flags that the send system calls clear first.
        pages_by_sendmsg: sendfile and splice reach the socket as one message with pages
            (`MSG_SPLICE_PAGES`, Linux 6.5), so SPLICE_F_MORE keeps a record open and
            the end of a file closes it. Otherwise each page is a message of its own
            (`sendpage`) and the record ends with the last page in the pipe.
        poll_hides_partial_record: poll reports POLLIN only for a complete record.
        tx_max_payload_len: the option TLS_TX_MAX_PAYLOAD_LEN exists.
        rekey: keys of TLS 1.3 can be replaced, and a KeyUpdate stops reading.
        keeps_error_after_data: the next call reports a socket error that occurs after
            data was copied; otherwise the error is lost.
        reports_new_parse_error: a read that finds a bad header reports it; otherwise the read
            waits for data, and the next call reports the error.
        peek_off: SO_PEEK_OFF can be set; the ULP ignores it.
        compat: the kernel also runs 32-bit programs, so sendmsg and recvmsg refuse their
            internal flag MSG_CMSG_COMPAT.
        priority_message: send calls take SO_PRIORITY as a control message.
        max_buffer: largest SO_SNDBUF and SO_RCVBUF, in bytes (sysctl_wmem_max, sysctl_rmem_max).
        tcp_info_size: bytes of `struct tcp_info`.
        hz: ticks of the kernel in a second, to which time-outs are rounded up.
        nopad_retry_misplaces: with TLS_RX_EXPECT_NO_PAD, the first decryption of a padded
            record stays in the caller's memory and the text follows it (CVE-2026-74611).
    """

    name: str
    send_flags: int = _TX_FLAGS | uapi.MSG_EOR
    stripped_flags: int = _INTERNAL
    pages_by_sendmsg: bool = True
    poll_hides_partial_record: bool = True
    tx_max_payload_len: bool = False
    rekey: bool = False
    keeps_error_after_data: bool = True
    reports_new_parse_error: bool = True
    peek_off: bool = True
    compat: bool = True
    priority_message: bool = False
    max_buffer: int = 212_992
    tcp_info_size: int = 248
    hz: int = 250
    nopad_retry_misplaces: bool = False


LINUX_6_12 = Kernel("6.12", stripped_flags=_INTERNAL & ~_NO_SHARED_FRAGS)
LINUX_6_1 = Kernel(
    "6.1",
    send_flags=_TX_FLAGS,
    stripped_flags=_SPLICE_PAGES,
    pages_by_sendmsg=False,
    poll_hides_partial_record=False,
    keeps_error_after_data=False,
    reports_new_parse_error=False,
    peek_off=False,
    tcp_info_size=232,
)
LINUX_7 = replace(
    LINUX_6_12,
    name="7.x",
    stripped_flags=_INTERNAL,
    tx_max_payload_len=True,
    rekey=True,
    priority_message=True,
    max_buffer=4 << 20,
    tcp_info_size=280,
)
# as in the packages user-mode-linux of Debian 12, 13 and sid
_UML = (
    replace(LINUX_6_1, name="6.1.176", compat=False, hz=100, nopad_retry_misplaces=True),
    replace(LINUX_6_12, name="6.12.113", compat=False, hz=100, nopad_retry_misplaces=True),
    replace(LINUX_7, name="7.2.7", compat=False, hz=100),
)

KERNELS = {kernel.name: kernel for kernel in (LINUX_6_1, LINUX_6_12, LINUX_7, *_UML)}
"""The personalities by name: a series, or the version of one build."""
DEFAULT_KERNEL = LINUX_6_12
"""The personality of a `KtlsStack` that names none."""


def personality(release: str) -> Kernel | None:
    """Return the personality of a kernel: its own, or that of its series; None without one.

    Args:
        release: its version, such as 6.1.176.
    """
    parts = release.split(".")
    names = (release, ".".join(parts[:2]), parts[0] + ".x")
    return next((KERNELS[name] for name in names if name in KERNELS), None)
