# SPDX-License-Identifier: Apache-2.0
"""The second top level of an Icarus build, which records waves, arrays included.

Icarus leaves arrays out of a wave file unless `$dumpvars` names each word. The RTL keeps FIFOs,
round keys, context memories and, for speed, temporaries in arrays (rtl/ktls_defs.vh). The compiled
program lists all arrays, so no list here can become stale.
"""

from __future__ import annotations

import re
from pathlib import Path

WORDS = 64
"""Arrays with more words (host memory, release buffer, AES tables) are not recorded."""

_WARNING = re.compile(r"FST warning: array word \S+ will conflict with an escaped identifier")
_SCOPE = re.compile(r'(S_\w+) \.scope [^,]+, "([^"]+)".*?(?:, (S_\w+))?;$')
_SAME = re.compile(r"(S_\w+);")
_ARRAY = re.compile(r'v\w+ \.array "(\w+)", (\d+) (\d+), ')

_MODULE = """module ktls_dump;
  reg [8*1024-1:0] path;
  initial begin
    if ($value$plusargs("waves=%s", path)) begin
      $dumpfile(path);
      $dumpvars(0, {toplevel});
{words}    end
  end
endmodule
"""


def dump_module(toplevel: str, words: list[str]) -> str:
    """The Verilog module that records a top level and words of arrays as `+waves=FILE`."""
    lines = "".join(f"      $dumpvars(0, {word});\n" for word in words)
    return _MODULE.replace("{toplevel}", toplevel).replace("{words}", lines)


def clean_log(log: Path) -> None:
    """Remove Icarus' warning about each array word, thousands of lines, from a log."""
    lines = log.read_text(errors="replace").splitlines(keepends=True)
    log.write_text("".join(line for line in lines if not _WARNING.match(line)))


def array_words(program: str, toplevel: str) -> list[str]:
    """The hierarchical names of all array words of a compiled design.

    Args:
        program: Text of the file that `iverilog` writes for `vvp`.
        toplevel: Top level of the arrays.
    """
    scopes: dict[str, str] = {}
    scope = ""
    out = []
    for line in program.splitlines():
        if match := _SCOPE.match(line):
            label, name, parent = match.groups()
            scope = scopes[label] = f"{scopes[parent]}.{name}" if parent else name
        elif match := _SAME.match(line):
            scope = scopes[match[1]]
        elif match := _ARRAY.match(line):
            name, a, b = match[1], int(match[2]), int(match[3])
            if abs(a - b) < WORDS and scope.split(".")[0] == toplevel:
                out += [f"{scope}.{name}[{i}]" for i in range(min(a, b), max(a, b) + 1)]
    return out
