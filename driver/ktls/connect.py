# SPDX-License-Identifier: Apache-2.0
"""Connected sockets: two of the same stack, or one whose other end is outside the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ktls import tcp
from ktls.socket import KtlsSocket
from ktls.stack import KtlsStack
from ktls.tap import Tap
from ktls.wire import Wire


def socketpair(stack: KtlsStack) -> tuple[KtlsSocket, KtlsSocket]:
    """Return two sockets that are connected to each other, like a loopback connection."""
    a, b = KtlsSocket(stack), KtlsSocket(stack)
    tcp.connect(a.tcp, b.tcp)
    if a.tap is not None and b.tap is not None:
        b.tcp.watcher = partial(_report_passed, a.tap, b.tap)
        a.tcp.watcher = partial(_report_passed, b.tap, a.tap)
    return a, b


def _report_passed(sender: Tap, receiver: Tap, data: bytes) -> None:
    sender.wire_sent(data)
    receiver.wire_received(data)


def connect_wire(stack: KtlsStack, wire: Wire | Callable[[bytes], None]) -> KtlsSocket:
    """Return a connected socket whose other end is outside the model.

    Args:
        stack: the kernel around the socket.
        wire: the other end, or a function that receives the outgoing bytes.
    """
    far = wire if isinstance(wire, Wire) else Wire(wire)
    sock = KtlsSocket(stack)
    sock.attach(far)
    return sock
