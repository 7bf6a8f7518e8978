# SPDX-License-Identifier: Apache-2.0
"""The Verilog include file: localparams."""

from __future__ import annotations

from contract.contract import ENUMS, NOTE, SPDX, Contract, Field


def verilog(c: Contract) -> str:
    """Return `ktls_nic.vh`: localparams."""
    out = [
        f"// {SPDX}",
        f"// {NOTE}",
        "// Include inside a module. Bit positions of structures count from byte 0, bit 0.",
        "/* verilator lint_off UNUSEDPARAM */",
    ]
    for r in c.registers:
        out.append(_param(f"REG_{r.name}", f"12'h{r.offset:03X}"))
        for f in r.fields:
            out += _verilog_field(r.name, f)
            if f.reset is not None:
                reset = f"{f.width}'h{f.reset:X}"
                out.append(_param(f"{r.name}_{f.name.upper()}_RESET", reset))
    for name, array in c.arrays.items():
        out.append(_param(f"{name}_COUNT", str(array.count)))
        out.append(_param(f"{name}_STRIDE", f"12'h{array.stride:03X}"))
    for s in c.structs:
        out.append(_param(f"{s.name.upper()}_BYTES", str(s.size)))
        for f in s.fields:
            out += _verilog_field(s.name.upper(), f)
    for key, (_, prefix) in ENUMS.items():
        out += [_param(f"{prefix}_{name}", f"8'd{value}") for name, value, _ in c.enums[key]]
    out.append("/* verilator lint_on UNUSEDPARAM */")
    return "\n".join(out) + "\n"


def _param(name: str, value: str) -> str:
    return f"localparam {name} = {value};"


def _verilog_field(owner: str, f: Field) -> list[str]:
    name = f"{owner}_{f.name.upper()}"
    return [_param(f"{name}_LSB", str(f.lsb)), _param(f"{name}_W", str(f.width))]
