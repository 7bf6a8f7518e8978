#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Generate everything that derives from the contract `hw/ktls_nic.rdl`.

    python hw/generate.py           write the files
    python hw/generate.py --check   exit 1 if a file is out of date, and name the remedy

Needs `systemrdl-compiler` (dev extra). Building, simulating and testing the project need
only the committed output.
"""

from __future__ import annotations

import sys
from pathlib import Path

from contract.c_header import c_header
from contract.contract import load
from contract.markdown import markdown
from contract.python import python
from contract.verilog import verilog

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUTPUTS = {
    HERE / "include" / "ktls_nic.vh": verilog,
    HERE / "include" / "ktls_nic.h": c_header,
    HERE / "ktls_hw" / "layout.py": python,
    ROOT / "docs" / "registers.md": markdown,
}


def main(argv: list[str]) -> int:
    """Write the outputs, or compare them with `--check`; returns the exit code."""
    contract = load(HERE / "ktls_nic.rdl")
    stale = []
    for path, render in OUTPUTS.items():
        text = render(contract)
        if "--check" not in argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.relative_to(ROOT))
    for path in stale:
        print(f"{path} does not match hw/ktls_nic.rdl; fix it with: make contract", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
