# SPDX-License-Identifier: Apache-2.0
"""The `ssl` configuration of handshakes, and access to their secrets."""

from __future__ import annotations

import contextlib
import fcntl
import os
import ssl
import threading
import weakref

from ktls_cosim.capture.secrets import KeyLog
from ktls_cosim.errors import CosimError

# the largest pipe that an unprivileged process may have, in bytes
_PIPE_SIZE = 1 << 20
_VERSIONS = {
    None: (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    "1.2": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
    "1.3": (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
}
# TLS 1.2: only the suites that kTLS supports
_SUITES = "ECDHE+AESGCM:RSA+AESGCM:!PSK:!aNULL"


class HandshakeContext:
    """An `ssl.SSLContext` for one role that gives access to the secrets of its handshakes.

    Attributes:
        server: True for the server role, False for the client role.
        ssl: The `ssl.SSLContext`.

    Args:
        server: Select the server role.
        version: `1.2` or `1.3` to accept one version; None accepts both.
        cert: PEM file of a server's certificate chain.
        key: PEM file of a server's private key; None: `cert` contains it.
        cafile: PEM file of the certificates that a client trusts; None: those of the system.
        verify: Check the server's certificate.

    Raises:
        CosimError: A file cannot be read.
    """

    def __init__(
        self,
        *,
        server: bool,
        version: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        cafile: str | None = None,
        verify: bool = True,
    ) -> None:
        self.server = server
        self.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        self.ssl.minimum_version, self.ssl.maximum_version = _VERSIONS[version]
        self.ssl.set_ciphers(_SUITES)
        self.ssl.options |= ssl.OP_NO_RENEGOTIATION
        self.ssl.set_alpn_protocols(["http/1.1"])
        try:
            if server:
                self.ssl.load_cert_chain(cert or "", key)
            elif verify:
                self._trust(cafile)
            else:
                self.ssl.check_hostname = False
                self.ssl.verify_mode = ssl.CERT_NONE
        except (OSError, ssl.SSLError) as e:
            raise CosimError(f"cannot read certificate or key: {e}") from e
        self._lock = threading.Lock()
        self._log = KeyLog()
        self._text = b""
        # `ssl` appends secrets to a named file. A pipe removes bytes that were read, and keeps
        # the bytes that another handshake writes at the same time.
        self._read, write = os.pipe()
        # a user may have only 64 pipes of this size
        self._close = weakref.finalize(self, _close, self._read, write)
        fcntl.fcntl(self._read, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        os.set_blocking(self._read, False)
        self.ssl.keylog_filename = f"/proc/self/fd/{write}"

    def _trust(self, cafile: str | None) -> None:
        if cafile is None:
            self.ssl.load_default_certs()
        else:
            self.ssl.load_verify_locations(cafile)

    def take_secrets(self, client_random: bytes) -> dict[str, bytes]:
        """Return the secrets of a finished handshake by label, and forget them.

        Args:
            client_random: Random of its ClientHello, 32 bytes.
        """
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                while text := os.read(self._read, _PIPE_SIZE):
                    self._text += text
            # the last line may be incomplete, but then it belongs to another handshake
            whole, _, self._text = self._text.rpartition(b"\n")
            self._log.add(whole.decode())
            return self._log.take(client_random)

    def close(self) -> None:
        """Close the pipe of the secrets, which otherwise closes with the object."""
        self._close()


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        os.close(fd)
