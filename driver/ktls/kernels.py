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
_INTERNAL = _SPLICE_PAGES | 0x1_0000 | 0x8_0000 | 0x10_0000


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
    nopad_retry_misplaces: bool = False


LINUX_6_12 = Kernel("6.12")
LINUX_6_1 = Kernel(
    "6.1",
    send_flags=_TX_FLAGS,
    stripped_flags=_SPLICE_PAGES,
    pages_by_sendmsg=False,
    poll_hides_partial_record=False,
    keeps_error_after_data=False,
)
# as in Debian 12's package user-mode-linux
LINUX_6_1_176 = replace(LINUX_6_1, name="6.1.176", nopad_retry_misplaces=True)
LINUX_7 = replace(LINUX_6_12, name="7.x", tx_max_payload_len=True, rekey=True)

KERNELS = {kernel.name: kernel for kernel in (LINUX_6_1, LINUX_6_1_176, LINUX_6_12, LINUX_7)}
"""The personalities by name."""
DEFAULT_KERNEL = LINUX_6_12
"""The personality of a `KtlsStack` that names none."""
