# SPDX-License-Identifier: Apache-2.0
"""The reference of the registers, structures and codes."""

from __future__ import annotations

import textwrap

from contract.contract import COLUMNS, ENUMS, NOTE, Contract, Register, Struct

MARKDOWN_HEAD = f"""\
# Registers, descriptors and codes

<!-- {NOTE} -->

Source: [`hw/ktls_nic.rdl`](../hw/ktls_nic.rdl). How to use them:
the [programmer's guide](programmers-guide.md).

## Registers
"""


def markdown(c: Contract) -> str:
    """Return `docs/registers.md`: the reference."""
    out = [MARKDOWN_HEAD, *_paragraph(c.desc)]
    for r in c.registers:
        out += _markdown_register(r)
    for name, array in c.arrays.items():
        out += _paragraph(
            f"The registers of {name}1 to {name}{array.count - 1} repeat those of {name}0 at a "
            f"distance of 0x{array.stride:X} bytes. {array.desc}"
        )
    out += ["## Structures in host memory", ""]
    for s in c.structs:
        out += _markdown_struct(s)
    for key, (py, _) in ENUMS.items():
        out += [f"## {py} codes", "", "| value | name | meaning |", "|---|---|---|"]
        out += [f"| {v} | `{n}` | {d} |" for n, v, d in c.enums[key]]
        out.append("")
    return "\n".join(out)


def _paragraph(text: str) -> list[str]:
    return [*textwrap.wrap(text, COLUMNS), ""] if text else []


def _markdown_register(r: Register) -> list[str]:
    out = [f"### `{r.name}` at 0x{r.offset:03X}: {r.title}", "", *_paragraph(r.desc)]
    out += ["| bits | field | access | reset | meaning |", "|---|---|---|---|---|"]
    for f in r.fields:
        hi = f.lsb + f.width - 1
        bits = f"{hi}:{f.lsb}" if f.width > 1 else f"{f.lsb}"
        reset = "" if f.reset is None else f"0x{f.reset:X}"
        out.append(f"| {bits} | {f.name} | {f.access} | {reset} | {f.desc} |")
    return [*out, ""]


def _markdown_struct(s: Struct) -> list[str]:
    out = [f"### `{s.name}`: {s.title}", "", *_paragraph(s.desc)]
    out += ["| byte | bits | field | meaning |", "|---|---|---|---|"]
    for f in s.fields:
        word = s.word_of(f)
        lo = f.lsb - 8 * word.offset
        hint = " (bytes in order)" if f.verbatim else ""
        out.append(f"| {word.offset} | {lo + f.width - 1}:{lo} | {f.name} | {f.desc}{hint} |")
    return [*out, ""]
