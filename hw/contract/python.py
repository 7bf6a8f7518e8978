# SPDX-License-Identifier: Apache-2.0
"""The Python layout: codes, register fields and structures."""

from __future__ import annotations

import textwrap

from contract.contract import (
    COLUMNS,
    ENUM_DOCS,
    ENUMS,
    NOTE,
    SPDX,
    Contract,
    Field,
    Register,
    Struct,
)

PYTHON_HEAD = f"""\
# {SPDX}
# {NOTE}
\"\"\"Registers, descriptors, completions and codes of the ktls NIC.\"\"\"

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, error
from typing import ClassVar

from ktls_hw.fields import Field, check_size, fit_bytes, put_int
"""
# code of `struct` for an integer, by its width in bits
_INTEGERS = {8: "B", 16: "H", 32: "I", 64: "Q"}


def python(c: Contract) -> str:
    """Return `ktls_hw/layout.py`: codes, register fields and structures."""
    out = [PYTHON_HEAD]
    for key, (py, _) in ENUMS.items():
        out += ["", f"class {py}(IntEnum):", *_docstring(ENUM_DOCS[key]), ""]
        for name, value, desc in c.enums[key]:
            out += [f"    {name} = {value}", *_docstring(desc)]
        out.append("")
    out += ["", "class Reg(IntEnum):", *_docstring("Byte offsets of the registers."), ""]
    for r in c.registers:
        out += [f"    {r.name} = 0x{r.offset:03X}", *_docstring(f"{r.title}.")]
    out += ["", ""]
    for name, array in c.arrays.items():
        out += [f"{name}_COUNT = {array.count}", f"{name}_STRIDE = 0x{array.stride:X}"]
    for r in c.registers:
        for f in r.fields:
            out.append(f"{r.name}_{f.name.upper()} = Field({f.lsb}, {f.width})")
            if f.reset:
                out.append(f"{r.name}_{f.name.upper()}_RESET = 0x{f.reset:X}")
    for name in c.arrays:
        out += _python_array(name, [r for r in c.registers if r.name.startswith(f"{name}0_")])
    for s in c.structs:
        out += _python_struct(s)
    return "\n".join(out) + "\n"


def _docstring(text: str, indent: str = "    ") -> list[str]:
    lines = textwrap.wrap(text, COLUMNS - len(indent) - len('""""""'))
    lines[0] = '"""' + lines[0]
    lines[-1] += '"""'
    return [indent + line for line in lines]


def _python_array(name: str, registers: list[Register]) -> list[str]:
    first = min(registers, key=lambda r: r.offset).name
    low = name.lower()
    return f"""

def {low}_reg({low}: int, reg: int) -> int:
    \"\"\"Return the address of a register of {low} `{low}`.

    Args:
        {low}: number of the {low}.
        reg: address of the register in {name}0.
    \"\"\"
    return reg + {name}_STRIDE * {low}


def {low}_of(addr: int) -> tuple[int, int]:
    \"\"\"Split a register address into a {low} number and the address in {name}0.

    An address outside the {low}s yields 0 and the address itself.
    \"\"\"
    {low}, offset = divmod(addr - Reg.{first}, {name}_STRIDE)
    return ({low}, Reg.{first} + offset) if 0 <= {low} < {name}_COUNT else (0, addr)\
""".splitlines()


def _values(s: Struct) -> list[tuple[int, int, list[Field]]]:
    """Return the values of a structure in the format of `struct`: offset, bytes, fields.

    A value is a field, or a word with a field that `struct` cannot read on its own.
    """
    out = []
    for word in s.words:
        held = [f for f in s.fields if word.holds(f)]
        if all(f.lsb % 8 == 0 and (f.verbatim or f.width in _INTEGERS) for f in held):
            out += [(f.lsb // 8, f.width // 8, [f]) for f in held]
        else:
            out.append((word.offset, word.bits // 8, held))
    return out


def _python_format(s: Struct) -> str:
    """Return the format of a structure."""
    out = ""
    position = 0
    for at, size, fields in _values(s):
        out += f"{at - position}x" * (at != position)
        out += f"{size}s" if fields[0].verbatim else _INTEGERS[8 * size]
        position = at + size
    return "<" + out + f"{s.size - position}x" * (position != s.size)


def _python_packed(s: Struct) -> list[str]:
    """Return the expressions of the values of `_values`; `struct` checks those of one integer."""
    out = []
    for at, size, fields in _values(s):
        if len(fields) == 1 and not fields[0].verbatim:
            out.append(f"self.{fields[0].name}")
        elif len(fields) == 1:
            out.append(f'fit_bytes(self.{fields[0].name}, {size}, "{fields[0].name}")')
        else:
            parts = (
                f'put_int(self.{f.name}, {f.lsb - 8 * at}, {f.width}, "{f.name}")' for f in fields
            )
            out.append("\n                | ".join(parts))
    return out


def _python_unpacked(s: Struct) -> list[str]:
    """Return an expression for each field, from the list `values` of `_values`."""
    out = []
    for index, (at, _, fields) in enumerate(_values(s)):
        whole = len(fields) == 1
        for f in fields:
            part = f"values[{index}] >> {f.lsb - 8 * at} & 0x{f.mask:X}"
            out.append(f"values[{index}]" if whole else part)
    return out


def _python_struct(s: Struct) -> list[str]:
    cls = "".join(p.capitalize() for p in s.name.split("_"))
    out = [
        "",
        "",
        f'_{s.name.upper()} = Struct("{_python_format(s)}")',
        "",
        "",
        # not frozen: that would double the time to construct one
        "@dataclass(slots=True)",
        f"class {cls}:",
        *_docstring(f"{s.title}. {s.size} bytes, little endian."),
        "",
        f"    SIZE: ClassVar[int] = {s.size}",
        *_docstring("Bytes in memory."),
    ]
    for f in s.fields:
        kind, default = ("bytes", 'b""') if f.verbatim else ("int", "0")
        out += [f"    {f.name}: {kind} = {default}", *_docstring(f.desc)]
    out += [
        "",
        "    def pack(self) -> bytes:",
        '        """Return the structure as it is in memory.',
        "",
        "        Raises:",
        "            ValueError: the value of a field does not fit.",
        '        """',
        "        try:",
        f"            return _{s.name.upper()}.pack(",
    ]
    out += [f"                {value}," for value in _python_packed(s)]
    out += [
        "            )",
        "        except error as e:",
        '            raise ValueError(f"a value does not fit into its field: {self!r}") from e',
        "",
        "    @classmethod",
        f"    def unpack(cls, data: bytes) -> {cls}:",
        '        """Return the structure that these bytes hold.',
        "",
        "        Raises:",
        f"            ValueError: not {s.size} bytes.",
        '        """',
        "        check_size(data, cls.SIZE, cls.__name__)",
        f"        values = _{s.name.upper()}.unpack(data)",
        "        return cls(",
    ]
    out += [f"            {value}," for value in _python_unpacked(s)]
    out.append("        )")
    if any(f.verbatim and f.name == "key" for f in s.fields):
        out += [
            "",
            "    def __repr__(self) -> str:",
            f'        return f"{cls}(ctx={{self.ctx}}, cipher={{self.cipher}}, key=<hidden>)"',
        ]
    return out
