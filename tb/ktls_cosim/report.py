# SPDX-License-Identifier: Apache-2.0
"""Tables and JSON files of the commands, in one style."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table


def console(width: int | None = None) -> Console:
    """Standard output for tables and lines.

    Args:
        width: Columns; without it long lines are left to the terminal.
    """
    return Console(highlight=False, width=width, soft_wrap=width is None)


def table(columns: Sequence[str], *, left: Collection[str] = (), title: str | None = None) -> Table:
    """An empty table without borders.

    Args:
        columns: Headings.
        left: The columns with text, which are aligned left; all others are aligned right.
        title: Line above the table.
    """
    out = Table(title=title, box=None, pad_edge=False)
    for name in columns:
        out.add_column(name, justify="left" if name in left else "right")
    return out


def write_json(path: Path | None, data: object) -> None:
    """Write the figures of a command to the file of its option `--json`, if there is one."""
    if path is not None:
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
