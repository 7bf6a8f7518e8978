# SPDX-License-Identifier: Apache-2.0
"""kTLS as in the kernel's own example (Documentation/networking/tls.rst).

    python gnutls_server.py PORT PEM FILE

This program serves FILE to one client. GnuTLS performs the handshake; then the program
enables kTLS for transmit and calls send() itself. The program is independent of this
project: it runs on any kernel with the TLS module, or under `ktls-cosim run`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys

SOL_TCP, TCP_ULP = 6, 31
SOL_TLS, TLS_TX, TLS_SET_RECORD_TYPE = 282, 1, 1
GNUTLS_SERVER, GNUTLS_CRD_CERTIFICATE, GNUTLS_X509_FMT_PEM = 1, 1, 1
GNUTLS_TLS1_3 = 5
CIPHERS = {b"AES-128-GCM": 51, b"AES-256-GCM": 52}

tls = ctypes.CDLL("libgnutls.so.30")
tls.gnutls_cipher_get_name.restype = ctypes.c_char_p
tls.gnutls_record_recv.restype = ctypes.c_ssize_t
tls.gnutls_strerror.restype = ctypes.c_char_p


class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_uint)]

    def take(self) -> bytes:
        return ctypes.string_at(self.data, self.size)


def check(result: int) -> int:
    if result < 0:
        sys.exit(f"gnutls: {tls.gnutls_strerror(result).decode()}")
    return result


def crypto_info(session: ctypes.c_void_p) -> bytes:
    """struct tls12_crypto_info_aes_gcm_* of the session's transmit side."""
    mac, iv, key = Datum(), Datum(), Datum()
    number = ctypes.create_string_buffer(8)
    refs = [ctypes.byref(x) for x in (mac, iv, key)]
    check(tls.gnutls_record_get_state(session, 0, *refs, number))
    cipher = CIPHERS[tls.gnutls_cipher_get_name(tls.gnutls_cipher_get(session))]
    tls13 = tls.gnutls_protocol_get_version(session) == GNUTLS_TLS1_3
    nonce = iv.take()
    # TLS 1.2: GnuTLS's explicit nonce is the record number
    rest = nonce[4:12] if tls13 else number.raw
    version = 0x0304 if tls13 else 0x0303
    return struct.pack("=HH", version, cipher) + rest + key.take() + nonce[:4] + number.raw


def main(port: int, pem: str, path: str) -> None:
    credentials, session = ctypes.c_void_p(), ctypes.c_void_p()
    check(tls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
    name = pem.encode()
    check(tls.gnutls_certificate_set_x509_key_file(credentials, name, name, GNUTLS_X509_FMT_PEM))
    listener = socket.create_server(("127.0.0.1", port))
    connection, _ = listener.accept()
    check(tls.gnutls_init(ctypes.byref(session), GNUTLS_SERVER))
    check(tls.gnutls_set_default_priority(session))
    check(tls.gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials))
    tls.gnutls_transport_set_int2(session, connection.fileno(), connection.fileno())
    check(tls.gnutls_handshake(session))
    request = ctypes.create_string_buffer(4096)
    check(tls.gnutls_record_recv(session, request, len(request)))

    connection.setsockopt(SOL_TCP, TCP_ULP, b"tls")
    connection.setsockopt(SOL_TLS, TLS_TX, crypto_info(session))

    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        connection.sendfile(file)
    close_notify = bytes((1, 0))
    connection.sendmsg([close_notify], [(SOL_TLS, TLS_SET_RECORD_TYPE, bytes((21,)))])
    with contextlib.suppress(OSError):
        # the client may have closed first
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
