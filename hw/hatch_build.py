# SPDX-License-Identifier: Apache-2.0
"""Build hook of the wheel: adds the hardware sources as data of `ktls_hw`.

In `ktls_hw/data` they have the paths of the checkout, so the file list `hw/rtl.f` is valid in both
(`ktls_cosim.paths`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = ("hw/include", "hw/ktls_nic.rdl", "hw/rtl.f", "rtl")


class HardwareSources(BuildHookInterface[Any]):
    """Adds `SOURCES` to a wheel; an editable installation reads them from the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Extend the files of the wheel; hatchling calls this before it collects them."""
        if version != "editable":
            for source in SOURCES:
                path = Path(self.root, source)
                build_data["force_include"][str(path)] = f"ktls_hw/data/{source}"
