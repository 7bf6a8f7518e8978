# SPDX-License-Identifier: Apache-2.0
"""The host side of a kernel-TLS offload NIC: TLS ULP and NIC driver, both sans-I/O."""

from ktls.connect import connect_wire, socketpair
from ktls.crypto_info import CryptoInfo
from ktls.errors import (
    BlocksForever,
    DeviceBusy,
    DeviceDown,
    DeviceError,
    DeviceIdle,
    KtlsError,
    KtlsOSError,
    NotOffloadable,
    StaleContext,
)
from ktls.kernels import KERNELS, Kernel
from ktls.nic import KtlsNic
from ktls.pipe import Pipe
from ktls.port import HostMemory, HostPort, run_sync
from ktls.socket import KtlsSocket, Received
from ktls.stack import KtlsStack
from ktls.wire import Wire

__all__ = [
    "KERNELS",
    "BlocksForever",
    "CryptoInfo",
    "DeviceBusy",
    "DeviceDown",
    "DeviceError",
    "DeviceIdle",
    "HostMemory",
    "HostPort",
    "Kernel",
    "KtlsError",
    "KtlsNic",
    "KtlsOSError",
    "KtlsSocket",
    "KtlsStack",
    "NotOffloadable",
    "Pipe",
    "Received",
    "StaleContext",
    "Wire",
    "connect_wire",
    "run_sync",
    "socketpair",
]
