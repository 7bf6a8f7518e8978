# SPDX-License-Identifier: Apache-2.0
"""Run a script of tlsfuzzer with AES-GCM: tlsfuzz.py CHECKOUT SCRIPT ARGS..."""

from __future__ import annotations

import importlib
import sys

from tlslite.constants import CipherSuite

checkout, script, *args = sys.argv[1:]
# most scripts for TLS 1.2 offer only CBC, which kTLS does not have
for exchange in ("ECDHE_RSA", "DHE_RSA", "RSA"):
    gcm = getattr(CipherSuite, f"TLS_{exchange}_WITH_AES_128_GCM_SHA256")
    setattr(CipherSuite, f"TLS_{exchange}_WITH_AES_128_CBC_SHA", gcm)
sys.path[:0] = [checkout]
sys.argv = [script, *args]
importlib.import_module(f"tlsfuzzer._apps.test_{script.replace('-', '_')}").main()
