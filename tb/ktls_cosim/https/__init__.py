# SPDX-License-Identifier: Apache-2.0
"""`serve` and `fetch`: HTTPS over kTLS sockets of the model."""
