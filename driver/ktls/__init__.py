# SPDX-License-Identifier: Apache-2.0
"""Host side of a kernel-TLS offload NIC: TLS ULP and NIC driver, without I/O of their own."""

from ktls.crypto_info import CryptoInfo
from ktls.errors import DeviceError, DeviceIdle, KtlsError, KtlsOSError, NotOffloadable
from ktls.nic import KtlsNic
from ktls.port import HostMemory, HostPort, run_sync
from ktls.socket import KtlsSocket, KtlsStack, TlsSock

__all__ = [
    "CryptoInfo",
    "DeviceError",
    "DeviceIdle",
    "HostMemory",
    "HostPort",
    "KtlsError",
    "KtlsNic",
    "KtlsOSError",
    "KtlsSocket",
    "KtlsStack",
    "NotOffloadable",
    "TlsSock",
    "run_sync",
]
