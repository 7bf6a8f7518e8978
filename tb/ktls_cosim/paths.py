# SPDX-License-Identifier: Apache-2.0
"""Paths of the hardware sources, and the folder for all output."""

from __future__ import annotations

import os
from pathlib import Path

import ktls_hw
from ktls_cosim.errors import CosimError

_CHECKOUT = Path(__file__).resolve().parents[2]
IN_CHECKOUT = (_CHECKOUT / "hw" / "rtl.f").is_file()
"""Whether the package runs from a checkout; otherwise it runs from a wheel."""
# a wheel holds rtl/ and hw/ as data of ktls_hw (hw/hatch_build.py)
ROOT = _CHECKOUT if IN_CHECKOUT else Path(ktls_hw.__file__).resolve().parent / "data"
RTL = ROOT / "rtl"
HW = ROOT / "hw"
HDL = Path(__file__).resolve().parent / "sim" / "hdl"


def build_root() -> Path:
    """Return the folder for builds, logs and waves; create it if it does not exist.

    The environment variable `KTLS_BUILD` names it. The default is `build` in a checkout, and
    `ktls-cosim` in the user's cache folder (`XDG_CACHE_HOME`, default `~/.cache`) for a wheel.

    Raises:
        CosimError: The folder cannot be created or written; the message names the variable.
    """
    folder = _build_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else "no permission"
    except OSError as e:
        reason = e.strerror or str(e)
    if reason:
        raise CosimError(
            f"cannot write to {folder} ({reason}); set KTLS_BUILD to a folder that you can write to"
        )
    return folder


def _build_root() -> Path:
    if named := os.environ.get("KTLS_BUILD"):
        return Path(named).absolute()  # simulators run in other folders
    if IN_CHECKOUT:
        return ROOT / "build"
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # the XDG specification: ignore a relative path
        try:
            cache = Path.home() / ".cache"
        except RuntimeError as e:
            raise CosimError("this user has no home folder; set KTLS_BUILD to a folder") from e
    return cache / "ktls-cosim"
