# SPDX-License-Identifier: Apache-2.0
"""Files that open a wave file at a moment, with the signals to look at first.

`waves.gtkw` is a save file of GTKWave, `waves.sucl` a list of commands for Surfer.
"""

from __future__ import annotations

import re
from pathlib import Path

from ktls_cosim.sim.fst import end_time, signals

PS_PER_NS = 1000  # time unit of the wave files
_BEFORE_NS = 600
_ZOOM = -9.0  # 2^9 ps per pixel: 8 pixels per cycle

_NIC = r"ktls_tb\.nic\."
_RECORD = _NIC + r"data\.record\."
_DEVICE = (
    ("clock, reset, interrupt", r"ktls_tb\.(clk|rst|irq)"),
    ("registers", _NIC + "s_axil_"),
    ("descriptor", _NIC + r"d_\w+"),
    ("job", _NIC + r"(job_\w+|exec\.(state|ctx|seq|slot|status)\b)"),
    ("record: command and phases", _RECORD + r"(cmd_|\w+_phase|\w+_left\b|in_busy|o_slot)"),
    ("record: source, core, result", _RECORD + r"(src|s|m|out)_(valid|ready|data)"),
    ("completion", _NIC + "cpl_"),
    ("memory bus", _NIC + r"m_axi_(aw|w|b|ar|r)(addr|len|data|strb|last|resp|valid|ready)"),
)


def _groups(waves: Path) -> list[tuple[str, list[tuple[str, int]]]]:
    """The signals to show, with their widths, in titled groups."""
    # Verilator adds a copy of all ports under $rootio, and Icarus array words as escaped names
    found = [(name, width) for name, width in signals(waves) if not set(name) & {"$", "\\"}]
    top = found[0][0].split(".")[0] if found else ""
    places = _DEVICE if top == "ktls_tb" else ((top, rf"{re.escape(top)}\.\w+(\[|$)"),)
    chosen = [(title, [s for s in found if re.match(p, s[0])]) for title, p in places]
    return [(title, sorted(set(group))) for title, group in chosen if group]


def write_view(waves: Path, time_ns: int | None) -> tuple[Path, Path]:
    """Write the two files beside a wave file.

    Args:
        waves: A complete FST file with a time unit of 1 ps.
        time_ns: The moment to show, in nanoseconds; None for the end.

    Returns:
        The files for GTKWave and for Surfer.
    """
    marker = end_time(waves) if time_ns is None else time_ns * PS_PER_NS
    begin = max(0, marker - _BEFORE_NS * PS_PER_NS)
    gtkwave = [
        f'[dumpfile] "{waves}"',
        f"[timestart] {begin}",
        f"*{_ZOOM:f} {marker}" + " -1" * 26,
    ]
    surfer = []
    for title, group in _groups(waves):
        gtkwave += ["@200", f"-{title}"]
        surfer.append(f"divider_add {title}")
        for name, width in group:
            gtkwave += ["@28" if width == 1 else "@22", name]
            surfer.append(f"variable_add {name.split('[')[0] if width > 1 else name}")
    surfer += [f"cursor_set {marker}", "goto_cursor"]
    files = waves.with_suffix(".gtkw"), waves.with_suffix(".sucl")
    for file, lines in zip(files, (gtkwave, surfer), strict=True):
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def view_lines(waves: Path, time_ns: int | None) -> list[str]:
    """Write the files, and return lines for the reader: the wave file and how to open it."""
    gtkwave, surfer = write_view(waves, time_ns)
    return [
        f"waves: {waves}",
        f"  gtkwave {gtkwave}",
        f"  surfer --command-file {surfer} {waves}",
    ]
