# SPDX-License-Identifier: Apache-2.0
"""Paths of the checkout, and the folder for everything that is written."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RTL = ROOT / "rtl"
HW = ROOT / "hw"
HDL = Path(__file__).resolve().parent / "sim" / "hdl"


def build_root() -> Path:
    """The folder for builds, logs and waves.

    The environment variable `KTLS_BUILD` names it; the default is `build` in the checkout.
    """
    return Path(os.environ.get("KTLS_BUILD", ROOT / "build"))
