# SPDX-License-Identifier: Apache-2.0
"""The C header: register offsets, codes and structures."""

from __future__ import annotations

import textwrap

from contract.contract import COLUMNS, ENUMS, NOTE, SPDX, Contract, Field, Struct, Word

C_HEAD = f"""\
/* {SPDX} */
/* {NOTE} */
#ifndef KTLS_NIC_H
#define KTLS_NIC_H

/* Little-endian words in memory: convert with cpu_to_le32() or htole32() and their kin. */
#ifdef __KERNEL__
#include <linux/stddef.h>
#include <linux/types.h>
typedef __u8 ktls_u8;
typedef __le16 ktls_le16;
typedef __le32 ktls_le32;
typedef __le64 ktls_le64;
#else
#include <stddef.h>
#include <stdint.h>
typedef uint8_t ktls_u8;
typedef uint16_t ktls_le16;
typedef uint32_t ktls_le32;
typedef uint64_t ktls_le64;
#endif

#ifdef __cplusplus
#define KTLS_STATIC_ASSERT static_assert
#else
#define KTLS_STATIC_ASSERT _Static_assert
#endif

/* Registers: byte offsets, shifts and masks (masks are not shifted). */"""


def c_header(c: Contract) -> str:
    """Return `ktls_nic.h`: register offsets, codes and structures."""
    out = [C_HEAD]
    for r in c.registers:
        out.append(_define(f"REG_{r.name}", f"0x{r.offset:03X}u"))
        for f in r.fields:
            if f.width != 32:
                out += _c_field(r.name, f, f.lsb)
    for name, array in c.arrays.items():
        if array.desc:
            out += _c_comment(f"At most so many. {array.desc}")
        out.append(_define(f"{name}_MAX", f"{array.count}u"))
        out.append(_define(f"{name}_STRIDE", f"0x{array.stride:X}u"))
    out.append("")
    for key, (py, prefix) in ENUMS.items():
        out.append(f"enum ktls_{py.lower()} {{")
        for name, value, desc in c.enums[key]:
            out += _c_comment(desc, "\t")
            out.append(f"\tKTLS_{prefix}_{name} = {value},")
        out += ["};", ""]
    for s in c.structs:
        out += _c_struct(s)
    out.append("#endif /* KTLS_NIC_H */")
    return "\n".join(out) + "\n"


def _define(name: str, value: str) -> str:
    return f"#define KTLS_{name} {value}"


def _c_field(owner: str, f: Field, shift: int) -> list[str]:
    name = f"{owner}_{f.name.upper()}"
    return [_define(f"{name}_SHIFT", str(shift)), _define(f"{name}_MASK", f"0x{f.mask:X}u")]


def _c_comment(text: str, indent: str = "") -> list[str]:
    room = COLUMNS - 8 * len(indent) - len("/* */")
    if len(text) < room:
        return [f"{indent}/* {text} */"]
    lines = textwrap.wrap(text, room)
    return [f"{indent}/*", *(f"{indent} * {line}" for line in lines), f"{indent} */"]


def _c_struct(s: Struct) -> list[str]:
    out = _c_comment(f"{s.title}. {s.desc} Words are little endian.")
    out.append(f"struct ktls_{s.name} {{")
    position = 0
    pad = 0
    for word in s.words:
        if word.offset != position:
            out.append(f"\tktls_u8 reserved{pad}[{word.offset - position}];")
            pad += 1
        out.append(f"\t{_c_member(word, [f for f in s.fields if word.holds(f)])};")
        position = word.offset + word.bits // 8
    out.append("};")
    out.append(
        f"KTLS_STATIC_ASSERT(sizeof(struct ktls_{s.name}) == {s.size}, "
        f'"{s.name} is {s.size} bytes");'
    )
    for word in s.words:
        member = _c_member(word, [f for f in s.fields if word.holds(f)])
        name = member.split()[1].partition("[")[0]
        if name != "reserved":
            out.append(
                f"KTLS_STATIC_ASSERT(offsetof(struct ktls_{s.name}, {name}) == {word.offset}, "
                f'"{name}");'
            )
    shown = ""
    for f in s.fields:
        word = s.word_of(f)
        if f.width != word.bits:
            if word.name != shown:
                shown = word.name
                out.append(f"/* in {shown}: */")
            out += _c_field(s.name.upper(), f, f.lsb - 8 * word.offset)
    return [*out, ""]


def _c_member(word: Word, fields: list[Field]) -> str:
    """Return the declaration of a word; one that a single field fills has its name."""
    if len(fields) == 1 and fields[0].width == word.bits:
        if fields[0].verbatim:
            return f"ktls_u8 {fields[0].name}[{word.bits // 8}]"
        return f"ktls_le{word.bits} {fields[0].name}"
    return f"ktls_le{word.bits} {word.name}"
