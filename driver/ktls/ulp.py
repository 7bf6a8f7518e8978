# SPDX-License-Identifier: Apache-2.0
"""The transmit half of the TLS ULP: option and send rules, without any I/O.

`TxUlp` turns calls into records: bytes and flags in, closed records and errnos out.
Who seals a record, and when it reaches the wire, is decided in `ktls.socket`.

Behaviour: Linux 7.x, net/tls/tls_main.c (`do_tls_setsockopt_conf`,
`do_tls_getsockopt_conf`) and tls_sw.c (`tls_sw_sendmsg`, `tls_process_cmsg`).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from ktls import uapi
from ktls.crypto_info import CIPHERS, CryptoInfo
from ktls.errors import KtlsOSError

AncillaryData = Sequence[tuple[int, int, bytes]]

_SEND_FLAGS = (
    uapi.MSG_MORE | uapi.MSG_DONTWAIT | uapi.MSG_NOSIGNAL | uapi.MSG_EOR | uapi.MSG_INTERNAL
)
_LAST_NUMBER = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Record:
    """A closed record that waits to be sealed.

    Attributes:
        number: records of this key before it.
        rtype: record type.
        data: plaintext.
    """

    number: int
    rtype: int
    data: bytes


@dataclass(slots=True)
class MemoryFaults:
    """Injected allocation failures; each counts down the calls that succeed before it fails once.

    Attributes:
        record_alloc: allocation of a record descriptor: ENOMEM (`tls_get_rec`).
        buffer_mem: memory for a record's bytes: the call would wait (`sk_stream_wait_memory`).
    """

    record_alloc: int | None = None
    buffer_mem: int | None = None

    def _strikes(self, name: str) -> bool:
        left: int | None = getattr(self, name)
        if left is None:
            return False
        setattr(self, name, left - 1 if left else None)
        return left == 0

    def alloc_record(self) -> None:
        if self._strikes("record_alloc"):
            raise KtlsOSError(errno.ENOMEM, "no memory for a record")

    def alloc_buffer(self, flags: int) -> None:
        if self._strikes("buffer_mem"):
            if flags & uapi.MSG_DONTWAIT:
                raise KtlsOSError(errno.EAGAIN, "no memory for the record's data")
            raise KtlsOSError(errno.EINTR, "interrupted while waiting for memory")


@dataclass(slots=True)
class TxUlp:
    """State of one socket's transmit direction: the key and at most one open record.

    Attributes:
        info: what TLS_TX was set to, None before.
        number: records closed under this key.
        error: pending socket error (`sk->sk_err`); sends fail with it.
        faults: injected allocation failures.
    """

    info: CryptoInfo | None = None
    number: int = 0
    error: int = 0
    faults: MemoryFaults = field(default_factory=MemoryFaults)
    _open: bytearray = field(default_factory=bytearray)
    _has_open: bool = False

    @property
    def open_bytes(self) -> int:
        """Bytes accepted with MSG_MORE that no record on the wire holds yet."""
        return len(self._open)

    # ----------------------------------------------------------------- options

    def check_crypto_info(self, value: bytes | None) -> CryptoInfo:
        """The checks of setsockopt(SOL_TLS, TLS_TX) in Linux's order.

        Args:
            value: the option's bytes; None stands for a NULL pointer.

        Raises:
            KtlsOSError: EINVAL or EBUSY.
        """
        if value is None or len(value) < 4:
            raise KtlsOSError(errno.EINVAL, "crypto_info is shorter than its header of 4 bytes")
        version, cipher = struct.unpack_from("=HH", value)
        if self.info is not None and self.info.version == uapi.TLS_1_2_VERSION:
            raise KtlsOSError(errno.EBUSY, "TLS_TX is set already")
        if version not in (uapi.TLS_1_2_VERSION, uapi.TLS_1_3_VERSION):
            raise KtlsOSError(errno.EINVAL, f"version {version:#06x}")
        desc = CIPHERS.get(cipher)
        if desc is None or (version == uapi.TLS_1_3_VERSION and not desc.tls13):
            raise KtlsOSError(errno.EINVAL, f"cipher_type {cipher} with version {version:#06x}")
        if self.info is not None and (self.info.version, self.info.cipher) != (version, cipher):
            raise KtlsOSError(errno.EINVAL, "a rekey cannot change version or cipher")
        if len(value) != desc.crypto_info:
            raise KtlsOSError(
                errno.EINVAL, f"{desc.name} needs {desc.crypto_info} bytes, got {len(value)}"
            )
        if self.info is not None:
            raise KtlsOSError(errno.EBUSY, "rekey is not supported yet")
        return CryptoInfo.unpack(value)

    def install(self, info: CryptoInfo) -> None:
        """Start sealing with `info`; its keys work."""
        self.info = info
        self.number = 0

    def get_crypto_info(self, optlen: int) -> bytes:
        """getsockopt(SOL_TLS, TLS_TX): the header (4) or everything, with current counters.

        Raises:
            KtlsOSError: EINVAL for another length, EBUSY if not configured.
        """
        if optlen < 4:
            raise KtlsOSError(errno.EINVAL, "optlen is less than 4")
        if self.info is None:
            raise KtlsOSError(errno.EBUSY, "TLS_TX is not set")
        blob = self.info.at(self.number).pack()
        if optlen == 4:
            return blob[:4]
        if optlen != len(blob):
            raise KtlsOSError(errno.EINVAL, f"optlen is neither 4 nor {len(blob)}")
        return blob

    # -------------------------------------------------------------------- send

    def check_flags(self, flags: int) -> int:
        """The flags that count, after Linux's checks.

        Raises:
            KtlsOSError: EOPNOTSUPP, EINVAL.
        """
        if flags & ~_SEND_FLAGS:
            raise KtlsOSError(errno.EOPNOTSUPP, f"flags {flags & ~_SEND_FLAGS:#x}")
        if flags & uapi.MSG_MORE and flags & uapi.MSG_EOR:
            raise KtlsOSError(errno.EINVAL, "MSG_MORE with MSG_EOR")
        return flags & ~uapi.MSG_INTERNAL

    def record_type(self, ancdata: AncillaryData, flags: int) -> int | None:
        """The record type that control messages ask for (`tls_process_cmsg`).

        Returns:
            The type, or None without control messages.

        Raises:
            KtlsOSError: EINVAL.
        """
        if not ancdata:
            return None
        found: int | None = None
        for level, kind, data in ancdata:
            if level != uapi.SOL_TLS:
                continue
            if kind != uapi.TLS_SET_RECORD_TYPE:
                raise KtlsOSError(errno.EINVAL, f"control message {kind} of SOL_TLS")
            if not data:
                raise KtlsOSError(errno.EINVAL, "TLS_SET_RECORD_TYPE without its byte")
            if flags & uapi.MSG_MORE:
                raise KtlsOSError(errno.EINVAL, "TLS_SET_RECORD_TYPE with MSG_MORE")
            found = data[0]
        if found is None:
            raise KtlsOSError(errno.EINVAL, "control messages without TLS_SET_RECORD_TYPE")
        return found

    def check_error(self) -> None:
        """Fail with the pending socket error, which stays."""
        if self.error:
            raise KtlsOSError(self.error, "pending socket error")

    def take(
        self, data: memoryview, flags: int, rtype: int = uapi.RECORD_TYPE_DATA
    ) -> tuple[int, Record | None]:
        """Accept bytes into the open record; close it when it is full or the data ends.

        Args:
            data: what is left of the call's bytes, not empty.
            flags: `check_flags` of the call.
            rtype: type of the record.

        Returns:
            How many bytes were taken, and the record if it was closed.

        Raises:
            KtlsOSError: nothing was taken and the open record is as it was.
        """
        self.check_error()
        if not self._has_open:
            self.faults.alloc_record()
        self.faults.alloc_buffer(flags)
        self._has_open = True
        n = min(len(data), uapi.TLS_MAX_PAYLOAD_SIZE - len(self._open))
        self._open += data[:n]
        full = len(self._open) == uapi.TLS_MAX_PAYLOAD_SIZE
        if full or (n == len(data) and not flags & uapi.MSG_MORE):
            return n, self._close(rtype)
        return n, None

    def flush_open(self) -> Record | None:
        """Close the open record, if there is one, as data (before a control record)."""
        if not self._has_open:
            return None
        return self._close(uapi.RECORD_TYPE_DATA)

    def discard_open(self) -> None:
        """close() and shutdown(SHUT_WR) drop the open record silently."""
        self._open = bytearray()
        self._has_open = False

    def _close(self, rtype: int) -> Record:
        assert self.info is not None
        record = Record(self.number, rtype, bytes(self._open))
        self.discard_open()
        first = int.from_bytes(self.info.rec_seq, "big")
        self.number += 1
        if first + record.number >= _LAST_NUMBER:
            # the counter wraps: Linux reports EBADMSG and sends nothing
            self.error = errno.EBADMSG
            raise KtlsOSError(errno.EBADMSG, "the record number would wrap")
        return record
